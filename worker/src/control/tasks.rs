//! Which tasks this worker holds: follows the group's assignments, task by task.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::Ordering;

use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinError, JoinSet};

use crate::cli::{ExitReason, Refusal};
use crate::group::{GroupEvent, Membership};
use crate::rt;
use crate::status::Role;
use crate::task::shard::{Message, Shared, Stop};
use crate::task::standby;
use crate::topology::TaskId;

/// The tasks of one worker.
///
/// A task is *wanted*, in a role, while the last assignment has it, *held* while it runs or stands by, *leaving* until it has given
/// everything back. It is never started before its predecessor has left, whatever the roles of both, so a store has one owner
/// (invariant I5); what stays wanted in its role is never touched. The stores of a task that leaves are closed when nobody wants
/// them: one that changes its role goes on with them as they are.
pub(super) struct Tasks {
    shards: Vec<mpsc::UnboundedSender<Message>>,
    shared: Shared,
    wanted: BTreeMap<TaskId, Role>,
    held: BTreeMap<TaskId, Held>,
    leaving: BTreeMap<TaskId, Leaving>,
    endings: FuturesUnordered<Pin<Box<dyn Future<Output = Ending> + Send>>>,
    standbys: JoinSet<()>,
    /// The group waits to be told that what it took away has been given up.
    owes_release: bool,
    /// The member has left the group for good.
    left: bool,
}

struct Held {
    role: Role,
    stop: mpsc::UnboundedSender<Stop>,
    ended: oneshot::Receiver<()>,
}

struct Leaving {
    role: Role,
    stop: mpsc::UnboundedSender<Stop>,
}

/// A step of a task on its way out.
enum Ending {
    Ended(TaskId),
    /// And its stores are closed.
    Closed(TaskId),
}

impl Tasks {
    pub fn new(shards: Vec<mpsc::UnboundedSender<Message>>, shared: Shared) -> Self {
        Self {
            shards,
            shared,
            wanted: BTreeMap::new(),
            held: BTreeMap::new(),
            leaving: BTreeMap::new(),
            endings: FuturesUnordered::new(),
            standbys: JoinSet::new(),
            owes_release: false,
            left: false,
        }
    }

    /// Does what the group says.
    pub fn follow(&mut self, event: GroupEvent, membership: &dyn Membership) -> Result<(), Refusal> {
        let status = &self.shared.status;
        match event {
            GroupEvent::Assigned { generation, tasks, standbys } => {
                status.go_on();
                status.wanted.set(tasks.len() as i64);
                status.wanted_standbys.set(standbys.len() as i64);
                tracing::info!("generation {generation}: {} tasks, {} standbys", tasks.len(), standbys.len());
                let copies = standbys.into_iter().map(|id| (id, Role::Standby));
                let wanted = copies.chain(tasks.into_iter().map(|id| (id, Role::Active))).collect();
                let before = std::mem::replace(&mut self.wanted, wanted);
                // Also of what never got to start, because the one before had not left yet, the group waits to hear.
                let is_taken = |(id, role): (&TaskId, &Role)| *role == Role::Active && self.wanted.get(id) != Some(role);
                self.owes_release |= before.iter().any(is_taken);
                let stays = |id: &TaskId, held: &Held| self.wanted.get(id) == Some(&held.role);
                let taken: Vec<TaskId> = self.held.iter().filter(|(id, held)| !stays(id, held)).map(|(id, _)| *id).collect();
                for id in taken {
                    self.give_up(id, Stop::Drain(self.shared.settings.revoke_timeout));
                }
            }
            GroupEvent::Lost { reason } => {
                tracing::error!("the membership is lost, all tasks are dropped: {reason}");
                // At once for all shards, also for one that a handler keeps from hearing it.
                self.shared.tenure.fetch_add(1, Ordering::SeqCst);
                // Copies are written by nobody's leave: they go on, and the next assignment will want most of them.
                self.wanted.retain(|_, role| *role == Role::Standby);
                status.busy();
                status.wanted.set(-1);
                self.owes_release = false;
                // One that is draining still has work of the lost membership.
                for leaving in self.leaving.values() {
                    let _ = leaving.stop.send(Stop::Drop);
                }
                let active = self.held.iter().filter(|(_, held)| held.role == Role::Active);
                for id in active.map(|(id, _)| *id).collect::<Vec<_>>() {
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
        self.shared.status.wanted_standbys.set(0);
        self.shared.status.go_on();
        for id in self.held.keys().copied().collect::<Vec<_>>() {
            self.give_up(id, Stop::Drain(self.shared.settings.shutdown_timeout));
        }
    }

    /// The member has left the group, and the last task has ended.
    pub fn have_left(&self) -> bool {
        self.left && self.held.is_empty() && self.leaving.is_empty()
    }

    /// Resolves when a task is a step further on its way out; never while none is leaving.
    pub async fn ended(&mut self) {
        tokio::select! {
            biased;
            Some(ended) = self.standbys.join_next() => pass_on(ended),
            Some(ending) = self.endings.next() => self.went(ending),
            else => std::future::pending().await,
        }
    }

    fn went(&mut self, ending: Ending) {
        match ending {
            Ending::Ended(id) if !self.wanted.contains_key(&id) => {
                let shared = self.shared.clone();
                self.endings.push(Box::pin(async move {
                    shared.close(id).await;
                    Ending::Closed(id)
                }));
            }
            Ending::Ended(id) | Ending::Closed(id) => {
                self.leaving.remove(&id);
            }
        }
    }

    /// Starts what is wanted and free, and tells the group when everything it took away is given up.
    pub fn settle(&mut self, membership: &dyn Membership) {
        let free = self.wanted.iter().filter(|(id, _)| !self.held.contains_key(id) && !self.leaving.contains_key(id));
        for (id, role) in free.map(|(id, role)| (*id, *role)).collect::<Vec<_>>() {
            self.start(id, role);
        }
        let still_works = |leaving: &Leaving| leaving.role != Role::Standby && !mutant!("released while it drains");
        if self.owes_release && !self.leaving.values().any(still_works) {
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
        while let Some(ending) = self.endings.next().await {
            self.went(ending);
        }
    }

    fn start(&mut self, id: TaskId, role: Role) {
        let (stop, on_stop) = mpsc::unbounded_channel();
        let (ended, on_end) = oneshot::channel();
        let shard = id.partition as usize % self.shards.len();
        match role {
            Role::Active => {
                let tenure = self.shared.tenure.load(Ordering::SeqCst);
                let start = Message::Start { id, epoch: self.shared.next_epoch(), tenure, stop: on_stop, ended };
                // A shard that panicked ends the worker by its own end.
                let _ = self.shards[shard].send(start);
            }
            Role::Standby => {
                let meter = self.shared.meter(id, shard);
                let standby = standby::stand_by(self.shared.clone(), id, meter, on_stop, ended);
                rt::spawn_in(&mut self.standbys, standby);
            }
        }
        self.held.insert(id, Held { role, stop, ended: on_end });
    }

    fn give_up(&mut self, id: TaskId, how: Stop) {
        let Some(Held { role, stop, ended }) = self.held.remove(&id) else { return };
        // A task that has ended by itself needs no stop.
        let _ = stop.send(how);
        self.leaving.insert(id, Leaving { role, stop });
        self.endings.push(Box::pin(async move {
            let _ = ended.await;
            Ending::Ended(id)
        }));
    }
}

/// A standby that panicked takes the control thread with it, and that the worker.
fn pass_on(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        std::panic::resume_unwind(error.into_panic());
    }
}
