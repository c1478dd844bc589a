//! Whatever happens and wherever the operator dies: the world asserts what must never be, and comes to the end that was asked for.

use proptest::prelude::*;

use super::world::{CAP, World, revision};

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
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_story_ends_as_the_spec_asks_and_breaks_nothing_on_the_way(
        max in 1..3u32, running in any::<bool>(), story in prop::collection::vec(happens(), 0..150),
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
        world.quiet(250);

        let wanted = world.app.wanted().min(CAP);
        let revisions = world.status.revision.clone().unwrap();
        let target = revision(world.target);
        prop_assert_eq!(world.pods.len() as u32, wanted);
        let expected = match &revisions.stable {
            Some(stable) if target.ends_with("bad") => stable.clone(),
            _ => target.clone(),
        };
        if wanted > 0 {
            prop_assert!(world.pods.values().all(|pod| pod.revision == expected), "not on {expected}: {world:?}");
            let up = !expected.ends_with("bad");
            prop_assert!(!up || world.pods.values().all(super::world::SimPod::available), "{world:?}");
            prop_assert_eq!(up.then_some(&expected), revisions.stable.as_ref());
            prop_assert_eq!(revisions.failed.is_some(), up && target.ends_with("bad"));
        }
        let left: Vec<_> = world.members.iter().filter(|member| (wanted..10).any(|ordinal| **member == world.app.pod_name(ordinal))).collect();
        prop_assert!(left.is_empty(), "left in the group: {left:?}");

        let (plan, again) = (world.plan(), { world.now += 1_000; world.plan() });
        prop_assert!(plan.actions.is_empty() && plan.operation.is_none(), "{plan:?}");
        prop_assert_eq!(plan, again);
    }
}
