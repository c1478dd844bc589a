//! Before a task's first event: its stores opened and brought to the changelogs' ends, its start position committed.
//!
//! The order matters. The committed offsets are read first, with no transaction open on them; only then the changelogs' ends, or an
//! update that a committed offset stands for could be missed; and the start position is committed before anything is fed, so that *no
//! committed offset* means *new* or *expired*.

use std::rc::Rc;
use std::sync::Arc;

use futures::future::try_join_all;

use super::shard::Shard;
use super::tables::{Open, shelves_of};
use super::{TaskId, TaskTable};
use crate::group::GroupError;
use crate::log::{Bounds, LogError};
use crate::state::{RestoreError, StoreError};
use crate::status::{DropReason, InputMeter, Stage, TaskMeter};
use crate::table::TableNode;
use crate::time::TopicPartition;

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
    /// How far a flush that failed had events of them, if the stores may lack rows that it left in the changelogs.
    pub behind: Option<Vec<i64>>,
}

/// Opens a task. May be dropped at any time, and begun again.
pub(super) async fn open(shard: &Rc<Shard>, id: TaskId, meter: &Arc<TaskMeter>) -> Result<Opened, OpenError> {
    let group = &shard.topology.groups[id.group as usize];
    let partitions: Vec<TopicPartition> = meter.inputs.iter().map(|input| input.partition.clone()).collect();
    let committed = shard.membership.committed(&partitions).await?;
    let bounds = shard.log.bounds(&partitions).await?;

    let mut shelves = Vec::new();
    let mut history = false;
    for shelf in shelves_of(shard, id, meter) {
        let asked = shelf.bounds(shard).await?;
        history |= asked.bounds.end > asked.bounds.start;
        shelves.push((shelf, asked));
    }
    let starts = starts(&meter.inputs, &committed, &bounds, history)?;

    meter.enter(Stage::Restoring);
    let mut open = Vec::new();
    for (shelf, asked) in &shelves {
        let table = shelf.open(shard, *asked).await?;
        if table.is_cold(*asked) {
            shard.membership.cold();
        }
        open.push(table);
    }
    try_join_all(open.iter_mut().map(Open::restore)).await?;
    let table = |(node, open): (&&'static TableNode, &Open<'_>)| {
        TaskTable::new(node, open.store.clone(), open.changelog().clone(), open.facts, &shard.budget)
    };
    let tables = group.tables.iter().zip(&open).map(table).collect();
    let missing: Vec<_> = partitions.iter().cloned().zip(starts.iter().copied()).collect();
    if !mutant!("start is not committed") {
        shard.membership.commit(missing).await?;
    }
    for (input, &start) in meter.inputs.iter().zip(&starts) {
        input.committed.set(start);
    }
    Ok(Opened { tables, starts, behind: None })
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
