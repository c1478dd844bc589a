//! What a group has to say, until the worker asks.

use std::collections::VecDeque;
use std::sync::Mutex;

use tokio::sync::Notify;

/// A queue with one reader. Once nothing is pushed any more, reading it never resolves.
#[derive(Debug)]
pub(crate) struct Events<T> {
    queue: Mutex<VecDeque<T>>,
    arrived: Notify,
}

impl<T> Events<T> {
    pub fn new() -> Self {
        Self { queue: Mutex::default(), arrived: Notify::new() }
    }

    pub fn push(&self, event: T) {
        self.queue.lock().unwrap().push_back(event);
        self.arrived.notify_one();
    }

    /// Cancel-safe: an event is taken only when it is returned.
    pub async fn next(&self) -> T {
        loop {
            if let Some(event) = self.queue.lock().unwrap().pop_front() {
                return event;
            }
            self.arrived.notified().await;
        }
    }
}
