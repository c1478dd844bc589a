//! Waiting for a condition, with a limit, and with what was seen when the limit came.

use std::fmt::Display;
use std::time::Duration;

/// Far beyond what anything takes on a busy machine: only what will never come reaches it.
const LIMIT: Duration = Duration::from_secs(60);

/// Looks until there is a value; an error is what is seen instead.
pub async fn until<T>(what: impl Display, mut look: impl AsyncFnMut() -> Result<T, String>) -> T {
    let mut seen = String::new();
    let looking = async {
        loop {
            match look().await {
                Ok(value) => return value,
                Err(instead) => seen = instead,
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let found = tokio::time::timeout(LIMIT, looking).await;
    found.unwrap_or_else(|_| panic!("{what}: not within {LIMIT:?}; seen last: {seen}"))
}

/// `Ok` when it holds.
pub fn holds(holds: bool, seen: impl Display) -> Result<(), String> {
    if holds { Ok(()) } else { Err(seen.to_string()) }
}
