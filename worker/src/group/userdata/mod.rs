//! The user-data that rides on the group protocol: what a member tells of itself when it joins, and what the leader tells it.
//!
//! A format only ever grows at its end, so that during a rolling upgrade every version reads every other: a reader takes the
//! fields it knows and leaves the rest alone. The coordinator keeps all members' bytes in one record of limited size, so numbers are
//! LEB128, lags a byte, and nobody is told anything of others' tasks.

use super::Drain;
use super::lag::Lag;
use super::topology_hash::{GroupHash, TopologyHash};
use crate::topology::TaskId;

mod assignment;
mod bytes;
mod subscription;
#[cfg(test)]
mod tests;

/// What is written. 2 brought `drains` and `heard`, 3 the copies.
const VERSION: u8 = 3;
const HAS_DRAINS: u8 = 2;
const HAS_COPIES: u8 = 3;

/// What a member tells of itself.
///
/// The broker rebalances when a single byte of it changes, so it is put together once for each rebalance (the `nonce` counts those that
/// the member wants, from a number that no earlier process had) and repeated as it is whenever an answer got lost.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Subscription {
    /// The instance id of a static member; else the process, whatever member id the coordinator gives it.
    pub process: String,
    pub nonce: u64,
    /// Where other workers reach this one, as `host:port`; empty when they can't.
    pub endpoint: String,
    /// Availability zone and machine; empty when unknown.
    pub zone: String,
    pub node: String,
    /// The generation that gave the member its active tasks; −1 when it has none.
    pub generation: i32,
    /// The active tasks in its hands: assigned, or taken away and not yet released.
    pub active: Vec<TaskId>,
    /// The copies that its assignment has it keep up to date, and those that it warms up.
    pub standby: Vec<TaskId>,
    pub warmups: Vec<TaskId>,
    /// How far the copies are that it has, sorted: its own, those it keeps up to date, those left on its disk. None of one that keeps no
    /// copies.
    pub copies: Option<Vec<(TaskId, Lag)>>,
    pub topology: TopologyHash,
    /// Its co-partition groups, so that versions of the app that differ in one can share the others.
    pub groups: Vec<GroupHash>,
    pub drains: Option<Drain>,
}

/// What the leader tells a member: its own tasks only, or the record of the group would grow with members × partitions.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Assignment {
    pub active: Vec<TaskId>,
    /// Copies to keep up to date.
    pub standby: Vec<TaskId>,
    /// Copies to make because their tasks are to move here: beside the standbys, or one of them.
    pub warmups: Vec<TaskId>,
    /// From which lag on a copy has caught up: the leader's word, or workers with other settings would wait for each other. Of a leader that
    /// knows no copies, every one has.
    pub recovery_lag: Lag,
    /// Member id of the member that computed it.
    pub leader: String,
    /// Tasks wait for their old owners: the next rebalance is near.
    pub more: bool,
    /// The topology that the task ids mean.
    pub topology: TopologyHash,
    /// To what this is the answer; none of a leader that doesn't say.
    pub heard: Option<Heard>,
}

/// What the leader had heard of the member when it planned.
///
/// A static member that comes back is given what its predecessor had, and the leader isn't asked: by this it sees that its own words
/// were not heard, and whether they say anything that the leader should know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Heard {
    pub nonce: u64,
    pub portrait: u64,
}

impl Assignment {
    /// Whether the leader is of a version that leaves a task with a member that drains until somebody else has a copy.
    pub fn knows_copies(&self) -> bool {
        self.recovery_lag != Lag::UNKNOWN
    }

    /// All copies to keep up to date, sorted.
    pub fn kept(&self) -> Vec<TaskId> {
        let mut kept = [self.standby.as_slice(), &self.warmups].concat();
        kept.sort();
        kept.dedup();
        kept
    }
}
