//! What the member's task and the worker's calls share.

use std::sync::{Arc, Mutex};

use super::board::Board;
use super::line::Line;
use crate::group::events::Events;
use crate::group::protocol::Sender;
use crate::group::{GroupEvent, Lease, MemberView};

/// One side publishes what the member is, the other takes the events.
pub(super) struct Shared {
    pub lease: Lease,
    /// Closed when the member's task is gone, however it went.
    pub now: Board<Now>,
    events: Events<Told>,
    heard: Mutex<Heard>,
}

/// The member at this moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Now {
    /// Where a commit can be sent, when it can.
    pub commits: Option<Arc<dyn Line>>,
    /// Counts connections, so that news of an old one are told from news of this one.
    pub link: u64,
    pub sender: Sender,
    /// Number of the last assignment.
    pub seq: u64,
    pub losses: u64,
    pub view: MemberView,
    pub ended: bool,
}

struct Told {
    seq: u64,
    losses: u64,
    event: GroupEvent,
}

/// How far the worker has followed.
///
/// A member that was lost may be joined again, with a session that is renewed, before the worker has even heard of the loss. What it
/// still has in hand is of the lost membership: it must be neither produced nor committed under the new one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Heard {
    /// The last assignment that it was given.
    pub seq: u64,
    /// The losses that it has done with: it asked for what came after them.
    pub losses: u64,
    /// A renewal that isn't in the lease yet, because the worker lags behind a loss: after how many losses, and when it was sent.
    renewed: Option<(u64, u64)>,
}

impl Shared {
    pub fn new(lease: Lease, now: Board<Now>) -> Self {
        Self { lease, now, events: Events::new(), heard: Mutex::default() }
    }

    // === the member's task ===

    pub fn renew(&self, sent: u64, losses: u64) {
        let mut heard = self.heard.lock().unwrap();
        match heard.losses == losses {
            true => self.lease.renew(sent),
            false => heard.renewed = Some((losses, sent)),
        }
    }

    pub fn end_lease(&self) {
        let mut heard = self.heard.lock().unwrap();
        heard.renewed = None;
        self.lease.end();
    }

    pub fn tell(&self, seq: u64, losses: u64, event: GroupEvent) {
        self.events.push(Told { seq, losses, event });
    }

    // === the worker ===

    /// Cancel-safe: nothing waits between taking an event and returning it.
    pub async fn next(&self) -> GroupEvent {
        let Told { seq, losses, event } = self.events.next().await;
        let mut heard = self.heard.lock().unwrap();
        heard.seq = seq;
        let lost = matches!(event, GroupEvent::Lost { .. });
        if !lost && heard.losses < losses {
            heard.losses = losses;
            if let Some((_, sent)) = heard.renewed.take_if(|(after, _)| *after == losses) {
                self.lease.renew(sent);
            }
        }
        event
    }

    pub fn heard(&self) -> Heard {
        *self.heard.lock().unwrap()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::board::board;
    use super::*;

    /// Stopped beyond its session, woken, lost, joined again within milliseconds: all that before the worker looks.
    #[tokio::test]
    async fn a_worker_that_has_not_heard_of_its_loss_has_no_lease_on_what_it_lost() {
        let (_now, watched) = board(Now::default());
        let shared = Shared::new(Lease::new(Duration::from_secs(3), Duration::from_secs(1)), watched);
        shared.renew(1_000, 0);
        assert!(shared.lease.holds(2_000));
        shared.end_lease();
        shared.tell(1, 1, GroupEvent::Lost { reason: "away for too long".into() });
        shared.renew(60_000, 1);
        shared.tell(2, 1, GroupEvent::Assigned { generation: 9, tasks: vec![], standbys: vec![] });
        assert!(!shared.lease.holds(60_001));
        assert!(matches!(shared.next().await, GroupEvent::Lost { .. }));
        assert!(!shared.lease.holds(60_001), "it has heard, and not yet acted");
        assert_eq!(shared.heard().losses, 0, "what it commits now is of the lost membership");
        assert!(matches!(shared.next().await, GroupEvent::Assigned { .. }));
        assert!(shared.lease.holds(60_001));
        assert_eq!((shared.heard().losses, shared.heard().seq), (1, 2));
    }
}
