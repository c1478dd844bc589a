//! Giving tasks away on demand, while the worker stays up.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

use crate::group::Drain;

/// How far a drain is that ends with leaving the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DrainState {
    /// Tasks are still in hand: they go on until others take them.
    Draining,
    /// Nothing is in hand, and the worker is no member of its group any more.
    Drained,
}

impl DrainState {
    pub fn label(self) -> &'static str {
        match self {
            Self::Draining => "draining",
            Self::Drained => "drained",
        }
    }
}

/// What those who ask for a drain and the worker share. A drain that was begun is not taken back; a worker that hands over may still be
/// told to leave.
#[derive(Debug)]
pub(crate) struct DrainHandle {
    asked: watch::Sender<Option<Drain>>,
    left: AtomicBool,
}

impl DrainHandle {
    pub fn new() -> Self {
        Self { asked: watch::Sender::new(None), left: AtomicBool::new(false) }
    }

    /// Begins, unless it has begun; whether it has not.
    pub fn begin(&self, how: Drain) -> bool {
        self.asked.send_if_modified(|asked| {
            let begins = *asked != Some(how) && *asked != Some(Drain::Leave);
            if begins {
                *asked = Some(how);
            }
            begins
        })
    }

    /// What was asked for last.
    pub fn asked(&self) -> Option<Drain> {
        *self.asked.borrow()
    }

    /// None while nobody has asked the worker to leave.
    pub fn state(&self) -> Option<DrainState> {
        let left = self.left.load(Ordering::SeqCst);
        (self.asked() == Some(Drain::Leave)).then_some(if left { DrainState::Drained } else { DrainState::Draining })
    }

    /// Resolves when somebody asks for something else than what is known.
    pub(super) async fn news(&self, known: Option<Drain>) -> Drain {
        let mut asked = self.asked.subscribe();
        let news = asked.wait_for(|asked| asked.is_some() && *asked != known).await;
        news.ok().and_then(|asked| *asked).expect("the sender lives as long as this")
    }

    /// Resolves when somebody has asked the worker to leave.
    pub(super) async fn leaves(&self) {
        // The sender lives as long as this.
        let _ = self.asked.subscribe().wait_for(|asked| *asked == Some(Drain::Leave)).await;
    }

    pub(super) fn done(&self) {
        self.left.store(true, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asking_again_changes_nothing_and_one_that_hands_over_may_be_told_to_leave() {
        let drain = DrainHandle::new();
        assert!(drain.begin(Drain::Handover) && !drain.begin(Drain::Handover));
        assert_eq!((drain.asked(), drain.state()), (Some(Drain::Handover), None));
        assert!(drain.begin(Drain::Leave) && !drain.begin(Drain::Leave) && !drain.begin(Drain::Handover));
        assert_eq!(drain.state(), Some(DrainState::Draining));
        drain.done();
        assert_eq!((drain.begin(Drain::Leave), drain.state()), (false, Some(DrainState::Drained)));
    }
}
