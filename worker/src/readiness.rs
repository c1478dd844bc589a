//! Why a worker is not ready: one word for machines, one sentence for people.

use serde::Serialize;

/// The word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum Reason {
    WaitingForTopics,
    WaitingForKafka,
    Joining,
    /// Tasks are being opened or restored.
    Restoring,
    /// Its partitions go to other workers, because somebody asked for it.
    Draining,
    Drained,
    Stopping,
    /// A task can't go on.
    TaskStopped,
}

/// What is in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unready {
    pub reason: Reason,
    pub sentence: String,
}

impl Unready {
    pub fn new(reason: Reason, sentence: impl Into<String>) -> Self {
        Self { reason, sentence: sentence.into() }
    }
}
