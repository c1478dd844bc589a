//! Before a task's first event: its stores opened and brought to the changelogs' ends, its start position committed.
//!
//! The order matters. The committed offsets are read first, with no transaction open on them; only then the changelogs' ends, or an
//! update that a committed offset stands for could be missed; and the start position is committed before anything is fed, so that *no
//! committed offset* means *new* or *expired*.

use std::rc::Rc;
use std::sync::Arc;

use super::shard::Shard;
use super::{TaskId, TaskTable};
use crate::group::GroupError;
use crate::log::{Bounds, LogError};
use crate::state::{Limits, Position, Progress, Restore, RestoreError, SharedStore, StoreError, WipeReason, replay};
use crate::status::{DropReason, InputMeter, Stage, TableMeter, TaskMeter};
use crate::table::TableNode;
use crate::time::TopicPartition;

/// Rows and bytes that one restore holds in memory at a time.
const BATCH_RECORDS: usize = 20_000;
const BATCH_BYTES: usize = 8 << 20;

/// Why a task can't be opened.
#[derive(Debug)]
pub(super) enum OpenError {
    /// Something outside, in one sentence: waited for, and tried again.
    Waiting(String),
    /// Only a person can decide: the task stays closed, unready, with the sentence.
    Stuck(String),
    /// The membership is gone; an assignment follows.
    Lost,
}

/// A task ready to be fed.
pub(super) struct Opened {
    pub tables: Vec<TaskTable>,
    /// Where each input begins.
    pub starts: Vec<i64>,
}

/// Opens a task. May be dropped at any time, and begun again.
pub(super) async fn open(shard: &Rc<Shard>, id: TaskId, meter: &Arc<TaskMeter>) -> Result<Opened, OpenError> {
    let group = &shard.topology.groups[id.group as usize];
    let partitions: Vec<TopicPartition> = meter.inputs.iter().map(|input| input.partition.clone()).collect();
    let committed = shard.membership.committed(&partitions).await?;
    let bounds = shard.log.bounds(&partitions).await?;

    let mut tables = Vec::new();
    let mut history = false;
    for (node, table_meter) in group.tables.iter().zip(&meter.tables) {
        let changelog = TopicPartition::new(node.changelog(), id.partition);
        let bounds = shard.log.bounds(std::slice::from_ref(&changelog)).await?[0];
        history |= bounds.end > bounds.start;
        tables.push((*node, table_meter, changelog, bounds));
    }
    let starts = starts(&meter.inputs, &committed, &bounds, history)?;

    let mut opened = Vec::new();
    for (node, table_meter, changelog, bounds) in tables {
        meter.enter(Stage::Restoring);
        opened.push(open_table(shard, id, node, table_meter, changelog, bounds).await?);
    }
    let missing: Vec<_> = partitions.iter().cloned().zip(starts.iter().copied()).collect();
    shard.membership.commit(missing).await?;
    for (input, &start) in meter.inputs.iter().zip(&starts) {
        input.committed.set(start);
    }
    Ok(Opened { tables: opened, starts })
}

/// Where each input begins. `history` says that a changelog of the task has records.
fn starts(inputs: &[Arc<InputMeter>], committed: &[Option<i64>], bounds: &[Bounds], history: bool) -> Result<Vec<i64>, OpenError> {
    let mut starts = Vec::new();
    for ((input, committed), bounds) in inputs.iter().zip(committed).zip(bounds) {
        input.end.set(bounds.end);
        let start = match *committed {
            None if history => {
                return Err(OpenError::Stuck(format!(
                    "{}: the group has no committed offset but the changelog has records: the offsets have expired, or the topic is a new input; to count \
                     from the start would count twice; stop all workers and set the group's offset with Kafka's tools, or delete the \
                     changelog",
                    input.partition
                )));
            }
            None => bounds.start,
            Some(offset) if offset < bounds.start => {
                let lost = (bounds.start - offset) as u64;
                input.dropped(DropReason::InputExpired, lost);
                tracing::error!(
                    "{}: {lost} records between the committed offset {offset} and the log's start {} were deleted before they were read; \
                     going on at the log's start",
                    input.partition,
                    bounds.start
                );
                bounds.start
            }
            Some(offset) if offset > bounds.end => {
                return Err(OpenError::Stuck(format!(
                    "{}: the committed offset {offset} lies behind the log's end {}: the topic was made anew or truncated; \
                     stop all workers and set the group's offset with Kafka's tools",
                    input.partition, bounds.end
                )));
            }
            Some(offset) => offset,
        };
        starts.push(start);
    }
    Ok(starts)
}

/// Opens one store and replays what it lacks.
async fn open_table(
    shard: &Rc<Shard>,
    id: TaskId,
    node: &'static TableNode,
    meter: &Arc<TableMeter>,
    changelog: TopicPartition,
    bounds: Bounds,
) -> Result<TaskTable, OpenError> {
    let facts = shard.log.topics(std::slice::from_ref(&changelog.topic)).await?;
    let facts = facts.get(&changelog.topic).ok_or_else(|| LogError::UnknownTopic(changelog.topic.clone()))?;
    let stores = shard.stores.clone();
    let (table, partition) = (node.name, id.partition);
    let opened = shard.rt.blocking(move || {
        let opened = stores.store(table, partition)?;
        let position = opened.store.position()?;
        Ok::<_, StoreError>((opened, position))
    });
    let (opened, stored) = opened.await?;
    if let Some(reason) = opened.wiped {
        wiped(meter, &changelog, reason);
    }
    let span = match Restore::plan(stored, facts.id, bounds) {
        Restore::UpToDate => None,
        Restore::Replay(span) => Some(span),
        Restore::WipeAndReplay(reason, span) => {
            wiped(meter, &changelog, reason);
            let stores = shard.stores.clone();
            shard.rt.blocking(move || stores.wipe(table, partition)).await?;
            Some(span)
        }
    };
    if span.is_some_and(|span| span.from == bounds.start && span.from < span.to) {
        shard.membership.cold();
    }
    let store = opened.store;
    let position = match span {
        None => stored,
        Some(span) => match restore(shard, meter, &changelog, store.clone(), span).await {
            Err(RestoreError::Store(error @ StoreError::Corrupt(_))) => {
                wiped(meter, &changelog, WipeReason::Corrupt);
                let stores = shard.stores.clone();
                shard.rt.blocking(move || stores.wipe(table, partition)).await?;
                return Err(error.into());
            }
            restored => Some(restored?),
        },
    };
    meter.stored.set(position.map_or(0, |position| position.next_offset));
    let own = TaskTable::new(node, store, changelog, *facts, &shard.budget);
    shard.flusher.opened(&own.id, own.store.clone(), meter.clone(), position.as_ref());
    Ok(own)
}

async fn restore(
    shard: &Rc<Shard>,
    meter: &Arc<TableMeter>,
    changelog: &TopicPartition,
    store: SharedStore,
    span: crate::state::Span,
) -> Result<Position, RestoreError> {
    tracing::info!("{changelog}: restoring offsets {} to {}", span.from, span.to);
    let progress = Arc::new(Progress::default());
    meter.set_restore(Some(progress.clone()));
    let limits = Limits { batch_records: BATCH_RECORDS, batch_bytes: BATCH_BYTES, throttle: shard.throttle.clone() };
    let _count = CountRestored { meter, progress: progress.clone() };
    let position = replay(&shard.rt, &*shard.log, changelog, &store, span, &limits, &progress).await?;
    Ok(position)
}

/// Adds what was restored to the counter, also when the restore was dropped half way.
struct CountRestored<'a> {
    meter: &'a TableMeter,
    progress: Arc<Progress>,
}

impl Drop for CountRestored<'_> {
    fn drop(&mut self) {
        self.meter.set_restore(None);
        self.meter.restored.add(self.progress.reading().map_or(0, |reading| reading.records));
    }
}

fn wiped(meter: &TableMeter, changelog: &TopicPartition, reason: WipeReason) {
    meter.wiped(reason);
    tracing::warn!("{changelog}: the local store is wiped and rebuilt: {reason}");
}

impl From<LogError> for OpenError {
    fn from(error: LogError) -> Self {
        Self::Waiting(error.to_string())
    }
}

impl From<GroupError> for OpenError {
    fn from(error: GroupError) -> Self {
        match error {
            GroupError::Lost(_) => Self::Lost,
            other => Self::Waiting(other.to_string()),
        }
    }
}

impl From<StoreError> for OpenError {
    fn from(error: StoreError) -> Self {
        Self::Waiting(error.to_string())
    }
}

impl From<RestoreError> for OpenError {
    fn from(error: RestoreError) -> Self {
        Self::Waiting(error.to_string())
    }
}
