//! What the counts must be, worked out from the topic itself.

use std::collections::{BTreeMap, BTreeSet};

use faust_testbed::Broker;

use crate::offsets::Window;
use crate::records::{self, Record};

/// Counts by key.
pub type Counts = BTreeMap<String, u64>;

/// Every record of the topic that was counted.
pub struct Oracle(Vec<Record>);

impl Oracle {
    #[track_caller]
    pub fn read(broker: &Broker, topic: &str) -> Self {
        Self(records::read(broker, topic))
    }

    pub fn counts(&self) -> Counts {
        count(&self.0, |_| 1)
    }

    /// All keys.
    pub fn keys(&self) -> Vec<String> {
        self.counts().into_keys().collect()
    }

    /// The keys of a partition's records, in order.
    pub fn of_partition(&self, partition: i32) -> impl Iterator<Item = &[u8]> {
        let records = self.0.iter().filter(move |record| record.partition == partition);
        records.map(|record| record.key.as_deref().expect("a view has a page"))
    }

    /// Every position of the topic.
    pub fn positions(&self) -> BTreeSet<(i32, i64)> {
        self.0.iter().map(|record| (record.partition, record.offset)).collect()
    }

    pub fn total(&self) -> u64 {
        self.0.len() as u64
    }

    /// # Panics
    ///
    /// Unless every key was counted as often as it was there.
    #[track_caller]
    pub fn assert_exact(&self, counted: &Counts) {
        let expected = self.counts();
        let wrong = different(&expected, counted, |expected, counted| expected == counted);
        assert!(
            wrong.is_empty(),
            "{} of {} keys are wrong, (key, expected, counted): {}",
            wrong.len(),
            expected.len(),
            some(&wrong)
        );
    }

    /// # Panics
    ///
    /// Unless every key was counted at least as often as it was there, and at most so much more as its records in the windows.
    #[track_caller]
    pub fn assert_at_least_once(&self, counted: &Counts, windows: &[Window]) {
        let (expected, twice) = (self.counts(), self.in_windows(windows));
        let lost = different(&expected, counted, |expected, counted| counted >= expected);
        assert!(
            lost.is_empty(),
            "{} of {} keys lost records, (key, expected, counted): {}",
            lost.len(),
            expected.len(),
            some(&lost)
        );
        let most: Counts = expected.iter().map(|(key, n)| (key.clone(), n + twice.get(key).unwrap_or(&0))).collect();
        let doubled = different(&most, counted, |most, counted| counted <= most);
        assert!(
            doubled.is_empty(),
            "{} keys were counted more often than the windows {windows:?} allow, (key, at most, counted): {}",
            doubled.len(),
            some(&doubled)
        );
    }

    /// How many records of each key lie in windows; one that lies in two counts twice.
    pub fn in_windows(&self, windows: &[Window]) -> Counts {
        let times = |record: &Record| {
            let covers = |window: &&Window| window.0.get(&record.partition).is_some_and(|range| range.contains(&record.offset));
            windows.iter().filter(covers).count() as u64
        };
        count(&self.0, times)
    }
}

/// # Panics
///
/// Unless both tell the same, with the first keys of which they don't.
#[track_caller]
pub fn assert_same(what: &str, expected: &Counts, counted: &Counts) {
    let wrong = different(expected, counted, |expected, counted| expected == counted);
    assert!(wrong.is_empty(), "{what}: {} keys differ, (key, expected, there): {}", wrong.len(), some(&wrong));
}

fn count(records: &[Record], times: impl Fn(&Record) -> u64) -> Counts {
    let mut counts = Counts::new();
    for record in records {
        let key = record.key.clone().expect("a view has a page");
        let times = times(record);
        if times > 0 {
            *counts.entry(String::from_utf8(key).expect("pages are text")).or_default() += times;
        }
    }
    counts
}

type Difference = (String, Option<u64>, Option<u64>);

fn different(expected: &Counts, counted: &Counts, fits: impl Fn(u64, u64) -> bool) -> Vec<Difference> {
    let keys: BTreeSet<&String> = expected.keys().chain(counted.keys()).collect();
    let pairs = keys.into_iter().map(|key| (key, expected.get(key).copied(), counted.get(key).copied()));
    let wrong = pairs.filter(|(_, expected, counted)| !matches!((expected, counted), (Some(e), Some(c)) if fits(*e, *c)));
    wrong.map(|(key, expected, counted)| (key.chars().take(40).collect(), expected, counted)).collect()
}

/// The first few, for a message.
fn some(differences: &[Difference]) -> String {
    format!("{:?}", &differences[..differences.len().min(10)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn oracle(keys: &[&str]) -> Oracle {
        let record = |(offset, key): (usize, &&str)| Record {
            partition: 0,
            offset: offset as i64,
            timestamp: 0,
            key: Some(key.as_bytes().to_vec()),
            value: None,
        };
        Oracle(keys.iter().enumerate().map(record).collect())
    }

    fn counts(of: &[(&str, u64)]) -> Counts {
        of.iter().map(|(key, n)| (key.to_string(), *n)).collect()
    }

    fn refuses(check: impl FnOnce() + std::panic::UnwindSafe) -> bool {
        std::panic::catch_unwind(check).is_err()
    }

    #[test]
    fn a_lost_a_doubled_and_an_invented_record_are_seen() {
        let oracle = oracle(&["a", "b", "a", "b"]);
        oracle.assert_exact(&counts(&[("a", 2), ("b", 2)]));
        let window = [Window([(0, 3..4)].into())];
        oracle.assert_at_least_once(&counts(&[("a", 2), ("b", 3)]), &window);
        for wrong in [
            counts(&[("a", 2), ("b", 1)]),
            counts(&[("a", 3), ("b", 2)]),
            counts(&[("a", 2)]),
            counts(&[("a", 2), ("b", 2), ("c", 1)]),
        ] {
            assert!(refuses(|| oracle.assert_exact(&wrong)), "{wrong:?}");
            assert!(refuses(|| oracle.assert_at_least_once(&wrong, &window)), "{wrong:?}");
        }
        assert!(refuses(|| oracle.assert_at_least_once(&counts(&[("a", 2), ("b", 4)]), &window)));
    }
}
