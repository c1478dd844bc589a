//! What a topic holds, read from its beginning by a plain consumer, and what a plain producer puts there.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use faust_testbed::Broker;
use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::{Offset, TopicPartitionList};

use crate::wait;

const TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub partition: i32,
    pub offset: i64,
    /// In milliseconds; the producer's or the broker's, as the topic says.
    pub timestamp: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
}

/// All records of a topic, up to the ends that it has now.
#[track_caller]
pub fn read(broker: &Broker, topic: &str) -> Vec<Record> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", broker.bootstrap())
        .set("group.id", "faust-e2e-reader")
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "error")
        .create()
        .expect("a consumer");
    let metadata = consumer.fetch_metadata(Some(topic), TIMEOUT).unwrap_or_else(|error| panic!("{topic}: {error}"));
    let partitions = metadata.topics()[0].partitions().len();
    let mut assigned = TopicPartitionList::new();
    let mut missing = 0;
    for partition in 0..partitions as i32 {
        let (start, end) =
            consumer.fetch_watermarks(topic, partition, TIMEOUT).unwrap_or_else(|error| panic!("{topic}[{partition}]: {error}"));
        missing += end - start;
        assigned.add_partition_offset(topic, partition, Offset::Beginning).expect("an offset");
    }
    consumer.assign(&assigned).unwrap_or_else(|error| panic!("{topic}: {error}"));
    let mut records = Vec::with_capacity(missing as usize);
    while records.len() < missing as usize {
        let message = consumer
            .poll(TIMEOUT)
            .unwrap_or_else(|| panic!("{topic}: {} of {missing} records came, and then none for {TIMEOUT:?}", records.len()));
        let message = message.unwrap_or_else(|error| panic!("{topic}: {error}"));
        records.push(Record {
            partition: message.partition(),
            offset: message.offset(),
            timestamp: message.timestamp().to_millis().unwrap_or(0),
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
        });
    }
    records
}

/// A producer that is not ours and places keys as Kafka's own does.
pub struct Producer {
    inner: ThreadedProducer<Outcome>,
    failures: Arc<AtomicU64>,
}

struct Outcome(Arc<AtomicU64>);

impl ClientContext for Outcome {}

impl ProducerContext for Outcome {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if result.is_err() {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Producer {
    pub fn to(broker: &Broker) -> Self {
        let failures = Arc::new(AtomicU64::new(0));
        let inner = ClientConfig::new()
            .set("bootstrap.servers", broker.bootstrap())
            .set("partitioner", "murmur2")
            .set("enable.idempotence", "true")
            .set("linger.ms", "5")
            .set("queue.buffering.max.messages", "1000000")
            .create_with_context(Outcome(failures.clone()))
            .expect("a producer");
        Self { inner, failures }
    }

    pub fn send(&self, topic: &str, key: &str, value: &str) {
        self.queue(BaseRecord::to(topic).key(key.as_bytes()).payload(value.as_bytes()));
    }

    /// Any bytes or none, in a given partition.
    pub fn send_to(&self, topic: &str, partition: i32, key: Option<&[u8]>, value: Option<&[u8]>) {
        let mut record = BaseRecord::<[u8], [u8]>::to(topic).partition(partition);
        record.key = key;
        record.payload = value;
        self.queue(record);
    }

    fn queue(&self, record: BaseRecord<'_, [u8], [u8]>) {
        let mut record = Some(record);
        wait::until("the producer's buffer has room", || match self.inner.send(record.take().expect("taken back")) {
            Ok(()) => Ok(()),
            Err((error @ KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                record = Some(back);
                Err(error.to_string())
            }
            Err((error, _)) => panic!("not sent: {error}"),
        });
    }

    /// Waits until everything is delivered.
    #[track_caller]
    pub fn flush(&self) {
        self.inner.flush(wait::LIMIT).unwrap_or_else(|error| panic!("the producer's records: {error}"));
        assert_eq!(self.failures.load(Ordering::Relaxed), 0, "records were not delivered");
    }
}
