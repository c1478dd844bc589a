//! What only a real broker can show.

use std::collections::VecDeque;
use std::time::Duration;

use faust_testbed::{Kafka, shared, unique};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use super::*;
use crate::log::conformance::{PARTITIONS, Tape, World};
use crate::log::{Deliveries, ProduceError, Row};

const SECOND: Duration = Duration::from_secs(1);

pub(in crate::log) fn settings(brokers: &str, extra: &[(&str, &str)]) -> KafkaSettings {
    KafkaSettings {
        brokers: brokers.to_string(),
        group_id: unique("group"),
        client_id: "test".to_string(),
        // As little as there may be per partition, so that limits are met.
        fetch_memory: 0,
        message_timeout: 10 * SECOND,
        security: Default::default(),
        extra: extra.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect(),
    }
}

pub(crate) fn test_settings(brokers: &str) -> KafkaSettings {
    settings(brokers, &[])
}

/// A topic on the shared broker, and a log of its own to reach it.
pub(in crate::log) fn world(extra: &[(&str, &str)]) -> World {
    let topic = unique("log");
    shared().create_topic(&topic, PARTITIONS, &[]).expect("a topic");
    let log = KafkaLog::new(settings(&shared().bootstrap(), extra)).expect("a log");
    World { log, topic, expire: Box::new(expire) }
}

/// Deletes the records of a partition of the shared broker below an offset.
pub(crate) fn expire(at: &TopicPartition, below: i64) {
    let request = serde_json::json!({
        "version": 1,
        "partitions": [{ "topic": at.topic, "partition": at.partition, "offset": below }],
    });
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    std::io::Write::write_all(&mut file, request.to_string().as_bytes()).expect("written");
    let path = file.path().to_str().expect("text").to_string();
    shared().tool("DeleteRecordsCommand", ["--offset-json-file", &path]).expect("deleted");
}

#[tokio::test]
async fn a_missing_topic_is_missing_and_is_not_created_by_asking() {
    let world = world(&[]);
    let names = [unique("missing"), world.topic.clone()];
    for _ in 0..2 {
        let facts = world.log.topics(&names).await.expect("facts");
        assert_eq!(facts.len(), 1);
        assert_eq!(facts[&world.topic].partitions, PARTITIONS);
        assert_ne!(facts[&world.topic].id, [0; 16]);
    }
    let unknown = Err(LogError::UnknownTopic(names[0].clone()));
    assert_eq!(world.log.bounds(&[world.at(0), TopicPartition::new(&names[0], 0)]).await, unknown);
}

#[tokio::test]
async fn a_changelog_reader_sees_what_is_committed_and_its_position_passes_markers() {
    let world = world(&[]);
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", shared().bootstrap())
        .set("transactional.id", unique("transaction"))
        .create()
        .expect("a producer");
    producer.init_transactions(10 * SECOND).expect("a transactional producer");
    let transaction = |values: &[&str], commit: bool| {
        producer.begin_transaction().expect("begun");
        for value in values {
            producer.send(BaseRecord::<(), str>::to(&world.topic).partition(0).payload(value)).expect("sent");
        }
        match commit {
            true => producer.commit_transaction(10 * SECOND).expect("committed"),
            false => {
                producer.flush(10 * SECOND).expect("flushed");
                producer.abort_transaction(10 * SECOND).expect("aborted");
            }
        }
    };
    // 0, 1, marker 2; aborted 3, 4, marker 5; 6, marker 7; aborted 8, marker 9.
    transaction(&["a", "b"], true);
    transaction(&["no", "no"], false);
    transaction(&["c"], true);
    transaction(&["no"], false);
    let end = world.log.bounds(&[world.at(0)]).await.expect("bounds")[0].end;
    assert_eq!(end, 10);

    let mut tape = world.changelog(0, 0);
    assert_eq!(read_to(&mut tape, end).await, [0, 1, 6]);

    // An open transaction holds its reader back, below the log's end.
    producer.begin_transaction().expect("begun");
    producer.send(BaseRecord::<(), str>::to(&world.topic).partition(0).payload("open")).expect("sent");
    producer.flush(10 * SECOND).expect("flushed");
    assert_eq!(world.log.bounds(&[world.at(0)]).await.expect("bounds")[0].end, 11);
    assert_eq!((tape.poll(), tape.position()), (Ok(vec![]), 10));
    producer.commit_transaction(10 * SECOND).expect("committed");
    assert_eq!(read_to(&mut tape, 12).await, [10]);
}

/// Reads until the position gets there, as a restore does, and waits while Kafka is away.
async fn read_to(tape: &mut Tape, end: i64) -> Vec<i64> {
    let mut offsets = Vec::new();
    loop {
        let more = match tape.poll() {
            Err(LogError::Unavailable(_)) => vec![],
            polled => polled.expect("records"),
        };
        if tape.position() >= end {
            offsets.extend(more);
            return offsets;
        }
        if more.is_empty() {
            tape.sleep().await;
        }
        offsets.extend(more);
    }
}

#[tokio::test]
async fn a_record_outlives_the_fetch_and_the_log_it_came_from() {
    let world = world(&[]);
    world.fill(0, 100).await;
    let mut tape = world.source(0, 0);
    let records = tape.batch(100).await.expect("records");
    let ended = world.log;
    drop((tape, ended));
    for (i, record) in records.iter().enumerate() {
        assert_eq!(record.value(), Some(i.to_string().as_bytes()));
        assert_eq!(record.leader_epoch, 0);
    }
}

#[tokio::test]
async fn a_full_buffer_takes_the_first_rows_and_the_rest_later() {
    // What was taken is not sent before the test is done filling.
    let world = world(&[("queue.buffering.max.messages", "10"), ("linger.ms", "2000")]);
    let rows: Vec<Row> = (0..25).map(|i| Row { key: vec![i], value: None }).collect();
    let producer = world.log.producer();
    let delivery = Arc::new(Deliveries::default());
    assert_eq!(producer.send_rows(&world.at(0), &rows, &delivery), Ok(10));
    assert_eq!(producer.send_rows(&world.at(0), &rows[10..], &delivery), Ok(0));
    assert_eq!(producer.send(world.outgoing(0, b"v"), &delivery), Err(ProduceError::Full));
    assert_eq!(delivery.outstanding(), 10);
    assert_eq!(delivery.settled().await, Ok(Some(9)));
    assert_eq!(producer.send_rows(&world.at(0), &rows[10..], &delivery), Ok(10));
    assert_eq!(delivery.settled().await, Ok(Some(19)));
    let keys: Vec<_> = world.source(0, 0).read(20).await.into_iter().filter_map(|seen| seen.key).collect();
    assert_eq!(keys, (0..20).map(|i| vec![i]).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_producer_that_has_failed_for_good_says_so() {
    let log = KafkaLog::new(settings(&shared().bootstrap(), &[])).expect("a log");
    let mut broken = log.broken();
    assert!(futures::poll!(&mut broken).is_pending());
    log.producer.break_it();
    let why = tokio::time::timeout(60 * SECOND, broken).await.expect("it says so");
    assert!(why.contains("on purpose"), "{why}");
}

#[tokio::test]
async fn a_topic_that_was_made_anew_is_read_through_its_new_queue() {
    let world = world(&[]);
    world.fill(0, 50).await;
    let mut tape = world.source(0, 0);
    assert_eq!(tape.offsets(50).await.len(), 50);
    let names = [world.topic.clone()];
    let before = world.log.topics(&names).await.expect("facts");
    shared().delete_topic(&world.topic).expect("deleted");
    let gone = tape.error().await;
    assert!(matches!(gone, LogError::UnknownTopic(_)), "{gone}");
    drop(tape);
    shared().create_topic(&world.topic, PARTITIONS, &[]).expect("a topic");
    let after = world.log.topics(&names).await.expect("facts");
    assert_ne!(before[&world.topic].id, after[&world.topic].id);
    // Another producer: the old one still knows the topic's old id.
    let again = World { log: KafkaLog::new(settings(&shared().bootstrap(), &[])).expect("a log"), ..world };
    again.fill(0, 5).await;
    assert_eq!(again.source(0, 0).offsets(5).await, [0, 1, 2, 3, 4]);
}

#[tokio::test]
async fn a_record_that_comes_outside_of_its_queue_is_not_passed_over() {
    let world = world(&[]);
    let log = KafkaLog::new(settings(&shared().bootstrap(), &[])).expect("a log");
    let client = log.consumer(Reader::Source).expect("a consumer");
    let mut fetch = KafkaFetch::start(&client, &world.at(0), 0).expect("a fetch");
    fetch.leads_astray();
    world.fill(0, 3).await;
    let (mut records, arrivals) = (VecDeque::new(), Arc::new(tokio::sync::Notify::new()));
    let wake = arrivals.clone();
    fetch.on_ready(Arc::new(move || wake.notify_one()));
    let told = async {
        loop {
            match fetch.poll(10, &mut records) {
                Ok(()) => arrivals.notified().await,
                Err(error) => break error,
            }
        }
    };
    let error = tokio::time::timeout(60 * SECOND, told).await.expect("its reader is told");
    assert_eq!((error, records.len()), (LogError::Astray { partition: world.at(0), offset: 0 }, 0));
    drop(fetch);
    assert_eq!(world.source(0, 0).offsets(3).await, [0, 1, 2]);
}

#[tokio::test]
async fn a_reader_is_told_that_kafka_is_away_and_goes_on_when_it_is_back() {
    let kafka = Kafka::start().expect("a broker");
    let topic = unique("log");
    kafka.create_topic(&topic, 1, &[]).expect("a topic");
    let log = KafkaLog::new(settings(&kafka.bootstrap(), &[])).expect("a log");
    let world = World { log, topic, expire: Box::new(|_, _| {}) };
    world.fill(0, 3).await;
    let mut tape = world.source(0, 0);
    assert_eq!(tape.offsets(3).await, [0, 1, 2]);
    kafka.stop().expect("stopped");
    let away = tape.error().await;
    assert!(matches!(away, LogError::Unavailable(_)), "{away}");
    assert!(matches!(world.log.bounds(&[world.at(0)]).await, Err(LogError::Unavailable(_))));
    assert!(matches!(world.log.topics(std::slice::from_ref(&world.topic)).await, Err(LogError::Unavailable(_))));
    kafka.restart().expect("a broker");
    while tape.poll() != Ok(vec![]) {
        tape.sleep().await;
    }
    assert_eq!(world.fill(0, 2).await, 4);
    assert_eq!(read_to(&mut tape, 5).await, [3, 4]);
}

#[test]
fn a_setting_that_the_client_does_not_take_is_named() {
    let refused = KafkaLog::new(settings("localhost:9092", &[("linger.ms", "soon")])).err().expect("refused");
    assert!(matches!(&refused, LogError::Config(why) if why.contains("linger.ms")), "{refused}");
    let refused = KafkaLog::new(settings("nowhere", &[])).err().expect("refused");
    assert!(matches!(&refused, LogError::Config(why) if why.contains("nowhere")), "{refused}");
}

/// What waits is counted in bytes that were fetched: memory itself is librdkafka's and the allocator's.
#[tokio::test]
async fn a_backlog_on_a_hundred_partitions_waits_within_the_bound() {
    const MANY: u32 = 100;
    const RECORD: usize = 8 * 1024;
    const BATCH: usize = 4 * RECORD;
    let topic = unique("backlog");
    shared().create_topic(&topic, MANY, &[]).expect("a topic");
    let log = KafkaLog::new(settings(&shared().bootstrap(), &[])).expect("a log");
    log.expect(MANY as usize);
    let bound = log.fetch_bound().expect("it fetches ahead") as usize;
    let each = bound / RECORD + 20;
    // A broker hands out whole batches, so they must not be larger than a fetch.
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", shared().bootstrap())
        .set("batch.size", BATCH.to_string())
        .set("linger.ms", "50")
        .create()
        .expect("a producer");
    for partition in 0..MANY as i32 {
        for _ in 0..each {
            let record = BaseRecord::<(), [u8]>::to(&topic).partition(partition).payload(&[7; RECORD]);
            producer.send(record).map_err(|(error, _)| error).expect("sent");
        }
        producer.poll(Duration::ZERO);
    }
    producer.flush(60 * SECOND).expect("delivered");

    let client = log.consumer(Reader::Source).expect("a consumer");
    let start = |partition| KafkaFetch::start(&client, &TopicPartition::new(&topic, partition), 0).expect("a fetch");
    let mut fetches: Vec<_> = (0..MANY).map(start).collect();
    let full = (bound - bound / 5 - RECORD) / RECORD;
    let filled = async {
        while fetches.iter().any(|fetch| fetch.waiting() < full) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(60 * SECOND, filled).await.expect("every queue fills up to its limit");
    for fetch in &fetches {
        let bytes = fetch.waiting() * RECORD;
        assert!(bytes <= bound + BATCH, "{bytes} bytes wait, the bound is {bound}");
        assert!(fetch.waiting() < each, "there is no backlog left to be held back");
    }

    // And all of it comes, once there is room.
    let mut records = VecDeque::new();
    for fetch in &mut fetches {
        let all = async {
            while (fetch.position() as usize) < each {
                fetch.poll(usize::MAX, &mut records).expect("records");
                records.clear();
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(60 * SECOND, all).await.expect("the rest comes");
    }
    drop(fetches);
    shared().delete_topic(&topic).expect("deleted");
}

#[tokio::test]
async fn how_long_tombstones_live_is_what_the_topic_says_or_the_broker() {
    let (own, inherited) = (unique("lives"), unique("lives"));
    shared().create_topic(&own, 1, &[("delete.retention.ms", "5000")]).expect("a topic");
    shared().create_topic(&inherited, 1, &[]).expect("a topic");
    let log = KafkaLog::new(test_settings(&shared().bootstrap())).expect("a log");
    let topics = [own.clone(), inherited.clone(), unique("missing")];
    let lives = log.tombstone_lives(&topics).await.expect("lives");
    let day = Duration::from_secs(24 * 60 * 60);
    assert_eq!(lives, HashMap::from([(own, 5 * SECOND), (inherited, day)]));
}
