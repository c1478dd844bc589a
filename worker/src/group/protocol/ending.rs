//! The ways out: fenced, refused, drained, ended.

use super::{Action, Drain, GroupEvent, Identity, Link, Protocol, Step, Verdict};

impl Protocol {
    pub(super) fn fenced(&mut self) {
        self.drop_membership("another process has taken this member's place");
        let Identity { group_id, instance, .. } = &self.identity;
        let instance = instance.as_ref().map(|id| format!(" with its instance id `{id}`")).unwrap_or_default();
        self.fail(format!(
            "another process has taken this worker's place in group `{group_id}`{instance}; give every worker an instance id of its own, \
             and end the old one before a new one starts"
        ));
    }

    pub(super) fn refused(&mut self, why: &str) {
        self.fail(format!("Kafka refuses this worker in group `{}`: {why}", self.identity.group_id));
    }

    pub(super) fn fail(&mut self, reason: String) {
        self.drop_membership(&reason);
        self.step = Step::Ended;
        self.emit(GroupEvent::Failed { reason });
    }

    /// One that leaves is not called back, and one that has handed over may still be told to leave.
    pub(super) fn drain(&mut self, how: Drain) {
        if self.drains == Some(Drain::Leave) || self.drains == Some(how) {
            return;
        }
        self.drains = Some(how);
        // With another request out, its answer is what goes on.
        if self.step == Step::Stable || self.step == Step::Join && self.link != Link::Up {
            self.want_rebalance();
        }
    }

    /// The process ends. A static member's place stays for the one that comes back, unless it was to be given up.
    pub(super) fn end(&mut self) {
        self.ending = true;
        if self.step == Step::Leave && self.link == Link::Up {
            return;
        }
        let stays = self.identity.instance.is_some() && self.drains != Some(Drain::Leave);
        if stays || self.link != Link::Up {
            self.actions.push(Action::EndLease);
            self.left();
        } else {
            self.farewell();
        }
    }

    pub(super) fn farewell(&mut self) {
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

    pub(super) fn say_farewell(&mut self) {
        self.actions.push(Action::Leave { member: self.me.member.clone() });
    }

    /// A member that drains has left when the coordinator doesn't know it any more, and says so not before.
    pub(super) fn leave_answered(&mut self, now: u64, verdict: Verdict) {
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

    pub(super) fn left(&mut self) {
        self.step = Step::Ended;
        self.held = None;
        self.emit(GroupEvent::Left);
    }
}
