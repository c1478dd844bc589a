//! What the broker decides: which changelog it is, what of it is there, and what is committed in it.

use std::time::Duration;

use faust_testbed::{Broker, Kafka, KafkaCluster, shared, unique};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use super::*;
use crate::log::{Deliveries, KafkaLog, Row, test_settings};
use crate::state::conformance::row;
use crate::state::{KeyValue, Place, Rows, Stores, WipeReason};

const SECOND: Duration = Duration::from_secs(1);

/// A changelog on a broker, and a store of it.
struct World {
    log: Arc<KafkaLog>,
    changelog: TopicPartition,
    stores: Arc<Stores>,
    store: SharedStore,
}

impl Listener for () {
    fn applied(&self, _: Option<Applied>, _: Size, _: &Position) {}
}

impl World {
    fn new(broker: &Broker, config: &[(&str, &str)]) -> Self {
        let topic = unique("restored-changelog");
        broker.create_topic(&topic, 1, config).expect("a topic");
        let log = KafkaLog::new(test_settings(&broker.bootstrap())).expect("a log");
        let stores = Stores::open(&Place::Memory).expect("stores");
        let store = stores.store("counts", 0).expect("a store").store;
        Self { log, changelog: TopicPartition::new(&topic, 0), stores, store }
    }

    async fn write(&self, rows: &[Row]) {
        let delivery = Arc::new(Deliveries::default());
        assert_eq!(self.log.producer().send_rows(&self.changelog, rows, &delivery), Ok(rows.len()));
        delivery.settled().await.expect("delivered");
    }

    async fn numbers(&self, numbers: std::ops::Range<u32>) {
        let rows: Vec<Row> = numbers.map(|n| row(format!("{n}"), Some("x"))).collect();
        self.write(&rows).await;
    }

    /// What a task would do now.
    async fn plan(&self) -> Restore {
        let asked_at = rt::wall_millis();
        let topics = [self.changelog.topic.clone()];
        let bounds = self.log.bounds(std::slice::from_ref(&self.changelog)).await.expect("bounds")[0];
        let stored = self.store.position().expect("a position");
        let epoch_end = match stored {
            Some(position) => self.log.epoch_end(&self.changelog, position.leader_epoch).await.expect("an answer"),
            None => None,
        };
        let facts = ChangelogFacts {
            topic_id: self.log.topics(&topics).await.expect("facts")[&topics[0]].id,
            bounds,
            asked_at,
            epoch_end,
            tombstone_life: self.log.tombstone_lives(&topics).await.expect("lives").get(&topics[0]).copied(),
        };
        Restore::plan(stored, &facts)
    }

    async fn replay(&self, span: Span) -> Result<Position, RestoreError> {
        let (store, limits) = (self.store.clone(), Limits::default());
        Replay::begin(Rt::threads(), &*self.log, &self.changelog, store, span, limits).await?.run(&()).await
    }

    /// Does what is planned; why the store was wiped, if it was.
    async fn restore(&self) -> Option<WipeReason> {
        let (wiped, span) = match self.plan().await {
            Restore::UpToDate => return None,
            Restore::Replay(span) => (None, span),
            Restore::WipeAndReplay(reason, span) => {
                self.stores.wipe("counts", 0).expect("wiped");
                (Some(reason), span)
            }
        };
        self.replay(span).await.expect("replayed");
        assert_eq!(self.plan().await, Restore::UpToDate);
        wiped
    }

    fn rows(&self) -> Vec<KeyValue> {
        self.store.scan(b"", usize::MAX).expect("rows")
    }

    fn keys(&self) -> Vec<String> {
        self.rows().into_iter().map(|(key, _)| String::from_utf8(key).expect("text")).collect()
    }
}

#[tokio::test]
async fn a_changelog_that_was_made_anew_and_has_grown_beyond_the_store_is_another_one() {
    let world = World::new(shared(), &[]);
    world.numbers(0..5).await;
    assert_eq!(world.restore().await, None);
    shared().delete_topic(&world.changelog.topic).expect("deleted");
    shared().create_topic(&world.changelog.topic, 1, &[]).expect("a topic");
    // Another producer and consumer: the old ones still know the topic's old id.
    let world = World { log: KafkaLog::new(test_settings(&shared().bootstrap())).expect("a log"), ..world };
    world.numbers(10..20).await;
    assert_eq!(world.restore().await, Some(WipeReason::OtherChangelog));
    assert_eq!(world.keys(), (10..20).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_changelog_whose_beginning_was_deleted_behind_the_store_is_read_anew_also_in_the_middle_of_a_replay() {
    let world = World::new(shared(), &[]);
    world.numbers(0..5).await;
    assert_eq!(world.restore().await, None);
    world.numbers(5..20).await;
    let Restore::Replay(span) = world.plan().await else { panic!("15 are missing") };
    crate::log::delete_records(&world.changelog, 10);
    let refused = world.replay(span).await;
    assert_eq!(refused, Err(RestoreError::OutOfRange { changelog: world.changelog.clone(), offset: 5 }));
    assert_eq!(world.restore().await, Some(WipeReason::OffsetOutOfRange));
    assert_eq!(world.rows().len(), 10);
}

#[tokio::test]
async fn a_transaction_that_is_open_at_the_end_is_waited_for_and_its_rows_are_in() {
    let world = World::new(shared(), &[]);
    world.numbers(0..3).await;
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", shared().bootstrap())
        .set("transactional.id", unique("transaction"))
        .create()
        .expect("a producer");
    producer.init_transactions(10 * SECOND).expect("a transactional producer");
    producer.begin_transaction().expect("begun");
    producer.send(BaseRecord::to(&world.changelog.topic).partition(0).key("open").payload("x")).expect("sent");
    producer.flush(10 * SECOND).expect("flushed");
    let Restore::Replay(span) = world.plan().await else { panic!("the store is new") };
    assert_eq!(span.to, 4, "the end is behind the open record");
    {
        let mut replay = std::pin::pin!(world.replay(span));
        let early = tokio::time::timeout(SECOND, replay.as_mut()).await;
        assert!(early.is_err(), "it has ended before the transaction: {early:?}");
        assert_eq!(world.rows().len(), 3);
        producer.commit_transaction(10 * SECOND).expect("committed");
        // The marker behind it may not be there yet.
        assert!(replay.await.expect("replayed").next_offset >= 4);
    }
    assert_eq!(world.keys(), ["0", "1", "2", "open"]);
    assert_eq!(world.restore().await, None);
}

/// Tombstones that live for a second, and a cleaner that is quick.
#[tokio::test]
async fn a_deleted_row_does_not_come_back_when_its_tombstone_has_gone() {
    let kafka = Kafka::builder().config("log.cleaner.backoff.ms", 100).start().expect("a broker");
    let config = [
        ("cleanup.policy", "compact"),
        ("delete.retention.ms", "1000"),
        ("segment.ms", "200"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("file.delete.delay.ms", "100"),
    ];
    let world = World::new(&kafka, &config);
    world.write(&[row("kept", Some("x")), row("deleted", Some("x"))]).await;
    assert_eq!(world.restore().await, None);
    world.write(&[row("deleted", None)]).await;
    // Each round rolls a segment, so that the ones before are cleaned.
    let gone = async {
        let mut round = 0;
        while records_of_deleted(&world).await > 0 {
            round += 1;
            world.write(&[row("round", Some(&round.to_string()))]).await;
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    };
    tokio::time::timeout(60 * SECOND, gone).await.expect("the tombstone is cleaned");
    assert!(world.keys().contains(&"deleted".to_string()), "the store has never heard of it");
    assert_eq!(world.restore().await, Some(WipeReason::TombstonesExpired));
    assert_eq!(world.keys(), ["kept", "round"]);
}

/// How many records of the row there still are, with and without value.
async fn records_of_deleted(world: &World) -> usize {
    let end = world.log.bounds(std::slice::from_ref(&world.changelog)).await.expect("bounds")[0].end;
    let mut source = Source::start(&*world.log, &world.changelog, 0).expect("a reader");
    let mut found = 0;
    while source.fetch.position() < end {
        let (batch, _room) = source.next_batch(end, LOOK_AGAIN, &Limits::default()).await.expect("records");
        batch.sorted().each(&mut |key, _| found += usize::from(key == b"deleted"));
    }
    found
}

/// Two of three brokers have the changelog. While both are away there is no quorum of controllers; the one that returns makes it again.
#[tokio::test]
async fn a_changelog_that_an_unclean_election_has_cut_is_read_anew_though_it_has_grown_beyond_the_store() {
    let kafka = KafkaCluster::builder().config("default.replication.factor", 2).start().expect("brokers");
    let world = World::new(&kafka, &[("unclean.leader.election.enable", "true"), ("min.insync.replicas", "1")]);
    let topic = world.changelog.topic.clone();
    let known = || kafka.partitions(&topic).expect("an answer").expect("a topic").remove(0);
    let [behind, ahead] = known().replicas[..] else { panic!("two replicas: {:?}", known()) };
    world.numbers(10..15).await;
    assert_eq!(world.restore().await, None);
    kafka.move_leaders(&topic, &[(0, ahead)]).expect("moved");
    world.numbers(15..16).await;
    assert_eq!(world.restore().await, None, "nothing is lost when a leader goes in order");

    kafka.node(behind).stop().expect("stopped");
    world.numbers(16..25).await;
    assert_eq!(world.restore().await, None);
    kafka.node(ahead).kill().expect("killed");
    kafka.node(behind).restart().expect("a broker");
    let elected = async {
        while known().leader != Some(behind) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(60 * SECOND, elected).await.expect("the one that is left leads");
    // Another producer: the old one had records acknowledged that are gone, for which librdkafka gives it up.
    let world = World { log: KafkaLog::new(test_settings(&kafka.bootstrap())).expect("a log"), ..world };
    world.numbers(30..60).await;

    let before = world.store.position().expect("a position").expect("it was restored");
    let Restore::WipeAndReplay(WipeReason::LogDiverged, span) = world.plan().await else { panic!("{:?}", world.plan().await) };
    assert!(span.to > before.next_offset, "offsets alone don't show it: {span:?}, {before:?}");
    assert_eq!(world.restore().await, Some(WipeReason::LogDiverged));
    assert_eq!(world.keys(), (10..16).chain(30..60).map(|n| n.to_string()).collect::<Vec<_>>());
}
