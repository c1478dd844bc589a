//! What a cluster says of itself: brokers, topics, leaders.

use std::collections::BTreeMap;

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::{MetadataResponsePartition, MetadataResponseTopic};
use kafka_protocol::messages::{MetadataRequest, MetadataResponse, TopicName};

use crate::config::Address;
use crate::error::Error;
use crate::request::Request;
use crate::text;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    pub brokers: BTreeMap<i32, Broker>,
    pub controller: Option<i32>,
    pub cluster_id: Option<String>,
    /// In the order of the answer, also those that have an error.
    pub topics: Vec<Topic>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    pub id: i32,
    pub address: Address,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    pub name: String,
    /// Zero where the broker is too old to have them (before 2.8).
    pub id: [u8; 16],
    /// Why the rest is empty.
    pub error: Option<ResponseError>,
    /// By index.
    pub partitions: Vec<Partition>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    pub index: i32,
    pub leader: Option<i32>,
    /// −1 where the broker doesn't say.
    pub leader_epoch: i32,
    pub error: Option<ResponseError>,
}

impl Metadata {
    pub fn topic(&self, name: &str) -> Option<&Topic> {
        self.topics.iter().find(|topic| topic.name == name)
    }

    /// The broker that leads a partition, or why that can't be said.
    pub fn leader(&self, topic: &str, partition: i32) -> Result<&Broker, Error> {
        let no = |error: ResponseError| Error::Kafka {
            api: MetadataRequest::NAME,
            about: format!("topic `{topic}` partition {partition}"),
            code: error.code(),
            message: None,
        };
        let topic = self.topic(topic).ok_or_else(|| no(ResponseError::UnknownTopicOrPartition))?;
        if let Some(error) = topic.error {
            return Err(no(error));
        }
        let partition = topic.partitions.iter().find(|known| known.index == partition);
        let partition = partition.ok_or_else(|| no(ResponseError::UnknownTopicOrPartition))?;
        let leader = partition.leader.and_then(|leader| self.brokers.get(&leader));
        leader.ok_or_else(|| no(partition.error.unwrap_or(ResponseError::LeaderNotAvailable)))
    }

    pub(crate) fn of(response: MetadataResponse) -> Result<Self, Error> {
        Error::check(MetadataRequest::NAME, response.error_code, "the cluster", None)?;
        let brokers = response
            .brokers
            .into_iter()
            .map(|broker| Broker::of(broker.node_id.0, &broker.host, broker.port).map(|broker| (broker.id, broker)))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            brokers,
            controller: Some(response.controller_id.0).filter(|id| *id >= 0),
            cluster_id: response.cluster_id.map(|id| id.to_string()),
            topics: response.topics.into_iter().map(Topic::of).collect(),
        })
    }
}

impl Broker {
    pub(crate) fn of(id: i32, host: &str, port: i32) -> Result<Self, Error> {
        let port =
            u16::try_from(port).map_err(|_| Error::Protocol(format!("broker {id} at `{host}` is said to have port {port}")))?;
        Ok(Self { id, address: Address { host: host.to_string(), port } })
    }
}

impl Topic {
    fn of(topic: MetadataResponseTopic) -> Self {
        let mut partitions: Vec<_> = topic.partitions.into_iter().map(Partition::of).collect();
        partitions.sort_by_key(|partition| partition.index);
        Self {
            name: topic.name.map(|name| name.to_string()).unwrap_or_default(),
            id: topic.topic_id.into_bytes(),
            error: ResponseError::try_from_code(topic.error_code),
            partitions,
        }
    }
}

impl Partition {
    fn of(partition: MetadataResponsePartition) -> Self {
        Self {
            index: partition.partition_index,
            leader: Some(partition.leader_id.0).filter(|id| *id >= 0),
            leader_epoch: partition.leader_epoch,
            error: ResponseError::try_from_code(partition.error_code),
        }
    }
}

/// Asks for these topics, or for all. Asking must never make a topic: brokers ship with auto-creation on.
pub(crate) fn question<S: AsRef<str>>(topics: Option<&[S]>) -> MetadataRequest {
    let named = |name: &S| MetadataRequestTopic::default().with_name(Some(TopicName(text(name.as_ref()))));
    MetadataRequest::default()
        .with_allow_auto_topic_creation(false)
        .with_topics(topics.map(|topics| topics.iter().map(named).collect()))
}
