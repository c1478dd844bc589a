//! How long changelogs keep their tombstones: what a store's age is measured by.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

/// By changelog, as the log said last. One that isn't here isn't known, and no store is too old for it.
#[derive(Debug, Default)]
pub(crate) struct TombstoneLives(Mutex<HashMap<String, Duration>>);

impl TombstoneLives {
    /// What the log says now; of what it is silent about, what it said before stays.
    pub fn learn(&self, lives: HashMap<String, Duration>) {
        self.0.lock().unwrap().extend(lives);
    }

    pub fn of(&self, changelog: &str) -> Option<Duration> {
        self.0.lock().unwrap().get(changelog).copied()
    }

    /// Whether a store that says that it was at the end at `written_at`, and is known to have been there at `seen`, is to say so: often
    /// enough that one that is never written to doesn't look old when it is opened again.
    pub fn is_worth_saying(&self, changelog: &str, written_at: i64, seen: i64) -> bool {
        self.of(changelog).is_some_and(|life| seen.saturating_sub(written_at) >= (life / 20).as_millis() as i64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::secs;

    #[test]
    fn a_store_says_its_age_every_twentieth_of_a_tombstones_life_where_that_is_known() {
        let lives = TombstoneLives::default();
        assert!(!lives.is_worth_saying("a", 0, i64::MAX));
        lives.learn([("a".to_string(), secs(20))].into());
        lives.learn([("b".to_string(), secs(1))].into());
        assert_eq!(lives.of("a"), Some(secs(20)));
        assert!(!lives.is_worth_saying("a", 5_000, 5_999));
        assert!(lives.is_worth_saying("a", 5_000, 6_000));
    }
}
