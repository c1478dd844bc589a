//! So many a second, and not all of them at its beginning.
#![allow(clippy::disallowed_methods, reason = "a pace is about real time")]

use std::thread::sleep;
use std::time::{Duration, Instant};

pub struct Pace {
    begun: Instant,
    per_second: u32,
    done: u32,
}

impl Pace {
    pub fn new(per_second: u32) -> Self {
        Self { begun: Instant::now(), per_second, done: 0 }
    }

    /// One more is done. Waits until the next is due, if that is worth it, and tells before that it does.
    pub fn keep(&mut self, pausing: impl FnOnce()) {
        self.done += 1;
        let due = Duration::from_secs(1) * self.done / self.per_second;
        let early = due.saturating_sub(self.begun.elapsed());
        if early > Duration::from_millis(5) {
            pausing();
            sleep(early);
        }
    }
}
