use faust_crds::FaustAppStatus;
use jiff::Timestamp;

use super::{Bands, Parts, compose, events};
use crate::app::Refused;
use crate::model::{Reason, STEADY, Verdict};
use crate::pods;
use crate::workers::tests::world::World;

fn at(seconds: i64) -> Timestamp {
    Timestamp::new(seconds, 0).unwrap()
}

/// One round of the world, with these verdicts of the other parts.
fn composed(world: &World, topics: &Verdict, bands: &mut Bands) -> FaustAppStatus {
    let workers = world.plan();
    let storage = Verdict::holds(Reason::AsWanted, "3 volumes are bound");
    let parts = Parts { workers: &workers, topics, storage: &storage, found: Vec::new(), partitions: Some(4) };
    let pods = pods::of(&world.app.name, &world.snapshot().cluster);
    compose(Ok((&world.app, parts)), &world.status, world.app.generation, at(world.now), &pods, bands)
}

fn said(status: &FaustAppStatus, kind: &str) -> Option<(String, String)> {
    let condition = status.conditions.iter().find(|condition| condition.type_ == kind)?;
    Some((condition.status.clone(), condition.reason.clone()))
}

fn word(status: &str, reason: Reason) -> Option<(String, String)> {
    Some((status.into(), reason.to_string()))
}

fn good() -> Verdict {
    Verdict::holds(Reason::AsWanted, "2 topics exist")
}

#[test]
fn the_same_facts_are_written_once() {
    let (mut world, mut bands) = (World::new(), Bands::default());
    for round in 0..12 {
        world.quiet(1);
        world.status = composed(&world, &good(), &mut bands);
        world.now += 5;
        assert_eq!(composed(&world, &good(), &mut bands), world.status, "round {round}");
    }
    assert_eq!(said(&world.status, "Ready"), word("True", Reason::AsWanted));
    assert_eq!(world.status.summary.as_ref().unwrap().pods, "3/3");
    assert_eq!(said(&world.status, "Reconciling"), None);
}

#[test]
fn a_new_generation_moves_no_transition_time_and_every_observed_generation() {
    let (mut world, mut bands) = (World::new(), Bands::default());
    world.quiet(5);
    world.status = composed(&world, &good(), &mut bands);
    world.now += 1_000;
    world.app.generation = 2;
    let new = composed(&world, &good(), &mut bands);
    assert_eq!(new.observed_generation, Some(2));
    for (old, new) in world.status.conditions.iter().zip(&new.conditions) {
        assert_eq!((new.observed_generation, &new.last_transition_time), (Some(2), &old.last_transition_time));
    }
}

#[test]
fn kafka_away_makes_topics_unknown_and_a_working_application_stays_ready() {
    let (mut world, mut bands) = (World::new(), Bands::default());
    world.quiet(5);
    world.kafka = false;
    let away = Verdict::unknown(Reason::KafkaUnreachable, "no broker answers", STEADY);
    let status = composed(&world, &away, &mut bands);
    assert_eq!(said(&status, "TopicsReady"), word("Unknown", Reason::KafkaUnreachable));
    assert_eq!(said(&status, "Ready").unwrap().0, "True");
}

#[test]
fn a_cause_is_told_before_its_consequences() {
    let (mut world, mut bands) = (World::new(), Bands::default());
    world.target = 1;
    world.quiet(3);
    let pending = Verdict::working(Reason::TopicsPending, "no pod has told its topology");
    let status = composed(&world, &pending, &mut bands);
    assert_eq!(said(&status, "Ready"), word("False", Reason::ImagePullFailed));
    let missing = Verdict::waiting(Reason::TopicMissing, "topic page_views doesn't exist", STEADY);
    let status = composed(&World::new(), &missing, &mut bands);
    assert_eq!(said(&status, "Ready"), word("False", Reason::TopicMissing));
}

#[test]
fn a_halted_roll_is_stalled_and_a_stopped_application_is_neither_ready_nor_at_work() {
    let (mut world, mut bands) = (World::new(), Bands::default());
    world.quiet(5);
    world.target = 1;
    world.quiet(40);
    let status = composed(&world, &good(), &mut bands);
    assert_eq!(said(&status, "Stalled"), word("True", Reason::RolloutHalted));
    assert_eq!(said(&status, "Reconciling"), None);
    world.app.spec.suspend = true;
    world.quiet(5);
    let status = composed(&world, &good(), &mut bands);
    assert_eq!(said(&status, "Ready"), word("False", Reason::Suspended));
    assert_eq!((said(&status, "Stalled"), said(&status, "Reconciling")), (None, None));
}

#[test]
fn a_refused_spec_is_stalled_and_its_pods_are_still_counted() {
    let (mut world, mut bands) = (World::new(), Bands::default());
    world.quiet(5);
    world.status = composed(&world, &good(), &mut bands);
    let refused = Refused { reason: Reason::NotSupported, message: "spec.scaling.mode: Auto is not supported yet".into() };
    let pods = pods::of(&world.app.name, &world.snapshot().cluster);
    let status = compose(Err(&refused), &world.status, 2, at(world.now), &pods, &mut bands);
    assert_eq!(said(&status, "Ready"), word("False", Reason::NotSupported));
    assert_eq!(said(&status, "TopicsReady"), word("Unknown", Reason::NotSupported));
    assert_eq!((status.ready_replicas, status.label_selector), (3, world.status.label_selector.clone()));
    assert!(status.conditions.iter().all(|condition| condition.observed_generation == Some(2)));
}

#[test]
fn an_event_is_made_of_each_transition_of_ready_and_of_nothing_else() {
    let (mut world, mut bands) = (World::new(), Bands::default());
    let mut told = Vec::new();
    for _ in 0..10 {
        let new = composed(&world, &good(), &mut bands);
        told.extend(events(&world.status, &new));
        world.status = new;
        world.quiet(1);
    }
    assert_eq!(told.iter().map(|event| event.reason).collect::<Vec<_>>(), [Reason::PodStarting, Reason::AsWanted]);
    assert!(told.iter().all(|event| !event.warning));
}

#[test]
fn every_condition_is_one_that_the_api_server_takes() {
    let (mut world, mut bands) = (World::new(), Bands::default());
    world.target = 1;
    for _ in 0..60 {
        let status = composed(&world, &good(), &mut bands);
        for condition in &status.conditions {
            let camel = condition.reason.starts_with(|first: char| first.is_ascii_uppercase())
                && condition.reason.chars().all(|letter| letter.is_ascii_alphanumeric());
            assert!(camel && !condition.message.is_empty(), "{condition:?}");
        }
        world.status = status;
        world.quiet(1);
    }
}
