//! What goes into the state machine, and what comes out.

use super::Verdict;
use crate::group::userdata::{Assignment, Subscription};
use crate::group::{Drain, GroupEvent};
use crate::time::TopicPartition;
use crate::topology::TaskId;

/// What happened. Answers count only as long as the link stands over which they were asked.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    /// Time has passed.
    Tick,
    /// The coordinator is found, and connected to.
    Connected,
    /// It can't be found or connected to, or a connection to it broke, or an answer took too long.
    Disconnected {
        reason: String,
    },
    /// Kafka won't have us.
    Refused {
        reason: String,
    },
    Joined {
        answer: Result<Joined, Rejected>,
    },
    Synced {
        sent: u64,
        by: Sender,
        answer: Result<Assignment, Verdict>,
    },
    Heartbeat {
        sent: u64,
        by: Sender,
        verdict: Verdict,
    },
    /// An offset commit was refused.
    CommitRefused {
        by: Sender,
        verdict: Verdict,
    },
    /// All that the assignment `seq` and those before it took away is given up.
    Released {
        seq: u64,
    },
    /// A store of ours lacked rows that its changelog has.
    Cold,
    /// What the copies lack that this worker has.
    Copies {
        lags: Vec<(TaskId, u64)>,
    },
    /// Give everything away.
    Drain {
        how: Drain,
    },
    /// The process ends.
    End,
    /// The coordinator has answered the farewell.
    LeaveAnswered {
        verdict: Verdict,
    },
}

/// Who a request came from. An answer to what the member isn't any more says nothing about what it is.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Sender {
    pub member: String,
    pub generation: i32,
}

#[derive(Clone, Debug)]
pub(crate) struct Joined {
    pub member: String,
    pub generation: i32,
    pub leader: String,
    /// All members, if this one leads.
    pub peers: Vec<Peer>,
    /// The coordinator wants the assignment to stay as it is (KIP-814).
    pub skip_assignment: bool,
}

/// A refused JoinGroup; it may carry the id to come back with.
#[derive(Clone, Debug)]
pub(crate) struct Rejected {
    pub member: String,
    pub verdict: Verdict,
}

/// A member as the leader sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    pub id: String,
    /// None if its user-data can't be read.
    pub subscription: Option<Subscription>,
    /// What it has in hand, in terms that don't depend on its topology.
    pub partitions: Vec<TopicPartition>,
}

/// What the leader tells a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub member: String,
    /// In the member's own terms.
    pub assignment: Assignment,
    /// Its active tasks in the leader's terms, to be shown as partitions.
    pub active: Vec<TaskId>,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Drop every connection and everything asked over it; find the coordinator and connect.
    Connect,
    Join {
        member: String,
        subscription: Subscription,
    },
    Sync {
        by: Sender,
        assignments: Vec<Told>,
    },
    Heartbeat {
        by: Sender,
    },
    Leave {
        member: String,
    },
    Renew {
        sent: u64,
    },
    EndLease,
    /// `seq` is what [`Input::Released`] answers with.
    Emit {
        seq: u64,
        event: GroupEvent,
    },
}
