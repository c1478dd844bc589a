//! When stores are flushed, decided over all stores of a worker.
//!
//! Without a write-ahead log a kill loses what isn't flushed, and a store that never fills its write buffer would have its whole
//! changelog replayed. So a store is flushed when it holds many unflushed records or has been dirty for long; and, largest first,
//! when all of them together hold too much memory.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::{Position, Rows};
use crate::rt::Instant;

/// What RocksDB's write buffer spends on a row beside key and value.
const ROW_OVERHEAD: u64 = 48;
/// After a flush that failed.
const RETRY: Duration = Duration::from_secs(5);

/// Names a store. Displays as `table[partition]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct StoreId {
    pub table: String,
    pub partition: u32,
}

/// The settings `flush-records` and `flush-interval`, and a part of `store-memory`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FlushLimits {
    pub records: u64,
    pub interval: Duration,
    /// What all stores of the worker may hold unflushed.
    pub bytes: u64,
}

/// How much was applied to a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Applied {
    records: u64,
    bytes: u64,
}

/// Knows what each store holds unflushed. Told of what is applied, asked which stores are due, told how their flushes ended.
pub(crate) struct FlushPolicy {
    limits: FlushLimits,
    stores: BTreeMap<StoreId, Unflushed>,
}

#[derive(Default)]
struct Unflushed {
    applied: Applied,
    /// Since when it has been dirty; none when it is clean.
    since: Option<Instant>,
    /// What a running flush covers.
    flushing: Option<(Applied, Instant)>,
    not_before: Option<Instant>,
    flushed_offset: Option<i64>,
}

impl Applied {
    /// A position without rows.
    pub const POSITION: Self = Self { records: 1, bytes: ROW_OVERHEAD };

    #[cfg(all(test, feature = "rocksdb"))]
    pub fn bytes(self) -> u64 {
        self.bytes
    }

    pub fn of(rows: &dyn Rows) -> Self {
        let mut applied = Self::default();
        rows.each(&mut |key, value| {
            applied.records += 1;
            applied.bytes += (key.len() + value.map_or(0, <[u8]>::len)) as u64 + ROW_OVERHEAD;
        });
        applied
    }

    /// The same rows, as what so many changelog records came to.
    pub fn of_records(self, records: u64) -> Self {
        Self { records, ..self }
    }
}

impl FlushPolicy {
    pub fn new(limits: FlushLimits) -> Self {
        Self { limits, stores: BTreeMap::new() }
    }

    /// A store that was opened, clean. `flushed` is the position it has on disk, where known.
    pub fn opened(&mut self, store: StoreId, flushed: Option<&Position>) {
        let flushed_offset = flushed.map(|position| position.next_offset);
        self.stores.insert(store, Unflushed { flushed_offset, ..Unflushed::default() });
    }

    pub fn closed(&mut self, store: &StoreId) {
        self.stores.remove(store);
    }

    /// Something was applied to an opened store.
    pub fn note(&mut self, store: &StoreId, applied: Applied, now: Instant) {
        if applied.records > 0
            && let Some(state) = self.stores.get_mut(store)
        {
            state.add(applied, now);
        }
    }

    /// Whether a store will have to be flushed once it gets so many records more.
    pub fn is_reached_by(&self, store: &StoreId, records: u64) -> bool {
        self.stores.get(store).is_some_and(|state| state.applied.records + records >= self.limits.records)
    }

    /// The stores to flush now. Each is due once: until [`FlushPolicy::flushed`] or [`FlushPolicy::failed`] it isn't named again.
    pub fn due(&mut self, now: Instant) -> Vec<StoreId> {
        let ready = |state: &Unflushed| state.ready_at(&self.limits).is_some_and(|at| at <= now);
        let mut due: Vec<StoreId> = self.stores.iter().filter(|(_, state)| ready(state)).map(|(id, _)| id.clone()).collect();
        for id in &due {
            self.start(id);
        }
        while self.stores.values().map(|state| state.applied.bytes).sum::<u64>() > self.limits.bytes {
            let free = self.stores.iter().filter(|(_, state)| state.may_flush(now));
            let Some((largest, _)) = free.max_by_key(|(_, state)| state.applied.bytes) else { break };
            let largest = largest.clone();
            self.start(&largest);
            due.push(largest);
        }
        due
    }

    /// When to ask again if nothing is noted before.
    pub fn next_due(&self) -> Option<Instant> {
        self.stores.values().filter_map(|state| state.ready_at(&self.limits)).min()
    }

    /// A flush has ended; `position` is what is safe now.
    pub fn flushed(&mut self, store: &StoreId, position: Option<&Position>) {
        if let Some(state) = self.stores.get_mut(store) {
            state.flushing = None;
            state.flushed_offset = position.map(|position| position.next_offset).or(state.flushed_offset);
        }
    }

    /// A flush has failed: what it was to cover is dirty still, and it is due again in a while.
    pub fn failed(&mut self, store: &StoreId, now: Instant) {
        if let Some(state) = self.stores.get_mut(store)
            && let Some((applied, since)) = state.flushing.take()
        {
            state.add(applied, since);
            state.since = Some(since);
            state.not_before = Some(now + RETRY);
        }
    }

    /// Each store and the offset of its last flush.
    #[cfg(test)]
    pub fn flushed_offsets(&self) -> impl Iterator<Item = (&StoreId, Option<i64>)> {
        self.stores.iter().map(|(id, state)| (id, state.flushed_offset))
    }

    fn start(&mut self, store: &StoreId) {
        if let Some(state) = self.stores.get_mut(store)
            && let Some(since) = state.since.take()
        {
            state.flushing = Some((std::mem::take(&mut state.applied), since));
            state.not_before = None;
        }
    }
}

impl Unflushed {
    fn add(&mut self, applied: Applied, now: Instant) {
        self.applied.records += applied.records;
        self.applied.bytes += applied.bytes;
        self.since.get_or_insert(now);
    }

    /// When it has to be flushed for its own records' or age's sake.
    fn ready_at(&self, limits: &FlushLimits) -> Option<Instant> {
        let since = self.since.filter(|_| self.flushing.is_none())?;
        let at = if self.applied.records >= limits.records { since } else { since + limits.interval };
        Some(self.not_before.map_or(at, |earliest| earliest.max(at)))
    }

    fn may_flush(&self, now: Instant) -> bool {
        self.since.is_some() && self.flushing.is_none() && self.not_before.is_none_or(|earliest| earliest <= now)
    }
}

impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.table, self.partition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rt;
    use crate::state::conformance::{at, row};
    use crate::time::{millis, secs};

    const LIMITS: FlushLimits = FlushLimits { records: 100, interval: secs(30), bytes: 64 << 20 };

    fn id(partition: u32) -> StoreId {
        StoreId { table: "counts".to_string(), partition }
    }

    fn policy(stores: u32) -> FlushPolicy {
        let mut policy = FlushPolicy::new(LIMITS);
        (0..stores).for_each(|partition| policy.opened(id(partition), None));
        policy
    }

    fn records(records: u64) -> Applied {
        Applied { records, bytes: records * 100 }
    }

    #[test]
    fn a_store_is_due_at_its_record_limit_and_once() {
        let (mut policy, start) = (policy(2), rt::now());
        policy.note(&id(0), records(99), start);
        policy.note(&id(1), records(50), start);
        assert_eq!(policy.due(start), []);
        policy.note(&id(0), records(1), start);
        assert_eq!(policy.due(start), [id(0)]);
        assert_eq!(policy.due(start + secs(29)), []);
    }

    #[test]
    fn what_waits_for_a_store_counts_by_its_changelog_records() {
        let (mut policy, start) = (policy(1), rt::now());
        policy.note(&id(0), Applied::of(&[row("key", Some("value"))]).of_records(60), start);
        assert_eq!([39, 40].map(|more| policy.is_reached_by(&id(0), more)), [false, true]);
        policy.note(&id(0), Applied::of(&[row("key", Some("value"))]).of_records(40), start);
        assert_eq!(policy.due(start), [id(0)]);
    }

    #[test]
    fn a_store_is_due_when_it_has_been_dirty_for_the_interval() {
        let (mut policy, start) = (policy(1), rt::now());
        assert_eq!(policy.next_due(), None);
        policy.note(&id(0), records(1), start);
        policy.note(&id(0), records(1), start + secs(20));
        assert_eq!(policy.next_due(), Some(start + secs(30)));
        assert_eq!(policy.due(start + secs(30) - millis(1)), []);
        assert_eq!(policy.due(start + secs(30)), [id(0)]);
        assert_eq!(policy.next_due(), None);
    }

    #[test]
    fn what_is_applied_during_a_flush_waits_for_the_next_one() {
        let (mut policy, start) = (policy(1), rt::now());
        policy.note(&id(0), records(100), start);
        assert_eq!(policy.due(start), [id(0)]);
        policy.note(&id(0), records(100), start + secs(1));
        assert_eq!(policy.due(start + secs(1)), []);
        policy.flushed(&id(0), Some(&at(7)));
        assert_eq!(policy.due(start + secs(1)), [id(0)]);
        assert_eq!(policy.flushed_offsets().collect::<Vec<_>>(), [(&id(0), Some(7))]);
    }

    #[test]
    fn a_failed_flush_is_tried_again_after_a_while() {
        let (mut policy, start) = (policy(1), rt::now());
        policy.note(&id(0), records(100), start);
        assert_eq!(policy.due(start), [id(0)]);
        policy.failed(&id(0), start);
        assert_eq!(policy.due(start + RETRY - millis(1)), []);
        assert_eq!(policy.next_due(), Some(start + RETRY));
        assert_eq!(policy.due(start + RETRY), [id(0)]);
    }

    #[test]
    fn beyond_the_memory_of_all_stores_the_largest_go_first() {
        let (mut policy, start) = (policy(3), rt::now());
        let mebibytes = |n: u64| Applied { records: 1, bytes: n << 20 };
        policy.note(&id(0), mebibytes(20), start);
        policy.note(&id(1), mebibytes(30), start);
        assert_eq!(policy.due(start), []);
        policy.note(&id(2), mebibytes(25), start);
        assert_eq!(policy.due(start), [id(1)]);
    }

    #[test]
    fn a_closed_store_is_never_due_and_late_news_of_it_are_ignored() {
        let (mut policy, start) = (policy(1), rt::now());
        policy.note(&id(0), records(100), start);
        policy.closed(&id(0));
        policy.note(&id(0), records(100), start);
        policy.flushed(&id(0), Some(&at(7)));
        assert_eq!(policy.due(start + secs(60)), []);
        assert_eq!(policy.flushed_offsets().count(), 0);
    }

    #[test]
    fn a_tombstone_counts_as_a_record_with_bytes() {
        assert_eq!(
            Applied::of(&[row("key", Some("value")), row("key2", None)]),
            Applied { records: 2, bytes: 12 + 2 * ROW_OVERHEAD }
        );
    }
}
