use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

fn tasks() -> impl Strategy<Value = Vec<TaskId>> {
    let task = (0..5u32, 0..300u32).prop_map(|(group, partition)| TaskId { group, partition });
    prop::collection::btree_set(task, 0..40).prop_map(|tasks: BTreeSet<_>| tasks.into_iter().collect())
}

fn drains() -> impl Strategy<Value = Option<Drain>> {
    prop::sample::select(vec![None, Some(Drain::Leave), Some(Drain::Handover)])
}

prop_compose! {
    fn subscriptions()(process in ".*", nonce: u64, places in [".*", ".*", ".*"], generation in -1..=i32::MAX,
                       lists in [tasks(), tasks(), tasks()], lags: Option<Vec<u8>>, hashes: (u64, Vec<u64>), drains in drains()) -> Subscription {
        let [endpoint, zone, node] = places;
        let [active, standby, warmups] = lists;
        let copies = lags.map(|lags| active.iter().copied().zip(lags.into_iter().map(Lag)).collect());
        let (topology, groups) = (TopologyHash(hashes.0), hashes.1.into_iter().map(GroupHash).collect());
        Subscription { process, nonce, endpoint, zone, node, generation, active, standby, warmups, copies, topology, groups, drains }
    }
}

prop_compose! {
    fn assignments()(lists in [tasks(), tasks(), tasks()], lag: u8, leader in ".*", more: bool, topology: u64,
                     heard: Option<(u64, u64)>) -> Assignment {
        let [active, standby, warmups] = lists;
        let heard = heard.map(|(nonce, portrait)| Heard { nonce, portrait });
        Assignment { active, standby, warmups, recovery_lag: Lag(lag), leader, more, topology: TopologyHash(topology), heard }
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_also_with_fields_of_a_newer_version_behind_it(
        subscription in subscriptions(), assignment in assignments(), newer: Vec<u8>,
    ) {
        let (mut said, mut told) = (subscription.encode(), assignment.encode());
        prop_assert_eq!(Subscription::decode(&said), Some(subscription.clone()));
        prop_assert_eq!(Assignment::decode(&told), Some(assignment.clone()));
        for bytes in [&mut said, &mut told] {
            bytes[0] = VERSION + 1;
            bytes.extend(&newer);
        }
        prop_assert_eq!(Subscription::decode(&said), Some(subscription));
        prop_assert_eq!(Assignment::decode(&told), Some(assignment));
    }

    #[test]
    fn garbage_is_refused_and_never_panics(garbage: Vec<u8>, version in 0..5u8) {
        let bytes = [&[version], garbage.as_slice()].concat();
        let _ = (Subscription::decode(&bytes), Assignment::decode(&bytes));
    }

    /// Much of it can be read up to where it is wrong.
    #[test]
    fn a_byte_that_is_wrong_never_panics(subscription in subscriptions(), assignment in assignments(), at: usize, byte: u8) {
        for mut bytes in [subscription.encode(), assignment.encode()] {
            let at = at % bytes.len();
            bytes[at] = byte;
            let _ = (Subscription::decode(&bytes), Assignment::decode(&bytes));
        }
    }

    #[test]
    fn torn_bytes_are_refused(subscription in subscriptions(), assignment in assignments(), cut in 0..1_000usize) {
        let (said, told) = (subscription.encode(), assignment.encode());
        prop_assert_eq!(Subscription::decode(&said[..cut % said.len()]), None);
        prop_assert_eq!(Assignment::decode(&told[..cut % told.len()]), None);
    }
}

fn task(group: u32, partition: u32) -> TaskId {
    TaskId { group, partition }
}

#[test]
fn the_bytes_of_all_versions_stand() {
    let old = Subscription {
        process: "p".into(),
        nonce: 300,
        endpoint: "h:1".into(),
        zone: "z".into(),
        generation: 4,
        active: vec![task(0, 0), task(0, 2), task(1, 7)],
        topology: TopologyHash(0x0102_0304_0506_0708),
        ..Subscription::default()
    };
    let new = Subscription {
        standby: vec![task(1, 8)],
        drains: Some(Drain::Handover),
        node: "n".into(),
        warmups: vec![task(1, 3)],
        copies: Some(vec![(task(0, 0), Lag(0)), (task(1, 8), Lag(99))]),
        groups: vec![GroupHash(1), GroupHash(2)],
        ..old.clone()
    };
    let said = |version, copies: &[u8], rest: &[u8]| {
        let head = b"\x01p\xac\x02\x03h:1\x01z\x05\x02\x00\x02\x00\x01\x01\x01\x07".as_slice();
        [&[version], head, copies, &[1, 2, 3, 4, 5, 6, 7, 8], rest].concat()
    };
    let rest = b"\x02\x01n\x01\x01\x01\x03\x01\x02\x00\x01\x00\x01\x01\x08\x00\x63\x02\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02";
    assert_eq!(new.encode(), said(3, b"\x01\x01\x01\x08\x00", rest));
    let positions = b"\x00\x01\x00\x02\x09";
    let draining = Subscription { drains: Some(Drain::Leave), ..old.clone() };
    assert_eq!(Subscription::decode(&said(2, positions, &[1])), Some(draining));
    assert_eq!(Subscription::decode(&said(1, positions, &[])), Some(old));

    let old = Assignment {
        active: vec![task(0, 5)],
        leader: "l".into(),
        more: true,
        recovery_lag: Lag::UNKNOWN,
        ..Assignment::default()
    };
    let heard = Some(Heard { nonce: 300, portrait: 9 });
    let new = Assignment { standby: vec![task(0, 1)], warmups: vec![task(0, 2)], recovery_lag: Lag(89), heard, ..old.clone() };
    let told = |version, standby: &[u8], rest: &[u8]| {
        [&[version], b"\x01\x00\x01\x05".as_slice(), standby, b"\x01l\x01", &[0; 8], rest].concat()
    };
    let heard_bytes = b"\x01\xac\x02\0\0\0\0\0\0\0\x09";
    assert_eq!(new.encode(), told(3, b"\x01\x00\x01\x01", &[heard_bytes.as_slice(), b"\x01\x00\x01\x02\x59"].concat()));
    assert_eq!(Assignment::decode(&told(2, b"\x00", heard_bytes)), Some(Assignment { heard, ..old.clone() }));
    assert_eq!(Assignment::decode(&told(1, b"\x00", &[])), Some(old));
}

#[test]
fn a_kind_of_drain_of_a_later_version_is_one_that_gives_everything_away() {
    let mut bytes = Subscription::default().encode();
    let at = 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 1 + 8;
    bytes[at] = 7;
    assert_eq!(Subscription::decode(&bytes).unwrap().drains, Some(Drain::Leave));
}
