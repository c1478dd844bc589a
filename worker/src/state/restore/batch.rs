//! Records of a changelog on their way into the store.

use super::Limits;
use crate::log::{Record, Row};

#[derive(Default)]
pub(super) struct Batch {
    rows: Vec<Row>,
    size: Size,
    leader_epoch: Option<i32>,
}

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
        self.leader_epoch = Some(record.leader_epoch);
        match key {
            Some(key) => self.rows.push(Row { key: key.to_vec(), value: value.map(<[u8]>::to_vec) }),
            None => self.size.keyless += 1,
        }
    }

    /// A throttled replay takes no more at once than a quarter of a second's share.
    pub fn is_full(&self, limits: &Limits) -> bool {
        let share = limits.throttle.as_ref().map_or(u64::MAX, |throttle| throttle.bytes_per_second() / 4);
        self.rows.len() >= limits.batch_records || self.size.bytes >= share.min(limits.batch_bytes as u64)
    }

    pub fn size(&self) -> Size {
        self.size
    }

    /// The epoch of the last record.
    pub fn leader_epoch(&self) -> Option<i32> {
        self.leader_epoch
    }

    /// Sorted by key, each key once with its last value.
    pub fn into_rows(self) -> Vec<Row> {
        Row::last_of_each_key(self.rows)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::log::Stored;
    use crate::state::conformance::row;

    fn record(offset: i64, key: Option<&str>, value: Option<&str>) -> Record {
        let bytes = |text: &str| text.as_bytes().to_vec();
        Record::memory(offset, 0, Arc::new(Stored { key: key.map(bytes), value: value.map(bytes), headers: vec![] }))
    }

    #[test]
    fn each_key_keeps_its_last_value_and_the_rows_are_sorted() {
        let mut batch = Batch::default();
        for (offset, (key, value)) in
            [("b", Some("1")), ("a", Some("2")), ("b", None), ("c", None), ("a", Some("3")), ("c", Some("4"))]
                .into_iter()
                .enumerate()
        {
            batch.add(&record(offset as i64, Some(key), value));
        }
        assert_eq!(batch.size(), Size { records: 6, bytes: 10, keyless: 0 });
        assert_eq!(batch.into_rows(), [row("a", Some("3")), row("b", None), row("c", Some("4"))]);
    }

    #[test]
    fn a_record_without_a_key_is_left_out_and_counted() {
        let mut batch = Batch::default();
        batch.add(&record(0, None, Some("1")));
        assert_eq!(batch.size(), Size { records: 1, bytes: 1, keyless: 1 });
        assert_eq!(batch.into_rows(), []);
    }
}
