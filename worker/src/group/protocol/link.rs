//! The way to the coordinator, which comes and goes beside the membership.

use super::{GroupEvent, Link, Protocol, Step};

const BACK_OFF: u64 = 100;
pub(super) const BACK_OFF_AT_MOST: u64 = 5_000;

impl Protocol {
    pub(super) fn connected(&mut self, now: u64) {
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

    pub(super) fn disconnected(&mut self, now: u64, reason: &str) {
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
        self.hang_up(if first_after_an_answer { now } else { now + back_off });
    }

    /// Until then. No answer counts that is still on its way.
    pub(super) fn hang_up(&mut self, until: u64) {
        self.link = Link::Down { until };
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
    pub(super) fn reachable(&mut self) {
        self.failures = 0;
        if self.step == Step::Stable && self.unreachable.is_some() {
            self.emit_assigned();
        }
    }
}
