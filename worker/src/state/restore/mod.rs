//! Rebuilding a store from its changelog: which part of it is missing, and the replay of that part.
//!
//! Decided by positions, never by counting records: a compacted or transactional changelog has offsets without records.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

use super::{Position, SharedStore, StateStore, StoreError};
use crate::log::{Fetch, Log, LogError, Reader};
use crate::rt::{self, Rt};
use crate::time::TopicPartition;

mod batch;
mod plan;
mod progress;
#[cfg(test)]
mod tests;
mod throttle;

use batch::Batch;
pub(crate) use plan::{Restore, Span};
pub(crate) use progress::Progress;
pub(crate) use throttle::Throttle;

/// Records taken from the log between two yields of the thread.
const POLL: usize = 500;
/// A position that moves over offsets without records wakes nobody.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// How much a replay takes at once, and how fast.
#[derive(Clone)]
pub(crate) struct Limits {
    /// A batch is applied when it has so many records or bytes. Large ones pay: RocksDB takes sorted rows at twice the speed.
    pub batch_records: usize,
    pub batch_bytes: usize,
    /// One for all replays of a worker.
    pub throttle: Option<Arc<Throttle>>,
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

/// Replays the span of the changelog into the store and flushes it. Returns where the store is then: at the span's end or, when the
/// changelog has grown, behind it.
///
/// May be dropped at any time: a batch that is being applied meanwhile gets into the store whole or not at all.
pub(crate) async fn replay(
    rt: &Rt,
    log: &dyn Log,
    changelog: &TopicPartition,
    store: &SharedStore,
    span: Span,
    limits: &Limits,
    progress: &Progress,
) -> Result<Position, RestoreError> {
    let started = rt::wall_millis();
    progress.begin(span, rt::now());
    let before = blocking(rt, store, |store| store.position()).await?;
    let mut position = Position {
        topic_id: span.topic_id,
        next_offset: span.from,
        leader_epoch: before.map_or(-1, |before| before.leader_epoch),
        // Until the end is reached the store is as old as it was: it may still lack tombstones that the log will lose.
        written_at: before.map_or(started, |before| before.written_at),
    };
    if span.from < span.to {
        let mut source = Source::start(log, changelog, span.from)?;
        while position.next_offset < span.to {
            let batch = source.next_batch(span.to, limits).await?;
            position.next_offset = source.fetch.position();
            position.leader_epoch = batch.leader_epoch().unwrap_or(position.leader_epoch);
            let (size, at) = (batch.size(), position);
            blocking(rt, store, move |store| store.apply(&batch.into_rows(), &at)).await?;
            progress.advance(at.next_offset, size);
            if let Some(throttle) = &limits.throttle {
                tokio::time::sleep(throttle.spend(size.bytes, rt::now())).await;
            }
        }
    }
    position.written_at = started;
    blocking(rt, store, move |store| store.apply(&[], &position).and_then(|()| store.flush())).await?;
    Ok(position)
}

/// The changelog as a replay reads it.
struct Source {
    fetch: Box<dyn Fetch>,
    arrivals: Arc<Notify>,
}

impl Source {
    fn start(log: &dyn Log, changelog: &TopicPartition, from: i64) -> Result<Self, LogError> {
        let mut fetch = log.fetch(changelog, from, Reader::Changelog)?;
        let arrivals = Arc::new(Notify::new());
        let wake = arrivals.clone();
        fetch.on_ready(Arc::new(move || wake.notify_one()));
        Ok(Self { fetch, arrivals })
    }

    /// Collects what has arrived, up to a full batch. Waits only while there is nothing, and the end isn't reached.
    async fn next_batch(&mut self, end: i64, limits: &Limits) -> Result<Batch, LogError> {
        let mut batch = Batch::default();
        loop {
            let arrived = self.poll(&mut batch)?;
            if batch.is_full(limits) || self.fetch.position() >= end {
                return Ok(batch);
            }
            if arrived {
                // Its thread has other work too.
                tokio::task::yield_now().await;
            } else if batch.is_empty() {
                let _ = timeout(LOOK_AGAIN, self.arrivals.notified()).await;
            } else {
                return Ok(batch);
            }
        }
    }

    fn poll(&mut self, batch: &mut Batch) -> Result<bool, LogError> {
        let mut records = VecDeque::with_capacity(POLL);
        self.fetch.poll(POLL, &mut records)?;
        let arrived = !records.is_empty();
        records.into_iter().for_each(|record| batch.add(&record));
        Ok(arrived)
    }
}

async fn blocking<T: Send + 'static>(
    rt: &Rt,
    store: &SharedStore,
    work: impl FnOnce(&dyn StateStore) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let store = store.clone();
    rt.blocking(move || work(&*store)).await
}

impl Default for Limits {
    fn default() -> Self {
        Self { batch_records: 20_000, batch_bytes: 8 << 20, throttle: None }
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
