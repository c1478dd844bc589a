//! The commit of a shard: freeze, flush, commit the offsets – while the next interval is already being processed.
//!
//! The order is what makes it safe (at least once): offsets are committed only after everything that was written on the way there has
//! been delivered, and the stores get what is committed. A task that is in the middle of an event isn't in it and holds nobody
//! back; a flush of which any delivery fails commits nothing.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::shard::Shard;
use super::{Task, TaskTable, Verdict, apply};
use crate::group::GroupError;
use crate::log::{Deliveries, ProduceError, Row};
use crate::rt::{self, Instant};
use crate::settings::OnEventTimeout;
use crate::state::Position;

/// What is encoded before others on the shard get a turn, as the rows weigh: less than a millisecond's work, about 2,000 small rows.
/// Smaller slices make commits of many rows take longer than their interval, because a turn of all others is a millisecond or two.
const SLICE: usize = 200 << 10;

/// How long a commit waits for tasks to come to an event boundary. One that comes later is in the next commit.
const BOUNDARY: Duration = Duration::from_millis(20);

/// How long until what could not be done now is tried again: a full buffer, a lease that doesn't hold, a coordinator that is away.
const AGAIN: Duration = Duration::from_millis(20);
const AGAIN_COORDINATOR: Duration = Duration::from_millis(500);

/// A commit missed so often in a row has its task named in the log.
const MISSED: i64 = 10;

/// Commits all that is running on the shard, for ever: at each interval, counted from the last commit's beginning, and sooner when a
/// bound is reached.
pub(super) async fn run(shard: Rc<Shard>) {
    let mut begun = rt::now();
    loop {
        let due = tokio::time::sleep_until(begun + shard.settings.commit_interval);
        tokio::select! {
            biased;
            () = shard.signals.hurried() => {}
            () = due => {}
        }
        begun = rt::now();
        shard.signals.begin_commit();
        let tasks = freeze(&shard).await;
        commit(&shard, &tasks).await;
        if apply::is_due(&shard, &tasks) {
            shard.signals.apply.notify_one();
        }
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
        OnEventTimeout::Retry => task.judge(Verdict::StartOver(sentence)),
        OnEventTimeout::Exit => {
            task.judge(Verdict::Fail(format!("task {}: {sentence}; `on-event-timeout` says that the worker ends", task.id)));
        }
    }
}

/// Commits what these tasks have frozen and no other commit has taken up. Each that fails is told so; each that ended meanwhile is left alone.
pub(super) async fn commit(shard: &Shard, tasks: &[Rc<Task>]) {
    let (mut flushes, mut slice) = (Vec::new(), Slice::default());
    for task in tasks {
        match Flush::begin(shard, task, &mut slice).await {
            Some(Ok(flush)) => flushes.push(flush),
            Some(Err(verdict)) => task.judge(verdict),
            None => {}
        }
    }
    let mut flushed = Vec::new();
    for mut flush in flushes {
        if mutant!("commit before flush") {
            flushed.push(flush);
            continue;
        }
        match flush.delivered().await {
            Err(_) if mutant!("failed flush commits") => flushed.push(flush),
            Ok(()) => flushed.push(flush),
            Err(why) => flush.task.judge(Verdict::StartOver(format!("a flush was not delivered: {why}"))),
        }
    }
    if commit_offsets(shard, &mut flushed).await {
        flushed.iter_mut().for_each(hand_over);
    }
}

/// The flush of one task: its rows, on their way to the changelogs.
struct Flush {
    task: Rc<Task>,
    offsets: Vec<i64>,
    /// Of the task's overlays.
    generation: u32,
    sent: Arc<Deliveries>,
    tables: Vec<TableFlush>,
}

/// How much of the shard's time the encoding has taken since others had a turn.
#[derive(Default)]
struct Slice(usize);

impl Slice {
    async fn spend(&mut self, rows: &[Row]) {
        self.0 += rows.iter().map(Row::weight).sum::<usize>();
        if self.0 >= SLICE {
            self.0 = 0;
            tokio::task::yield_now().await;
        }
    }
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
    async fn begin(shard: &Shard, task: &Rc<Task>, slice: &mut Slice) -> Option<Result<Self, Verdict>> {
        let mut flush = {
            let mut frozen = task.frozen.borrow_mut();
            let frozen = frozen.as_mut().filter(|frozen| !frozen.taken)?;
            frozen.taken = true;
            task.in_commit.set(true);
            let (offsets, sent) = (frozen.offsets.clone(), frozen.sent.clone());
            Self { task: task.clone(), offsets, generation: frozen.generation, sent, tables: Vec::new() }
        };
        Some(flush.produce(shard, slice).await.map(|()| flush))
    }

    /// Encodes and queues, slice by slice.
    async fn produce(&mut self, shard: &Shard, slice: &mut Slice) -> Result<(), Verdict> {
        for table in &self.task.tables {
            let mut out = TableFlush::default();
            self.task.in_flight.borrow_mut().push(out.delivery.clone());
            loop {
                let encoded = table.overlay.encode(SLICE).map_err(|error| Verdict::Fail(error.to_string()))?;
                let Some(rows) = encoded else { break };
                slice.spend(&rows).await;
                produce(shard, &self.task, table, rows, &mut out).await?;
            }
            self.tables.push(out);
        }
        Ok(())
    }

    /// Waits for every report: of what the agents sent, and of the changelogs.
    async fn delivered(&mut self) -> Result<(), String> {
        if !mutant!("outputs not awaited") {
            self.sent.settled().await?;
        }
        for table in &mut self.tables {
            table.next_offset = table.delivery.settled().await?.map(|offset| offset + 1);
        }
        Ok(())
    }
}

impl Drop for Flush {
    /// Whatever came of it: the commit has nothing of the task any more.
    fn drop(&mut self) {
        self.task.in_commit.set(false);
        self.task.settled.notify_waiters();
    }
}

/// Queues rows for the changelog. Nothing is produced without a lease, and the look at it is the last thing before the call: a worker
/// that slept beyond its session would overwrite what the new owner wrote, and compaction would make that permanent.
async fn produce(shard: &Shard, task: &Task, table: &TaskTable, rows: Vec<Row>, out: &mut TableFlush) -> Result<(), Verdict> {
    let mut done = 0;
    while done < rows.len() {
        if !task.alive() && !mutant!("epoch not checked") {
            return Err(Verdict::StartOver("the task ended during a flush".into()));
        }
        if !shard.membership.lease().holds(rt::uptime_millis()) && !mutant!("no lease check") {
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
        flushes.retain(|flush| flush.task.alive() || mutant!("epoch not checked"));
        let offsets: Vec<_> = flushes
            .iter()
            .flat_map(|flush| flush.task.feeds.iter().map(|feed| feed.partition.clone()).zip(flush.offsets.iter().copied()))
            .collect();
        if offsets.is_empty() {
            return !flushes.is_empty();
        }
        let commit = shard.membership.commit(offsets);
        // Looked at again now that the commit is bound to a generation: one that ends from here on was still claimed in that.
        if !flushes.iter().all(|flush| flush.task.alive()) && !mutant!("epoch not checked") {
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
            Err(GroupError::Rebalanced) if mutant!("refused commit counts as done") => return true,
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

/// The offsets are committed, so what was flushed on the way there belongs into the stores.
fn hand_over(flush: &mut Flush) {
    let task = &flush.task;
    let written_at = rt::wall_millis();
    let passes = task.passes(&flush.offsets);
    for ((table, out), meter) in task.tables.iter().zip(&mut flush.tables).zip(&task.meter.tables) {
        if out.next_offset.is_some() {
            table.unplaced.set(out.next_offset);
        }
        let next_offset = if passes { table.unplaced.take() } else { out.next_offset };
        let Some(next_offset) = next_offset else { continue };
        let rows = std::mem::take(&mut out.rows);
        meter.changed.add(rows.len() as u64);
        let position = Position { topic_id: table.changelog_id, next_offset, leader_epoch: -1, written_at };
        table.unapplied.borrow_mut().add(rows, Some(position).filter(|_| passes), flush.generation);
    }
    task.thaw(std::mem::take(&mut flush.offsets));
}
