//! Heartbeats, and what ends a membership.

use super::{Action, EXPIRED, GroupEvent, Heartbeat, LEFT_BEHIND, Link, Protocol, Sender, Step, Verdict};

/// Nobody tells a member of a rebalance but the answer to its heartbeat, and until all have heard of it nothing moves: what a worker
/// leaves stands still for so long. It is one small request.
const HEARTBEAT_AT_MOST: u64 = 500;
/// While tasks wait for their old owners they are processed by nobody, so the next rebalance must not wait for a heartbeat.
const HEARTBEAT_WHILE_MORE_COMES: u64 = 100;

impl Protocol {
    pub(super) fn heartbeats(&self) -> bool {
        let joined = matches!(self.step, Step::Join | Step::Sync | Step::Stable);
        self.link == Link::Up && self.held.is_some() && joined && !self.heartbeat.unanswered
    }

    pub(super) fn interval(&self) -> u64 {
        let calm = HEARTBEAT_AT_MOST.min(self.identity.session / 10);
        let more = self.step == Step::Stable && self.held.as_ref().is_some_and(|held| held.assignment.more);
        if more { calm.min(HEARTBEAT_WHILE_MORE_COMES) } else { calm }
    }

    pub(super) fn send_heartbeat(&mut self, now: u64) {
        self.heartbeat = Heartbeat { due: now + self.interval(), unanswered: true };
        self.actions.push(Action::Heartbeat { by: self.me.clone() });
    }

    pub(super) fn renew(&mut self, sent: u64) {
        self.renewed = self.renewed.max(sent);
        self.actions.push(Action::Renew { sent });
    }

    /// What the answer to a heartbeat or a commit says about the membership.
    ///
    /// The coordinator raises the generation when it ends the join phase, so a healthy member meets 22 whenever such an answer crosses
    /// the one to its JoinGroup. It is lost only if it is still in the generation it asked with and hasn't asked to join.
    pub(super) fn judge(&mut self, now: u64, by: &Sender, verdict: Verdict) {
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
    pub(super) fn lose(&mut self, now: u64, reason: &str) {
        self.drop_membership(reason);
        match self.step {
            Step::Join => {}
            // Its answer may never come, and what is asked next on this connection would wait behind it.
            Step::Sync => {
                self.step = Step::Join;
                self.hang_up(now);
            }
            _ => self.join(),
        }
    }

    pub(super) fn drop_membership(&mut self, reason: &str) {
        self.me.generation = -1;
        self.leader = false;
        self.pending.clear();
        if self.held.take().is_some() {
            self.losses += 1;
            // By the time it comes back its copies may lack more than it said: another round, and another thing to say.
            self.frozen = None;
            self.nonce += 1;
            self.unreachable = None;
            self.actions.push(Action::EndLease);
            self.emit(GroupEvent::Lost { reason: reason.to_string() });
        }
    }
}
