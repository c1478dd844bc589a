//! The log on Kafka: librdkafka carries the records, our own client asks about topics.
//!
//! Consumers are only assigned, never subscribed: which partitions are read is the group's business, not the client's.

mod admin;
mod client;
mod errors;
mod fetch;
mod message;
#[cfg(test)]
pub(crate) mod on_kafka;
mod producer;
mod settings;
mod socket;
mod token;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::runtime::Handle;

pub(crate) use message::Message;
pub(crate) use settings::KafkaSettings;

use self::client::{Client, Kind};
use self::fetch::KafkaFetch;
use self::producer::KafkaProducer;
use super::{Bounds, BoxFuture, Fetch, Log, LogEnd, LogError, NewTopic, Producer, Reader, TopicFacts};
use crate::time::TopicPartition;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two looks at whether the producer has failed for good.
const LOOK_AT_PRODUCER: Duration = Duration::from_secs(1);

/// Kafka, as one process uses it. Its clients end on threads of their own once it and all that came from it have gone.
pub(crate) struct KafkaLog {
    admin: faust_wire::Client,
    control: Handle,
    settings: KafkaSettings,
    /// Between how many partitions the fetch memory is shared.
    expected_partitions: AtomicUsize,
    source: Mutex<Option<Arc<Client>>>,
    changelog: Mutex<Option<Arc<Client>>>,
    producer: Arc<KafkaProducer>,
}

impl KafkaLog {
    /// Doesn't wait for Kafka, which may be away. Questions about topics go over connections of the runtime that this is called on,
    /// whoever asks: a shard that is busy must hold up only itself.
    pub fn new(settings: KafkaSettings) -> Result<Arc<Self>, LogError> {
        let mut admin = faust_wire::Config::parse(&settings.brokers, &settings.client_id)
            .map_err(|invalid| LogError::Config(invalid.to_string()))?;
        admin.connect_timeout = CONNECT_TIMEOUT;
        admin.request_timeout = REQUEST_TIMEOUT;
        admin.security = settings.security.clone();
        settings.security.check().map_err(|unreadable| LogError::Config(unreadable.to_string()))?;
        let producer = Client::start("producer", Kind::Producer, &settings.producer(), &settings.security)?;
        Ok(Arc::new(Self {
            admin: faust_wire::Client::new(admin),
            control: Handle::current(),
            producer: Arc::new(KafkaProducer::new(producer, settings.max_record())),
            settings,
            expected_partitions: AtomicUsize::new(1),
            source: Mutex::default(),
            changelog: Mutex::default(),
        }))
    }

    fn ask<'a, T: Send + 'static>(
        &self,
        question: impl Future<Output = Result<T, LogError>> + Send + 'static,
    ) -> BoxFuture<'a, Result<T, LogError>> {
        let answer = self.control.spawn(question);
        Box::pin(async { answer.await.unwrap_or_else(|_| Err(LogError::Unavailable("the worker is stopping".into()))) })
    }

    /// The consumer of that kind, made when it is first needed: its limits hang on the number of partitions.
    fn consumer(&self, reader: Reader) -> Result<Arc<Client>, LogError> {
        let expected = self.expected_partitions.load(Ordering::Relaxed);
        let (name, slot, properties) = match reader {
            Reader::Source => ("source", &self.source, self.settings.source(expected)),
            Reader::Changelog => ("changelog", &self.changelog, self.settings.changelog(expected)),
        };
        let mut slot = slot.lock().unwrap();
        if let Some(client) = &*slot {
            return Ok(client.clone());
        }
        let client = Client::start(name, Kind::Consumer, &properties, &self.settings.security)?;
        Ok(slot.insert(client).clone())
    }
}

impl Log for KafkaLog {
    fn expect(&self, partitions: usize) {
        // A consumer that there is keeps the limits that it was made with.
        if self.source.lock().unwrap().is_none() {
            self.expected_partitions.store(partitions, Ordering::Relaxed);
        }
    }

    fn topics<'a>(&'a self, names: &'a [String]) -> BoxFuture<'a, Result<HashMap<String, TopicFacts>, LogError>> {
        let (admin, names) = (self.admin.clone(), names.to_vec());
        self.ask(async move { admin::topics(&admin, &names).await })
    }

    fn create<'a>(&'a self, topics: &'a [NewTopic]) -> BoxFuture<'a, Result<(), LogError>> {
        let (admin, topics) = (self.admin.clone(), topics.to_vec());
        self.ask(async move { admin::create(&admin, &topics).await })
    }

    fn bounds<'a>(&'a self, of: &'a [TopicPartition]) -> BoxFuture<'a, Result<Vec<Bounds>, LogError>> {
        let (admin, of) = (self.admin.clone(), of.to_vec());
        self.ask(async move { admin::bounds(&admin, &of).await })
    }

    fn ends<'a>(&'a self, of: &'a [TopicPartition]) -> BoxFuture<'a, Result<Vec<LogEnd>, LogError>> {
        let (admin, of) = (self.admin.clone(), of.to_vec());
        self.ask(async move { admin::ends(&admin, &of).await })
    }

    fn epoch_end<'a>(&'a self, of: &'a TopicPartition, epoch: i32) -> BoxFuture<'a, Result<Option<i64>, LogError>> {
        let (admin, of) = (self.admin.clone(), of.clone());
        self.ask(async move { admin::epoch_end(&admin, &of, epoch).await })
    }

    fn tombstone_lives<'a>(&'a self, topics: &'a [String]) -> BoxFuture<'a, Result<HashMap<String, Duration>, LogError>> {
        let (admin, topics) = (self.admin.clone(), topics.to_vec());
        self.ask(async move { admin::tombstone_lives(&admin, &topics).await })
    }

    fn fetch(&self, partition: &TopicPartition, start: i64, reader: Reader) -> Result<Box<dyn Fetch>, LogError> {
        Ok(Box::new(KafkaFetch::start(&self.consumer(reader)?, partition, start)?))
    }

    fn producer(&self) -> Arc<dyn Producer> {
        self.producer.clone()
    }

    fn refresh(&self) {
        self.producer.refresh();
    }

    fn broken(&self) -> BoxFuture<'_, String> {
        Box::pin(async {
            loop {
                if let Some(why) = self.producer.broken() {
                    return why;
                }
                tokio::time::sleep(LOOK_AT_PRODUCER).await;
            }
        })
    }

    fn fetch_bound(&self) -> Option<u64> {
        Some(self.settings.bound(self.expected_partitions.load(Ordering::Relaxed)) as u64)
    }
}
