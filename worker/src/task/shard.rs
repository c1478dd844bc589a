//! A shard: one thread, the tasks that live on it, and the mailbox through which everybody else talks to them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinError;

use super::flusher::Flusher;
use super::{Task, TaskSignals, apply, commit, life, scope};
use crate::error::{QueryError, TableError};
use crate::group::Membership;
use crate::log::{Log, Producer};
use crate::rt::{Ended, Rt};
use crate::settings::Resolved;
use crate::state::{BatchMemory, SharedStore, StoreId, Stores, Throttle, TombstoneLives};
use crate::status::{InputMeter, Status, TableMeter, TaskMeter};
use crate::table::TableNode;
use crate::table::budget::Budget;
use crate::time::TopicPartition;
use crate::topology::{TaskId, Topology};

/// What a shard is asked to do.
pub(crate) enum Message {
    /// Take the task up. It runs until `stop` says otherwise, then `ended` is told.
    Start { id: TaskId, epoch: u64, tenure: u64, stop: mpsc::UnboundedReceiver<Stop>, ended: oneshot::Sender<()> },
    /// The newest value of a row, as it stands in the changelog.
    Query { table: &'static TableNode, partition: u32, key: Vec<u8>, answer: oneshot::Sender<Result<Option<Vec<u8>>, QueryError>> },
}

/// How a task is given up. One that drains may still be told to drop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Drain within this time, commit, close.
    Drain(Duration),
    /// It is lost: commit nothing, drop everything.
    Drop,
}

/// What ends the whole worker from inside a task.
pub(crate) type Failure = String;

/// What all shards share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub rt: Rt,
    pub settings: Arc<Resolved>,
    pub topology: Arc<Topology>,
    pub log: Arc<dyn Log>,
    pub membership: Arc<dyn Membership>,
    pub stores: Arc<Stores>,
    pub status: Arc<Status>,
    pub failures: mpsc::UnboundedSender<Failure>,
    pub flusher: Arc<Flusher>,
    /// How long changelogs keep tombstones.
    pub tombstones: Arc<TombstoneLives>,
    /// Of all restores together.
    pub throttle: Option<Arc<Throttle>>,
    /// What their batches hold together.
    pub batches: Arc<BatchMemory>,
    pub epochs: Arc<AtomicU64>,
    /// Counts the memberships that were lost. A task belongs to the tenure that it was given in; once that is over it may write nothing
    /// any more, also before its shard has heard of it.
    pub tenure: Arc<AtomicU64>,
    /// Some task could not commit its last work before it closed.
    pub undrained: Arc<AtomicBool>,
}

impl Shared {
    /// A task epoch that was never used before in this process.
    pub fn next_epoch(&self) -> u64 {
        self.epochs.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The meter of a task.
    pub fn meter(&self, id: TaskId, shard: usize) -> Arc<TaskMeter> {
        meter(&self.topology, &self.status, id, shard)
    }

    /// Gives up the stores of a task.
    pub async fn close(&self, id: TaskId) {
        let tables = &self.topology.groups[id.group as usize].tables;
        let store = |table: &&TableNode| StoreId { table: table.name.to_string(), partition: id.partition };
        let holds: Vec<SharedStore> = tables.iter().filter_map(|table| self.flusher.closed(&store(table))).collect();
        self.rt.blocking(move || drop(holds)).await;
    }
}

/// The meter of a task, which is the same as long as the process lives.
pub(crate) fn meter(topology: &Topology, status: &Status, id: TaskId, shard: usize) -> Arc<TaskMeter> {
    let group = &topology.groups[id.group as usize];
    status.task(id, || {
        let inputs = group.topics.iter().map(|topic| {
            let agent = group.agents.iter().find(|agent| agent.declared.topics.iter().any(|own| own.name == topic.name));
            let agent = agent.expect("a group's topics come from its agents").name;
            Arc::new(InputMeter::new(TopicPartition::new(topic.name, id.partition), agent))
        });
        let tables = group.tables.iter().map(|table| Arc::new(TableMeter::new(table.name, id.partition)));
        TaskMeter::new(id, shard, inputs.collect(), tables.collect())
    })
}

/// A shard's own things; never leaves its thread.
pub(super) struct Shard {
    shared: Shared,
    pub index: usize,
    pub producer: Arc<dyn Producer>,
    pub signals: Rc<TaskSignals>,
    pub budget: Rc<Budget>,
    /// Taken up and not given up; `None` while it is being opened.
    tasks: RefCell<BTreeMap<TaskId, Option<Rc<Task>>>>,
}

impl std::ops::Deref for Shard {
    type Target = Shared;
    fn deref(&self) -> &Shared {
        &self.shared
    }
}

/// Starts a shard; it ends when the mailbox is closed and its last task has ended.
pub(crate) fn start(shared: Shared, index: usize) -> (mpsc::UnboundedSender<Message>, Ended) {
    let (mailbox, messages) = mpsc::unbounded_channel();
    let rt = shared.rt;
    let ended = rt.start(&format!("faust-shard-{index}"), move || Box::pin(run(shared, index, messages)));
    (mailbox, ended)
}

async fn run(shared: Shared, index: usize, mut messages: mpsc::UnboundedReceiver<Message>) {
    if shared.rt == Rt::threads() {
        scope::enter_shard();
    }
    let shard = Rc::new(Shard::new(shared, index));
    let mut commits = tokio::task::spawn_local(commit::run(shard.clone()));
    let mut applies = tokio::task::spawn_local(apply::run(shard.clone()));
    let mut lives = tokio::task::JoinSet::new();
    loop {
        let message = tokio::select! {
            biased;
            ended = &mut commits => { pass_on(ended); continue }
            ended = &mut applies => { pass_on(ended); continue }
            Some(ended) = lives.join_next() => { pass_on(ended); continue }
            message = messages.recv() => message,
        };
        match message {
            Some(Message::Start { id, epoch, tenure, stop, ended }) => {
                shard.tasks.borrow_mut().insert(id, None);
                lives.spawn_local(life::live(shard.clone(), id, epoch, tenure, stop, ended));
            }
            Some(Message::Query { table, partition, key, answer }) => {
                // Nobody waits for it any more: fine.
                let _ = answer.send(shard.query(table, partition, &key));
            }
            None => break,
        }
    }
    while let Some(ended) = lives.join_next().await {
        pass_on(ended);
    }
    commits.abort();
    applies.abort();
}

/// A part of the shard that panicked takes the shard with it, and that the worker: a partition never stands still silently.
fn pass_on(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        std::panic::resume_unwind(error.into_panic());
    }
}

impl Shard {
    pub fn new(shared: Shared, index: usize) -> Self {
        let (settings, shards) = (shared.settings.clone(), shared.rt.shards());
        let share = |of_worker: u64| of_worker as usize / shards;
        let budget = Rc::new(Budget::new(share(settings.cache_memory), share(settings.commit_bytes)));
        let commit_records = settings.commit_records.map_or(u64::MAX, |records| (records / shards as u64).max(1));
        let signals = Rc::new(TaskSignals::new(shared.status.shard(index), commit_records));
        Self { producer: shared.log.producer(), shared, index, signals, budget, tasks: RefCell::default() }
    }

    /// The tasks whose agents run.
    pub fn running(&self) -> Vec<Rc<Task>> {
        self.tasks.borrow().values().flatten().cloned().collect()
    }

    pub fn set_running(&self, id: TaskId, task: Option<Rc<Task>>) {
        self.tasks.borrow_mut().insert(id, task);
    }

    pub fn forget(&self, id: TaskId) {
        self.tasks.borrow_mut().remove(&id);
    }

    fn query(&self, table: &'static TableNode, partition: u32, key: &[u8]) -> Result<Option<Vec<u8>>, QueryError> {
        let tasks = self.tasks.borrow();
        let group = self.topology.groups.iter().position(|group| group.tables.iter().any(|own| own.index == table.index));
        let id = group.map(|group| TaskId { group: group as u32, partition });
        match id.and_then(|id| tasks.get(&id)) {
            None => Err(QueryError::NotHere { table: table.name, partition }),
            Some(None) => {
                let retry_after = Duration::from_secs(1);
                Err(QueryError::NotReady { table: table.name, partition, retry_after })
            }
            Some(Some(task)) => {
                let own = task.tables.iter().find(|own| own.node.index == table.index).expect("found by group");
                own.overlay.read(key).map_err(|error| match error {
                    TableError::Revoked { .. } => QueryError::NotHere { table: table.name, partition },
                    other => QueryError::Table(other),
                })
            }
        }
    }
}
