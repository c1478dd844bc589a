//! The commit of a shard: freeze, flush, commit the offsets, apply – while the next interval is already being processed.
//!
//! The order is what makes it safe (at least once): offsets are committed only after everything that was written on the way there has
//! been delivered, and the store gets what the changelog has. A task that is in the middle of an event isn't in it and holds nobody
//! back; a flush of which any delivery fails commits nothing.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::shard::Shard;
use super::{Task, TaskTable, Verdict};
use crate::group::GroupError;
use crate::log::{Deliveries, ProduceError, Row};
use crate::rt::{self, Instant};
use crate::settings::OnEventTimeout;
use crate::state::{Applied, Position};

/// Rows encoded before others on the shard get a turn: less than a millisecond's work. Smaller slices make commits of many rows take
/// longer than their interval, because every turn of the others is a few milliseconds.
const SLICE: usize = 2_000;

/// How long a commit waits for tasks to come to an event boundary. One that comes later is in the next commit.
const BOUNDARY: Duration = Duration::from_millis(20);

/// How long until what could not be done now is tried again: a full buffer, a lease that doesn't hold, a coordinator that is away.
const AGAIN: Duration = Duration::from_millis(20);
const AGAIN_COORDINATOR: Duration = Duration::from_millis(500);

/// A commit missed so often in a row has its task named in the log.
const MISSED: i64 = 10;

/// Commits all that is running on the shard, for ever: at each interval, and sooner when a task has reached its bound.
pub(super) async fn run(shard: Rc<Shard>) {
    loop {
        let due = tokio::time::sleep(shard.settings.commit_interval);
        tokio::select! {
            biased;
            () = shard.signals.hurry.notified() => {}
            () = due => {}
        }
        let tasks = freeze(&shard).await;
        commit(&shard, &tasks).await;
    }
}

/// Asks every task to freeze and gives them a moment; the tasks that did.
async fn freeze(shard: &Shard) -> Vec<Rc<Task>> {
    let tasks = shard.running();
    let now = rt::now();
    for task in &tasks {
        task.ask_to_freeze(now);
    }
    let deadline = now + BOUNDARY;
    while tasks.iter().any(|task| task.due.get().is_some() && task.alive()) {
        if tokio::time::timeout_at(deadline, shard.signals.froze.notified()).await.is_err() {
            break;
        }
    }
    for task in &tasks {
        if let Some(since) = task.due.get() {
            name_the_late(shard, task, since);
        }
    }
    // Those that the shard's bound had parked look again.
    tasks.iter().for_each(|task| task.wake());
    tasks
}

/// A task that sits out is named: in the log after a few commits, and as not ready after `event-timeout`, unless it ends the worker then.
fn name_the_late(shard: &Shard, task: &Task, since: Instant) {
    let missed = task.meter.missed_commits.get().max(0) + 1;
    task.meter.missed_commits.set(missed);
    let late = since.elapsed();
    if missed != MISSED && late < shard.settings.event_timeout {
        return;
    }
    let busy = || task.feeds.iter().filter(|feed| feed.seat.busy.get()).map(|feed| feed.seat.agent);
    let agents: Vec<&str> = busy().collect();
    let events: Vec<String> = busy().filter_map(|agent| task.in_hand(agent)).collect();
    let sentence =
        format!("agent {} is still in the middle of {}, for {missed} commits by now", agents.join(", "), events.join(", "));
    if late < shard.settings.event_timeout {
        return tracing::warn!("task {}: {sentence}", task.id);
    }
    let sentence = format!("{sentence}, which is more than `event-timeout`");
    match shard.settings.on_event_timeout {
        OnEventTimeout::Wait => task.meter.wait_for(sentence),
        OnEventTimeout::Exit => {
            task.judge(Verdict::Fail(format!("task {}: {sentence}; `on-event-timeout` says that the worker ends", task.id)));
        }
    }
}

/// Commits what these tasks have frozen and no other commit has taken up. Each that fails is told so; each that ended meanwhile is left alone.
pub(super) async fn commit(shard: &Shard, tasks: &[Rc<Task>]) {
    let mut flushes = Vec::new();
    for task in tasks {
        match Flush::begin(shard, task).await {
            Some(Ok(flush)) => flushes.push(flush),
            Some(Err(verdict)) => task.judge(verdict),
            None => {}
        }
    }
    let mut flushed = Vec::new();
    for mut flush in flushes {
        match flush.delivered().await {
            Ok(()) => flushed.push(flush),
            Err(why) => flush.task.judge(Verdict::StartOver(format!("a flush was not delivered: {why}"))),
        }
    }
    if commit_offsets(shard, &mut flushed).await {
        apply(shard, flushed).await;
    }
}

/// The flush of one task: its rows, on their way to the changelogs.
struct Flush {
    task: Rc<Task>,
    offsets: Vec<i64>,
    sent: Arc<Deliveries>,
    tables: Vec<TableFlush>,
}

#[derive(Default)]
struct TableFlush {
    rows: Vec<Row>,
    delivery: Arc<Deliveries>,
    /// Behind the last record that this flush wrote to the changelog.
    next_offset: Option<i64>,
}

impl Flush {
    /// Takes up what the task has frozen, if anything.
    async fn begin(shard: &Shard, task: &Rc<Task>) -> Option<Result<Self, Verdict>> {
        let (offsets, sent) = {
            let mut frozen = task.frozen.borrow_mut();
            let frozen = frozen.as_mut().filter(|frozen| !frozen.taken)?;
            frozen.taken = true;
            (frozen.offsets.clone(), frozen.sent.clone())
        };
        let mut flush = Self { task: task.clone(), offsets, sent, tables: Vec::new() };
        Some(flush.produce(shard).await.map(|()| flush))
    }

    /// Encodes and queues, slice by slice.
    async fn produce(&mut self, shard: &Shard) -> Result<(), Verdict> {
        for table in &self.task.tables {
            let mut out = TableFlush::default();
            self.task.in_flight.borrow_mut().push(out.delivery.clone());
            loop {
                match table.overlay.encode(SLICE) {
                    Ok(Some(rows)) => produce(shard, &self.task, table, rows, &mut out).await?,
                    Ok(None) => break,
                    Err(error) => return Err(Verdict::Fail(error.to_string())),
                }
                tokio::task::yield_now().await;
            }
            self.tables.push(out);
        }
        Ok(())
    }

    /// Waits for every report: of what the agents sent, and of the changelogs.
    async fn delivered(&mut self) -> Result<(), String> {
        self.sent.settled().await?;
        for table in &mut self.tables {
            table.next_offset = table.delivery.settled().await?.map(|offset| offset + 1);
        }
        Ok(())
    }
}

/// Queues rows for the changelog. Nothing is produced without a lease, and the look at it is the last thing before the call: a worker
/// that slept beyond its session would overwrite what the new owner wrote, and compaction would make that permanent.
async fn produce(shard: &Shard, task: &Task, table: &TaskTable, rows: Vec<Row>, out: &mut TableFlush) -> Result<(), Verdict> {
    let mut done = 0;
    while done < rows.len() {
        if !task.alive() {
            return Err(Verdict::StartOver("the task ended during a flush".into()));
        }
        if !shard.membership.lease().holds(rt::uptime_millis()) {
            tokio::time::sleep(AGAIN).await;
            continue;
        }
        match shard.producer.send_rows(&table.changelog, &rows[done..], &out.delivery) {
            Ok(0) | Err(ProduceError::Full) => tokio::time::sleep(AGAIN).await,
            Ok(n) => done += n,
            Err(error) => return Err(Verdict::StartOver(format!("{}: {error}", table.changelog))),
        }
    }
    out.rows.extend(rows);
    Ok(())
}

/// Commits the offsets of all flushes in one request; what is left of them is committed. False if nothing is.
async fn commit_offsets(shard: &Shard, flushes: &mut Vec<Flush>) -> bool {
    let mut waited = false;
    loop {
        // A task whose epoch has ended is not ours to commit any more (I2).
        flushes.retain(|flush| flush.task.alive());
        let offsets: Vec<_> = flushes
            .iter()
            .flat_map(|flush| flush.task.feeds.iter().map(|feed| feed.partition.clone()).zip(flush.offsets.iter().copied()))
            .collect();
        if offsets.is_empty() {
            return !flushes.is_empty();
        }
        let commit = shard.membership.commit(offsets);
        // Looked at again now that the commit is bound to a generation: one that ends from here on was still claimed in that.
        if !flushes.iter().all(|flush| flush.task.alive()) {
            continue;
        }
        match commit.await {
            Ok(()) => {
                if waited {
                    flushes.iter().for_each(|flush| flush.task.meter.go_on());
                }
                return true;
            }
            // The epochs end by the membership's own word, which is on its way; nothing is applied.
            Err(GroupError::Lost(_)) => return false,
            Err(GroupError::Rebalanced) => {}
            // The rest goes once more, for another one may be refused as well; that commits nothing twice.
            Err(GroupError::Partition { partition, reason }) => flushes.retain(|flush| {
                let refused = flush.task.feeds.iter().any(|feed| feed.partition == partition);
                if refused {
                    let why = format!("the offset of {partition} can't be committed: {reason}");
                    flush.task.judge(Verdict::Reopen(why));
                }
                !refused
            }),
            Err(error @ (GroupError::Unavailable(_) | GroupError::Refused(_))) => {
                for flush in flushes.iter() {
                    flush.task.meter.wait_for(error.to_string());
                }
                waited = true;
                tokio::time::sleep(AGAIN_COORDINATOR).await;
            }
        }
    }
}

/// Brings the stores to where the changelogs are, off the shard's thread.
async fn apply(shard: &Shard, flushes: Vec<Flush>) {
    for flush in flushes {
        let mut failure = None;
        for (at, (table, out)) in flush.task.tables.iter().zip(flush.tables).enumerate() {
            let Some(next_offset) = out.next_offset else { continue };
            let position = Position { topic_id: table.changelog_id, next_offset, leader_epoch: -1, written_at: rt::wall_millis() };
            let (store, mut rows) = (table.store.clone(), out.rows);
            let applied_rows = Applied::of(&rows);
            let count = rows.len() as u64;
            let applied = shard.rt.blocking(move || {
                rows.sort_unstable_by(|a, b| a.key.cmp(&b.key));
                store.apply(&rows, &position)
            });
            match applied.await {
                Ok(()) => {
                    let meter = &flush.task.meter.tables[at];
                    meter.changed.add(count);
                    meter.stored.set(next_offset);
                    shard.flusher.note(&table.id, applied_rows);
                }
                Err(error) => {
                    table.overlay.blame(&error);
                    failure = Some(error);
                }
            }
        }
        match failure {
            None => flush.task.thaw(flush.offsets),
            // The changelog has it all: starting over restores what the store lacks.
            Some(error) => flush.task.judge(Verdict::Reopen(error.to_string())),
        }
    }
}
