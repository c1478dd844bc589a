//! The log on Kafka: librdkafka carries the records, our own client asks about topics.
//!
//! Consumers are only assigned, never subscribed: which partitions are read is the group's business, not the client's.

mod admin;
mod client;
mod errors;
mod fetch;
mod message;
#[cfg(test)]
pub(super) mod on_kafka;
mod producer;
mod settings;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

pub(crate) use message::Message;
pub(crate) use settings::KafkaSettings;

use self::client::{Client, Kind};
use self::fetch::KafkaFetch;
use self::producer::KafkaProducer;
use super::{Bounds, BoxFuture, Fetch, Log, LogError, NewTopic, Producer, Reader, TopicFacts};
use crate::time::TopicPartition;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Kafka, as one process uses it. Its clients end on threads of their own once it and all that came from it have gone.
pub(crate) struct KafkaLog {
    admin: faust_wire::Client,
    source: Arc<Client>,
    changelog: Arc<Client>,
    producer: Arc<KafkaProducer>,
}

impl KafkaLog {
    /// Doesn't wait for Kafka, which may be away.
    pub fn new(settings: &KafkaSettings) -> Result<Arc<Self>, LogError> {
        let mut admin = faust_wire::Config::parse(&settings.brokers, &settings.client_id)
            .map_err(|invalid| LogError::Config(invalid.to_string()))?;
        admin.connect_timeout = CONNECT_TIMEOUT;
        admin.request_timeout = REQUEST_TIMEOUT;
        let producer = Client::start("producer", Kind::Producer, &settings.producer())?;
        Ok(Arc::new(Self {
            admin: faust_wire::Client::new(admin),
            source: Client::start("source", Kind::Consumer, &settings.source())?,
            changelog: Client::start("changelog", Kind::Consumer, &settings.changelog())?,
            producer: Arc::new(KafkaProducer::new(producer, settings.max_record())),
        }))
    }
}

impl Log for KafkaLog {
    fn topics<'a>(&'a self, names: &'a [String]) -> BoxFuture<'a, Result<HashMap<String, TopicFacts>, LogError>> {
        Box::pin(admin::topics(&self.admin, names))
    }

    fn create<'a>(&'a self, topics: &'a [NewTopic]) -> BoxFuture<'a, Result<(), LogError>> {
        Box::pin(admin::create(&self.admin, topics))
    }

    fn bounds<'a>(&'a self, of: &'a [TopicPartition]) -> BoxFuture<'a, Result<Vec<Bounds>, LogError>> {
        Box::pin(admin::bounds(&self.admin, of))
    }

    fn fetch(&self, partition: &TopicPartition, start: i64, reader: Reader) -> Result<Box<dyn Fetch>, LogError> {
        let client = match reader {
            Reader::Source => &self.source,
            Reader::Changelog => &self.changelog,
        };
        Ok(Box::new(KafkaFetch::start(client, partition, start)?))
    }

    fn producer(&self) -> Arc<dyn Producer> {
        self.producer.clone()
    }
}
