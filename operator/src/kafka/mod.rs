//! What the operator asks of Kafka and does there; what to ask and do is decided elsewhere.

mod error;

#[cfg(test)]
mod on_kafka;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use faust_wire::{Client, Config, ResponseError};

use crate::model::{Kafka, KafkaFacts, Member, NewTopic, TopicFacts};

pub use self::error::Error;

/// For everything that one look at Kafka takes.
const LOOK: Duration = Duration::from_secs(8);
/// Shorter than a look, so that a broker that went silent costs one look and not every one.
const REQUEST: Duration = Duration::from_secs(6);
const CONNECT: Duration = Duration::from_secs(3);

/// Kafka clusters by their bootstrap lists, each connected to once. An idle connection is closed by its broker.
#[derive(Default)]
pub struct Connections(Mutex<BTreeMap<String, Client>>);

/// A topic that a call has made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    pub name: String,
    pub id: String,
    pub partitions: u32,
}

/// What became of topics that were to be made. One that is there already is in neither list: the next look finds it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Creation {
    pub made: Vec<Made>,
    pub failed: Vec<Error>,
}

impl Connections {
    /// What Kafka has of these topics, and who is in the group.
    pub async fn observe(
        &self,
        bootstrap: &str,
        group: &str,
        topics: &[String],
        watched_keys: &BTreeMap<String, Vec<String>>,
    ) -> Kafka {
        let look = async {
            let client = self.client(bootstrap)?;
            let seen = tokio::try_join!(look_at_topics(&client, topics, watched_keys), look_at_members(&client, group));
            seen.map_err(|error| error::of(&error))
        };
        let in_time = tokio::time::timeout(LOOK, look).await;
        match in_time
            .unwrap_or_else(|_| Err(Error::Unreachable(format!("Kafka at {bootstrap} took longer than {LOOK:?} to answer"))))
        {
            Ok((topics, members)) => Kafka::Seen(KafkaFacts { topics, members }),
            Err(error) => Kafka::Unknown { refused: error.is_refusal(), message: error.to_string() },
        }
    }

    /// Makes topics, without waiting for their leaders. What is in `made` has to be recorded even when others failed.
    pub async fn create(&self, bootstrap: &str, topics: &[NewTopic]) -> Creation {
        let wanted: Vec<faust_wire::NewTopic> = topics.iter().map(wanted).collect();
        let answers = match self.client(bootstrap) {
            Ok(client) => client.request_topics(&wanted).await.map_err(|error| error::of(&error)),
            Err(error) => Err(error),
        };
        let mut creation = Creation::default();
        match answers {
            Err(error) => creation.failed.push(error),
            Ok(answers) => {
                for answer in answers {
                    match answer {
                        Ok(topic) => creation.made.push(Made {
                            name: topic.name,
                            id: id_text(topic.id),
                            partitions: topic.partitions.try_into().unwrap_or_default(),
                        }),
                        Err(error) if error.is(ResponseError::TopicAlreadyExists) => {}
                        Err(error) => creation.failed.push(error::of(&error)),
                    }
                }
            }
        }
        creation
    }

    /// Sets these keys of a topic's configuration and leaves all others alone.
    pub async fn configure(&self, bootstrap: &str, topic: &str, set: &BTreeMap<String, String>) -> Result<(), Error> {
        self.client(bootstrap)?.set_topic_configs(topic, set).await.map_err(|error| error::of(&error))
    }

    /// Takes a static member out of the group; that it isn't there is as good.
    pub async fn remove_member(&self, bootstrap: &str, group: &str, instance_id: &str) -> Result<(), Error> {
        let removed =
            self.client(bootstrap)?.remove_static_member(group, instance_id, "removed by the operator: its pod is gone").await;
        removed.map(drop).map_err(|error| error::of(&error))
    }

    fn client(&self, bootstrap: &str) -> Result<Client, Error> {
        let mut clients = self.0.lock().unwrap();
        if let Some(client) = clients.get(bootstrap) {
            return Ok(client.clone());
        }
        let config = Config::parse(bootstrap, "faust-operator")
            .map_err(|error| Error::Unreachable(format!("spec.kafka.bootstrapServers can't be used: {error}")))?;
        let client = Client::new(Config { connect_timeout: CONNECT, request_timeout: REQUEST, ..config });
        clients.insert(bootstrap.to_string(), client.clone());
        Ok(client)
    }
}

async fn look_at_topics(
    client: &Client,
    topics: &[String],
    watched_keys: &BTreeMap<String, Vec<String>>,
) -> Result<BTreeMap<String, TopicFacts>, faust_wire::Error> {
    let mut found = BTreeMap::new();
    for topic in client.metadata(Some(topics)).await?.topics {
        match topic.error {
            None => {
                let facts =
                    TopicFacts { id: id_text(topic.id), partitions: topic.partitions.len() as u32, config: BTreeMap::new() };
                found.insert(topic.name, facts);
            }
            Some(ResponseError::UnknownTopicOrPartition) => {}
            Some(error) => faust_wire::Error::check("Metadata", error.code(), format_args!("topic `{}`", topic.name), None)?,
        }
    }
    let keys: Vec<(&str, Vec<&str>)> = watched_keys
        .iter()
        .filter(|(topic, _)| found.contains_key(*topic))
        .map(|(topic, keys)| (topic.as_str(), keys.iter().map(String::as_str).collect()))
        .collect();
    let keys: Vec<(&str, &[&str])> = keys.iter().map(|(topic, keys)| (*topic, keys.as_slice())).collect();
    for (topic, entries) in client.describe_configs_of_topics(&keys).await? {
        match entries {
            Ok(entries) => {
                if let Some(facts) = found.get_mut(&topic) {
                    facts.config = entries.into_iter().map(|entry| (entry.name, entry.value.unwrap_or_default())).collect();
                }
            }
            // Deleted between the two questions.
            Err(error) if error.is(ResponseError::UnknownTopicOrPartition) => drop(found.remove(&topic)),
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

async fn look_at_members(client: &Client, group: &str) -> Result<Vec<Member>, faust_wire::Error> {
    let members = client.describe_group(group).await?.members;
    let member = |member: faust_wire::GroupMember| Member { id: member.id, instance_id: member.instance_id, host: member.host };
    Ok(members.into_iter().map(member).collect())
}

fn wanted(topic: &NewTopic) -> faust_wire::NewTopic {
    faust_wire::NewTopic {
        name: topic.name.clone(),
        partitions: topic.partitions.and_then(|partitions| partitions.try_into().ok()).unwrap_or(-1),
        replication: topic.replication_factor.and_then(|factor| factor.try_into().ok()).unwrap_or(-1),
        configs: topic.config.iter().map(|(key, value)| (key.clone(), value.clone())).collect(),
    }
}

/// As Kafka's own tools print ids.
fn id_text(id: [u8; 16]) -> String {
    URL_SAFE_NO_PAD.encode(id)
}
