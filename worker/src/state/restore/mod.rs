//! Rebuilding a store from its changelog: which part of it is missing, and the replay of that part.
//!
//! Decided by positions, never by counting records: a compacted or transactional changelog has offsets without records.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{timeout, timeout_at};

use super::{Applied, NO_ROWS, Position, SharedStore, StateStore, StoreError};
use crate::log::{Fetch, Log, LogError, Reader, Record};
use crate::rt::{self, Rt};
use crate::time::TopicPartition;

mod batch;
mod horizon;
mod memory;
#[cfg(all(test, feature = "kafka"))]
mod on_kafka;
mod plan;
mod progress;
#[cfg(test)]
mod tests;
mod throttle;

use batch::Batch;
pub(crate) use batch::Size;
pub(crate) use horizon::Horizon;
pub(crate) use memory::BatchMemory;
use memory::Room;
pub(crate) use plan::{ChangelogFacts, Restore, Span};
pub(crate) use progress::{Progress, Together};
pub(crate) use throttle::Throttle;

/// Records taken from the log between two yields of the thread.
const POLL: usize = 500;
/// A position that moves over offsets without records wakes nobody.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// The same where nobody waits for the end: there are many standbys, and they have all the time.
const LOOK_AGAIN_AT_END: Duration = Duration::from_secs(1);
/// How long a batch is filled at most where records come slowly: others wait for its memory.
const FILL: Duration = Duration::from_secs(1);
/// Behind the end records come by ones and twos; collected for a moment they cost a fraction.
const BETWEEN_BATCHES: Duration = Duration::from_millis(100);

/// What one batch holds.
const BATCH: usize = 8 << 20;
/// What the batches of all replays of a worker hold at most.
pub(crate) const ALL_BATCHES: u64 = 64 << 20;

/// How much a replay takes at once, and how fast.
#[derive(Clone)]
pub(crate) struct Limits {
    /// A batch is applied when it holds so much. Large ones pay: a key that comes more than once is written once.
    pub batch_bytes: usize,
    /// And is worth a file of its own if it holds so much.
    pub file_bytes: usize,
    /// One for all replays of a worker.
    pub throttle: Option<Arc<Throttle>>,
    /// The same, for what their batches hold.
    pub memory: Arc<BatchMemory>,
}

/// Why a replay ended early. What was applied until then stays: plan anew, from the store's position and the bounds of now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RestoreError {
    /// The changelog no longer has the records that come next: the new plan wipes the store.
    OutOfRange {
        changelog: TopicPartition,
        offset: i64,
    },
    Log(LogError),
    Store(StoreError),
}

/// A store on its way along its changelog. Restores and standbys are the same thing up to the end: the one stops there, the other
/// goes on.
///
/// May be dropped at any time: a batch that is being applied meanwhile gets into the store whole or not at all.
pub(crate) struct Replay<'a> {
    rt: Rt,
    log: &'a dyn Log,
    changelog: &'a TopicPartition,
    store: SharedStore,
    limits: Limits,
    span: Span,
    position: Position,
    source: Option<Source>,
}

/// Who hears of each batch that has got into the store.
pub(crate) trait Listener: Send + Sync {
    /// `unflushed` is what a kill would lose of it; none of a batch that is on disk.
    fn applied(&self, unflushed: Option<Applied>, size: Size, position: &Position);
}

impl<'a> Replay<'a> {
    pub async fn begin(
        rt: Rt,
        log: &'a dyn Log,
        changelog: &'a TopicPartition,
        store: SharedStore,
        span: Span,
        limits: Limits,
    ) -> Result<Self, RestoreError> {
        let before = blocking(rt, &store, |store| store.position()).await?;
        let position = Position {
            topic_id: span.topic_id,
            next_offset: span.from,
            leader_epoch: before.map_or(-1, |before| before.leader_epoch),
            // Until the end is reached the store is as old as it was: it may still lack tombstones that the log will lose. A new one is
            // as old as its first restore, for a tombstone lives on from when the rows are cleaned away that it deletes.
            written_at: before.map_or(span.asked_at, |before| before.written_at),
        };
        Ok(Self { rt, log, changelog, store, limits, span, position, source: None })
    }

    /// To the span's end or, when the changelog has grown, behind it. Returns where the store is then.
    pub async fn run(&mut self, listener: &dyn Listener) -> Result<Position, RestoreError> {
        while self.position.next_offset < self.span.to {
            self.step(self.span.to, LOOK_AGAIN, None, listener).await?;
        }
        self.position.written_at = self.span.asked_at;
        if self.position.leader_epoch < 0 {
            // Asked when the position is reached: a newer one does no harm.
            self.position.leader_epoch = self.log.ends(std::slice::from_ref(self.changelog)).await?[0].leader_epoch;
        }
        let position = self.position;
        blocking(self.rt, &self.store, move |store| {
            store.settle();
            store.apply(&NO_ROWS, &position)
        })
        .await?;
        Ok(position)
    }

    /// Goes on behind the end for ever; returns only why it can't. The store is known to be at the end whenever `horizon` says so.
    pub async fn follow(&mut self, horizon: &Horizon, listener: &dyn Listener) -> RestoreError {
        loop {
            if let Err(error) = self.step(i64::MAX, LOOK_AGAIN_AT_END, Some(horizon), listener).await {
                return error;
            }
            if !self.is_behind(horizon) {
                tokio::time::sleep(BETWEEN_BATCHES).await;
            }
        }
    }

    fn is_behind(&self, horizon: &Horizon) -> bool {
        horizon.end().is_some_and(|end| self.position.next_offset < end)
    }

    /// One batch.
    async fn step(
        &mut self,
        end: i64,
        look_again: Duration,
        horizon: Option<&Horizon>,
        listener: &dyn Listener,
    ) -> Result<(), RestoreError> {
        let source = match &mut self.source {
            Some(source) => source,
            none => none.insert(Source::start(self.log, self.changelog, self.position.next_offset)?),
        };
        let before = self.position.next_offset;
        let (batch, room) = source.next_batch(end, look_again, &self.limits).await?;
        self.position.next_offset = source.fetch.position();
        if self.position.next_offset > before {
            self.position.leader_epoch = batch.leader_epoch(self.position.next_offset);
        }
        if let Some(reached) = horizon.and_then(|horizon| horizon.reached(self.position.next_offset)) {
            self.position.written_at = reached;
        }
        let large = batch.is_large(&self.limits);
        let (size, at) = (batch.size(), self.position);
        let caught_up = horizon.is_some_and(|horizon| !self.is_behind(horizon));
        let applied = blocking(self.rt, &self.store, move |store| {
            let stored = store.position()?;
            // It may have been confirmed as newer since the batch before.
            let confirmed = stored.map_or(at.written_at, |position| position.written_at);
            let at = Position { written_at: at.written_at.max(confirmed), ..at };
            let rows = batch.sorted();
            let unflushed = match large {
                true => store.load(&rows, &at).map(|()| None)?,
                false => store.apply(&rows, &at).map(|()| Some(Applied::of(&rows)))?,
            };
            // Each batch begins where the one before ended (invariant I6), unless another task had the store: then it was refused.
            debug_assert!(stored.is_none_or(|stored| stored.next_offset == before), "a gap before offset {before}");
            if caught_up {
                store.settle();
            }
            drop((rows, room));
            Ok((unflushed, at))
        });
        let (unflushed, at) = applied.await?;
        self.position = at;
        listener.applied(unflushed, size, &at);
        if let Some(throttle) = &self.limits.throttle {
            tokio::time::sleep(throttle.spend(size.bytes, rt::now())).await;
        }
        Ok(())
    }
}

/// The changelog as a replay reads it.
struct Source {
    fetch: Box<dyn Fetch>,
    arrivals: Arc<Notify>,
    records: VecDeque<Record>,
}

impl Source {
    fn start(log: &dyn Log, changelog: &TopicPartition, from: i64) -> Result<Self, LogError> {
        let mut fetch = log.fetch(changelog, from, Reader::Changelog)?;
        let arrivals = Arc::new(Notify::new());
        let wake = arrivals.clone();
        fetch.on_ready(Arc::new(move || wake.notify_one()));
        Ok(Self { fetch, arrivals, records: VecDeque::new() })
    }

    /// Collects what arrives, up to a full batch or the end. Where there is no end, it waits only while there is nothing at all.
    async fn next_batch(&mut self, end: i64, look_again: Duration, limits: &Limits) -> Result<(Batch, Room), LogError> {
        let mut batch = Batch::default();
        let from = self.fetch.position();
        // One record at most without room for it.
        while !self.poll(1, &mut batch)? && self.fetch.position() == from {
            let _ = timeout(look_again, self.arrivals.notified()).await;
        }
        let mut room = limits.memory.room(limits).await;
        let until = rt::now() + FILL;
        while !batch.is_full(limits) && self.fetch.position() < end {
            match self.poll(POLL, &mut batch)? {
                // Its thread has other work too.
                true => tokio::task::yield_now().await,
                // Where there is an end the rest is on its way, and large batches pay.
                false if end < i64::MAX && timeout_at(until, timeout(look_again, self.arrivals.notified())).await == Ok(Ok(())) => {
                }
                false => break,
            }
        }
        room.shrink(batch.memory());
        Ok((batch, room))
    }

    fn poll(&mut self, max: usize, batch: &mut Batch) -> Result<bool, LogError> {
        self.fetch.poll(max, &mut self.records)?;
        let arrived = !self.records.is_empty();
        self.records.drain(..).for_each(|record| batch.add(&record));
        Ok(arrived)
    }
}

async fn blocking<T: Send + 'static>(
    rt: Rt,
    store: &SharedStore,
    work: impl FnOnce(&dyn StateStore) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let store = store.clone();
    rt.blocking(move || work(&*store)).await
}

impl Limits {
    pub fn new(throttle: Option<Arc<Throttle>>, memory: Arc<BatchMemory>) -> Self {
        Self { batch_bytes: BATCH, file_bytes: BATCH / 4, throttle, memory }
    }
}

#[cfg(test)]
impl Default for Limits {
    fn default() -> Self {
        Self::new(None, Arc::new(BatchMemory::new(ALL_BATCHES)))
    }
}

impl From<LogError> for RestoreError {
    fn from(error: LogError) -> Self {
        match error {
            LogError::OutOfRange { partition, offset } => Self::OutOfRange { changelog: partition, offset },
            other => Self::Log(other),
        }
    }
}

impl From<StoreError> for RestoreError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl fmt::Display for RestoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfRange { changelog, offset } => {
                write!(
                    f,
                    "the changelog {changelog} no longer has offset {offset}, which the table needs next; the table is rebuilt"
                )
            }
            Self::Log(error) => error.fmt(f),
            Self::Store(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for RestoreError {}
