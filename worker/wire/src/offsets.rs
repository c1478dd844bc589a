//! Where partitions begin and end, and what groups have committed.

use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics};
use kafka_protocol::messages::{BrokerId, GroupId, ListOffsetsRequest, OffsetFetchRequest, OffsetFetchResponse, TopicName};

use crate::client::{Client, Patience};
use crate::error::Error;
use crate::metadata::Broker;
use crate::request::Request;
use crate::text;

/// Which offset of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// Of the first record that is still there.
    Earliest,
    /// One after the last record, open transactions included.
    Latest,
}

/// From this version on, OffsetFetch takes and answers lists of groups.
const GROUPED: i16 = 8;

/// Partitions by topic.
type Topics<'a> = BTreeMap<&'a str, Vec<i32>>;

/// What leaders have answered.
type Found<'a> = BTreeMap<(&'a str, i32), i64>;

/// Committed offsets by partition.
type Committed = BTreeMap<(String, i32), Option<i64>>;

impl Client {
    /// Offsets of partitions, in the order asked, each from the partition's leader (read uncommitted).
    pub async fn list_offsets<S: AsRef<str> + Sync>(&self, partitions: &[(S, i32)], at: At) -> Result<Vec<i64>, Error> {
        let mut found = BTreeMap::new();
        let wanted: Vec<(&str, i32)> = partitions.iter().map(|(topic, partition)| (topic.as_ref(), *partition)).collect();
        let mut patience = Patience::new();
        while let Err(error) = self.list_missing(&wanted, at, &mut found).await {
            patience.after(error).await?;
        }
        Ok(wanted.iter().map(|partition| found[partition]).collect())
    }

    async fn list_missing<'a>(&self, wanted: &[(&'a str, i32)], at: At, found: &mut Found<'a>) -> Result<(), Error> {
        let missing: BTreeSet<_> = wanted.iter().copied().filter(|partition| !found.contains_key(partition)).collect();
        for (leader, partitions) in self.by_leader(&missing).await? {
            self.list_offsets_of(&leader, &partitions, at, found).await?;
        }
        Ok(())
    }

    async fn by_leader<'a>(&self, partitions: &BTreeSet<(&'a str, i32)>) -> Result<Vec<(Broker, Vec<(&'a str, i32)>)>, Error> {
        let mut topics: Vec<String> = partitions.iter().map(|(topic, _)| topic.to_string()).collect();
        topics.sort();
        topics.dedup();
        let metadata = self.metadata(Some(&topics)).await?;
        let mut by_leader: BTreeMap<i32, (Broker, Vec<_>)> = BTreeMap::new();
        for (topic, partition) in partitions {
            let leader = metadata.leader(topic, *partition)?;
            by_leader.entry(leader.id).or_insert_with(|| (leader.clone(), Vec::new())).1.push((*topic, *partition));
        }
        Ok(by_leader.into_values().collect())
    }

    /// Adds what the leader answers to `found`; fails with the first error among it.
    async fn list_offsets_of<'a>(
        &self,
        leader: &Broker,
        partitions: &[(&'a str, i32)],
        at: At,
        found: &mut Found<'a>,
    ) -> Result<(), Error> {
        let timestamp = match at {
            At::Earliest => -2,
            At::Latest => -1,
        };
        let topics = by_topic(partitions).into_iter().map(|(topic, partitions)| {
            let partitions = partitions.into_iter().map(|partition| {
                ListOffsetsPartition::default()
                    .with_partition_index(partition)
                    .with_current_leader_epoch(-1)
                    .with_timestamp(timestamp)
            });
            ListOffsetsTopic::default().with_name(TopicName(text(topic))).with_partitions(partitions.collect())
        });
        let request = ListOffsetsRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_timeout_ms(self.config().request_timeout_millis())
            .with_topics(topics.collect());
        let response = self.to(leader).await?.call(request).await?;
        let mut result = Ok(());
        for topic in response.topics {
            for answer in topic.partitions {
                let about = || format!("topic `{}` partition {}", topic.name.as_str(), answer.partition_index);
                match Error::check(ListOffsetsRequest::NAME, answer.error_code, about(), None) {
                    Ok(()) => {
                        let asked = partitions
                            .iter()
                            .find(|(name, index)| *name == topic.name.as_str() && *index == answer.partition_index);
                        let asked = asked.ok_or_else(|| Error::Protocol(format!("ListOffsets was answered for {}", about())))?;
                        found.insert(*asked, answer.offset);
                    }
                    error => result = result.and(error),
                }
            }
        }
        result?;
        match partitions.iter().find(|partition| !found.contains_key(partition)) {
            Some((topic, partition)) => {
                Err(Error::Protocol(format!("ListOffsets was not answered for topic `{topic}` partition {partition}")))
            }
            None => Ok(()),
        }
    }

    /// A group's committed offsets, asked from outside the group: of these partitions (`None` = nothing committed), or of all that it
    /// has committed. With `require_stable`, offsets that an open transaction may still change are waited for, briefly.
    pub async fn offset_fetch<S: AsRef<str> + Sync>(
        &self,
        group: &str,
        partitions: Option<&[(S, i32)]>,
        require_stable: bool,
    ) -> Result<BTreeMap<(String, i32), Option<i64>>, Error> {
        let topics = partitions.map(|partitions| {
            let partitions: Vec<_> = partitions.iter().map(|(topic, partition)| (topic.as_ref(), *partition)).collect();
            by_topic(&partitions)
        });
        let mut patience = Patience::new();
        loop {
            match self.offset_fetch_once(group, topics.as_ref(), require_stable).await {
                Err(error) => patience.after(error).await?,
                fetched => return fetched,
            }
        }
    }

    async fn offset_fetch_once(&self, group: &str, topics: Option<&Topics<'_>>, require_stable: bool) -> Result<Committed, Error> {
        let connection = self.to(&self.coordinator(group).await?).await?;
        let grouped = connection.version_of::<OffsetFetchRequest>().is_some_and(|version| version >= GROUPED);
        let request = match grouped {
            true => ask_grouped(group, topics),
            false => ask_single(group, topics),
        };
        committed(group, connection.call(request.with_require_stable(require_stable)).await?)
    }
}

fn by_topic<'a>(partitions: &[(&'a str, i32)]) -> Topics<'a> {
    let mut topics = Topics::new();
    for (topic, partition) in partitions {
        topics.entry(topic).or_default().push(*partition);
    }
    topics
}

fn ask_grouped(group: &str, topics: Option<&Topics<'_>>) -> OffsetFetchRequest {
    let topic = |(name, partitions): (&&str, &Vec<i32>)| {
        OffsetFetchRequestTopics::default().with_name(TopicName(text(*name))).with_partition_indexes(partitions.clone())
    };
    let topics = topics.map(|topics| topics.iter().map(topic).collect());
    let group = OffsetFetchRequestGroup::default().with_group_id(GroupId(text(group))).with_topics(topics).with_member_epoch(-1);
    OffsetFetchRequest::default().with_topics(Some(Vec::new())).with_groups(vec![group])
}

fn ask_single(group: &str, topics: Option<&Topics<'_>>) -> OffsetFetchRequest {
    let topic = |(name, partitions): (&&str, &Vec<i32>)| {
        OffsetFetchRequestTopic::default().with_name(TopicName(text(*name))).with_partition_indexes(partitions.clone())
    };
    let topics = topics.map(|topics| topics.iter().map(topic).collect());
    OffsetFetchRequest::default().with_group_id(GroupId(text(group))).with_topics(topics)
}

fn committed(group: &str, response: OffsetFetchResponse) -> Result<Committed, Error> {
    let about = format!("group `{group}`");
    let mut error = ResponseError::try_from_code(response.error_code);
    let mut answers = Vec::new();
    for topic in response.topics {
        let name = topic.name.to_string();
        answers.extend(topic.partitions.iter().map(|p| (name.clone(), p.partition_index, p.committed_offset, p.error_code)));
    }
    for group in response.groups {
        error = error.or(ResponseError::try_from_code(group.error_code));
        for topic in group.topics {
            let name = topic.name.to_string();
            answers.extend(topic.partitions.iter().map(|p| (name.clone(), p.partition_index, p.committed_offset, p.error_code)));
        }
    }
    Error::check(OffsetFetchRequest::NAME, error.map_or(0, |error| error.code()), &about, None)?;
    let mut offsets = BTreeMap::new();
    for (topic, partition, offset, code) in answers {
        Error::check(OffsetFetchRequest::NAME, code, format_args!("{about}, topic `{topic}` partition {partition}"), None)?;
        offsets.insert((topic, partition), Some(offset).filter(|offset| *offset >= 0));
    }
    Ok(offsets)
}

#[cfg(test)]
mod tests;
