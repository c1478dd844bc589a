//! One member of a group in Kafka's classic protocol, as a pure state machine: what happened goes in, what is to be done comes out.
//!
//! ```text
//!          connected            joined            synced
//!   Join ────────────▶ (asked) ────────▶ Sync ───────────▶ Stable
//!    ▲                                    │                  │
//!    └── rebalance, released, lost ◀──────┴──────────────────┘
//! ```
//!
//! Rebalances are cooperative (KIP-429): the member keeps what it has in hand while it joins, and what an assignment takes away stays
//! its own until it is released. The link to the coordinator comes and goes beside all this; it takes no membership with it. Only the
//! coordinator ends that, or a session's length without any answer from it.
//!
//! A *static* member has an instance id, under which its place in the group outlives the process. One that comes back is given what its
//! predecessor had and nobody else hears of it; only if something about it is news to the leader does it ask for a rebalance. A member
//! that *drains* says so and works until its tasks are taken; then it leaves for good, or stays and keeps copies.
//!
//! `link` has the way to the coordinator, `joining` one round of the protocol, `copies` what is told of tables, `session` heartbeats and
//! losses, `ending` the ways out, `leader` what the member that leads does.

use super::assignor::Policy;
use super::lag::Lag;
use super::topology_hash::{GroupHash, TopologyHash};
use super::userdata::{Assignment, Subscription};
use super::{Drain, GroupEvent, MemberView};
use crate::topology::{Groups, TaskId};

mod copies;
mod ending;
mod exchange;
mod joining;
mod leader;
mod link;
mod session;
mod terms;
#[cfg(test)]
mod tests;
mod verdict;

pub(crate) use exchange::{Action, Input, Joined, Peer, Rejected, Sender, Told};
pub(crate) use terms::Terms;
pub(crate) use verdict::Verdict;

const EXPIRED: &str = "the coordinator doesn't know this member any more: its session expired";
const LEFT_BEHIND: &str = "the group went on without this member";

/// What the member is, fixed for its life.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub group_id: String,
    pub groups: Groups,
    /// Session timeout in milliseconds.
    pub session: u64,
    /// Of a static member: the name of its place in the group.
    pub instance: Option<String>,
    pub process: String,
    /// The first nonce; no earlier process of this instance had it.
    pub nonce: u64,
    pub endpoint: String,
    pub zone: String,
    pub node: String,
    /// By which it plans when it leads.
    pub policy: Policy,
}

/// The member.
#[derive(Debug)]
pub(crate) struct Protocol {
    identity: Identity,
    topology: TopologyHash,
    link: Link,
    step: Step,
    /// Attempts since the coordinator last gave a good answer.
    failures: u32,
    /// As of the last answer to a JoinGroup; id and generation that requests carry.
    me: Sender,
    leader: bool,
    held: Option<Held>,
    /// Taken away and not yet released, with the assignment that took it.
    pending: Vec<(TaskId, u64)>,
    /// What the last JoinGroup said.
    said: Subscription,
    nonce: u64,
    /// The leader planned the last assignment before it had heard what this process says: it is what a predecessor had.
    unheard: bool,
    /// What the worker's copies lack, as it said last; none of one that keeps no copies.
    copies: Option<Vec<(TaskId, Lag)>>,
    /// The same as this rebalance's JoinGroups say it: bytes that change while one is out would make another rebalance.
    frozen: Option<Option<Vec<(TaskId, Lag)>>>,
    drains: Option<Drain>,
    /// The process ends, and waits for nothing that it can do without.
    ending: bool,
    seq: u64,
    losses: u64,
    rebalances: u64,
    /// When the last request was sent whose answer renewed the session.
    renewed: u64,
    heartbeat: Heartbeat,
    /// The last event says that the coordinator can't be reached.
    unreachable: Option<String>,
    actions: Vec<Action>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    Down { until: u64 },
    Connecting,
    Up,
}

/// While the link is up, `Join`, `Sync` and `Leave` each mean that this request is out and not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Join,
    Sync,
    Stable,
    Leave,
    Ended,
}

/// The last assignment.
#[derive(Debug)]
struct Held {
    generation: i32,
    assignment: Assignment,
}

#[derive(Debug, Default)]
struct Heartbeat {
    due: u64,
    unanswered: bool,
}

impl Protocol {
    /// A member that hasn't joined yet. Its first tick connects.
    pub fn new(identity: Identity) -> Self {
        Self {
            topology: TopologyHash::of(&identity.groups),
            nonce: identity.nonce,
            identity,
            link: Link::Down { until: 0 },
            step: Step::Join,
            failures: 0,
            me: Sender { member: String::new(), generation: -1 },
            leader: false,
            held: None,
            pending: Vec::new(),
            said: Subscription::default(),
            unheard: false,
            copies: None,
            frozen: None,
            drains: None,
            ending: false,
            seq: 0,
            losses: 0,
            rebalances: 0,
            renewed: 0,
            heartbeat: Heartbeat::default(),
            unreachable: None,
            actions: Vec::new(),
        }
    }

    pub fn step(&mut self, now: u64, input: Input) -> Vec<Action> {
        if self.step != Step::Ended {
            self.take(now, input);
            self.tick(now);
        }
        std::mem::take(&mut self.actions)
    }

    /// When the next [`Input::Tick`] is due.
    pub fn deadline(&self) -> Option<u64> {
        if self.step == Step::Ended {
            return None;
        }
        let retry = match self.link {
            Link::Down { until } => Some(until),
            Link::Connecting | Link::Up => None,
        };
        let lost = (self.link != Link::Up && self.held.is_some()).then_some(self.renewed + self.identity.session);
        let heartbeat = self.heartbeats().then_some(self.heartbeat.due);
        [retry, lost, heartbeat].into_iter().flatten().min()
    }

    /// The id and generation that requests carry.
    pub fn sender(&self) -> &Sender {
        &self.me
    }

    /// Whether a commit may be sent now. Between the answers to JoinGroup and SyncGroup it would be refused.
    pub fn may_commit(&self) -> bool {
        self.link == Link::Up && self.held.is_some() && matches!(self.step, Step::Join | Step::Stable)
    }

    /// Number of the last event that changed what this member has.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// How often the membership was lost.
    pub fn losses(&self) -> u64 {
        self.losses
    }

    pub fn ended(&self) -> bool {
        self.step == Step::Ended
    }

    pub fn view(&self) -> MemberView {
        let named = self.held.as_ref().map(|held| held.assignment.leader.clone()).unwrap_or_default();
        MemberView {
            member: self.me.member.clone(),
            generation: self.me.generation,
            leader: self.leader,
            settled: self.step == Step::Stable && self.held.as_ref().is_some_and(|held| held.generation == self.me.generation),
            // Of itself it knows better: one that came back has another id than its predecessor, who planned.
            leader_member: if self.leader { self.me.member.clone() } else { named },
            joined: self.held.is_some(),
            rebalances: self.rebalances,
            // Without an assignment a predecessor's tasks may still be counted as its own.
            handed_over: self.held.is_some()
                && self.drains == Some(Drain::Handover)
                && self.said.drains == self.drains
                && self.in_hand().is_empty(),
        }
    }

    fn take(&mut self, now: u64, input: Input) {
        match input {
            Input::Tick => {}
            Input::Connected => self.connected(now),
            Input::Disconnected { reason } => self.disconnected(now, &reason),
            Input::Refused { reason } => self.fail(reason),
            Input::Released { seq } => self.released(seq),
            Input::Cold => self.cold(),
            Input::Copies { lags } => self.has_copies(lags),
            Input::Drain { how } => self.drain(how),
            Input::End => self.end(),
            Input::LeaveAnswered { verdict } if self.step == Step::Leave => self.leave_answered(now, verdict),
            // Leaving, or answered over a link that has been given up.
            _ if self.step == Step::Leave || self.link != Link::Up => {}
            Input::LeaveAnswered { .. } => {}
            Input::Joined { answer: Ok(joined) } => self.joined(joined),
            Input::Joined { answer: Err(rejected) } => self.join_rejected(now, rejected),
            Input::Synced { by, .. } if by != self.me || self.step != Step::Sync => {}
            Input::Synced { sent, answer: Ok(assignment), .. } => self.synced(now, sent, assignment),
            Input::Synced { answer: Err(verdict), .. } => self.turned_away(now, verdict),
            Input::Heartbeat { sent, by, verdict } => {
                self.heartbeat.unanswered = false;
                if by.member == self.me.member && matches!(verdict, Verdict::Ok | Verdict::Rebalance) {
                    self.renew(sent);
                    self.reachable();
                }
                self.judge(now, &by, verdict);
            }
            Input::CommitRefused { by, verdict } => self.judge(now, &by, verdict),
        }
    }

    fn tick(&mut self, now: u64) {
        if self.step == Step::Ended {
            return;
        }
        if self.link != Link::Up && self.held.is_some() && now.saturating_sub(self.renewed) >= self.identity.session {
            let reason = format!("no answer from the group's coordinator for the session timeout of {} ms", self.identity.session);
            self.lose(now, &reason);
        }
        if matches!(self.link, Link::Down { until } if now >= until) {
            self.link = Link::Connecting;
            self.actions.push(Action::Connect);
        }
        if self.heartbeats() && now >= self.heartbeat.due {
            self.send_heartbeat(now);
        }
    }

    // === events ===

    fn emit_assigned(&mut self) {
        let Some(held) = &self.held else { return };
        let foreign = held.assignment.topology != self.topology;
        self.unreachable = None;
        self.emit(GroupEvent::Assigned {
            generation: held.generation,
            tasks: held.assignment.active.clone(),
            standbys: held.assignment.kept(),
        });
        if foreign {
            let reason = "the group's leader runs this app with other topics or partition counts; this worker gets tasks when the \
                          workers of the other version have left"
                .to_string();
            self.emit(GroupEvent::Idle { reason });
        }
    }

    fn emit(&mut self, event: GroupEvent) {
        self.actions.push(Action::Emit { seq: self.seq, event });
    }
}
