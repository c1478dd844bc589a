//! A member that anything happens to.

use proptest::prelude::*;

use super::talk::{Talk, groups, task, tasks};
use crate::group::protocol::link::BACK_OFF_AT_MOST;
use crate::group::protocol::*;
use crate::group::userdata::Heard;

#[derive(Clone, Debug)]
enum Happens {
    Time(u64),
    Connected,
    Disconnected,
    Joined {
        generations: i32,
    },
    JoinRefused(i16),
    /// `heard`: what this process said, what another did, or untold.
    Synced {
        tasks: Vec<u32>,
        more: bool,
        heard: Option<bool>,
        topology: bool,
    },
    SyncRefused(i16),
    Heartbeat(i16),
    CommitRefused {
        generations_ago: i32,
        code: i16,
    },
    Released,
    Cold,
    Copies(Vec<(u32, u64)>),
    Keeps([Vec<u32>; 2]),
    Drain(Drain),
    End,
    LeaveAnswered(i16),
}

fn happens() -> impl Strategy<Value = Happens> {
    use Happens::{
        Cold, CommitRefused, Connected, Copies, Disconnected, End, Heartbeat, JoinRefused, Joined, Keeps, LeaveAnswered, Released,
        SyncRefused, Synced, Time,
    };
    let code = || prop::sample::select(vec![22i16, 25, 27, 15, 16, 79, -1, 82, 30]);
    let good = || prop_oneof![6 => Just(0i16), 2 => Just(27), 1 => code()];
    let some = || prop::collection::btree_set(0..4u32, 0..5).prop_map(|tasks| tasks.into_iter().collect::<Vec<u32>>());
    let lags = prop::collection::vec((0..5u32, prop::sample::select(vec![0, 8, 9, 1_000_000u64])), 0..6);
    let drains = prop::sample::select(vec![Drain::Leave, Drain::Handover, Drain::Handover]);
    prop_oneof![
        6 => (1..1_500u64).prop_map(Time),
        4 => Just(Connected),
        1 => Just(Disconnected),
        8 => (1..3i32).prop_map(|generations| Joined { generations }),
        1 => (-3..=0i32).prop_map(|generations| Joined { generations }),
        1 => code().prop_map(JoinRefused),
        8 => (some(), any::<bool>(), any::<Option<bool>>(), prop::bool::weighted(0.9))
            .prop_map(|(tasks, more, heard, topology)| Synced { tasks, more, heard, topology }),
        1 => code().prop_map(SyncRefused),
        6 => good().prop_map(Heartbeat),
        2 => (0..3i32, prop::sample::select(vec![22i16, 25, 27])).prop_map(|(generations_ago, code)| CommitRefused { generations_ago, code }),
        3 => Just(Released),
        1 => (prop::bool::weighted(0.1), good()).prop_map(|(end, code)| if end { End } else { LeaveAnswered(code) }),
        1 => (prop::bool::weighted(0.3), drains).prop_map(|(drain, how)| if drain { Happens::Drain(how) } else { Cold }),
        4 => lags.prop_map(Copies),
        2 => [some(), some()].prop_map(Keeps),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, ..ProptestConfig::default() })]

    /// What is checked at every step stands in `Talk`: one JoinGroup and one heartbeat out at most, no heartbeat before a sync, claims
    /// that are what is in hand, no older generation after a newer one, no lease after a loss, nothing after the end.
    #[test]
    fn whatever_happens_the_member_keeps_its_promises(instance: bool, story in prop::collection::vec(happens(), 0..120)) {
        let mut talk = Talk::of(instance.then_some("shop-0"));
        let mut generation = 10;
        for happens in story {
            let had = talk.assigned.is_some();
            match happens {
                Happens::Time(millis) => talk.wait(millis),
                Happens::Connected => talk.connected(),
                Happens::Disconnected => talk.disconnected(),
                Happens::Joined { generations } => {
                    generation += generations;
                    talk.joined(generation);
                }
                Happens::JoinRefused(code) => talk.join_refused(code),
                Happens::Synced { tasks: partitions, more, heard, topology } => {
                    let other = Heard { nonce: 3, portrait: 0 };
                    let heard = heard.map(|ours| if ours { talk.said.heard() } else { other });
                    let topology = if topology { TopologyHash::of(&groups()) } else { TopologyHash(1) };
                    talk.synced_by(tasks(partitions), more, heard, topology);
                }
                Happens::SyncRefused(code) => talk.sync_refused(code),
                Happens::Heartbeat(code) => {
                    let heard = talk.member.link == Link::Up && !talk.leaving;
                    let ours = heard && talk.heartbeat.as_ref().is_some_and(|by| by.member == talk.member.sender().member);
                    talk.beaten(code);
                    prop_assert!(!(had && ours && matches!(code, 25 | 82)) || talk.assigned.is_none(), "not lost");
                }
                Happens::CommitRefused { generations_ago, code } => {
                    let mut by = talk.member.sender().clone();
                    by.generation -= generations_ago;
                    talk.say(Input::CommitRefused { by, verdict: Verdict::of(code) });
                }
                Happens::Released => talk.released(),
                Happens::End => talk.say(Input::End),
                Happens::Cold => talk.say(Input::Cold),
                Happens::Copies(lags) => {
                    talk.say(Input::Copies { lags: lags.into_iter().map(|(partition, lag)| (task(partition), lag)).collect() });
                }
                Happens::Keeps(lists) => talk.keeps = lists.map(tasks),
                Happens::Drain(how) => talk.say(Input::Drain { how }),
                Happens::LeaveAnswered(code) => talk.left(code),
            }
        }
        // Left to a coordinator that works, it comes to rest with what it is given.
        for _ in 0..20 {
            talk.wait(BACK_OFF_AT_MOST);
            talk.connected();
            // Others rebalance as long as it has what it is to give away.
            talk.beaten(if talk.draining { 27 } else { 0 });
            generation += 10;
            talk.joined(generation);
            talk.synced(if talk.draining { vec![] } else { tasks(0..2) }, false);
            talk.released();
            talk.left(0);
        }
        prop_assert!(talk.ended || talk.member.view().joined && !talk.draining, "it neither works nor has left");
    }
}
