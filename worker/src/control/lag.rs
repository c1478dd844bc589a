//! Keeps the log ends of the inputs known: for the lag, and to name an input that has records and stands still (invariant I9).
//!
//! Nearly always something says why an input stands still: its task is being restored, its agent misses commits, a record doesn't
//! decode, Kafka is away. What is left is a fetch that has fallen silent, and an agent that doesn't ask. That the log goes on is not
//! enough to know it by: behind the last record there may be nothing but markers of transactions and what was aborted, which no
//! reader ever gets. So another reader looks there before anything is said.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::log::{Fetch, Log, Reader};
use crate::rt::{self, Instant};
use crate::settings::Resolved;
use crate::status::{InputMeter, Silence, Stage, Status, TaskMeter};
use crate::time::TopicPartition;

/// Between two questions.
const EVERY: Duration = Duration::from_secs(2);

/// An input that stands still for so long is looked into, once a commit has come due in that time as well: an agent that is in the
/// middle of an event misses it.
const LONG: Duration = Duration::from_secs(60);

/// When another reader has got nothing for so long, there is nothing that it could get.
const LOOKED: Duration = Duration::from_secs(10);

/// Asks for ever.
pub(super) async fn watch(log: Arc<dyn Log>, status: Arc<Status>, settings: Arc<Resolved>) {
    let mut stands = Stands::new(LONG + settings.commit_interval);
    loop {
        tokio::time::sleep(EVERY).await;
        status.remind();
        ask_for_ends(&*log, &status).await;
        stands.look(&*log, &status, &settings, rt::now());
    }
}

async fn ask_for_ends(log: &dyn Log, status: &Status) {
    let inputs: Vec<_> = status.active().flat_map(|task| task.inputs.clone()).collect();
    if inputs.is_empty() {
        return;
    }
    let partitions: Vec<_> = inputs.iter().map(|input| input.partition.clone()).collect();
    match log.bounds(&partitions).await {
        Ok(bounds) => inputs.iter().zip(bounds).for_each(|(input, bounds)| input.end.set(bounds.end)),
        // Said elsewhere, by what needs the answer; a lag that isn't known is not shown.
        Err(_) => inputs.iter().for_each(|input| input.end.set(-1)),
    }
}

/// Where an input is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    /// Counts the fetches that were begun.
    fetch: u64,
    /// The offset that its agent gets next.
    next: i64,
}

/// Where the input is and where its log ends; none while that isn't known, or it is said already why it doesn't go on.
fn see(status: &Status, task: &TaskMeter, input: &InputMeter) -> Option<(Place, i64)> {
    let (committed, end) = (input.committed.get(), input.end.get());
    let known = committed >= 0 && end >= 0 && task.stage() == Stage::Running;
    // What an agent holds on to is read but not committed, and isn't waited for.
    let place = Place { fetch: input.fetches.get(), next: committed.max(input.last.get() + 1) };
    (known && !status.explains(task)).then_some((place, end))
}

/// Inputs that stand still although their logs go further.
struct Stands {
    patience: Duration,
    inputs: BTreeMap<TopicPartition, Stand>,
}

struct Stand {
    place: Place,
    since: Instant,
    /// Before this there is nothing that the agent lacks.
    empty_to: i64,
    /// The other reader, while it looks, and since when it gets nothing.
    reader: Option<(Box<dyn Fetch>, Instant)>,
    /// The record that it has found.
    found: Option<i64>,
}

/// How an input stands still that is to be named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Still {
    /// The offset that its agent gets next.
    next: i64,
    lasts: Duration,
    /// The record that its agent doesn't get; none if another reader doesn't get it either.
    record: Option<i64>,
}

impl Stands {
    fn new(patience: Duration) -> Self {
        Self { patience, inputs: BTreeMap::new() }
    }

    /// Says of each input what is to be said.
    fn look(&mut self, log: &dyn Log, status: &Status, settings: &Resolved, now: Instant) {
        // What isn't seen any more is forgotten, and its reader ends.
        let mut before = Self { patience: self.patience, inputs: std::mem::take(&mut self.inputs) };
        for task in status.active() {
            for input in &task.inputs {
                let at = &input.partition;
                // One that can't be begun is tried again at the next look.
                let beside = |from| log.fetch(at, from, Reader::Changelog).ok();
                let still = before.judge(at, see(status, &task, input), now, beside);
                input.say(still.map(|still| Silence {
                    sentence: describe(input, still),
                    // It takes a transaction that stays open no worker to end it.
                    too_long: still.record.is_some() && still.lasts >= settings.event_timeout,
                }));
                self.inputs.extend(before.inputs.remove_entry(at));
            }
        }
    }

    /// Whether an input is to be named. `beside` begins another reader of it.
    fn judge(
        &mut self,
        at: &TopicPartition,
        seen: Option<(Place, i64)>,
        now: Instant,
        beside: impl FnOnce(i64) -> Option<Box<dyn Fetch>>,
    ) -> Option<Still> {
        let Some((place, end)) = seen else {
            self.inputs.remove(at);
            return None;
        };
        let stand = self.inputs.entry(at.clone()).or_insert_with(|| Stand::begin(place, now));
        if stand.place != place {
            *stand = Stand::begin(place, now);
        }
        if end <= stand.empty_to {
            stand.since = now;
        }
        let lasts = now.duration_since(stand.since);
        if lasts < self.patience {
            return None;
        }
        stand.find(end, now, beside);
        let in_vain = stand.reader.as_ref().is_some_and(|(_, since)| now.duration_since(*since) >= LOOKED);
        (stand.found.is_some() || in_vain).then_some(Still { next: place.next, lasts, record: stand.found })
    }
}

impl Stand {
    fn begin(place: Place, now: Instant) -> Self {
        Self { place, since: now, empty_to: place.next, reader: None, found: None }
    }

    /// Looks for a record that the agent lacks, with another reader: at first begins it, then asks what it has got.
    fn find(&mut self, end: i64, now: Instant, beside: impl FnOnce(i64) -> Option<Box<dyn Fetch>>) {
        if self.found.is_some() {
            return;
        }
        let Some((mut reader, since)) = self.reader.take() else {
            self.reader = beside(self.empty_to).map(|reader| (reader, now));
            return;
        };
        let mut records = VecDeque::new();
        // After an error it is begun anew.
        if reader.poll(1, &mut records).is_err() {
            return;
        }
        self.found = records.front().map(|record| record.offset);
        if self.found.is_none() {
            let since = if reader.position() > self.empty_to { now } else { since };
            self.empty_to = self.empty_to.max(reader.position());
            self.reader = (self.empty_to < end).then_some((reader, since));
        }
    }
}

fn describe(input: &InputMeter, Still { next, lasts, record }: Still) -> String {
    let (at, agent, lag, seconds) = (&input.partition, input.agent, input.lag().unwrap_or(0), lasts.as_secs());
    match record {
        Some(offset) => format!(
            "{at}: agent `{agent}` has got no record for {seconds} s, though there is {at}@{offset} (lag {lag}): its fetch has fallen \
             silent, or the agent doesn't ask for more"
        ),
        None => format!(
            "{at}: from offset {next} on no record has come for {seconds} s, though the log goes further (lag {lag}): another reader \
             gets none either, as while a transaction is open there"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{LogError, MemoryLog, Record, Row, Stored, Wake};
    use crate::topology::TaskId;
    use crate::{Settings, settings};

    const ID: TaskId = TaskId { group: 0, partition: 0 };

    /// Another reader, that gets a record or not, and is at this position then.
    struct Other(Option<i64>, i64);

    impl Fetch for Other {
        fn poll(&mut self, _: usize, out: &mut VecDeque<Record>) -> Result<(), LogError> {
            let stored = Stored { key: None, value: None, headers: vec![] };
            out.extend(self.0.map(|offset| Record::memory(offset, 0, 0, Arc::new(stored))));
            Ok(())
        }
        fn position(&self) -> i64 {
            self.1
        }
        fn on_ready(&mut self, _: Wake) {}
    }

    /// The looks at one input.
    struct Looks {
        stands: Stands,
        begun: Instant,
    }

    impl Looks {
        fn begin() -> Self {
            Self { stands: Stands::new(LONG), begun: rt::now() }
        }

        /// What is to be said of an input that is here, with another reader like this.
        fn at(&mut self, second: u64, seen: Option<(u64, i64, i64)>, (record, position): (Option<i64>, i64)) -> Option<Still> {
            let seen = seen.map(|(fetch, next, end)| (Place { fetch, next }, end));
            let now = self.begun + Duration::from_secs(second);
            self.stands.judge(&TopicPartition::new("in", 0), seen, now, |_| Some(Box::new(Other(record, position))))
        }
    }

    fn still(next: i64, seconds: u64, record: Option<i64>) -> Option<Still> {
        Some(Still { next, lasts: Duration::from_secs(seconds), record })
    }

    #[test]
    fn only_an_input_that_stays_where_it_is_while_there_is_a_record_for_it_is_named() {
        let (mut looks, there) = (Looks::begin(), (Some(7), 8));
        assert_eq!(looks.at(0, Some((1, 5, 5)), there), None);
        assert_eq!(looks.at(1_000, Some((1, 5, 5)), there), None, "it is at the end");
        assert_eq!(looks.at(1_050, Some((1, 5, 9)), there), None, "something came at 1,000 at the earliest");
        assert_eq!(looks.at(1_059, Some((1, 6, 9)), there), None, "it goes on");
        assert_eq!(looks.at(1_118, Some((1, 6, 20)), there), None);
        assert_eq!(looks.at(1_119, Some((1, 6, 20)), there), None, "the other reader begins");
        assert_eq!(looks.at(1_121, Some((1, 6, 20)), there), still(6, 62, Some(7)));
        assert_eq!(looks.at(1_131, Some((1, 6, 30)), there), still(6, 72, Some(7)));
        assert_eq!(looks.at(1_133, Some((1, 8, 30)), there), None, "it has gone on");
    }

    #[test]
    fn an_input_that_is_said_to_stand_still_or_is_fetched_anew_has_its_time_from_then_on() {
        let (mut looks, there, seen) = (Looks::begin(), (Some(5), 6), Some((1, 5, 9)));
        assert_eq!(looks.at(0, seen, there), None);
        assert_eq!(looks.at(59, None, there), None);
        assert_eq!(looks.at(61, seen, there), None);
        assert_eq!(looks.at(120, Some((2, 5, 9)), there), None);
        assert_eq!(looks.at(179, Some((2, 5, 9)), there), None);
        assert_eq!(looks.at(180, Some((2, 5, 9)), there), None, "the other reader begins");
        assert_eq!(looks.at(182, Some((2, 5, 9)), there), still(5, 62, Some(5)));
    }

    #[test]
    fn an_input_with_nothing_but_markers_ahead_of_it_is_not_named() {
        let (mut looks, gap) = (Looks::begin(), (None, 7));
        for second in (0..1_000).step_by(2) {
            assert_eq!(looks.at(second, Some((1, 5, 7)), gap), None);
        }
        assert_eq!(looks.at(1_000, Some((1, 5, 8)), gap), None);
        assert_eq!(looks.at(1_056, Some((1, 5, 8)), gap), None, "what is behind the markers came at 998 at the earliest");
    }

    #[test]
    fn an_input_that_no_reader_gets_anything_of_is_named_when_another_one_has_had_its_time() {
        let (mut looks, nothing) = (Looks::begin(), (None, 5));
        for second in (0..70).step_by(2) {
            assert_eq!(looks.at(second, Some((1, 5, 7)), nothing), None);
        }
        assert_eq!(looks.at(70, Some((1, 5, 7)), nothing), still(5, 70, None));
    }

    /// A worker's only task, which runs and has this input.
    fn running(status: &Status) -> (Arc<TaskMeter>, Arc<InputMeter>) {
        let input = Arc::new(InputMeter::new(TopicPartition::new("in", 0), "count"));
        let task = status.task(ID, || TaskMeter::new(ID, 0, vec![input.clone()], vec![]));
        task.enter(Stage::Opening);
        input.committed.set(3);
        input.end.set(10);
        input.begin_fetch();
        task.enter(Stage::Running);
        (task, input)
    }

    #[test]
    fn an_input_is_seen_where_it_was_read_to_unless_something_says_why_it_stands_still() {
        let status = Status::new("shop");
        let (task, input) = running(&status);
        let see = || see(&status, &task, &input);
        let at = |fetch, next| Some((Place { fetch, next }, 10));
        assert_eq!(see(), at(1, 3));
        input.saw(7);
        assert_eq!(see(), at(1, 8), "the agent holds on to what it has");
        input.begin_fetch();
        assert_eq!(see(), at(2, 3), "it started over");

        task.wait_for("the disk is full".into());
        assert_eq!(see(), None);
        task.go_on();
        task.away("Kafka is away".into());
        assert_eq!(see(), None);
        task.back();
        task.missed_commits.set(1);
        assert_eq!(see(), None, "its agent is in the middle of an event");
        task.missed_commits.set(0);
        status.away("the coordinator is away".into());
        assert_eq!(see(), None);
        status.go_on();
        status.shard(0).say(0, 10, "blocked".into());
        assert_eq!(see(), None);
        status.shard(0).clear();
        assert_eq!(see(), at(2, 3));
        input.end.set(-1);
        assert_eq!(see(), None, "the end isn't known");
        input.end.set(10);
        task.enter(Stage::Draining);
        assert_eq!(see(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn an_input_that_is_silent_without_a_reason_is_named_and_then_in_the_way_until_it_goes_on() {
        let (log, status, at) = (MemoryLog::new(1), Arc::new(Status::new("shop")), TopicPartition::new("in", 0));
        let rows: Vec<Row> = (0..10).map(|_| Row { key: b"a".to_vec(), value: None }).collect();
        log.producer().send_rows(&at, &rows, &Arc::default()).unwrap();
        let (task, input) = running(&status);
        status.wanted.set(1);
        let settings = Settings::new().broker("memory://");
        let settings = settings::resolve("shop", &settings, &settings::FileLayer::default(), [], &[]).unwrap();
        let until = async |what: &dyn Fn() -> bool| {
            while !what() {
                tokio::time::sleep(EVERY).await;
            }
        };
        let test = async {
            until(&|| task.problem().is_some()).await;
            let said = task.problem().unwrap();
            assert!(said.starts_with("in[0]: agent `count` has got no record for 6"), "{said}");
            assert!(said.contains("though there is in[0]@3 (lag 7)"), "{said}");
            assert_eq!(status.running(), Ok(()));
            until(&|| status.running().is_err()).await;
            assert!(status.running().unwrap_err().sentence.starts_with("task 0_0: in[0]: agent `count`"));
            input.saw(3);
            until(&|| task.problem().is_none()).await;
            assert_eq!(status.running(), Ok(()));
        };
        tokio::select! {
            () = watch(log.clone(), status.clone(), Arc::new(settings)) => unreachable!("it asks for ever"),
            () = test => {}
        }
        assert!(log.fetch(&at, 0, Reader::Changelog).is_ok(), "the other reader has ended");
    }
}
