//! What handles of an app find while its worker runs in this process.

use std::sync::{Arc, RwLock};

use tokio::sync::{mpsc, oneshot};

use crate::control::drain::{DrainHandle, DrainState};
use crate::error::{QueryError, TableError};
use crate::group::{Drain, Membership, Places};
use crate::log::{Log, Producer, partition_of};
use crate::readiness::{Reason, Unready};
use crate::rt::Rt;
use crate::state::StoreId;
use crate::status::Status;
use crate::table::TableNode;
use crate::task::flusher::Flusher;
use crate::task::shard::Message;
use crate::topology::{Groups, TaskId, Topology};

/// A worker as seen from outside its tasks: sends and queries.
pub(crate) struct Running {
    pub producer: Arc<dyn Producer>,
    log: Arc<dyn Log>,
    pub status: Arc<Status>,
    pub drain: DrainHandle,
    topology: Arc<Topology>,
    /// A copy that lacks no more changelog records than this counts as caught up.
    recovery_lag: u64,
    partitions: RwLock<Option<Vec<u32>>>,
    membership: RwLock<Option<Arc<dyn Membership>>>,
    shards: RwLock<Vec<mpsc::UnboundedSender<Message>>>,
    /// Where the stores of this worker are found, and how to read one.
    stores: RwLock<Option<(Rt, Arc<Flusher>)>>,
}

/// A row of a copy that may be behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StaleRow {
    pub value: Option<Vec<u8>>,
    /// How many changelog records the copy lacked.
    pub lag: u64,
}

impl Running {
    pub fn new(log: Arc<dyn Log>, topology: Arc<Topology>, status: Arc<Status>, recovery_lag: u64) -> Self {
        Self {
            producer: log.producer(),
            log,
            status,
            drain: DrainHandle::new(),
            topology,
            recovery_lag,
            partitions: RwLock::default(),
            membership: RwLock::default(),
            shards: RwLock::default(),
            stores: RwLock::default(),
        }
    }

    /// The topics are there.
    pub fn found(&self, groups: &Groups) {
        *self.partitions.write().unwrap() = Some(groups.iter().map(|group| group.partitions).collect());
    }

    pub fn joined(&self, membership: Arc<dyn Membership>) {
        *self.membership.write().unwrap() = Some(membership);
    }

    /// None before the worker has joined.
    pub fn membership(&self) -> Option<Arc<dyn Membership>> {
        self.membership.read().unwrap().clone()
    }

    /// Whether the worker is a member of its group and all its tasks run; else what is in the way, in one sentence.
    pub fn readiness(&self) -> Result<(), Unready> {
        match self.drain.state() {
            Some(DrainState::Draining) => {
                return Err(Unready::new(Reason::Draining, "draining: its partitions go to other workers"));
            }
            Some(DrainState::Drained) => {
                return Err(Unready::new(Reason::Drained, "drained: it has left the group and waits to be stopped"));
            }
            None => {}
        }
        self.status.running()?;
        if self.is_joined() { Ok(()) } else { Err(Unready::new(Reason::Joining, "joining the group")) }
    }

    /// Whether the worker is a member, every task that is its own runs, and every copy that it keeps is near its changelog's end.
    pub fn caught_up(&self) -> bool {
        self.is_joined() && self.status.caught_up(self.recovery_lag)
    }

    /// Records that this worker has still to process, where that is known.
    pub fn lag(&self) -> Option<i64> {
        self.status.lag().filter(|_| self.is_joined())
    }

    /// How many bytes of records that are fetched and not processed a partition may hold, and all of this worker's together; none
    /// where nothing is fetched ahead.
    pub fn fetch_bound(&self) -> Option<(u64, u64)> {
        // A task takes at most what waits, and then as much may wait again.
        let per_partition = 2 * self.log.fetch_bound()?;
        let inputs: usize = self.status.active().map(|task| task.inputs.len()).sum();
        Some((per_partition, per_partition * inputs as u64))
    }

    /// How far a handover is that was asked for, in a word.
    pub fn handover(&self) -> Option<&'static str> {
        (self.drain.asked() == Some(Drain::Handover)).then(|| if self.has_handed_over() { "handed-over" } else { "handing-over" })
    }

    pub fn has_handed_over(&self) -> bool {
        self.membership().is_some_and(|membership| membership.view().handed_over)
    }

    /// Whether the worker is a member of its group.
    pub fn is_joined(&self) -> bool {
        self.drain.state() != Some(DrainState::Drained) && self.membership().is_some_and(|membership| membership.view().joined)
    }

    pub fn shards(&self, shards: Vec<mpsc::UnboundedSender<Message>>) {
        *self.shards.write().unwrap() = shards;
    }

    pub fn stores(&self, rt: Rt, flusher: Arc<Flusher>) {
        *self.stores.write().unwrap() = Some((rt, flusher));
    }

    /// The partition that a key of a group's table lies in; none before the topics are there.
    fn partition(&self, group: usize, key: &[u8]) -> Option<u32> {
        let partitions = self.partitions.read().unwrap();
        partitions.as_ref().map(|partitions| partition_of(key, partitions[group]))
    }

    /// A row of this worker's copy of a table that it doesn't own, or not yet, and how far that copy is behind (invariant I12). None
    /// where it has none, or nobody knows how far behind it is.
    pub async fn query_copy(&self, table: &'static TableNode, key: Vec<u8>) -> Result<Option<StaleRow>, QueryError> {
        let group = self.group_of(table);
        let Some((partition, (rt, flusher))) =
            group.and_then(|group| Some((self.partition(group, &key)?, self.stores.read().unwrap().clone()?)))
        else {
            return Ok(None);
        };
        let Some(store) = flusher.store(&StoreId { table: table.name.to_string(), partition }) else { return Ok(None) };
        let tables = self.status.tasks().into_iter().flat_map(|task| task.tables.clone());
        // Known before the row is read: the copy is at least as new as it says.
        let lag = tables.filter(|own| own.table == table.name && own.partition == partition).find_map(|own| own.lag());
        let Some(lag) = lag else { return Ok(None) };
        match rt.blocking(move || store.get(&key)).await {
            Ok(value) => Ok(Some(StaleRow { value, lag })),
            Err(error) => Err(QueryError::Table(TableError::Store { table: table.name, reason: error.to_string() })),
        }
    }

    /// Where a partition of a table is that isn't here.
    pub async fn places(&self, table: &'static TableNode, partition: u32) -> Places {
        let (Some(group), Some(membership)) = (self.group_of(table), self.membership()) else { return Places::default() };
        let places = membership.places(TaskId { group: group as u32, partition }).await;
        places.unwrap_or_else(|error| {
            tracing::warn!("table `{}`: nobody knows where partition {partition} is: {error}", table.name);
            Places::default()
        })
    }

    fn group_of(&self, table: &TableNode) -> Option<usize> {
        self.topology.groups.iter().position(|group| group.tables.iter().any(|own| own.index == table.index))
    }

    /// The newest value of a row that this worker holds, as it stands in the changelog.
    pub async fn query(&self, table: &'static TableNode, key: Vec<u8>) -> Result<Option<Vec<u8>>, QueryError> {
        let group = self.group_of(table);
        let Some(partition) = group.and_then(|group| self.partition(group, &key)) else {
            return Err(QueryError::NotStarted { table: table.name });
        };
        // Before there is an assignment nobody can say that the row is elsewhere.
        if !self.is_joined() {
            return Err(QueryError::NotStarted { table: table.name });
        }
        let (answer, on_answer) = oneshot::channel();
        let query = Message::Query { table, partition, key, answer };
        let sent = {
            let shards = self.shards.read().unwrap();
            !shards.is_empty() && shards[partition as usize % shards.len()].send(query).is_ok()
        };
        if !sent {
            return Err(QueryError::NotStarted { table: table.name });
        }
        on_answer.await.unwrap_or(Err(QueryError::NotStarted { table: table.name }))
    }
}
