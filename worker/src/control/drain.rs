//! Giving everything away on demand, while the worker stays up.

use tokio::sync::watch;

/// How far a drain is.
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

/// What those who ask for a drain and the worker share. A drain that was begun is not taken back.
#[derive(Debug)]
pub(crate) struct DrainHandle(watch::Sender<Option<DrainState>>);

impl DrainHandle {
    pub fn new() -> Self {
        Self(watch::Sender::new(None))
    }

    /// Begins, unless it has begun.
    pub fn begin(&self) -> DrainState {
        self.0.send_if_modified(|state| {
            let begins = state.is_none();
            state.get_or_insert(DrainState::Draining);
            begins
        });
        self.state().expect("begun")
    }

    /// None while nobody has asked.
    pub fn state(&self) -> Option<DrainState> {
        *self.0.borrow()
    }

    /// Resolves when somebody has asked.
    pub(super) async fn begun(&self) {
        // The sender lives as long as this.
        let _ = self.0.subscribe().wait_for(Option::is_some).await;
    }

    pub(super) fn done(&self) {
        self.0.send_replace(Some(DrainState::Drained));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asking_again_changes_nothing() {
        let drain = DrainHandle::new();
        assert_eq!(drain.state(), None);
        assert_eq!((drain.begin(), drain.begin()), (DrainState::Draining, DrainState::Draining));
        drain.done();
        assert_eq!((drain.begin(), drain.state()), (DrainState::Drained, Some(DrainState::Drained)));
    }
}
