//! Membership in the consumer group: who has which task, under which generation, and for how long that may be relied on.
//!
//! Ours and not the client library's, because standbys, lags and endpoints must ride on it. Two implementations: `kafka` – the shell
//! around the state machine `protocol`, which asks the `assignor` when it leads, and speaks in `userdata` – and `single`, a group of
//! one for the log in memory.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::log::BoxFuture;
use crate::time::TopicPartition;
use crate::topology::TaskId;

#[cfg(feature = "kafka")]
mod assignor;
mod events;
#[cfg(feature = "kafka")]
mod kafka;
#[cfg(feature = "kafka")]
mod lag;
#[cfg(all(test, feature = "kafka"))]
pub(crate) mod model;
#[cfg(feature = "kafka")]
mod protocol;
mod single;
#[cfg(feature = "kafka")]
mod topology_hash;
#[cfg(feature = "kafka")]
mod userdata;

#[cfg(all(test, feature = "kafka"))]
pub(crate) use kafka::line;
#[cfg(feature = "kafka")]
pub(crate) use kafka::{GroupSettings, KafkaGroup};
#[cfg(feature = "kafka")]
pub(crate) use lag::Lag;
pub(crate) use single::{Offsets, SingleGroup};

/// One member of the group, from join to leave.
///
/// The conversation: [`next`](Membership::next) yields an assignment; the worker starts what is new in it, drains and commits what is
/// no longer in it, and says [`released`](Membership::released), upon which the member asks for what it still misses. What stays in
/// the assignment never stops.
pub(crate) trait Membership: Send + Sync + 'static {
    /// What the group says next. Cancel-safe. After `Left` or `Failed` it never resolves.
    fn next(&self) -> BoxFuture<'_, GroupEvent>;

    /// Everything that the last assignment took away has been given up (drained and committed, or dropped): it may move on.
    fn released(&self);

    /// The group's committed offsets, in the order asked, read only when no transaction is open on them (RequireStable).
    fn committed<'a>(&'a self, of: &'a [TopicPartition]) -> BoxFuture<'a, Result<Vec<Option<i64>>, GroupError>>;

    /// Commits offsets – of the next record to read – under the generation that is ours when this is *called*, and under no later
    /// one: a task may end and be released while the commit waits, and in the next generation its partition may be another member's.
    /// When the group goes on first, that is [`GroupError::Rebalanced`], told when the next generation is there or near; the caller
    /// looks what is still its own, and commits that. So have the future made, *then* look whether the tasks live, then await it.
    fn commit(&self, offsets: Vec<(TopicPartition, i64)>) -> BoxFuture<'_, Result<(), GroupError>>;

    /// Until when this member may write.
    fn lease(&self) -> &Lease;

    /// What to tell about this member.
    fn view(&self) -> MemberView;

    /// Where a task and its copies are, if the group is at rest and knows.
    fn places(&self, of: TaskId) -> BoxFuture<'_, Result<Places, GroupError>>;

    /// The stores of this process lack what their changelogs have. A static member whose place was kept lets the group know of it.
    fn cold(&self);

    /// How many changelog records each copy of a task's tables that this worker has lacks, whether the task is its own, a standby, or
    /// only left on its disk. Said for the first time before the member has joined, or the group takes it for one that keeps no copies;
    /// and whenever it has changed: the next rebalance goes by it, and a copy that has caught up may cause one. A task of its own that
    /// runs lacks nothing: one that lacks much is given to whoever has a better copy.
    fn copies(&self, lags: Vec<(TaskId, u64)>);

    /// Lets others take this member's tasks, while it goes on with them until they are taken. One that is to leave does so for good when
    /// it has none any more, and says [`Left`](GroupEvent::Left); one that hands over may still be told to leave.
    fn drain(&self, how: Drain);

    /// Ends: leaves the group, or keeps its place there if that has an instance id. Call it when everything is committed.
    fn end(&self) -> BoxFuture<'_, ()>;
}

/// What the group says.
#[cfg_attr(not(feature = "kafka"), allow(dead_code, reason = "a group of one is never lost"))]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum GroupEvent {
    /// These tasks are this member's, all others are not. Tasks it had and that are not in the list are to be released. Told again
    /// as it was when a wait is over that left everything in place. Of `standbys` it keeps copies: their tables, brought up to date all
    /// the time and used by nobody.
    Assigned { generation: i32, tasks: Vec<TaskId>, standbys: Vec<TaskId> },
    /// The membership is gone (session expired, fenced by the coordinator): all task epochs end now, nothing may be committed or
    /// produced for them. The member joins anew by itself; an assignment follows. Neither lease nor commit serve the new membership
    /// before that next event is taken, so have the old one's epochs ended when you call [`next`](Membership::next) again.
    Lost { reason: String },
    /// Why the assignment before has no tasks, where that is more than that others have them all, in one sentence. It is a member all
    /// the same; cleared by the next assignment or loss.
    Idle { reason: String },
    /// The coordinator can't be reached, in one sentence; what is assigned stays so, and the next event clears it.
    Away { reason: String },
    /// The group can't be joined at all, in one sentence: the worker ends (exit 69).
    Failed { reason: String },
    /// The member has ended, after [`Membership::drain`] or [`Membership::end`].
    Left,
}

/// How a member gives its tasks away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Drain {
    /// All of them, and then it leaves the group for good.
    Leave,
    /// To those that have copies and can go on with them. It stays, and keeps copies itself.
    Handover,
}

/// Why an offset wasn't committed or read.
#[cfg_attr(not(feature = "kafka"), allow(dead_code, reason = "a group of one is never lost"))]
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum GroupError {
    /// The membership under which the work was done is gone: drop it, the tasks are not ours.
    Lost(String),
    /// The group went on to another generation first; nothing is known to be committed. Commit again what is still yours.
    Rebalanced,
    /// This partition's offset is refused for a reason of its own; those of the others are committed, or refused for such a one too.
    Partition { partition: TopicPartition, reason: String },
    /// Kafka did not answer in time; nothing is known to be committed.
    Unavailable(String),
    /// Kafka refuses for good.
    Refused(String),
}

impl std::fmt::Display for GroupError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Lost(why) => write!(f, "this worker is no longer a member of its group: {why}"),
            Self::Rebalanced => write!(f, "the group has rebalanced before the offsets were committed"),
            Self::Partition { partition, reason } => write!(f, "the offset of {partition} can't be committed: {reason}"),
            Self::Unavailable(why) => write!(f, "the group's coordinator can't be reached: {why}"),
            Self::Refused(why) => write!(f, "Kafka refuses this member: {why}"),
        }
    }
}

impl std::error::Error for GroupError {}

/// What `/state` tells of the membership.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct MemberView {
    pub member: String,
    /// −1 while there is none.
    pub generation: i32,
    /// Whether this member computes the assignment, and is the app's leader, in this generation and no other.
    pub leader: bool,
    /// It has the assignment of this generation and doesn't join anew: whether it leads is certain for now.
    pub settled: bool,
    /// The member id of the leader; empty when it isn't known.
    pub leader_member: String,
    /// It has an assignment that it hasn't lost, also while it joins anew in a rebalance.
    pub joined: bool,
    pub rebalances: u64,
    /// It was to hand over, the leader knows, and it has no task in hand.
    pub handed_over: bool,
}

/// Where the workers can be reached that have a task, as `host:port`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Places {
    /// None while it moves.
    pub owner: Option<String>,
    /// Those that keep copies.
    pub standbys: Vec<String>,
}

/// The right to write, as long as the group certainly counts this member in.
///
/// At least once, nothing on the broker fences a *changelog*: a worker that was stopped beyond its session and wakes would overwrite
/// what the new owner wrote. So nothing is produced unless the last renewal, counted from when it was *sent*, leaves room for the
/// longest time a queued record may take to land.
#[derive(Debug)]
pub(crate) struct Lease {
    /// [`rt::uptime_millis`](crate::rt::uptime_millis) when the request was sent whose answer renewed the session last; 0 = never.
    sent: AtomicU64,
    session: Duration,
    /// Queued records are given up after this long (`message.timeout.ms`).
    margin: Duration,
}

impl Lease {
    /// A lease that nobody has yet.
    pub fn new(session: Duration, margin: Duration) -> Self {
        Self { sent: AtomicU64::new(0), session, margin }
    }

    /// A request that was sent at `sent` renewed the session.
    pub fn renew(&self, sent: u64) {
        self.sent.fetch_max(sent, Ordering::Relaxed);
    }

    /// The membership is gone.
    pub fn end(&self) {
        self.sent.store(0, Ordering::Relaxed);
    }

    /// Whether a write that begins now lands while the session certainly lasts.
    pub fn holds(&self, now: u64) -> bool {
        let sent = self.sent.load(Ordering::Relaxed);
        sent > 0 && now.saturating_sub(sent) + (self.margin.as_millis() as u64) < self.session.as_millis() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_holds_while_a_queued_record_still_lands_within_the_session() {
        let lease = Lease::new(Duration::from_secs(3), Duration::from_secs(1));
        assert!(!lease.holds(10), "never renewed");
        lease.renew(5_000);
        assert!(lease.holds(6_999));
        assert!(!lease.holds(7_000), "would land when the session may be over");
        lease.renew(4_000);
        assert!(lease.holds(6_999), "a late answer to an older request takes nothing away");
        lease.end();
        assert!(!lease.holds(5_001));
    }
}
