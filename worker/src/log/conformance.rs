//! The promises of the seam, and that both logs keep them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

use super::*;

/// After which a reader that was not woken has been forgotten.
const FORGOTTEN: Duration = Duration::from_secs(60);

/// A log, and a topic of [`PARTITIONS`] partitions in it that nobody else uses.
pub(super) struct World {
    pub log: Arc<dyn Log>,
    pub topic: String,
    /// Lets the records of a partition below an offset expire.
    pub expire: Expire,
}

type Expire = Box<dyn Fn(&TopicPartition, i64)>;

pub(super) const PARTITIONS: u32 = 3;

/// What a record was made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub offset: i64,
    pub timestamp: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<Header>,
}

/// A reader that sleeps until it is woken, as a task does.
pub(super) struct Tape {
    fetch: Box<dyn Fetch>,
    ready: Arc<Notify>,
}

impl Tape {
    pub fn start(log: &dyn Log, at: &TopicPartition, start: i64, reader: Reader) -> Result<Self, LogError> {
        let mut fetch = log.fetch(at, start, reader)?;
        let ready = Arc::new(Notify::new());
        let wake = ready.clone();
        fetch.on_ready(Arc::new(move || wake.notify_one()));
        Ok(Self { fetch, ready })
    }

    /// What comes next, at most `max` records.
    pub async fn batch(&mut self, max: usize) -> Result<VecDeque<Record>, LogError> {
        let mut out = VecDeque::new();
        loop {
            self.fetch.poll(max, &mut out)?;
            if !out.is_empty() {
                assert!(out.len() <= max);
                return Ok(out);
            }
            self.sleep().await;
        }
    }

    pub async fn sleep(&mut self) {
        timeout(FORGOTTEN, self.ready.notified()).await.expect("a wake-up");
    }

    /// The next `n` records.
    pub async fn read(&mut self, n: usize) -> Vec<Seen> {
        let mut seen = Vec::new();
        while seen.len() < n {
            let records = self.batch(n - seen.len()).await.expect("records");
            seen.extend(records.iter().map(|record| Seen {
                offset: record.offset,
                timestamp: record.timestamp,
                key: record.key().map(<[u8]>::to_vec),
                value: record.value().map(<[u8]>::to_vec),
                headers: record.headers(),
            }));
            assert_eq!(self.fetch.position(), seen.last().expect("one").offset + 1);
        }
        seen
    }

    pub async fn offsets(&mut self, n: usize) -> Vec<i64> {
        self.read(n).await.iter().map(|seen| seen.offset).collect()
    }

    /// Polls, dropping what comes, until it fails.
    pub async fn error(&mut self) -> LogError {
        loop {
            match self.batch(100).await {
                Ok(_) => {}
                Err(error) => return error,
            }
        }
    }

    /// The offsets of what has arrived, without waiting.
    pub fn poll(&mut self) -> Result<Vec<i64>, LogError> {
        let mut out = VecDeque::new();
        self.fetch.poll(usize::MAX, &mut out)?;
        Ok(out.iter().map(|record| record.offset).collect())
    }

    pub fn position(&self) -> i64 {
        self.fetch.position()
    }
}

impl World {
    pub fn at(&self, partition: u32) -> TopicPartition {
        TopicPartition::new(&self.topic, partition)
    }

    pub fn source(&self, partition: u32, start: i64) -> Tape {
        Tape::start(&*self.log, &self.at(partition), start, Reader::Source).expect("a fetch")
    }

    pub fn changelog(&self, partition: u32, start: i64) -> Tape {
        Tape::start(&*self.log, &self.at(partition), start, Reader::Changelog).expect("a fetch")
    }

    pub fn outgoing<'a>(&'a self, partition: u32, value: &'a [u8]) -> Outgoing<'a> {
        Outgoing { topic: &self.topic, partition, key: None, value: Some(value), headers: &[], timestamp: None }
    }

    /// Sends `n` numbered records and waits for them; the offset of the last one.
    pub async fn fill(&self, partition: u32, n: usize) -> i64 {
        let delivery = Arc::new(Deliveries::default());
        for i in 0..n {
            self.log.producer().send(self.outgoing(partition, i.to_string().as_bytes()), &delivery).expect("room");
        }
        delivery.settled().await.expect("delivered").expect("an offset")
    }

    pub async fn fill_rows(&self, partition: u32, rows: &[Row]) -> i64 {
        let delivery = Arc::new(Deliveries::default());
        assert_eq!(self.log.producer().send_rows(&self.at(partition), rows, &delivery), Ok(rows.len()));
        delivery.settled().await.expect("delivered").expect("an offset")
    }
}

macro_rules! promises {
    ($($promise:ident,)*) => {
        mod in_memory {
            $(
                #[tokio::test]
                async fn $promise() {
                    super::$promise(super::memory()).await;
                }
            )*
        }

        #[cfg(feature = "kafka")]
        mod on_kafka {
            $(
                #[tokio::test]
                async fn $promise() {
                    super::$promise(crate::log::kafka::on_kafka::world(&[])).await;
                }
            )*
        }
    };
}

promises! {
    records_come_in_order_and_the_delivery_tells_the_last_offset,
    a_fetch_begins_at_its_start_and_a_later_one_may_begin_earlier,
    a_fetch_that_ends_leaves_the_others_where_they_are,
    a_partition_has_one_reader_of_each_kind,
    a_sleeper_is_woken_whenever_records_come,
    who_does_not_poll_loses_nothing,
    null_and_empty_are_told_apart_and_headers_and_timestamps_survive,
    rows_keep_their_order_and_tombstones,
    what_is_too_large_is_not_taken,
    a_partition_that_is_not_there_takes_no_records,
    bounds_say_where_partitions_begin_and_end,
    ends_and_epochs_agree_with_the_bounds_and_the_records,
    creating_a_topic_again_changes_nothing,
    a_position_that_is_not_in_the_log_is_told,
}

fn memory() -> World {
    let log = MemoryLog::new(PARTITIONS);
    let expired = log.clone();
    World { log, topic: "topic".to_string(), expire: Box::new(move |at, below| expired.expire(at, below)) }
}

async fn records_come_in_order_and_the_delivery_tells_the_last_offset(world: World) {
    assert_eq!(world.fill(0, 300).await, 299);
    assert_eq!(world.fill(1, 2).await, 1);
    let seen = world.source(0, 0).read(300).await;
    for (i, seen) in seen.iter().enumerate() {
        assert_eq!((seen.offset, seen.value.as_deref()), (i as i64, Some(i.to_string().as_bytes())));
    }
    assert_eq!(world.source(1, 0).offsets(2).await, [0, 1]);
}

async fn a_fetch_begins_at_its_start_and_a_later_one_may_begin_earlier(world: World) {
    world.fill(0, 1_000).await;
    for start in [700, 300, 999, 0, 500] {
        let mut tape = world.source(0, start);
        assert_eq!(tape.position(), start);
        let some = (1_000 - start as usize).min(20);
        assert_eq!(tape.offsets(some).await, (start..start + some as i64).collect::<Vec<_>>());
    }
    // From the end: what is sent next comes first.
    let mut tape = world.source(0, 1_000);
    world.fill(0, 1).await;
    assert_eq!(tape.offsets(1).await, [1_000]);
}

async fn a_fetch_that_ends_leaves_the_others_where_they_are(world: World) {
    for partition in 0..PARTITIONS {
        world.fill(partition, 500).await;
    }
    let (mut stays, mut moves, idle) = (world.source(0, 0), world.source(1, 0), world.source(2, 500));
    assert_eq!(stays.offsets(10).await, (0..10).collect::<Vec<_>>());
    assert_eq!(moves.offsets(10).await, (0..10).collect::<Vec<_>>());
    drop((moves, idle));
    assert_eq!(stays.offsets(200).await, (10..210).collect::<Vec<_>>());
    let mut moves = world.source(1, 400);
    assert_eq!(stays.offsets(290).await, (210..500).collect::<Vec<_>>());
    assert_eq!(moves.offsets(100).await, (400..500).collect::<Vec<_>>());
    assert_eq!(stays.poll(), Ok(vec![]));
}

async fn a_partition_has_one_reader_of_each_kind(world: World) {
    world.fill(0, 5).await;
    let mut source = world.source(0, 0);
    let mut changelog = world.changelog(0, 2);
    assert!(world.log.fetch(&world.at(0), 0, Reader::Source).is_err());
    assert_eq!(source.offsets(5).await, [0, 1, 2, 3, 4]);
    assert_eq!(changelog.offsets(3).await, [2, 3, 4]);
}

async fn a_sleeper_is_woken_whenever_records_come(world: World) {
    const RECORDS: usize = 3_000;
    let mut tape = world.source(0, 0);
    let (producer, topic) = (world.log.producer(), world.topic.clone());
    let runtime = tokio::runtime::Handle::current();
    #[allow(clippy::disallowed_methods, reason = "the race between two threads is what is tested")]
    let sender = std::thread::spawn(move || {
        let delivery = Arc::new(Deliveries::default());
        for i in 0..RECORDS {
            let record = Outgoing { topic: &topic, partition: 0, key: None, value: Some(b"v"), headers: &[], timestamp: None };
            producer.send(record, &delivery).expect("room");
            // Every few records the reader catches up and falls asleep.
            if i % 8 == 0 {
                runtime.block_on(delivery.settled()).expect("delivered");
            }
        }
    });
    let mut offsets = Vec::new();
    while offsets.len() < RECORDS {
        offsets.extend(tape.batch(3).await.expect("records").iter().map(|record| record.offset));
    }
    assert_eq!(offsets, (0..RECORDS as i64).collect::<Vec<_>>());
    sender.join().expect("the sender");
}

async fn who_does_not_poll_loses_nothing(world: World) {
    // Ten times what the log may fetch ahead in these tests.
    let (records, value) = (20_000, vec![7; 1_000]);
    let mut tape = world.source(0, 0);
    let delivery = Arc::new(Deliveries::default());
    for _ in 0..records {
        world.log.producer().send(world.outgoing(0, &value), &delivery).expect("room");
    }
    assert_eq!(delivery.settled().await, Ok(Some(records - 1)));
    assert_eq!(tape.offsets(records as usize).await, (0..records).collect::<Vec<_>>());
}

async fn null_and_empty_are_told_apart_and_headers_and_timestamps_survive(world: World) {
    let headers: [Header; 4] =
        [("a".into(), Some(b"1".to_vec())), ("b".into(), None), ("a".into(), Some(vec![])), (String::new(), Some(vec![0, 255]))];
    type Shape<'a> = (Option<&'a [u8]>, Option<&'a [u8]>, &'a [Header], i64);
    let shapes: [Shape; 5] = [
        (None, None, &[], 1_700_000_000_001),
        (Some(b""), Some(b""), &headers, 1_700_000_000_002),
        (Some(b"k"), None, &headers[..1], 1_700_000_000_003),
        (None, Some(b"v"), &[], 1_700_000_000_004),
        (Some("schlüssel".as_bytes()), Some(&[0, 1, 2]), &[], 1_700_000_000_005),
    ];
    let delivery = Arc::new(Deliveries::default());
    for (key, value, headers, timestamp) in shapes {
        let record = Outgoing { topic: &world.topic, partition: 0, key, value, headers, timestamp: Some(timestamp) };
        world.log.producer().send(record, &delivery).expect("room");
    }
    assert_eq!(delivery.settled().await, Ok(Some(4)));
    let seen = world.source(0, 0).read(5).await;
    for (seen, (key, value, headers, timestamp)) in seen.iter().zip(shapes) {
        assert_eq!(seen.key.as_deref(), key);
        assert_eq!(seen.value.as_deref(), value);
        assert_eq!(seen.headers, headers);
        assert_eq!(seen.timestamp, timestamp);
    }
}

async fn rows_keep_their_order_and_tombstones(world: World) {
    let mut rows: Vec<Row> =
        (0..5_000).map(|i: u32| Row { key: i.to_be_bytes().to_vec(), value: (i & 3 != 0).then(|| vec![i as u8]) }).collect();
    rows.push(Row { key: vec![], value: Some(vec![]) });
    assert_eq!(world.fill_rows(1, &rows).await, 5_000);
    let nothing = Arc::new(Deliveries::default());
    assert_eq!(world.log.producer().send_rows(&world.at(1), &[], &nothing), Ok(0));
    assert_eq!(nothing.settled().await, Ok(None));
    let mut tape = world.changelog(1, 0);
    let seen = tape.read(rows.len()).await.into_iter().map(|seen| Row { key: seen.key.expect("a key"), value: seen.value });
    assert!(seen.eq(rows), "the rows that were sent");
    assert_eq!(tape.position(), 5_001);
}

async fn what_is_too_large_is_not_taken(world: World) {
    let (value, delivery) = (vec![0; 1_000_001], Arc::new(Deliveries::default()));
    let refused = Err(ProduceError::TooLarge { bytes: 1_000_001 });
    assert_eq!(world.log.producer().send(world.outgoing(0, &value), &delivery), refused);
    let rows = [Row { key: b"small".to_vec(), value: None }, Row { key: vec![], value: Some(value) }];
    assert_eq!(world.log.producer().send_rows(&world.at(0), &rows, &delivery), refused.map(|()| 0));
    assert_eq!(delivery.settled().await, Ok(None));
    assert_eq!(world.log.bounds(&[world.at(0)]).await, Ok(vec![Bounds { start: 0, end: 0 }]));
}

async fn a_partition_that_is_not_there_takes_no_records(world: World) {
    let delivery = Arc::new(Deliveries::default());
    let refused = world.log.producer().send(world.outgoing(PARTITIONS, b"v"), &delivery).is_err();
    assert!(refused || delivery.settled().await.is_err());
    let rows = [Row { key: vec![], value: None }];
    let delivery = Arc::new(Deliveries::default());
    let refused = world.log.producer().send_rows(&world.at(PARTITIONS), &rows, &delivery).is_err();
    assert!(refused || delivery.settled().await.is_err());
    assert_eq!(delivery.outstanding(), 0);
    let unknown = Err(LogError::UnknownTopic(world.at(PARTITIONS).to_string()));
    assert_eq!(world.log.bounds(&[world.at(0), world.at(PARTITIONS)]).await, unknown);
}

async fn bounds_say_where_partitions_begin_and_end(world: World) {
    world.fill(0, 5).await;
    world.fill(2, 7).await;
    (world.expire)(&world.at(2), 3);
    let bounds = world.log.bounds(&[world.at(2), world.at(1), world.at(0)]).await;
    assert_eq!(bounds, Ok(vec![Bounds { start: 3, end: 7 }, Bounds { start: 0, end: 0 }, Bounds { start: 0, end: 5 }]));
    assert_eq!(world.log.bounds(&[]).await, Ok(vec![]));
}

async fn ends_and_epochs_agree_with_the_bounds_and_the_records(world: World) {
    world.fill(0, 7).await;
    let of = [world.at(0), world.at(1)];
    for _ in 0..2 {
        let ends = world.log.ends(&of).await.expect("ends");
        assert_eq!(ends.iter().map(|end| end.offset).collect::<Vec<_>>(), [7, 0]);
        let epoch = world.source(0, 0).batch(1).await.expect("records")[0].leader_epoch;
        assert_eq!(ends[0].leader_epoch, epoch);
        assert_eq!(world.log.epoch_end(&of[0], epoch).await, Ok(Some(7)), "nobody has led it since");
    }
    let missing = TopicPartition::new(&world.topic, PARTITIONS);
    assert!(matches!(world.log.ends(&[world.at(0), missing.clone()]).await, Err(LogError::UnknownTopic(_))));
    assert!(matches!(world.log.epoch_end(&missing, 0).await, Err(LogError::UnknownTopic(_))));
}

async fn creating_a_topic_again_changes_nothing(world: World) {
    let name = format!("{}-created", world.topic);
    let topic = |partitions| NewTopic { name: name.clone(), partitions, config: vec![("cleanup.policy".into(), "compact".into())] };
    assert_eq!(world.log.create(&[topic(5)]).await, Ok(()));
    let names = [world.topic.clone(), name.clone()];
    let before = world.log.topics(&names).await.expect("facts");
    assert_eq!((before[&world.topic].partitions, before[&name].partitions), (PARTITIONS, 5));
    assert_ne!(before[&world.topic].id, before[&name].id);
    assert_eq!(world.log.create(&[topic(7)]).await, Ok(()));
    assert_eq!(world.log.topics(&names).await, Ok(before));
}

async fn a_position_that_is_not_in_the_log_is_told(world: World) {
    world.fill(0, 10).await;
    (world.expire)(&world.at(0), 5);
    for offset in [2, 11, -1] {
        let error = match Tape::start(&*world.log, &world.at(0), offset, Reader::Source) {
            Ok(mut tape) => tape.error().await,
            Err(error) => error,
        };
        assert_eq!(error, LogError::OutOfRange { partition: world.at(0), offset });
    }
    assert_eq!(world.source(0, 5).offsets(5).await, [5, 6, 7, 8, 9]);
}
