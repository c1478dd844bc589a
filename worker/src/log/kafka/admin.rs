//! Questions about topics, asked with our own client: librdkafka's answers lack topic ids and block.

use std::collections::HashMap;
use std::time::Duration;

use faust_wire::{At, Client, ConfigEntry, Error, ResponseError};

use super::errors;
use crate::log::{Bounds, LogEnd, LogError, NewTopic, TopicFacts};
use crate::time::TopicPartition;

pub(super) async fn topics(client: &Client, names: &[String]) -> Result<HashMap<String, TopicFacts>, LogError> {
    let metadata = client.metadata(Some(names)).await.map_err(meaning)?;
    let mut facts = HashMap::new();
    for topic in metadata.topics {
        match topic.error {
            None => {
                facts.insert(topic.name, TopicFacts { id: topic.id, partitions: topic.partitions.len() as u32 });
            }
            Some(ResponseError::UnknownTopicOrPartition) => {}
            Some(error) => return Err(meaning(refused(&topic.name, error))),
        }
    }
    Ok(facts)
}

pub(super) async fn create(client: &Client, topics: &[NewTopic]) -> Result<(), LogError> {
    let topics: Vec<_> = topics
        .iter()
        .map(|topic| faust_wire::NewTopic {
            name: topic.name.clone(),
            partitions: topic.partitions as i32,
            replication: -1,
            configs: topic.config.clone(),
        })
        .collect();
    client.create_topics(&topics).await.map(drop).map_err(meaning)
}

pub(super) async fn bounds(client: &Client, of: &[TopicPartition]) -> Result<Vec<Bounds>, LogError> {
    let asked: Vec<(&str, i32)> = of.iter().map(|at| (at.topic.as_str(), at.partition as i32)).collect();
    // The start first: asked the other way round, expiry in between could put it behind the end.
    let offsets = async { Ok((client.list_offsets(&asked, At::Earliest).await?, client.list_offsets(&asked, At::Latest).await?)) };
    match offsets.await {
        Ok((starts, ends)) => Ok(starts.into_iter().zip(ends).map(|(start, end)| Bounds { start, end }).collect()),
        Err(error) => Err(missing(client, of, &error).await.unwrap_or_else(|| meaning(error))),
    }
}

pub(super) async fn ends(client: &Client, of: &[TopicPartition]) -> Result<Vec<LogEnd>, LogError> {
    let asked: Vec<(&str, i32)> = of.iter().map(|at| (at.topic.as_str(), at.partition as i32)).collect();
    match client.log_ends(&asked).await {
        Ok(ends) => Ok(ends.into_iter().map(|end| LogEnd { offset: end.offset, leader_epoch: end.epoch }).collect()),
        Err(error) => Err(missing(client, of, &error).await.unwrap_or_else(|| meaning(error))),
    }
}

pub(super) async fn epoch_end(client: &Client, of: &TopicPartition, epoch: i32) -> Result<Option<i64>, LogError> {
    match client.epoch_ends(&[(of.topic.as_str(), of.partition as i32, epoch)]).await {
        Ok(ends) => Ok(ends.first().map(|end| end.offset).filter(|offset| *offset >= 0)),
        Err(error) => Err(missing(client, std::slice::from_ref(of), &error).await.unwrap_or_else(|| meaning(error))),
    }
}

/// A topic whose configuration may not be read is left out, as one that has gone.
pub(super) async fn tombstone_lives(client: &Client, topics: &[String]) -> Result<HashMap<String, Duration>, LogError> {
    const KEYS: &[&str] = &["delete.retention.ms"];
    let asked: Vec<(&str, &[&str])> = topics.iter().map(|topic| (topic.as_str(), KEYS)).collect();
    let described = client.describe_configs_of_topics(&asked).await.map_err(meaning)?;
    let life = |entries: Vec<ConfigEntry>| {
        let millis = entries.into_iter().find_map(|entry| entry.value?.parse().ok())?;
        Some(Duration::from_millis(millis))
    };
    Ok(described.into_iter().filter_map(|(topic, entries)| Some((topic, life(entries.ok()?)?))).collect())
}

/// Which of the partitions it is that Kafka doesn't know.
async fn missing(client: &Client, of: &[TopicPartition], error: &Error) -> Option<LogError> {
    if !error.is(ResponseError::UnknownTopicOrPartition) {
        return None;
    }
    let mut names: Vec<String> = of.iter().map(|at| at.topic.clone()).collect();
    names.sort_unstable();
    names.dedup();
    let facts = topics(client, &names).await.ok()?;
    let unknown = of.iter().find_map(|at| match facts.get(&at.topic) {
        None => Some(at.topic.clone()),
        Some(topic) => (at.partition >= topic.partitions).then(|| at.to_string()),
    });
    unknown.map(LogError::UnknownTopic)
}

fn refused(topic: &str, error: ResponseError) -> Error {
    Error::Kafka { api: "Metadata", about: format!("topic `{topic}`"), code: error.code(), message: None }
}

fn meaning(error: Error) -> LogError {
    use ResponseError::*;
    // A replication factor is the brokers' own default, and too many replicas may only be too few brokers as yet: that is waited for.
    const WRONG: [ResponseError; 4] = [InvalidConfig, PolicyViolation, InvalidPartitions, InvalidTopicException];
    match error {
        Error::Unreachable { address, reason } => LogError::Unavailable(format!("{address}: {reason}")),
        error @ (Error::Untrusted { .. } | Error::Unsupported { .. }) => LogError::Refused(error.to_string()),
        error if error.is_refusal() => errors::refused(&error.to_string()),
        error if WRONG.iter().any(|wrong| error.is(*wrong)) => LogError::Config(error.to_string()),
        error => LogError::Unavailable(error.to_string()),
    }
}
