//! Making topics.

use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::{CreateTopicsRequest, MetadataRequest, TopicName};
use tokio::time::{Duration, sleep, timeout};

use crate::client::{Client, Patience};
use crate::config::Address;
use crate::error::Error;
use crate::metadata::Metadata;
use crate::request::Request;
use crate::text;

/// How often a cluster is asked whether it has leaders for a new topic.
const LEADER_POLL: Duration = Duration::from_millis(20);

/// A topic to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTopic {
    pub name: String,
    /// −1 = the broker's default.
    pub partitions: i32,
    /// −1 = the broker's default.
    pub replication: i16,
    pub configs: Vec<(String, String)>,
}

/// A topic that is there now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreatedTopic {
    pub name: String,
    pub id: [u8; 16],
    pub partitions: i32,
    /// This call certainly made it. If false, it was there already, with whatever partitions and configuration it has.
    pub created: bool,
}

impl Client {
    /// Creates what is missing of these topics and waits until every partition has a leader. In the order asked.
    pub async fn create_topics(&self, topics: &[NewTopic]) -> Result<Vec<CreatedTopic>, Error> {
        let mut created = BTreeSet::new();
        let mut patience = Patience::new();
        while let Err(error) = self.create_missing(topics, &mut created).await {
            patience.after(error).await?;
        }
        let names: Vec<String> = topics.iter().map(|topic| topic.name.clone()).collect();
        let metadata = self.until_led(&names).await?;
        let topics = names.into_iter().map(|name| {
            let topic = metadata.topic(&name).expect("is led");
            let (id, partitions) = (topic.id, topic.partitions.len() as i32);
            CreatedTopic { created: created.contains(&name), name, id, partitions }
        });
        Ok(topics.collect())
    }

    /// Adds to `created` what it made; fails with the first error, but "is there already" is none.
    async fn create_missing(&self, topics: &[NewTopic], created: &mut BTreeSet<String>) -> Result<(), Error> {
        let missing: Vec<&NewTopic> = topics.iter().filter(|topic| !created.contains(&topic.name)).collect();
        let mut result = Ok(());
        for answer in self.create_once(&missing).await? {
            match answer {
                Ok(topic) => drop(created.insert(topic.name)),
                Err(error) if error.is(ResponseError::TopicAlreadyExists) => {}
                Err(error) => result = result.and(Err(error)),
            }
        }
        result
    }

    /// Asks once for these topics and doesn't wait for their leaders: what became of each, in the order asked. One that is there
    /// already is an error (`TopicAlreadyExists`). If the whole fails with `TimedOut` or `Closed`, some may have been made.
    pub async fn request_topics(&self, topics: &[NewTopic]) -> Result<Vec<Result<CreatedTopic, Error>>, Error> {
        self.create_once(&topics.iter().collect::<Vec<_>>()).await
    }

    async fn create_once(&self, topics: &[&NewTopic]) -> Result<Vec<Result<CreatedTopic, Error>>, Error> {
        let metadata = self.metadata(Some(&[])).await?;
        let controller = metadata.controller.and_then(|id| metadata.brokers.get(&id));
        let connection = match controller {
            Some(controller) => self.to(controller).await?,
            None => self.any().await?,
        };
        let request = CreateTopicsRequest::default()
            .with_timeout_ms(self.config().request_timeout_millis())
            .with_topics(topics.iter().map(|topic| creatable(topic)).collect());
        let mut answers = BTreeMap::new();
        for answer in connection.call(request).await?.topics {
            let name = answer.name.to_string();
            let message = answer.error_message.as_ref().map(|message| message.as_str());
            let checked = Error::check(CreateTopicsRequest::NAME, answer.error_code, format_args!("topic `{name}`"), message);
            let made = CreatedTopic {
                name: name.clone(),
                id: answer.topic_id.into_bytes(),
                partitions: answer.num_partitions,
                created: true,
            };
            answers.insert(name, checked.map(|()| made));
        }
        let not_answered = |name: &str| Error::Protocol(format!("CreateTopics was not answered for topic `{name}`"));
        Ok(topics.iter().map(|topic| answers.remove(&topic.name).unwrap_or_else(|| Err(not_answered(&topic.name)))).collect())
    }

    /// What the cluster says once all these topics have all their leaders.
    async fn until_led(&self, topics: &[String]) -> Result<Metadata, Error> {
        let limit = self.config().request_timeout;
        let mut missing = None;
        let all = async {
            loop {
                let metadata = self.metadata(Some(topics)).await?;
                match topics.iter().find_map(|topic| led(&metadata, topic).err()) {
                    Some(error) if error.is_retriable() => missing = Some(error),
                    Some(error) => return Err(error),
                    None => return Ok(metadata),
                }
                sleep(LEADER_POLL).await;
            }
        };
        let in_time = timeout(limit, all).await;
        in_time.unwrap_or_else(|_| {
            let address = self.config().bootstrap.iter().map(Address::to_string).collect::<Vec<_>>().join(",");
            Err(missing.unwrap_or(Error::TimedOut { address, api: MetadataRequest::NAME, after: limit }))
        })
    }
}

fn creatable(topic: &NewTopic) -> CreatableTopic {
    let config = |(name, value): &(String, String)| {
        CreatableTopicConfig::default().with_name(text(name.as_str())).with_value(Some(text(value.as_str())))
    };
    CreatableTopic::default()
        .with_name(TopicName(text(topic.name.as_str())))
        .with_num_partitions(topic.partitions)
        .with_replication_factor(topic.replication)
        .with_configs(topic.configs.iter().map(config).collect())
}

/// Whether all partitions of a topic have a leader; else the first error about it.
fn led(metadata: &Metadata, name: &str) -> Result<(), Error> {
    // A topic that isn't known, or has no partitions yet, fails for its first one.
    let partitions = metadata.topic(name).map_or(1, |topic| topic.partitions.len().max(1));
    (0..partitions).try_for_each(|partition| metadata.leader(name, partition as i32).map(drop))
}
