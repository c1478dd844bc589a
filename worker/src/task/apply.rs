//! Brings the stores to where the changelogs are, behind the commits and off the shard's thread.
//!
//! A store may lag: until its rows are in it they stay in the overlay, and who opens the store later replays what it lacks. So commits
//! that follow each other quickly are applied together, each row once.

use std::collections::HashMap;
use std::mem;
use std::rc::Rc;
use std::time::Duration;

use super::shard::Shard;
use super::{Task, TaskTable, Verdict};
use crate::log::{LogEnd, Row};
use crate::rt::{self, Instant};
use crate::state::{Applied, Position, StoreError};
use crate::time::TopicPartition;

/// How far a store lags behind the commits at most, in the usual case.
const LAG: Duration = Duration::from_secs(1);

/// How long the rows wait for their changelogs' epochs.
const EPOCHS: Duration = Duration::from_secs(1);

/// What is committed and not yet in a table's store.
#[derive(Default)]
pub(super) struct Unapplied {
    /// In the order of their commits.
    rows: Vec<Row>,
    /// Where the store is once it has them; none if it is to stay where it is, and only the rows get in (see
    /// [`Task::behind`]).
    position: Option<Position>,
    /// The newest generation of the overlay that is in it.
    generation: u32,
    since: Option<Instant>,
}

impl Unapplied {
    pub fn add(&mut self, rows: Vec<Row>, position: Option<Position>, generation: u32) {
        if self.rows.is_empty() {
            self.rows = rows;
        } else {
            self.rows.extend(rows);
        }
        self.position = position;
        self.generation = generation;
        self.since.get_or_insert_with(rt::now);
    }
}

/// Applies whenever a commit says so, for ever.
pub(super) async fn run(shard: Rc<Shard>) {
    loop {
        shard.signals.apply.notified().await;
        for task in shard.running() {
            if let Err(error) = apply(&shard, &task).await {
                // The changelog has it all: starting over restores what the store lacks.
                task.judge(Verdict::Reopen(error.to_string()));
            }
        }
    }
}

/// Whether a store would lag too far if it waited for the next commit, or the rows that wait for it fill the memory, or are so many
/// changelog records that they have to reach the disk.
pub(super) fn is_due(shard: &Shard, tasks: &[Rc<Task>]) -> bool {
    let latest = rt::now() + shard.settings.commit_interval;
    tasks.iter().flat_map(|task| &task.tables).any(|table| {
        let waiting = table.unapplied.borrow();
        let records = waiting.rows.len() as u64;
        let lags = |since| shard.budget.is_over() || since + LAG <= latest || shard.flusher.is_reached_by(&table.id, records);
        waiting.since.is_some_and(lags)
    })
}

/// Brings the task's stores to the last commit.
pub(super) async fn apply(shard: &Shard, task: &Task) -> Result<(), StoreError> {
    let _one_at_a_time = task.applying.lock().await;
    // Rows that failed to get in are gone from here: nothing may go into a store behind them.
    if let Some(failure) = task.tables.iter().find_map(|table| table.overlay.store_failure()) {
        return Err(failure);
    }
    let unapplied: Vec<_> = task.tables.iter().map(|table| mem::take(&mut *table.unapplied.borrow_mut())).collect();
    let ends = ends(shard, task, &unapplied).await;
    let mut result = Ok(());
    for ((table, meter), unapplied) in task.tables.iter().zip(&task.meter.tables).zip(unapplied) {
        let Unapplied { rows, position, generation, since: Some(_) } = unapplied else { continue };
        let end = ends.get(&table.changelog);
        let leader_epoch = end.map_or(-1, |end| end.leader_epoch);
        let position = position.map(|position| Position { leader_epoch, ..position });
        let applied = match is_cut(table, position, end) {
            Some(error) => Err(error),
            None => apply_rows(shard, table, rows, position).await,
        };
        match applied {
            Ok(position) => {
                table.overlay.applied(generation);
                meter.store_at(&position);
            }
            Err(_) if mutant!("failed apply counts as done") => table.overlay.applied(generation),
            Err(error) => {
                table.overlay.blame(&error);
                result = Err(error);
            }
        }
    }
    // Tasks that the bound had parked look again.
    task.wake();
    result
}

/// The end of each changelog that has got rows, asked now that all of them are delivered: a leader's epoch that is older than a row would
/// have a good store rebuilt, a newer one does no harm. What isn't known in time is left out, and its store goes unchecked.
async fn ends(shard: &Shard, task: &Task, unapplied: &[Unapplied]) -> HashMap<TopicPartition, LogEnd> {
    let written = task.tables.iter().zip(unapplied).filter(|(_, unapplied)| unapplied.position.is_some());
    let changelogs: Vec<TopicPartition> = written.map(|(table, _)| table.changelog.clone()).collect();
    if changelogs.is_empty() {
        return HashMap::new();
    }
    match tokio::time::timeout(EPOCHS, shard.log.ends(&changelogs)).await {
        Ok(Ok(ends)) => changelogs.into_iter().zip(ends).collect(),
        _ => HashMap::new(),
    }
}

/// Rows that the changelog had taken and has lost again, as by an unclean election, must not get into the store: with the epoch of the
/// new leader nobody could tell any more that it has them.
fn is_cut(table: &TaskTable, position: Option<Position>, end: Option<&LogEnd>) -> Option<StoreError> {
    let (position, end) = (position?, end?);
    (end.offset < position.next_offset).then(|| {
        let (changelog, written) = (&table.changelog, position.next_offset);
        StoreError::Io(format!(
            "the changelog {changelog} was cut: it ends at {}, and rows were written up to {written}",
            end.offset
        ))
    })
}

/// Returns where the store is then.
async fn apply_rows(shard: &Shard, table: &TaskTable, rows: Vec<Row>, position: Option<Position>) -> Result<Position, StoreError> {
    let store = table.store.clone();
    let applied = shard.rt.blocking(move || {
        let records = rows.len() as u64;
        let rows = Row::last_of_each_key(rows);
        let position = match position {
            Some(position) => position,
            // An opened store has one, unless it was wiped under the task.
            None => store.position()?.ok_or_else(|| StoreError::Io("the store was emptied meanwhile".into()))?,
        };
        store.apply(&rows, &position)?;
        Ok::<_, StoreError>((Applied::of(&rows).of_records(records), position))
    });
    let (applied, position) = applied.await?;
    shard.flusher.note(&table.id, applied);
    Ok(position)
}
