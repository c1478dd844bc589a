//! The rules one by one, where a story says more than a property.

use faust_crds::OperationKind;
use serde_json::json;

use super::world::{World, revision};
use crate::model::{Action, Draining, Kafka, Member, Reason};
use crate::workers::{Input, plan};

fn running() -> World {
    let mut world = World::new();
    world.quiet(5);
    assert_eq!(world.plan().verdict.reason, Reason::AsWanted);
    world
}

fn deleted(world: &World) -> Vec<String> {
    let name = |action: &Action| if let Action::DeletePod { name, .. } = action { Some(name.clone()) } else { None };
    world.plan().actions.iter().filter_map(name).collect()
}

#[test]
fn a_roll_goes_pod_by_pod_from_the_highest_ordinal_and_waits_until_each_has_caught_up() {
    let mut world = running();
    world.target = 2;
    assert!(deleted(&world).is_empty(), "the template comes first");
    world.round(usize::MAX);
    assert!(deleted(&world).is_empty(), "its controller hasn't seen the template");
    world.control();
    for ordinal in [2, 1, 0] {
        assert_eq!(deleted(&world), [format!("views-{ordinal}")]);
        world.round(usize::MAX);
        world.turn(ordinal);
        world.control();
        assert!(deleted(&world).is_empty(), "views-{ordinal} starts");
        world.turn(ordinal);
        assert!(deleted(&world).is_empty(), "views-{ordinal} is ready, and has not caught up");
        world.turn(ordinal);
    }
    assert_eq!(world.plan().revision.stable, Some(revision(2)));
}

#[test]
fn ready_pods_whose_workers_were_not_heard_yet_are_not_replaced() {
    let mut world = running();
    world.target = 2;
    world.round(usize::MAX);
    world.control();
    world.unheard = (0..3).collect();
    assert!(deleted(&world).is_empty());
}

#[test]
fn a_deletion_that_was_decided_and_is_not_seen_yet_stays_the_only_one() {
    let mut world = running();
    world.target = 2;
    world.round(usize::MAX);
    world.control();
    world.round(1);
    assert_eq!(world.status.operation.as_ref().unwrap().target, "views-2");
    world.pods.get_mut(&0).unwrap().stage = 0;
    assert!(deleted(&world).is_empty(), "views-2 may be gone already");
    world.now += 10;
    assert_eq!(deleted(&world), ["views-0"], "by now it would be seen");
}

#[test]
fn an_image_that_does_not_exist_costs_one_pod_and_the_roll_goes_back() {
    let mut world = running();
    world.target = 1;
    world.quiet(5);
    assert_eq!(world.plan().verdict.reason, Reason::ImagePullFailed);
    assert_eq!(world.pods.values().filter(|pod| pod.available()).count(), 2);
    world.now += 600;
    let halted = world.plan();
    assert_eq!((halted.verdict.reason, halted.verdict.stalled), (Reason::RolloutHalted, true));
    assert!(halted.verdict.message.contains("image app can't be pulled: not found"), "{}", halted.verdict.message);
    assert_eq!(halted.template, Some(revision(0)));
    world.quiet(5);
    assert_eq!(world.deleted.len(), 2);
    assert_eq!(world.pods.values().filter(|pod| pod.available() && pod.revision == revision(0)).count(), 3);
    assert_eq!(world.plan().verdict.reason, Reason::RolloutHalted);
}

#[test]
fn an_edit_during_a_roll_goes_straight_to_the_newest_revision() {
    let mut world = running();
    world.target = 2;
    world.round(usize::MAX);
    world.control();
    world.round(usize::MAX);
    world.target = 4;
    world.quiet(20);
    assert!(world.pods.values().all(|pod| pod.revision == revision(4)));
    let ordinals: Vec<_> = world.deleted.iter().map(|(ordinal, _)| *ordinal).collect();
    assert!(ordinals == [2, 1, 0] || ordinals == [2, 2, 1, 0], "{ordinals:?}");
}

#[test]
fn a_first_roll_out_that_never_comes_up_has_nothing_to_go_back_to_and_says_what_is_wrong() {
    let mut world = World::new();
    world.target = 1;
    world.quiet(5);
    let early = world.plan().verdict;
    assert_eq!((early.reason, early.stalled, early.reconciling), (Reason::ImagePullFailed, false, true));
    world.now += 601;
    let late = world.plan();
    assert_eq!((late.verdict.reason, late.verdict.stalled), (Reason::ImagePullFailed, true));
    assert_eq!((late.template, late.revision.failed), (Some(revision(1)), None));
}

#[test]
fn a_pod_that_goes_is_drained_first_and_its_member_removed_when_it_has_not_left() {
    let mut world = running();
    world.app.spec.replicas = 2;
    world.round(usize::MAX);
    assert_eq!(world.set.as_ref().unwrap().replicas, 3);
    assert_eq!(world.pods[&2].draining, Some(Draining::Draining));
    assert_eq!(world.plan().operation.unwrap().kind, OperationKind::ScaleIn);
    world.now += 61;
    world.round(usize::MAX);
    assert_eq!(world.set.as_ref().unwrap().replicas, 2, "the deadline passed");
    world.control();
    assert!(world.plan().actions.is_empty(), "the pod is still there");
    world.pods.remove(&2);
    assert_eq!(world.plan().actions, [Action::RemoveMember { instance_id: "views-2".into() }]);
}

#[test]
fn a_draining_pod_that_is_wanted_again_is_made_anew() {
    let mut world = running();
    world.app.spec.replicas = 2;
    world.round(usize::MAX);
    world.turn(2);
    world.app.spec.replicas = 3;
    assert_eq!(deleted(&world), ["views-2"]);
    world.quiet(5);
    assert!(world.pods[&2].available());
}

#[test]
fn more_pods_than_partitions_are_not_started_and_a_condition_says_so() {
    let mut world = World::new();
    world.app.spec.replicas = 20;
    let plan = world.plan();
    assert_eq!((plan.desired, plan.replicas), (4, Some(4)));
    assert_eq!((plan.scaling.holds, plan.scaling.reason), (Some(false), Reason::CappedByPartitions));
    assert!(plan.scaling.message.contains("20 pods are asked for and 4 run"), "{}", plan.scaling.message);
}

#[test]
fn while_kafka_is_away_running_pods_stay_as_they_are() {
    let mut world = running();
    world.kafka = false;
    world.target = 2;
    for replicas in [1, 4] {
        world.app.spec.replicas = replicas;
        let plan = world.plan();
        assert!(plan.actions.is_empty());
        assert_eq!((plan.template, plan.replicas), (Some(revision(0)), Some(3)));
    }
    world.app.spec.suspend = true;
    assert_eq!(world.plan().replicas, Some(0), "stopping needs no Kafka");
}

#[test]
fn time_does_not_count_against_a_revision_while_kafka_is_away() {
    let mut world = running();
    world.target = 2;
    world.quiet(1);
    world.kafka = false;
    world.now += 10_000;
    world.round(usize::MAX);
    world.kafka = true;
    assert_eq!(world.plan().revision.failed, None);
}

#[test]
fn the_same_group_used_by_others_keeps_pods_from_starting_and_names_them() {
    let world = World::new();
    let mut snapshot = world.snapshot();
    let Kafka::Seen(kafka) = &mut snapshot.kafka else { unreachable!() };
    kafka.members.push(Member { id: "console-1".into(), instance_id: None, host: "10.1.2.3".into() });
    let (target, stored) = (revision(0), [revision(0)].into());
    let input = Input { target: &target, stored: &stored, cap: Some(4), may_start: true };
    let refused = plan(&world.app, &snapshot, input);
    assert_eq!((refused.template, refused.verdict.reason), (None, Reason::GroupInUse));
    assert!(refused.verdict.message.contains("console-1 on 10.1.2.3"), "{}", refused.verdict.message);
    snapshot.kafka = world.snapshot().kafka;
    snapshot.older_twin = Some("other/views".into());
    let refused = plan(&world.app, &snapshot, input);
    assert!(refused.template.is_none() && refused.verdict.message.contains("other/views"));
}

#[test]
fn nothing_starts_before_the_topics_are_right() {
    let world = World::new();
    let (target, stored) = (revision(0), [revision(0)].into());
    let input = Input { target: &target, stored: &stored, cap: None, may_start: false };
    let waiting = plan(&world.app, &world.snapshot(), input);
    assert_eq!((waiting.template, waiting.replicas, waiting.verdict.reason), (None, None, Reason::TopicsPending));
}

#[test]
fn a_restore_that_moves_keeps_a_slow_roll_alive_and_one_that_repeats_itself_does_not() {
    let mut world = running();
    world.target = 2;
    world.quiet(1);
    let percent = |world: &World, remaining: u64| {
        let mut snapshot = world.snapshot();
        for worker in snapshot.cluster.workers.values_mut().filter(|worker| !worker.ready) {
            worker.restore =
                serde_json::from_value(json!({"partitions": 1, "records": 100, "remaining": remaining, "etaSeconds": null}))
                    .unwrap();
        }
        let (target, stored) = (revision(2), (0..3).map(revision).collect());
        plan(&world.app, &snapshot, Input { target: &target, stored: &stored, cap: Some(4), may_start: true })
    };
    world.round(usize::MAX);
    world.turn(2);
    world.control();
    for left in [80, 60, 40] {
        world.now += 550;
        let plan = percent(&world, left);
        assert_eq!(plan.revision.failed, None);
        world.status.revision = Some(plan.revision);
    }
    for left in [90, 50] {
        world.now += 350;
        let plan = percent(&world, left);
        world.status.revision = Some(plan.revision);
    }
    assert_eq!(world.status.revision.unwrap().failed, Some(revision(2)));
}
