//! Whatever happens and wherever the operator dies: the world asserts what must never be, and comes to the end that was asked for.

use proptest::prelude::*;

use super::world::{CAP, SimPod, World, revision};

#[derive(Clone, Debug)]
enum Happens {
    Round { writes: usize, unheard: Option<u32> },
    Control,
    OldControl,
    Turn(u32),
    Later(i64),
    Edit(usize),
    Scale(i32),
    Suspend(bool),
    Pause(bool),
    Kafka(bool),
    Dies(u32),
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        8 => (prop_oneof![3 => Just(usize::MAX), 2 => 0..4usize], prop::option::weighted(0.1, 0..4u32))
            .prop_map(|(writes, unheard)| Happens::Round { writes, unheard }),
        5 => Just(Happens::Control),
        2 => Just(Happens::OldControl),
        10 => (0..5u32).prop_map(Happens::Turn),
        4 => prop_oneof![4 => 1..15i64, 1 => 1..700i64].prop_map(Happens::Later),
        1 => (0..6usize).prop_map(Happens::Edit),
        1 => (0..7i32).prop_map(Happens::Scale),
        1 => prop::bool::weighted(0.2).prop_map(Happens::Suspend),
        1 => prop::bool::weighted(0.3).prop_map(Happens::Pause),
        1 => prop::bool::weighted(0.7).prop_map(Happens::Kafka),
        1 => (0..4u32).prop_map(Happens::Dies),
    ]
}

fn let_it_happen(world: &mut World, what: &Happens) {
    match what {
        Happens::Round { writes, unheard } => {
            world.unheard = unheard.iter().copied().collect();
            world.round(*writes);
            world.unheard.clear();
        }
        Happens::Control => world.control(),
        Happens::OldControl => world.make_and_condemn(),
        Happens::Turn(ordinal) => world.turn(*ordinal),
        Happens::Later(seconds) => world.now += seconds,
        Happens::Edit(target) => world.target = *target,
        Happens::Scale(replicas) => world.app.spec.replicas = *replicas,
        Happens::Suspend(suspend) => world.app.spec.suspend = *suspend,
        Happens::Pause(paused) => world.app.paused = *paused,
        Happens::Kafka(there) => world.kafka = *there,
        // A node evicts it.
        Happens::Dies(ordinal) => {
            if let Some(pod) = world.pods.get_mut(ordinal) {
                pod.deleting = true;
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_story_ends_as_the_spec_asks_and_breaks_nothing_on_the_way(
        max in 1..3u32, running in any::<bool>(), story in prop::collection::vec(happens(), 0..150), last in 6..8usize,
    ) {
        let mut world = World::new();
        world.app.max_unavailable = max;
        if running {
            world.quiet(10);
        }
        for what in &story {
            let_it_happen(&mut world, what);
        }
        (world.app.paused, world.kafka) = (false, true);
        world.quiet(150);
        // The story may have frozen everybody until the deadline: then a good revision counts as failed, too.
        let failed = world.status.revision.as_ref().unwrap().failed.is_some();
        let end = ends_well(&mut world, failed);
        prop_assert!(end.is_ok(), "{}", end.unwrap_err());
        world.target = last;
        world.quiet(150);
        let way_back = world.status.revision.as_ref().unwrap().stable.is_some();
        let failed = last == 7 && way_back && world.app.wanted() > 0;
        let end = ends_well(&mut world, failed);
        prop_assert!(end.is_ok(), "{}", end.unwrap_err());
    }
}

/// All wanted pods are of the target, or of the stable revision if the target failed, and nothing is left to do.
fn ends_well(world: &mut World, failed: bool) -> Result<(), String> {
    let check = |holds: bool, what: &str| if holds { Ok(()) } else { Err(format!("{what}: {world:#?}")) };
    let wanted = world.app.wanted().min(CAP);
    let revisions = world.status.revision.clone().unwrap();
    let target = revision(world.target);
    let expected = if failed { revisions.stable.clone().unwrap() } else { target.clone() };
    check(world.pods.len() as u32 == wanted, "as many pods as wanted")?;
    // With nothing to go back to, a bad revision stays where it got to.
    let comes_up = !expected.ends_with("bad");
    if wanted > 0 && comes_up {
        check(world.pods.values().all(|pod| pod.revision == expected), "every pod is of the right revision")?;
        check(world.pods.values().all(SimPod::available), "every pod is available")?;
        check(revisions.stable.as_ref() == Some(&expected), "what runs is stable")?;
        check(revisions.failed == failed.then_some(target), "only what didn't come up failed")?;
    }
    let left = |ordinal| world.members.contains(&world.app.pod_name(ordinal));
    check(!(wanted..10).any(left), "nobody is left in the group")?;
    let plan = world.plan();
    check(plan.actions.is_empty() && (plan.operation.is_none() || !comes_up), "nothing is left to do")?;
    world.now += 1_000;
    if world.plan() == plan { Ok(()) } else { Err(format!("time alone changes the plan from {plan:#?} to {:#?}", world.plan())) }
}
