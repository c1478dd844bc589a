//! At most so many bytes per second, over all replays of a worker.

use std::num::NonZeroU64;
use std::sync::Mutex;
use std::time::Duration;

use crate::rt::Instant;

pub(crate) struct Throttle {
    bytes_per_second: NonZeroU64,
    /// Until when what was taken so far uses up the rate.
    paid_until: Mutex<Option<Instant>>,
}

impl Throttle {
    pub fn new(bytes_per_second: NonZeroU64) -> Self {
        Self { bytes_per_second, paid_until: Mutex::default() }
    }

    pub fn bytes_per_second(&self) -> u64 {
        self.bytes_per_second.get()
    }

    /// Notes that bytes were taken; returns how long to wait before more are.
    pub fn spend(&self, bytes: u64, now: Instant) -> Duration {
        let cost = Duration::from_secs_f64(bytes as f64 / self.bytes_per_second.get() as f64);
        let mut paid_until = self.paid_until.lock().unwrap();
        let until = paid_until.map_or(now, |until| until.max(now)) + cost;
        *paid_until = Some(until);
        until - now
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rt;
    use crate::time::{millis, secs};

    #[test]
    fn those_who_share_a_throttle_share_its_rate_and_idle_time_is_not_saved_up() {
        let (throttle, start) = (Throttle::new(NonZeroU64::new(1_000).unwrap()), rt::now());
        assert_eq!(throttle.spend(500, start), millis(500));
        assert_eq!(throttle.spend(1_000, start), millis(1_500));
        assert_eq!(throttle.spend(1_000, start + secs(1)), millis(1_500));
        assert_eq!(throttle.spend(250, start + secs(60)), millis(250));
    }
}
