//! Waiting for a condition of the outside world, with a limit.

use std::io;
use std::time::Duration;

/// Asks until `ready` has a value; none when the limit passed without one. An error ends the wait.
#[expect(clippy::disallowed_methods, reason = "a blocking fixture for real processes: there is no runtime to wait with")]
pub fn until<T>(limit: Duration, mut ready: impl FnMut() -> io::Result<Option<T>>) -> io::Result<Option<T>> {
    let start = std::time::Instant::now();
    loop {
        if let Some(value) = ready()? {
            return Ok(Some(value));
        }
        if start.elapsed() > limit {
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
