//! Where a changelog ended when that was asked last: how far its copies are behind, and since when they aren't.

use std::sync::Mutex;

/// Written by whoever asks the log, read by whoever follows it.
#[derive(Debug, Default)]
pub(crate) struct Horizon(Mutex<Option<Seen>>);

#[derive(Clone, Copy, Debug)]
struct Seen {
    end: i64,
    /// Milliseconds since the epoch.
    asked_at: i64,
}

impl Horizon {
    /// The log ended at `end` some time after `asked_at`.
    pub fn saw(&self, end: i64, asked_at: i64) {
        *self.0.lock().unwrap() = Some(Seen { end, asked_at });
    }

    /// None while it was never asked.
    pub fn end(&self) -> Option<i64> {
        self.0.lock().unwrap().map(|seen| seen.end)
    }

    /// The latest moment at which whoever is at this position is known to have had all that the log had.
    pub fn reached(&self, position: i64) -> Option<i64> {
        self.0.lock().unwrap().filter(|seen| position >= seen.end).map(|seen| seen.asked_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_as_new_as_the_question_whose_answer_it_has_reached() {
        let horizon = Horizon::default();
        assert_eq!((horizon.end(), horizon.reached(9)), (None, None));
        horizon.saw(10, 1_000);
        assert_eq!((horizon.reached(9), horizon.reached(10), horizon.reached(12)), (None, Some(1_000), Some(1_000)));
        horizon.saw(12, 2_000);
        assert_eq!((horizon.reached(11), horizon.reached(12)), (None, Some(2_000)));
    }
}
