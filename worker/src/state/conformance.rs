//! What every store promises, as tests that run against each of them.

use std::collections::BTreeMap;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use super::{NO_ROWS, Position, StateStore};
use crate::log::Row;

/// The suite as tests of the calling module. `$open` makes a new, empty store and what has to live as long as it.
macro_rules! suite {
    ($open:expr) => {
        #[test]
        fn a_new_store_has_no_rows_and_no_position() {
            let (_home, store) = $open();
            crate::state::conformance::new_store_is_empty(&store);
        }
        #[test]
        fn a_row_is_read_until_its_tombstone_and_absent_ones_may_have_tombstones_too() {
            let (_home, store) = $open();
            crate::state::conformance::rows_live_until_their_tombstone(&store);
        }
        #[test]
        fn a_scan_goes_in_key_order_from_a_key_on_up_to_a_limit() {
            let (_home, store) = $open();
            crate::state::conformance::scans_in_order(&store);
        }
        #[test]
        fn a_batch_without_rows_moves_the_position() {
            let (_home, store) = $open();
            crate::state::conformance::position_moves_alone(&store);
        }
        #[test]
        fn a_store_is_confirmed_only_where_it_still_is() {
            let (_home, store) = $open();
            crate::state::conformance::confirmed_where_it_is(&store);
        }
        #[test]
        fn any_batches_leave_what_a_map_would_hold() {
            crate::state::conformance::equals_a_map(|| $open());
        }
    };
}
pub(super) use suite;

pub(super) fn row(key: impl AsRef<[u8]>, value: Option<&str>) -> Row {
    Row { key: key.as_ref().to_vec(), value: value.map(|value| value.as_bytes().to_vec()) }
}

pub(super) fn at(next_offset: i64) -> Position {
    Position { topic_id: [7; 16], next_offset, leader_epoch: 3, written_at: 1_700_000_000_000 }
}

pub(super) fn new_store_is_empty(store: &dyn StateStore) {
    assert_eq!(store.position().unwrap(), None);
    assert_eq!(store.get(b"").unwrap(), None);
    assert_eq!(store.scan(b"", 10).unwrap(), []);
}

pub(super) fn rows_live_until_their_tombstone(store: &dyn StateStore) {
    store.apply(&[row("", Some("of the empty key")), row("a", Some("1")), row("b", Some(""))], &at(3)).unwrap();
    assert_eq!(store.get(b"").unwrap(), Some(b"of the empty key".to_vec()));
    assert_eq!(store.get(b"b").unwrap(), Some(vec![]));

    store.apply(&[row("", None), row("a", Some("2")), row("never there", None)], &at(6)).unwrap();
    assert_eq!(store.get(b"").unwrap(), None);
    assert_eq!(store.get(b"a").unwrap(), Some(b"2".to_vec()));
    assert_eq!(store.position().unwrap(), Some(at(6)));
    assert_eq!(store.scan(b"", 10).unwrap().len(), 2);
}

pub(super) fn scans_in_order(store: &dyn StateStore) {
    let keys: [&[u8]; 6] = [b"", b"\0", b"a", b"a\0", b"a\xff", b"\xff\xff"];
    store.apply(&keys.map(|key| row(key, Some("x"))), &at(6)).unwrap();
    let scanned = |from: &[u8], limit| store.scan(from, limit).unwrap().into_iter().map(|(key, _)| key).collect::<Vec<_>>();
    assert_eq!(scanned(b"", 10), keys);
    assert_eq!(scanned(b"a", 2), &keys[2..4]);
    assert_eq!(scanned(b"a\x01", 10), &keys[4..]);
    assert_eq!(scanned(b"\xff\xff\xff", 10), Vec::<Vec<u8>>::new());
    assert_eq!(scanned(b"", 0), Vec::<Vec<u8>>::new());
}

pub(super) fn position_moves_alone(store: &dyn StateStore) {
    store.apply(&[row("a", Some("1"))], &at(1)).unwrap();
    store.apply(&NO_ROWS, &at(9)).unwrap();
    assert_eq!(store.position().unwrap(), Some(at(9)));
    assert_eq!(store.get(b"a").unwrap(), Some(b"1".to_vec()));
}

pub(super) fn confirmed_where_it_is(store: &dyn StateStore) {
    assert_eq!(store.confirm(1, 1_800_000_000_000), Ok(false), "a new one is nowhere");
    store.apply(&[row("a", Some("1"))], &at(2)).unwrap();
    assert_eq!(store.confirm(1, 1_800_000_000_000), Ok(false), "it has gone on");
    assert_eq!(store.position().unwrap(), Some(at(2)));
    assert_eq!(store.confirm(2, 1_800_000_000_000), Ok(true));
    assert_eq!(store.position().unwrap(), Some(Position { written_at: 1_800_000_000_000, ..at(2) }));
    assert_eq!(store.get(b"a").unwrap(), Some(b"1".to_vec()));
}

pub(super) fn equals_a_map<H, S: StateStore>(open: impl Fn() -> (H, S)) {
    let key = vec(0u8..3, 0..3);
    let value = proptest::option::of(vec(any::<u8>(), 0..4));
    let batches = vec((btree_map(key, value, 0..8), 0..3), 0..12);
    proptest!(ProptestConfig::with_cases(16), |(batches in batches)| {
        let (_home, store) = open();
        let mut model = BTreeMap::new();
        for (n, (batch, how)) in batches.into_iter().enumerate() {
            let rows: Vec<Row> = batch.into_iter().map(|(key, value)| Row { key, value }).collect();
            match how {
                0 => store.load(&rows, &at(n as i64)).unwrap(),
                _ => store.apply(&rows, &at(n as i64)).unwrap(),
            }
            if how == 1 {
                store.flush().unwrap();
            }
            for Row { key, value } in rows {
                match value {
                    Some(value) => model.insert(key, value),
                    None => model.remove(&key),
                };
            }
            prop_assert_eq!(store.position().unwrap(), Some(at(n as i64)));
            prop_assert_eq!(store.scan(b"", usize::MAX).unwrap(), model.clone().into_iter().collect::<Vec<_>>());
        }
        for (key, value) in &model {
            prop_assert_eq!(store.get(key).unwrap(), Some(value.clone()));
        }
    });
}
