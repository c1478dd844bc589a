//! Which tasks this worker holds: follows the group's assignments, task by task.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::atomic::Ordering;

use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{mpsc, oneshot};

use crate::cli::{ExitReason, Refusal};
use crate::group::{GroupEvent, Membership};
use crate::task::shard::{Message, Shared, Stop};
use crate::topology::TaskId;

/// The tasks of one worker.
///
/// A task is *wanted* while the last assignment has it, *held* while it runs, *leaving* until it has given everything back. It is never
/// started before its predecessor has left, so a store has one owner (invariant I5); what stays wanted is never touched.
pub(super) struct Tasks {
    shards: Vec<mpsc::UnboundedSender<Message>>,
    shared: Shared,
    wanted: BTreeSet<TaskId>,
    held: BTreeMap<TaskId, Held>,
    leaving: BTreeMap<TaskId, mpsc::UnboundedSender<Stop>>,
    endings: FuturesUnordered<Pin<Box<dyn Future<Output = TaskId> + Send>>>,
    /// The group waits to be told that what it took away has been given up.
    owes_release: bool,
    /// The member has left the group for good.
    left: bool,
}

struct Held {
    stop: mpsc::UnboundedSender<Stop>,
    ended: oneshot::Receiver<()>,
}

impl Tasks {
    pub fn new(shards: Vec<mpsc::UnboundedSender<Message>>, shared: Shared) -> Self {
        Self {
            shards,
            shared,
            wanted: BTreeSet::new(),
            held: BTreeMap::new(),
            leaving: BTreeMap::new(),
            endings: FuturesUnordered::new(),
            owes_release: false,
            left: false,
        }
    }

    /// Does what the group says.
    pub fn follow(&mut self, event: GroupEvent, membership: &dyn Membership) -> Result<(), Refusal> {
        let status = &self.shared.status;
        match event {
            GroupEvent::Assigned { generation, tasks, standbys: _ } => {
                status.go_on();
                status.wanted.set(tasks.len() as i64);
                tracing::info!("generation {generation}: {} tasks", tasks.len());
                self.wanted = tasks.into_iter().collect();
                let taken: Vec<TaskId> = self.held.keys().filter(|id| !self.wanted.contains(id)).copied().collect();
                self.owes_release |= !taken.is_empty();
                for id in taken {
                    self.give_up(id, Stop::Drain(self.shared.settings.revoke_timeout));
                }
            }
            GroupEvent::Lost { reason } => {
                tracing::error!("the membership is lost, all tasks are dropped: {reason}");
                // At once for all shards, also for one that a handler keeps from hearing it.
                self.shared.tenure.fetch_add(1, Ordering::SeqCst);
                self.wanted.clear();
                status.busy();
                status.wanted.set(-1);
                self.owes_release = false;
                // One that is draining still has work of the lost membership.
                for stop in self.leaving.values() {
                    let _ = stop.send(Stop::Drop);
                }
                for id in self.held.keys().copied().collect::<Vec<_>>() {
                    self.give_up(id, Stop::Drop);
                }
            }
            GroupEvent::Idle { reason } => status.idle(reason),
            GroupEvent::Away { reason } => status.away(reason),
            GroupEvent::Failed { reason } => return Err(Refusal::new(ExitReason::KafkaRefuses, reason)),
            GroupEvent::Left => self.leave(),
        }
        self.settle(membership);
        Ok(())
    }

    /// Nothing follows any more: what is still in hand is finished.
    fn leave(&mut self) {
        self.left = true;
        self.wanted.clear();
        self.shared.status.wanted.set(0);
        self.shared.status.go_on();
        for id in self.held.keys().copied().collect::<Vec<_>>() {
            self.give_up(id, Stop::Drain(self.shared.settings.shutdown_timeout));
        }
    }

    /// The member has left the group, and the last task has ended.
    pub fn have_left(&self) -> bool {
        self.left && self.held.is_empty() && self.leaving.is_empty()
    }

    /// Resolves when another task has left; never while none is leaving.
    pub async fn ended(&mut self) {
        match self.endings.next().await {
            Some(id) => {
                self.leaving.remove(&id);
            }
            None => std::future::pending().await,
        }
    }

    /// Starts what is wanted and free, and tells the group when everything it took away is given up.
    pub fn settle(&mut self, membership: &dyn Membership) {
        let free = self.wanted.iter().filter(|id| !self.held.contains_key(id) && !self.leaving.contains_key(id));
        for id in free.copied().collect::<Vec<_>>() {
            self.start(id);
        }
        if self.owes_release && self.leaving.is_empty() {
            self.owes_release = false;
            membership.released();
        }
    }

    /// Gives up everything, in order.
    pub async fn drain(&mut self) {
        self.wanted.clear();
        for id in self.held.keys().copied().collect::<Vec<_>>() {
            self.give_up(id, Stop::Drain(self.shared.settings.shutdown_timeout));
        }
        while let Some(id) = self.endings.next().await {
            self.leaving.remove(&id);
        }
    }

    fn start(&mut self, id: TaskId) {
        let (stop, on_stop) = mpsc::unbounded_channel();
        let (ended, on_end) = oneshot::channel();
        let shard = &self.shards[id.partition as usize % self.shards.len()];
        let tenure = self.shared.tenure.load(Ordering::SeqCst);
        let start = Message::Start { id, epoch: self.shared.next_epoch(), tenure, stop: on_stop, ended };
        // A shard that panicked ends the worker by its own end.
        let _ = shard.send(start);
        self.held.insert(id, Held { stop, ended: on_end });
    }

    fn give_up(&mut self, id: TaskId, how: Stop) {
        let Some(held) = self.held.remove(&id) else { return };
        // A task that has ended by itself needs no stop.
        let _ = held.stop.send(how);
        self.leaving.insert(id, held.stop);
        self.endings.push(Box::pin(async move {
            let _ = held.ended.await;
            id
        }));
    }
}
