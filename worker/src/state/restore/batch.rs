//! Records of a changelog on their way into the store.

use super::Limits;
use crate::log::Record;
use crate::state::{Rows, Take};

/// Keys and values lie one after the other in one piece of memory: a restore makes millions of them.
#[derive(Default)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    rows: Vec<Place>,
    size: Size,
    /// Offset and epoch of the last record.
    last: Option<(i64, i32)>,
}

/// Where a row lies in the bytes; the value behind the key.
#[derive(Clone, Copy)]
struct Place {
    /// The key's first bytes: most keys are told apart by them.
    prefix: u64,
    /// Which record it was: the later one of a key counts. Where it lies doesn't tell, for a tombstone of the empty key takes no room.
    n: u32,
    at: usize,
    key: u32,
    /// None of a tombstone.
    value: Option<u32>,
}

/// A batch whose rows can be written.
pub(super) struct Sorted(Batch);

/// What a batch took from the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Size {
    pub records: u64,
    pub bytes: u64,
    /// Records without a key. A compacted topic takes none, so they are not ours; they name no row and are left out.
    pub keyless: u64,
}

impl Batch {
    pub fn add(&mut self, record: &Record) {
        let (key, value) = (record.key(), record.value());
        self.size.records += 1;
        self.size.bytes += (key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len)) as u64;
        self.last = Some((record.offset, record.leader_epoch));
        let Some(key) = key else {
            self.size.keyless += 1;
            return;
        };
        // A record is far smaller than what 32 bits count.
        let value_len = value.map(|value| value.len() as u32);
        let (n, at) = (self.rows.len() as u32, self.bytes.len());
        self.rows.push(Place { prefix: prefix(key), n, at, key: key.len() as u32, value: value_len });
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value.unwrap_or_default());
    }

    /// A throttled replay takes no more at once than a quarter of a second's share.
    pub fn is_full(&self, limits: &Limits) -> bool {
        let share = limits.throttle.as_ref().map_or(u64::MAX, |throttle| throttle.bytes_per_second() / 4);
        self.memory() >= limits.batch_bytes as u64 || self.size.bytes >= share
    }

    /// What it holds.
    pub fn memory(&self) -> u64 {
        (self.bytes.len() + self.rows.len() * size_of::<Place>()) as u64
    }

    /// Whether it is worth a file of its own in the store.
    pub fn is_large(&self, limits: &Limits) -> bool {
        self.memory() >= limits.file_bytes as u64
    }

    pub fn size(&self) -> Size {
        self.size
    }

    /// The leader's epoch that a position has which this batch leads to: of the record before it, −1 where that isn't in the log.
    pub fn leader_epoch(&self, position: i64) -> i32 {
        self.last.filter(|(offset, _)| offset + 1 == position).map_or(-1, |(_, epoch)| epoch)
    }

    /// Each key once, with its last value.
    pub fn sorted(mut self) -> Sorted {
        let bytes = &self.bytes;
        self.rows.sort_unstable_by_key(Place::order);
        for alike in self.rows.chunk_by_mut(|a, b| a.prefix == b.prefix && a.is_long() && b.is_long()) {
            alike.sort_unstable_by(|a, b| a.key(bytes).cmp(b.key(bytes)).then_with(|| b.n.cmp(&a.n)));
        }
        self.rows.dedup_by(|older, newer| older.prefix == newer.prefix && older.key(bytes) == newer.key(bytes));
        Sorted(self)
    }
}

impl Place {
    /// By key, the newest first – but for keys that differ only behind their first bytes. One number, for comparing it takes no branch.
    fn order(&self) -> u128 {
        let length = (self.key as usize).min(size_of_val(&self.prefix) + 1);
        u128::from(self.prefix) << 64 | (length as u128) << 32 | u128::from(!self.n)
    }

    /// Whether there is more of the key than its first bytes.
    fn is_long(&self) -> bool {
        self.key as usize > size_of_val(&self.prefix)
    }

    fn key<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        &bytes[self.at..][..self.key as usize]
    }

    fn value<'a>(&self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        self.value.map(|length| &bytes[self.at + self.key as usize..][..length as usize])
    }
}

impl Rows for Sorted {
    fn each(&self, take: &mut Take<'_>) {
        let Batch { bytes, rows, .. } = &self.0;
        rows.iter().for_each(|row| take(row.key(bytes), row.value(bytes)));
    }
}

/// In the order of the keys, as far as it goes: a key that ends early is filled up with the smallest bytes.
fn prefix(key: &[u8]) -> u64 {
    let mut first = [0; 8];
    let length = key.len().min(8);
    first[..length].copy_from_slice(&key[..length]);
    u64::from_be_bytes(first)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::log::{Row, Stored};
    use crate::state::rows::are_sorted;

    fn record(offset: i64, key: Option<&[u8]>, value: Option<&[u8]>) -> Record {
        let (key, value) = (key.map(<[u8]>::to_vec), value.map(<[u8]>::to_vec));
        Record::memory(offset, 0, 7, Arc::new(Stored { key, value, headers: vec![] }))
    }

    fn rows(batch: Batch) -> Vec<Row> {
        let (mut rows, sorted) = (Vec::new(), batch.sorted());
        assert!(are_sorted(&sorted));
        sorted.each(&mut |key, value| rows.push(Row { key: key.to_vec(), value: value.map(<[u8]>::to_vec) }));
        rows
    }

    fn some_byte() -> impl Strategy<Value = u8> {
        prop_oneof![Just(0u8), Just(1), Just(255)]
    }

    proptest! {
        #[test]
        fn each_key_keeps_its_last_value(
            // Keys that share what is compared first, or end within it.
            written in vec((
                prop_oneof![vec(some_byte(), 0..12), vec(some_byte(), 0..3).prop_map(|end| [&[1; 8], &*end].concat())],
                proptest::option::of(vec(any::<u8>(), 0..3)),
            ), 0..60)
        ) {
            let (mut batch, mut model) = (Batch::default(), BTreeMap::new());
            for (offset, (key, value)) in written.iter().enumerate() {
                batch.add(&record(offset as i64, Some(key), value.as_deref()));
                model.insert(key.clone(), value.clone());
            }
            let expected: Vec<Row> = model.into_iter().map(|(key, value)| Row { key, value }).collect();
            prop_assert_eq!(batch.size().records as usize, written.len());
            prop_assert_eq!(rows(batch), expected);
        }
    }

    #[test]
    fn a_record_without_a_key_is_left_out_and_counted() {
        let mut batch = Batch::default();
        batch.add(&record(0, None, Some(b"1")));
        assert_eq!(batch.size(), Size { records: 1, bytes: 1, keyless: 1 });
        assert_eq!(rows(batch), []);
    }

    #[test]
    fn a_position_has_the_epoch_of_the_record_before_it_if_there_is_one() {
        let mut batch = Batch::default();
        batch.add(&record(4, Some(b"a"), None));
        assert_eq!((batch.leader_epoch(5), batch.leader_epoch(6), Batch::default().leader_epoch(5)), (7, -1, -1));
    }
}
