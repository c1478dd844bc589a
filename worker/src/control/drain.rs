//! The seam of a drain: the admin server asks for it, the control loop does it.

use std::sync::Arc;

use tokio::sync::watch;

/// How far a drain is that somebody has asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DrainState {
    /// The partitions are being given away.
    Draining,
    /// The worker has left its group, and joins no more.
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

/// Both ends of the seam. Once asked for, a drain isn't taken back: only a new process joins again.
#[derive(Clone)]
pub(crate) struct DrainHandle(Arc<watch::Sender<Option<DrainState>>>);

impl DrainHandle {
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }

    /// Asks for the drain, or how far it is. The nonce tells in the log which request it was.
    pub fn ask(&self, nonce: &str) -> DrainState {
        self.0.send_if_modified(|state| {
            let first = state.is_none();
            if first {
                tracing::info!("asked to give the partitions away and to leave the group (nonce {nonce:?})");
                *state = Some(DrainState::Draining);
            }
            first
        });
        self.state().unwrap_or(DrainState::Draining)
    }

    /// None while nobody has asked.
    pub fn state(&self) -> Option<DrainState> {
        *self.0.borrow()
    }

    /// Resolves when the drain has been asked for, at once if it was before. Cancel-safe.
    pub async fn asked(&self) {
        // It fails when there is no sender left, and this is one.
        let _ = self.0.subscribe().wait_for(Option::is_some).await;
    }

    /// The partitions are given away and the group is left.
    pub fn done(&self) {
        self.0.send_replace(Some(DrainState::Drained));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_drain_is_asked_for_once_and_asking_again_tells_how_far_it_is() {
        let asking = DrainHandle::new();
        let doing = asking.clone();
        assert_eq!(asking.state(), None);
        assert_eq!(asking.ask("a"), DrainState::Draining);
        doing.asked().await;
        assert_eq!(asking.ask("a"), DrainState::Draining);
        doing.done();
        assert_eq!((asking.ask("a"), asking.ask("b")), (DrainState::Drained, DrainState::Drained));
    }
}
