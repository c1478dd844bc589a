//! How the tasks of a shard and what commits them tell each other.

use std::cell::Cell;
use std::sync::Arc;

use tokio::sync::Notify;

use crate::status::ShardMeter;

pub(crate) struct TaskSignals {
    /// A task has frozen itself.
    pub froze: Notify,
    /// The stores lag far enough.
    pub apply: Notify,
    /// Shows who has the thread.
    pub meter: Arc<ShardMeter>,
    hurry: Notify,
    /// Whether the next commit has been hurried already.
    hurried: Cell<bool>,
    /// Events handed out since the last commit began.
    events: Cell<u64>,
    /// After so many of them a commit comes before its time.
    commit_records: u64,
}

impl TaskSignals {
    pub fn new(meter: Arc<ShardMeter>, commit_records: u64) -> Self {
        let (froze, apply, hurry) = (Notify::new(), Notify::new(), Notify::new());
        Self { froze, apply, meter, hurry, hurried: Cell::new(false), events: Cell::new(0), commit_records }
    }

    /// Asks for a commit before its time.
    pub fn hurry(&self) {
        if !self.hurried.replace(true) {
            self.hurry.notify_one();
        }
    }

    /// Waits until one is asked for.
    pub async fn hurried(&self) {
        self.hurry.notified().await;
    }

    /// What is asked for from here on is another one.
    pub fn begin_commit(&self) {
        self.hurried.set(false);
        self.events.set(0);
    }

    /// An event is handed out.
    pub fn count_event(&self) {
        self.events.set(self.events.get() + 1);
        if self.events.get() == self.commit_records {
            self.hurry();
        }
    }
}
