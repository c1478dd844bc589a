//! Topics: sources of agents and targets of sends.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use crate::app::AppNode;
use crate::codec::{self, Presence};
use crate::error::{CodecError, SendError};
use crate::log::{Deliveries, Header, Outgoing, ProduceError, partition_of};
use crate::model::{Key, Value};
use crate::stream::Stream;
use crate::table::KeyRef;
use crate::task::{self, TaskContext};
use crate::time::{RecordMetadata, Timestamp};

handle! {
    /// A Kafka topic with typed keys and values: a source of agents and a target of sends.
    Topic<K, V> of TopicNode
}

/// What the app remembers of a topic.
pub(crate) struct TopicNode {
    pub app: &'static AppNode,
    pub name: &'static str,
    /// As declared; 0 where it wasn't.
    pub declared_partitions: AtomicU32,
    /// As found when the worker started; 0 before.
    pub partitions: AtomicU32,
    /// Where the next record without a key goes.
    round_robin: AtomicU32,
}

impl TopicNode {
    pub fn new(app: &'static AppNode, name: &'static str) -> Self {
        let none = || AtomicU32::new(0);
        Self { app, name, declared_partitions: none(), partitions: none(), round_robin: none() }
    }

    /// The partition of a key, as every Kafka client computes it; records without a key go round.
    fn place(&self, key: Option<&[u8]>) -> u32 {
        let partitions = self.partitions.load(Ordering::Relaxed).max(1);
        match key {
            Some(key) => partition_of(key, partitions),
            None => self.round_robin.fetch_add(1, Ordering::Relaxed) % partitions,
        }
    }
}

impl<K: Key, V: Value> Topic<K, V> {
    /// How many partitions the topic must have: the worker waits, unready, while it has another number. In memory, how many it gets.
    pub fn partitions(self, n: u32) -> Self {
        self.node.app.option("topic", self.node.name, &format!(".partitions({n})"));
        self.node.declared_partitions.store(n, Ordering::Relaxed);
        self
    }

    /// The topic's name.
    pub fn name(&self) -> &'static str {
        self.node.name
    }

    /// Prepares a record; awaiting it hands it to the producer.
    ///
    /// `()` as the key, or `None` of an optional one, sends no key; an optional value's `None` sends a tombstone. Inside a task the
    /// event's offset isn't committed before the record is delivered.
    pub fn send<Q: KeyRef<K> + ?Sized>(&self, key: &Q, value: &V) -> PendingSend {
        let encoded = encode(|out| codec::encode_key(&key.to_key(), out))
            .and_then(|key| Ok((key, encode(|out| codec::encode_value(value, out))?)));
        let topic = self.node.name;
        let encoded = encoded.map_err(|error| SendError::Codec { topic, error });
        PendingSend { topic: self.node, encoded, partition: None, timestamp: None, headers: Vec::new(), wait: None }
    }
}

fn encode(write: impl FnOnce(&mut Vec<u8>) -> Result<Presence, CodecError>) -> Result<Option<Vec<u8>>, CodecError> {
    let mut bytes = Vec::new();
    let presence = write(&mut bytes)?;
    Ok((presence == Presence::Bytes).then_some(bytes))
}

type Encoded = (Option<Vec<u8>>, Option<Vec<u8>>);

/// A send in preparation. Awaiting it hands the record to the producer and waits only while the producer's buffer is full; delivery is
/// the commit's business.
#[must_use = "nothing is sent until this is awaited"]
pub struct PendingSend {
    topic: &'static TopicNode,
    encoded: Result<Encoded, SendError>,
    partition: Option<u32>,
    timestamp: Option<Timestamp>,
    headers: Vec<Header>,
    wait: Option<Pin<Box<tokio::time::Sleep>>>,
}

/// How long a send waits before it tries a full buffer, or a lease that doesn't hold, again.
const AGAIN: Duration = Duration::from_millis(5);

impl PendingSend {
    /// To this partition, whatever the key says.
    pub fn partition(mut self, partition: u32) -> Self {
        self.partition = Some(partition);
        self
    }

    /// The record's time; now unless given.
    pub fn timestamp(mut self, timestamp: Timestamp) -> Self {
        self.timestamp = Some(timestamp);
        self
    }

    /// Adds a header.
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.to_string(), Some(value.as_ref().to_vec())));
        self
    }

    /// Also waits for the broker's acknowledgement, and says where the record came to lie.
    pub async fn delivered(mut self) -> Result<RecordMetadata, SendError> {
        let topic = self.topic.name;
        let timestamp = *self.timestamp.get_or_insert_with(Timestamp::now);
        let delivery = Arc::new(Deliveries::default());
        let partition = std::future::poll_fn(|cx| self.poll_send(cx, Some(&delivery))).await?;
        let broker = |reason| SendError::Broker { topic, reason };
        let offset = delivery.settled().await.map_err(broker)?.ok_or_else(|| broker("no delivery report".to_string()))?;
        Ok(RecordMetadata { topic: topic.to_string(), partition, offset, timestamp })
    }

    /// Queues the record and returns its partition. Its delivery is reported to `delivery`, else to the current task's.
    fn poll_send(&mut self, cx: &mut Context<'_>, delivery: Option<&Arc<Deliveries>>) -> Poll<Result<u32, SendError>> {
        let topic = self.topic.name;
        let (key, value) = match &self.encoded {
            Ok((key, value)) => (key.as_deref(), value.as_deref()),
            Err(error) => return Poll::Ready(Err(error.clone())),
        };
        let Some(running) = self.topic.app.running() else { return Poll::Ready(Err(SendError::NotStarted { topic })) };
        loop {
            if let Some(wait) = &mut self.wait {
                std::task::ready!(wait.as_mut().poll(cx));
                self.wait = None;
            }
            let way = match task::current() {
                task::Current::Task(task) => match task.may_send() {
                    true => Some(delivery.cloned().unwrap_or_else(|| task.sent())),
                    false => None,
                },
                task::Current::Outside => Some(delivery.cloned().unwrap_or_default()),
                task::Current::ShardOnly => return Poll::Ready(Err(SendError::OutsideTask { topic })),
            };
            if let Some(delivery) = way {
                let partition = *self.partition.get_or_insert_with(|| self.topic.place(key));
                let partitions = self.topic.partitions.load(Ordering::Relaxed);
                if partition >= partitions {
                    let reason = format!("partition {partition} doesn't exist, it has {partitions}");
                    return Poll::Ready(Err(SendError::Broker { topic, reason }));
                }
                let timestamp = self.timestamp.map(|timestamp| timestamp.0);
                let record = Outgoing { topic, partition, key, value, headers: &self.headers, timestamp };
                match running.producer.send(record, &delivery) {
                    Ok(()) => return Poll::Ready(Ok(partition)),
                    Err(ProduceError::Full) => {}
                    Err(ProduceError::TooLarge { bytes }) => return Poll::Ready(Err(SendError::TooLarge { topic, bytes })),
                    Err(ProduceError::Failed(reason)) => match task::current() {
                        // Not the agent's fault: the task reads again until the topic is back, and says so.
                        task::Current::Task(task) => {
                            task.start_over(format!("a record for topic `{topic}` was not taken: {reason}"));
                            return Poll::Pending;
                        }
                        _ => return Poll::Ready(Err(SendError::Broker { topic, reason })),
                    },
                }
            }
            self.wait = Some(Box::pin(tokio::time::sleep(AGAIN)));
        }
    }
}

impl Future for PendingSend {
    type Output = Result<(), SendError>;
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.poll_send(cx, None).map_ok(|_| ())
    }
}

/// Anything an agent can read.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not something an agent can read",
    label = "not a source",
    note = "the first input is a `Topic`; handles are `Copy`, so pass `orders`, not `&orders`"
)]
pub trait Source: Copy + Send + Sync + 'static {
    type Key: 'static;
    type Value: 'static;
    /// What its agent replies with.
    type Reply: 'static;

    #[doc(hidden)]
    fn declare(&self, agent: &mut crate::topology::Declaration);
    #[doc(hidden)]
    fn bind(&self, task: &TaskContext) -> Stream<Self::Key, Self::Value, Self::Reply>;
}

impl<K: Key, V: Value> Source for Topic<K, V> {
    type Key = K;
    type Value = V;
    type Reply = ();

    fn declare(&self, agent: &mut crate::topology::Declaration) {
        agent.reads(self.node);
    }
    fn bind(&self, task: &TaskContext) -> Stream<K, V> {
        Stream::new(task.input(self.node.name))
    }
}
