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
//! that *drains* says so, works until its tasks are taken, and leaves for good when it has none.

use super::GroupEvent;
use super::topology_hash::TopologyHash;
use super::userdata::{Assignment, Subscription};
use crate::topology::{Groups, TaskId};

mod exchange;
mod leader;
#[cfg(test)]
mod tests;
mod verdict;

pub(crate) use exchange::{Action, Input, Joined, Peer, Rejected, Sender};
pub(crate) use verdict::Verdict;

const HEARTBEAT_AT_MOST: u64 = 3_000;
/// While tasks wait for their old owners they are processed by nobody, so the next rebalance must not wait for a heartbeat.
const HEARTBEAT_WHILE_MORE_COMES: u64 = 250;
const EXPIRED: &str = "the coordinator doesn't know this member any more: its session expired";
const LEFT_BEHIND: &str = "the group went on without this member";
const BACK_OFF: u64 = 100;
const BACK_OFF_AT_MOST: u64 = 5_000;

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
    /// What the worker's copies lack, as it said last.
    copies: Vec<(TaskId, u64)>,
    /// Everything is given away, then the member leaves.
    draining: bool,
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
            copies: Vec::new(),
            draining: false,
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

    pub fn view(&self) -> super::MemberView {
        super::MemberView {
            member: self.me.member.clone(),
            generation: self.me.generation,
            leader: self.leader,
            settled: self.step == Step::Stable && self.held.as_ref().is_some_and(|held| held.generation == self.me.generation),
            joined: self.held.is_some(),
            rebalances: self.rebalances,
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
            Input::Copies { lags } => self.copies = lags,
            Input::Drain => self.drain(),
            Input::End => self.end(),
            Input::LeaveAnswered { verdict } if self.step == Step::Leave => self.leave_answered(now, verdict),
            // Leaving, or answered over a link that has been given up.
            _ if self.step == Step::Leave || self.link != Link::Up => {}
            Input::LeaveAnswered { .. } => {}
            Input::Joined { sent, answer: Ok(joined) } => self.joined(sent, joined),
            Input::Joined { answer: Err(rejected), .. } => self.join_rejected(now, rejected),
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

    // === the link ===

    fn connected(&mut self, now: u64) {
        if self.link != Link::Connecting {
            return;
        }
        self.link = Link::Up;
        match self.step {
            Step::Join | Step::Sync => self.join(),
            Step::Stable => self.send_heartbeat(now),
            Step::Leave => self.say_farewell(),
            Step::Ended => {}
        }
    }

    fn disconnected(&mut self, now: u64, reason: &str) {
        match self.link {
            _ if self.step == Step::Leave && self.ending => return self.left(),
            Link::Down { .. } => return,
            Link::Connecting => self.wait(reason),
            Link::Up if self.failures > 1 => self.wait(reason),
            Link::Up => {}
        }
        let back_off = BACK_OFF.checked_shl(self.failures).unwrap_or(BACK_OFF_AT_MOST).min(BACK_OFF_AT_MOST);
        let first_after_an_answer = self.failures == 0 && self.link == Link::Up;
        self.failures = (self.failures + 1).min(16);
        self.link = Link::Down { until: if first_after_an_answer { now } else { now + back_off } };
        self.heartbeat.unanswered = false;
    }

    fn wait(&mut self, reason: &str) {
        let reason = format!("waiting for the coordinator of group `{}`: {reason}", self.identity.group_id);
        if self.unreachable.as_ref() != Some(&reason) {
            self.unreachable = Some(reason.clone());
            self.emit(GroupEvent::Away { reason });
        }
    }

    /// A good answer came. If somebody was told otherwise, and no other event will follow, the assignment that goes on is told again.
    fn reachable(&mut self) {
        self.failures = 0;
        if self.step == Step::Stable && self.unreachable.is_some() {
            self.emit_assigned();
        }
    }

    // === joining ===

    fn join(&mut self) {
        self.step = Step::Join;
        if self.link != Link::Up {
            return;
        }
        let hand = self.in_hand();
        if self.draining && hand.is_empty() && !self.may_have_inherited() {
            return self.farewell();
        }
        let subscription = Subscription {
            process: self.identity.process.clone(),
            nonce: self.nonce,
            endpoint: self.identity.endpoint.clone(),
            zone: self.identity.zone.clone(),
            generation: self.held.as_ref().map_or(-1, |held| held.generation),
            active: hand,
            standby: Vec::new(),
            positions: self.copies.clone(),
            topology: self.topology,
            draining: self.draining,
        };
        self.said = subscription.clone();
        self.actions.push(Action::Join { member: self.me.member.clone(), subscription });
    }

    /// Assigned, or taken away and not yet released; sorted.
    fn in_hand(&self) -> Vec<TaskId> {
        let held = self.held.iter().flat_map(|held| &held.assignment.active);
        let pending = self.pending.iter().filter(|_| !mutant!("not in hand while it drains"));
        let mut tasks: Vec<TaskId> = held.chain(pending.map(|(task, _)| task)).copied().collect();
        tasks.sort();
        tasks
    }

    /// Whether the group may still count a predecessor of this process in, whose place and tasks it gets when it joins.
    fn may_have_inherited(&self) -> bool {
        self.identity.instance.is_some() && self.me.member.is_empty() && self.losses == 0
    }

    fn joined(&mut self, sent: u64, joined: Joined) {
        if self.step != Step::Join {
            return;
        }
        self.failures = 0;
        if self.held.as_ref().is_some_and(|held| joined.generation < held.generation) {
            self.drop_membership("the group's generation went back: the coordinator has lost its state");
        }
        // A static member that is silent stays in the group, and what it has been given since it last joined is not in what it said then:
        // the leader has given that away.
        if self.held.is_some() && joined.generation > self.me.generation + 1 {
            self.drop_membership(LEFT_BEHIND);
        }
        self.renew(sent);
        self.leader = joined.leader == joined.member;
        self.me = Sender { member: joined.member, generation: joined.generation };
        self.step = Step::Sync;
        let assignments = match self.leader && !joined.skip_assignment {
            true => leader::plan(&self.me.member, &joined.peers, &self.identity.groups),
            false => Vec::new(),
        };
        self.actions.push(Action::Sync { by: self.me.clone(), assignments });
    }

    fn join_rejected(&mut self, now: u64, rejected: Rejected) {
        if self.step != Step::Join {
            return;
        }
        match rejected.verdict {
            Verdict::TakeId => {
                self.me.member = rejected.member;
                self.join();
            }
            Verdict::Rebalance => self.disconnected(now, "the coordinator answers a join with a rebalance"),
            verdict => self.turned_away(now, verdict),
        }
    }

    /// The answer to a JoinGroup or SyncGroup was no, and nothing else is out.
    fn turned_away(&mut self, now: u64, verdict: Verdict) {
        match verdict {
            Verdict::UnknownMember => {
                self.drop_membership(EXPIRED);
                self.me.member.clear();
                self.join();
            }
            Verdict::OtherGeneration => {
                self.drop_membership(LEFT_BEHIND);
                self.join();
            }
            Verdict::Fenced => self.fenced(),
            Verdict::Refused(why) => self.refused(why),
            Verdict::Moved(why) | Verdict::Retry(why) => self.disconnected(now, why),
            Verdict::Rebalance | Verdict::TakeId | Verdict::Ok => self.join(),
        }
    }

    fn synced(&mut self, now: u64, sent: u64, mut assignment: Assignment) {
        if assignment.topology != self.topology {
            assignment.active.clear();
        }
        if self.draining {
            let hand = self.in_hand();
            // Takes nothing up; and what a leader that was told leaves here, it has nobody else for.
            assignment.active.retain(|task| !self.said.draining && hand.binary_search(task).is_ok());
        }
        self.renew(sent);
        self.failures = 0;
        self.rebalances += 1;
        self.seq += 1;
        let gone = |task: &TaskId| assignment.active.binary_search(task).is_err();
        let taken = |task: TaskId| (task, self.pending.iter().find(|(other, _)| *other == task).map_or(self.seq, |(_, seq)| *seq));
        let pending = self.in_hand().into_iter().filter(gone).map(taken).collect();
        let released_meanwhile = self.said.active.iter().any(gone);
        let said = self.said.heard();
        // A leader of an older version doesn't tell what it has heard; that it has heard nothing is possible only at first.
        let untold = assignment.heard.is_none() && self.rebalances == 1 && self.identity.instance.is_some();
        let unheard = assignment.heard.filter(|heard| heard.nonce != said.nonce);
        let is_another = unheard.is_some_and(|heard| heard.portrait != said.portrait) || assignment.topology != self.topology;
        self.unheard = unheard.is_some() || untold;
        // Whatever is more to come may wait for the predecessor, who can't release any more.
        let is_news = self.unheard && (is_another || assignment.more);
        self.pending = pending;
        self.held = Some(Held { generation: self.me.generation, assignment });
        self.step = Step::Stable;
        self.heartbeat.due = now + self.interval();
        self.emit_assigned();
        if self.draining && self.in_hand().is_empty() {
            self.farewell();
        } else if is_news || self.draining && !self.said.draining || released_meanwhile && self.pending.is_empty() {
            self.want_rebalance();
        }
    }

    fn released(&mut self, seq: u64) {
        let had = self.pending.len();
        self.pending.retain(|(_, taken)| *taken > seq);
        if had > 0 && self.pending.is_empty() && self.step == Step::Stable {
            self.want_rebalance();
        }
    }

    /// The stores of this process are not what its predecessor had. Whoever plans should know, unless it does.
    fn cold(&mut self) {
        if self.unheard && self.step == Step::Stable && !mutant!("cold is not told") {
            self.want_rebalance();
        }
    }

    fn want_rebalance(&mut self) {
        self.nonce += 1;
        self.unheard = false;
        self.join();
    }

    // === the session ===

    fn heartbeats(&self) -> bool {
        let joined = matches!(self.step, Step::Join | Step::Sync | Step::Stable);
        self.link == Link::Up && self.held.is_some() && joined && !self.heartbeat.unanswered
    }

    fn interval(&self) -> u64 {
        let calm = HEARTBEAT_AT_MOST.min(self.identity.session / 3);
        let more = self.step == Step::Stable && self.held.as_ref().is_some_and(|held| held.assignment.more);
        if more { calm.min(HEARTBEAT_WHILE_MORE_COMES) } else { calm }
    }

    fn send_heartbeat(&mut self, now: u64) {
        self.heartbeat = Heartbeat { due: now + self.interval(), unanswered: true };
        self.actions.push(Action::Heartbeat { by: self.me.clone() });
    }

    fn renew(&mut self, sent: u64) {
        self.renewed = self.renewed.max(sent);
        self.actions.push(Action::Renew { sent });
    }

    /// What the answer to a heartbeat or a commit says about the membership.
    ///
    /// The coordinator raises the generation when it ends the join phase, so a healthy member meets 22 whenever such an answer crosses
    /// the one to its JoinGroup. It is lost only if it is still in the generation it asked with and hasn't asked to join.
    fn judge(&mut self, now: u64, by: &Sender, verdict: Verdict) {
        if by.member != self.me.member || self.held.is_none() {
            return;
        }
        match verdict {
            Verdict::Rebalance if self.step == Step::Stable => self.join(),
            Verdict::OtherGeneration if self.step == Step::Stable && by.generation == self.me.generation => {
                self.lose(now, LEFT_BEHIND);
            }
            Verdict::UnknownMember => {
                self.me.member.clear();
                self.lose(now, EXPIRED);
            }
            Verdict::Fenced => self.fenced(),
            Verdict::Moved(why) | Verdict::Retry(why) => self.disconnected(now, why),
            Verdict::Refused(why) => self.refused(why),
            Verdict::Ok | Verdict::Rebalance | Verdict::OtherGeneration | Verdict::TakeId => {}
        }
    }

    /// Ends the membership and joins anew. A JoinGroup that is out stays the one that is out.
    fn lose(&mut self, now: u64, reason: &str) {
        self.drop_membership(reason);
        match self.step {
            Step::Join => {}
            // Its answer may never come, and what is asked next on this connection would wait behind it.
            Step::Sync => (self.step, self.link) = (Step::Join, Link::Down { until: now }),
            _ => self.join(),
        }
    }

    fn drop_membership(&mut self, reason: &str) {
        self.me.generation = -1;
        self.leader = false;
        self.pending.clear();
        if self.held.take().is_some() {
            self.losses += 1;
            self.unreachable = None;
            self.actions.push(Action::EndLease);
            self.emit(GroupEvent::Lost { reason: reason.to_string() });
        }
    }

    // === the end ===

    fn fenced(&mut self) {
        self.drop_membership("another process has taken this member's place");
        let Identity { group_id, instance, .. } = &self.identity;
        let instance = instance.as_ref().map(|id| format!(" with its instance id `{id}`")).unwrap_or_default();
        self.fail(format!(
            "another process has taken this worker's place in group `{group_id}`{instance}; give every worker an instance id of its own, \
             and end the old one before a new one starts"
        ));
    }

    fn refused(&mut self, why: &str) {
        self.fail(format!("Kafka refuses this worker in group `{}`: {why}", self.identity.group_id));
    }

    fn fail(&mut self, reason: String) {
        self.drop_membership(&reason);
        self.step = Step::Ended;
        self.emit(GroupEvent::Failed { reason });
    }

    fn drain(&mut self) {
        if std::mem::replace(&mut self.draining, true) {
            return;
        }
        // With another request out, its answer is what goes on.
        if self.step == Step::Stable || self.step == Step::Join && self.link != Link::Up {
            self.want_rebalance();
        }
    }

    /// The process ends. A static member's place stays for the one that comes back, unless it was to be given up.
    fn end(&mut self) {
        self.ending = true;
        if self.step == Step::Leave && self.link == Link::Up {
            return;
        }
        let stays = self.identity.instance.is_some() && !self.draining;
        if stays || self.link != Link::Up {
            self.actions.push(Action::EndLease);
            self.left();
        } else {
            self.farewell();
        }
    }

    fn farewell(&mut self) {
        self.actions.push(Action::EndLease);
        self.held = None;
        self.pending.clear();
        if self.me.member.is_empty() {
            self.left();
        } else {
            self.step = Step::Leave;
            self.say_farewell();
        }
    }

    fn say_farewell(&mut self) {
        self.actions.push(Action::Leave { member: self.me.member.clone() });
    }

    /// A member that drains has left when the coordinator doesn't know it any more, and says so not before.
    fn leave_answered(&mut self, now: u64, verdict: Verdict) {
        match verdict {
            Verdict::Ok | Verdict::UnknownMember => self.left(),
            _ if self.ending => self.left(),
            Verdict::Fenced => self.fenced(),
            Verdict::Refused(why) => self.refused(why),
            Verdict::Moved(why) | Verdict::Retry(why) => self.disconnected(now, why),
            Verdict::Rebalance | Verdict::OtherGeneration | Verdict::TakeId => {
                self.disconnected(now, "the coordinator did not take the farewell");
            }
        }
    }

    fn left(&mut self) {
        self.step = Step::Ended;
        self.held = None;
        self.emit(GroupEvent::Left);
    }

    // === events ===

    fn emit_assigned(&mut self) {
        let Some(held) = &self.held else { return };
        let foreign = held.assignment.topology != self.topology;
        self.unreachable = None;
        self.emit(GroupEvent::Assigned {
            generation: held.generation,
            tasks: held.assignment.active.clone(),
            standbys: held.assignment.standby.clone(),
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
