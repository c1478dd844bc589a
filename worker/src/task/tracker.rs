//! Which offset may be committed: never past an event that isn't done (invariant I1).
//!
//! An event is *done* when its `Event` has been dropped **and** the agent asks for more (or ends well). So a batch that the agent holds
//! on to holds the offset back, and an agent that fails has acknowledged nothing that it had in hand.

use std::collections::VecDeque;

/// The events of one partition that are with the agent, under one task epoch.
#[derive(Debug)]
pub(crate) struct OffsetTracker {
    /// In the order handed out, which is the order of offsets; gaps (compaction, markers) are simply absent.
    flight: VecDeque<(i64, Flight)>,
    /// Behind the last event handed out.
    position: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flight {
    Held,
    Released,
    Done,
}

impl OffsetTracker {
    /// Nothing has been handed out; `start` comes first.
    pub fn new(start: i64) -> Self {
        Self { flight: VecDeque::new(), position: start }
    }

    /// The event at `offset` is with the agent now.
    pub fn hand_out(&mut self, offset: i64) {
        debug_assert!(offset >= self.position, "I2: offsets of one epoch never go back");
        self.flight.push_back((offset, Flight::Held));
        self.position = offset + 1;
    }

    /// The record at `offset` will not be handed out (it was dropped, and counted): it holds nothing back.
    pub fn pass(&mut self, offset: i64) {
        self.position = offset + 1;
    }

    /// The event has been dropped.
    pub fn release(&mut self, offset: i64) {
        if let Some(flight) = self.find(offset)
            && *flight == Flight::Held
        {
            *flight = Flight::Released;
        }
    }

    /// The event is done at once, without waiting for the agent to ask.
    pub fn acknowledge(&mut self, offset: i64) {
        if let Some(flight) = self.find(offset) {
            *flight = Flight::Done;
        }
        self.pop_done();
    }

    /// The agent asks for more, or ended well: what it has released is done.
    pub fn ask(&mut self) {
        // The usual case, kept short: one event, released.
        if let [(_, Flight::Released)] = self.flight.as_slices().0
            && self.flight.len() == 1
        {
            self.flight.clear();
            return;
        }
        for (_, flight) in &mut self.flight {
            if *flight == Flight::Released {
                *flight = Flight::Done;
            }
        }
        self.pop_done();
    }

    /// The offset to commit: the lowest event that isn't done, or the next to come.
    pub fn committable(&self) -> i64 {
        self.flight.front().map_or(self.position, |&(offset, _)| offset)
    }

    /// Behind the last event that was handed out.
    pub fn position(&self) -> i64 {
        self.position
    }

    /// The first event that the agent still has, for naming it when the agent fails.
    pub fn oldest(&self) -> Option<i64> {
        self.flight.front().map(|&(offset, _)| offset)
    }

    fn find(&mut self, offset: i64) -> Option<&mut Flight> {
        let at = self.flight.binary_search_by_key(&offset, |&(offset, _)| offset).ok()?;
        Some(&mut self.flight[at].1)
    }

    fn pop_done(&mut self) {
        while let Some((_, Flight::Done)) = self.flight.front() {
            self.flight.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        HandOut { gap: i64 },
        Pass { gap: i64 },
        Release(usize),
        Acknowledge(usize),
        Ask,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (0..3i64).prop_map(|gap| Step::HandOut { gap }),
            1 => (0..3i64).prop_map(|gap| Step::Pass { gap }),
            2 => any::<usize>().prop_map(Step::Release),
            1 => any::<usize>().prop_map(Step::Acknowledge),
            2 => Just(Step::Ask),
        ]
    }

    proptest! {
        /// Against a model that keeps every event for ever.
        #[test]
        fn the_committable_offset_is_the_lowest_that_is_not_done(steps in proptest::collection::vec(step(), 0..60)) {
            let mut tracker = OffsetTracker::new(10);
            let mut next = 10;
            let mut model: Vec<(i64, Flight)> = Vec::new();
            let mut committed = 10;
            for step in steps {
                match step {
                    Step::HandOut { gap } => {
                        tracker.hand_out(next + gap);
                        model.push((next + gap, Flight::Held));
                        next += gap + 1;
                    }
                    Step::Pass { gap } => {
                        tracker.pass(next + gap);
                        next += gap + 1;
                    }
                    Step::Release(at) if !model.is_empty() => {
                        let at = at % model.len();
                        tracker.release(model[at].0);
                        if model[at].1 == Flight::Held {
                            model[at].1 = Flight::Released;
                        }
                    }
                    Step::Acknowledge(at) if !model.is_empty() => {
                        let at = at % model.len();
                        tracker.acknowledge(model[at].0);
                        model[at].1 = Flight::Done;
                    }
                    Step::Ask => {
                        tracker.ask();
                        model.iter_mut().filter(|(_, f)| *f == Flight::Released).for_each(|(_, f)| *f = Flight::Done);
                    }
                    Step::Release(_) | Step::Acknowledge(_) => {}
                }
                let expected = model.iter().find(|(_, f)| *f != Flight::Done).map_or(next, |&(offset, _)| offset);
                prop_assert_eq!(tracker.committable(), expected);
                prop_assert!(tracker.committable() >= committed, "what is committed never goes back");
                committed = tracker.committable();
            }
        }
    }
}
