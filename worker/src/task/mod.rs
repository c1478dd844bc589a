//! The engine: tasks on shards, from the fetched record to the committed offset.
//!
//! A task is one partition of a co-partition group, lives on one shard (a thread) and is run under an *epoch* of this worker: an epoch
//! begins when the task is taken up and ends when it is revoked, lost or starts over, and nothing fetched or written under one is
//! committed under another (invariant I2).

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

use crate::group::Membership;
use crate::log::{Deliveries, TopicFacts, TopicId};
use crate::model::{Key, Value};
use crate::rt::{self, Instant};
use crate::state::{SharedStore, StoreId};
use crate::status::TaskMeter;
use crate::table::TableNode;
use crate::table::budget::Budget;
use crate::table::overlay::{AnyOverlay, Overlay, Place};
use crate::time::TopicPartition;
use crate::topology::TaskId;

mod apply;
mod commit;
pub(crate) mod flusher;
mod input;
mod life;
mod open;
mod scope;
pub(crate) mod shard;
mod signals;
pub(crate) mod standby;
mod tables;
#[cfg(test)]
mod tests;
mod tracker;

pub(crate) use input::Input;
pub(crate) use scope::{Current, current};

use apply::Unapplied;
use input::Feed;
pub(crate) use signals::TaskSignals;

/// One task under one epoch. Shared on its shard by the agents' futures, the commits and the task's life; never leaves its thread.
pub(crate) struct Task {
    pub id: TaskId,
    pub epoch: u64,
    tenure: u64,
    /// The tenure that lasts: of another one than the task's, nothing may be written.
    tenures: Arc<AtomicU64>,
    pub meter: Arc<TaskMeter>,
    feeds: Vec<Feed>,
    tables: Vec<TaskTable>,
    membership: Arc<dyn Membership>,
    phase: Cell<Phase>,
    /// Since when a commit wants the task to freeze at its next event boundary.
    due: Cell<Option<Instant>>,
    /// What the commit under way has of this task.
    frozen: RefCell<Option<Frozen>>,
    /// The offsets of the last commit, in the order of `feeds`.
    committed: RefCell<Vec<i64>>,
    /// A flush that failed had events of the inputs up to these offsets, and may have left rows in the changelogs that no store has.
    /// Until the inputs are committed that far, the stores' positions stay before those rows: a row that nobody writes again must not be
    /// missed by who restores from there.
    behind: RefCell<Option<Vec<i64>>>,
    /// A commit under way has something of this task, and may have committed its offsets already.
    in_commit: Cell<bool>,
    /// Held while rows of this task go into the stores: what is committed later gets there later.
    applying: tokio::sync::Mutex<()>,
    /// Delivery of what was sent since the last freeze.
    sent: RefCell<Arc<Deliveries>>,
    /// Delivery of the changelog rows of the commit under way.
    in_flight: RefCell<Vec<Arc<Deliveries>>>,
    budget: Rc<Budget>,
    /// Told when the task freezes, wants an early commit, or is at its bound.
    shard: Rc<TaskSignals>,
    /// The first thing that ends this epoch from inside.
    verdict: RefCell<Option<Verdict>>,
    judged: Notify,
    /// Told whenever a commit of this task has ended.
    settled: Notify,
}

/// A table of the task.
pub(crate) struct TaskTable {
    pub node: &'static TableNode,
    pub overlay: Rc<dyn AnyOverlay>,
    pub id: StoreId,
    pub store: SharedStore,
    pub changelog: TopicPartition,
    pub changelog_id: TopicId,
    partitions: u32,
    unapplied: RefCell<Unapplied>,
    /// Behind the newest row that the store gets; its position follows when it may move again (see [`Task::behind`]).
    unplaced: Cell<Option<i64>>,
}

impl TaskTable {
    fn new(
        node: &'static TableNode,
        store: SharedStore,
        changelog: TopicPartition,
        facts: TopicFacts,
        budget: &Rc<Budget>,
    ) -> Self {
        let (table, partition, partitions) = (node.name, changelog.partition, facts.partitions);
        let place = Place { table, partition, partitions, store: store.clone(), budget: budget.clone() };
        let id = StoreId { table: table.to_string(), partition };
        let (overlay, unapplied) = ((node.overlay)(node, place), RefCell::default());
        let unplaced = Cell::default();
        Self { node, overlay, id, store, changelog, changelog_id: facts.id, partitions, unapplied, unplaced }
    }

    /// The same store under an overlay that knows nothing yet.
    fn afresh(&self, budget: &Rc<Budget>) -> Self {
        let facts = TopicFacts { id: self.changelog_id, partitions: self.partitions };
        Self::new(self.node, self.store.clone(), self.changelog.clone(), facts, budget)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Running,
    /// No more events; what is done is committed.
    Draining,
    /// The epoch is over: nothing of it may be committed, produced or applied.
    Ended,
}

/// Why an epoch ends from inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// What was flushed did not land: drop it all and read again from the committed offset, whose rows the stores have.
    StartOver(String),
    /// A store or a fetch failed: open the task anew.
    Reopen(String),
    /// The worker has to end: an agent failed, or a record is refused under `on-decode-error=fail`.
    Fail(String),
}

/// A generation that is being committed.
pub(crate) struct Frozen {
    /// In the order of `feeds`.
    pub offsets: Vec<i64>,
    /// Behind all events that may have written in it. In the order of `feeds`.
    pub reached: Vec<i64>,
    /// Of the overlays, which are frozen together.
    pub generation: u32,
    /// Delivery of what was sent in it.
    pub sent: Arc<Deliveries>,
    /// A commit has taken it up; no other one may.
    pub taken: bool,
}

impl Task {
    /// Freezes if a commit wants it and every agent is between two events: then what is written and what is done belong together.
    fn boundary(&self) {
        if self.due.get().is_none() || self.feeds.iter().any(|feed| feed.seat.busy.get()) {
            return;
        }
        self.due.set(None);
        self.freeze();
        self.shard.froze.notify_one();
        if self.meter.missed_commits.get() > 0 {
            self.meter.missed_commits.set(0);
            self.meter.go_on();
        }
        // Those that waited for the last of the task's agents to get here.
        if self.feeds.len() > 1 {
            self.wake();
        }
    }

    /// A commit wants the task to freeze, now or at its next boundary.
    fn ask_to_freeze(&self, now: Instant) {
        if self.due.get().is_none() {
            self.due.set(Some(now));
        }
        self.boundary();
    }

    /// Whether this agent waits at its boundary for the task's other agents to come to theirs: with none at a boundary when another one
    /// is, the task would never commit. Only in every second interval, for they may be waiting for each other.
    fn gathers(&self) -> bool {
        self.due.get().is_some() && self.meter.missed_commits.get() % 2 == 1
    }

    /// Closes the open generation, in O(1); false if there is nothing new in it.
    fn freeze(&self) -> bool {
        if self.frozen.borrow().is_some() || self.phase.get() == Phase::Ended {
            return false;
        }
        let offsets = self.feeds.iter().map(|feed| match mutant!("commit past what is in flight") {
            true => feed.tracker.borrow().committable() + 1,
            false => feed.tracker.borrow().committable(),
        });
        let offsets: Vec<i64> = offsets.collect();
        let written = self.tables.iter().any(|table| table.overlay.open_rows() > 0);
        if !written && offsets == *self.committed.borrow() {
            return false;
        }
        let generation = self.tables.iter().map(|table| table.overlay.freeze()).max().unwrap_or(0);
        let sent = std::mem::take(&mut *self.sent.borrow_mut());
        let reached = self.feeds.iter().map(|feed| feed.tracker.borrow().position()).collect();
        *self.frozen.borrow_mut() = Some(Frozen { offsets, reached, generation, sent, taken: false });
        true
    }

    /// Where a flush that failed was to get, this epoch's or one's before it; asked when the commit has let go of the task.
    fn left_behind(&self) -> Option<Vec<i64>> {
        let failed = self.frozen.borrow().as_ref().filter(|frozen| frozen.taken).map(|frozen| frozen.reached.clone());
        match (self.behind.take(), failed) {
            (Some(before), Some(failed)) => Some(before.into_iter().zip(failed).map(|(a, b)| a.max(b)).collect()),
            (before, failed) => before.or(failed),
        }
    }

    /// Whether inputs that are committed up to here have passed what a failed flush left behind.
    fn passes(&self, offsets: &[i64]) -> bool {
        let mut behind = self.behind.borrow_mut();
        if behind.as_ref().is_some_and(|behind| offsets.iter().zip(behind).any(|(offset, behind)| offset < behind)) {
            return false;
        }
        *behind = None;
        true
    }

    /// The frozen generation is committed.
    fn thaw(&self, offsets: Vec<i64>) {
        for (feed, &offset) in self.feeds.iter().zip(&offsets) {
            feed.meter.committed.set(offset);
        }
        *self.committed.borrow_mut() = offsets;
        *self.frozen.borrow_mut() = None;
        self.in_flight.borrow_mut().clear();
        self.meter.commits.add(1);
        self.meter.back();
        self.settled.notify_waiters();
        self.wake();
    }

    /// Whether the agents get events now: not while more is written than may wait for a commit, which is hurried before.
    fn feeding(&self) -> bool {
        if !self.budget.wants_commit() {
            return true;
        }
        // While an agent of the task is in the middle of an event there is nothing to hurry for.
        if self.tables.iter().any(|table| table.overlay.wants_commit()) && self.feeds.iter().all(|feed| !feed.seat.busy.get()) {
            self.shard.hurry();
        }
        if !self.is_at_bound() {
            return true;
        }
        self.ask_to_freeze(rt::now());
        !self.is_at_bound()
    }

    fn is_at_bound(&self) -> bool {
        self.budget.is_open_full() && self.tables.iter().any(|table| table.overlay.is_at_bound())
    }

    /// Whether a send may start now: this epoch is alive and its lease holds.
    pub fn may_send(&self) -> bool {
        self.alive() && (mutant!("no lease check") || self.membership.lease().holds(rt::uptime_millis()))
    }

    /// Ends the epoch: what Kafka does not take now is tried again from the committed offset.
    pub fn start_over(&self, why: String) {
        self.judge(Verdict::StartOver(why));
    }

    /// Where the delivery of a send of this task is reported.
    pub fn sent(&self) -> Arc<Deliveries> {
        self.sent.borrow().clone()
    }

    /// Whether this epoch lasts.
    pub fn alive(&self) -> bool {
        self.phase.get() != Phase::Ended && self.tenures.load(Ordering::SeqCst) == self.tenure
    }

    /// Ends the epoch: what is not committed is dropped.
    fn end(&self) {
        self.phase.set(Phase::Ended);
        for feed in &self.feeds {
            feed.close();
        }
        for table in &self.tables {
            table.overlay.end();
        }
        self.settled.notify_waiters();
    }

    /// Stops the intake; agents get `None` when they ask.
    fn drain(&self) {
        if self.phase.get() == Phase::Running {
            self.phase.set(Phase::Draining);
        }
        self.wake();
    }

    /// Ends the epoch from inside; the task's life does what follows.
    fn judge(&self, verdict: Verdict) {
        let mut own = self.verdict.borrow_mut();
        if own.is_none() {
            *own = Some(verdict);
        }
        self.judged.notify_one();
    }

    async fn judgement(&self) -> Verdict {
        loop {
            if let Some(verdict) = self.verdict.borrow().clone() {
                return verdict;
            }
            self.judged.notified().await;
        }
    }

    /// Waits until no commit has anything of this task that could still come to something.
    async fn settled(&self) {
        while self.frozen.borrow().is_some() && self.alive() {
            self.settled.notified().await;
        }
    }

    /// Waits until no commit has anything of this task, whose epoch has ended.
    async fn let_go(&self) {
        while self.in_commit.get() {
            self.settled.notified().await;
        }
    }

    /// Lets parked agents look again.
    fn wake(&self) {
        for feed in &self.feeds {
            feed.waker.wake();
        }
    }

    /// The input that an agent's failure is most likely about, as `topic[partition]@offset`.
    fn in_hand(&self, agent: &str) -> Option<String> {
        self.feeds.iter().filter(|feed| feed.seat.agent == agent).find_map(|feed| {
            let offset = feed.tracker.borrow().oldest()?;
            Some(format!("{}@{offset}", feed.partition))
        })
    }
}

/// What an agent's inputs are bound to.
#[doc(hidden)]
pub struct TaskContext(pub(crate) Rc<Task>);

impl TaskContext {
    pub(crate) fn input(&self, topic: &str) -> Rc<Input> {
        Input::new(&self.0, topic)
    }

    pub(crate) fn overlay<K: Key, V: Value>(&self, table: &'static TableNode) -> Rc<Overlay<K, V>> {
        let own = self.0.tables.iter().find(|own| own.node.index == table.index).expect("a declared table is in the task");
        let any: Rc<dyn Any> = own.overlay.clone().as_any();
        any.downcast().expect("a table's overlay has the table's types")
    }
}
