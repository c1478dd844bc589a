//! Waiting for the outside world: always for a condition, with a limit, and with what was seen when the limit came.
#![allow(clippy::disallowed_methods, reason = "real processes and real time; there is no runtime to wait with")]

use std::fmt::Display;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Far beyond what anything takes on a busy machine: only what will never come reaches it.
pub const LIMIT: Duration = Duration::from_secs(60);

/// Looks until there is a value; an error is what is seen instead.
///
/// # Panics
///
/// When the limit passed without one, with what was seen last.
#[track_caller]
pub fn until<T>(what: impl Display, look: impl FnMut() -> Result<T, String>) -> T {
    within(LIMIT, what, look)
}

/// The same with a limit of its own.
#[track_caller]
pub fn within<T>(limit: Duration, what: impl Display, mut look: impl FnMut() -> Result<T, String>) -> T {
    let start = Instant::now();
    loop {
        match look() {
            Ok(value) => return value,
            Err(seen) if start.elapsed() > limit => panic!("{what}: not within {limit:?}; seen last: {seen}"),
            Err(_) => sleep(Duration::from_millis(20)),
        }
    }
}

/// Lets time pass in which nothing is to happen.
pub fn pass(time: Duration) {
    sleep(time);
}
