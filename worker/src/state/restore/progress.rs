//! How far a replay is, for `/state` and metrics.

use std::fmt;
use std::sync::Mutex;
use std::time::Duration;

use super::Span;
use super::batch::Size;
use crate::rt::Instant;

/// Written by a replay, read by whoever wants to know.
#[derive(Default)]
pub(crate) struct Progress(Mutex<Option<Reading>>);

/// One look at a replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    pub from: i64,
    pub to: i64,
    /// The offset that comes next; everything before it is in the store.
    pub position: i64,
    pub records: u64,
    pub bytes: u64,
    /// Records that name no row, and are in no table.
    pub keyless: u64,
    pub started: Instant,
}

impl Progress {
    /// None before the replay has begun.
    pub fn reading(&self) -> Option<Reading> {
        *self.0.lock().unwrap()
    }

    pub fn begin(&self, span: Span, now: Instant) {
        let Span { from, to, .. } = span;
        *self.0.lock().unwrap() = Some(Reading { from, to, position: from, records: 0, bytes: 0, keyless: 0, started: now });
    }

    pub fn advance(&self, position: i64, by: Size) {
        if let Some(reading) = self.0.lock().unwrap().as_mut() {
            reading.position = position;
            reading.records += by.records;
            reading.bytes += by.bytes;
            reading.keyless += by.keyless;
        }
    }
}

impl Reading {
    /// Offsets still to go, an upper bound of the records.
    pub fn remaining(&self) -> u64 {
        (self.to - self.position).max(0) as u64
    }

    pub fn records_per_second(&self, now: Instant) -> f64 {
        let elapsed = now.saturating_duration_since(self.started).as_secs_f64();
        if elapsed > 0.0 { self.records as f64 / elapsed } else { 0.0 }
    }

    /// At the pace so far. None while there is no pace to judge by.
    pub fn eta(&self, now: Instant) -> Option<Duration> {
        if self.remaining() == 0 {
            return Some(Duration::ZERO);
        }
        let done = (self.position - self.from).max(0) as f64;
        let elapsed = now.saturating_duration_since(self.started).as_secs_f64();
        Duration::try_from_secs_f64(elapsed * self.remaining() as f64 / done).ok().filter(|_| elapsed > 0.0)
    }
}

/// All replays of a worker that are under way.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Together {
    pub partitions: usize,
    pub records: u64,
    pub remaining: u64,
    pub records_per_second: f64,
    /// They go on beside each other, so that the longest says when they are done.
    pub eta: Option<Duration>,
}

impl Together {
    /// None if there are none.
    pub fn of(readings: &[Reading], now: Instant) -> Option<Self> {
        let etas: Option<Vec<Duration>> = readings.iter().map(|reading| reading.eta(now)).collect();
        (!readings.is_empty()).then(|| Self {
            partitions: readings.len(),
            records: readings.iter().map(|reading| reading.records).sum(),
            remaining: readings.iter().map(Reading::remaining).sum(),
            records_per_second: readings.iter().map(|reading| reading.records_per_second(now)).sum(),
            eta: etas.and_then(|etas| etas.into_iter().max()),
        })
    }
}

impl fmt::Display for Together {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { partitions, records, remaining, records_per_second, eta } = self;
        let so_far = format!("{records} records at {records_per_second:.0} per second, at most {remaining} to go");
        match eta {
            Some(eta) => write!(f, "restoring {partitions} partitions: {so_far}, about {} s", eta.as_secs()),
            None => write!(f, "restoring {partitions} partitions: {so_far}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rt;
    use crate::time::secs;

    #[test]
    fn what_remains_takes_as_long_as_what_is_done() {
        let (progress, start) = (Progress::default(), rt::now());
        assert_eq!(progress.reading(), None);
        progress.begin(Span { topic_id: [1; 16], from: 100, to: 500, asked_at: 0 }, start);
        let reading = progress.reading().unwrap();
        assert_eq!((reading.remaining(), reading.eta(start), reading.eta(start + secs(1))), (400, None, None));

        progress.advance(200, Size { records: 50, bytes: 5_000, keyless: 0 });
        let reading = progress.reading().unwrap();
        assert_eq!((reading.remaining(), reading.eta(start + secs(10))), (300, Some(secs(30))));
        assert_eq!(reading.records_per_second(start + secs(10)), 5.0);

        progress.advance(510, Size { records: 1, bytes: 1, keyless: 1 });
        let reading = progress.reading().unwrap();
        assert_eq!((reading.remaining(), reading.eta(start + secs(11))), (0, Some(Duration::ZERO)));
        assert_eq!((reading.records, reading.bytes, reading.keyless), (51, 5_001, 1));
    }

    #[test]
    fn all_restores_together_take_as_long_as_the_longest() {
        let start = rt::now();
        let at = |position, records| Reading { from: 0, to: 100, position, records, bytes: 0, keyless: 0, started: start };
        let now = start + secs(10);
        assert_eq!(Together::of(&[], now), None);
        let all = Together::of(&[at(50, 20), at(20, 20)], now).unwrap();
        assert_eq!(all.to_string(), "restoring 2 partitions: 40 records at 4 per second, at most 130 to go, about 40 s");
        let unknown = Together::of(&[at(50, 20), at(0, 0)], now).unwrap();
        assert_eq!(unknown.eta, None, "nobody knows how long the second one takes");
    }
}
