//! Where partitions begin and end, and what groups have committed.

use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics};
use kafka_protocol::messages::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use kafka_protocol::messages::{
    BrokerId, GroupId, ListOffsetsRequest, MetadataRequest, OffsetFetchRequest, OffsetFetchResponse, OffsetForLeaderEpochRequest,
    TopicName,
};

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

/// The replica id of those that are none.
const CONSUMER: i32 = -1;

/// From this version on, OffsetFetch takes and answers lists of groups.
const GROUPED: i16 = 8;

/// Partitions by topic.
type Topics<'a> = BTreeMap<&'a str, Vec<i32>>;

/// What leaders have answered.
type Found<'a> = BTreeMap<(&'a str, i32), EpochOffset>;

/// What leaders are asked.
enum Question<'a> {
    Offset(At),
    /// Of which epoch.
    EpochEnd(BTreeMap<(&'a str, i32), i32>),
}

/// An offset, and the leader's epoch that goes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochOffset {
    /// −1 where the broker doesn't know.
    pub epoch: i32,
    pub offset: i64,
}

/// Committed offsets by partition.
type Committed = BTreeMap<(String, i32), Option<i64>>;

impl Client {
    /// Offsets of partitions, in the order asked, each from the partition's leader of now (read uncommitted).
    pub async fn list_offsets<S: AsRef<str> + Sync>(&self, partitions: &[(S, i32)], at: At) -> Result<Vec<i64>, Error> {
        self.forget_leaders(&partitions.iter().map(|(topic, partition)| (topic.as_ref(), *partition)).collect());
        Ok(self.offsets(partitions, at).await?.into_iter().map(|found| found.offset).collect())
    }

    /// The offset one after the last record, and that record's epoch, as [`At::Latest`], but from the leaders that are known from
    /// before where they say that they still are: for those who ask all the time.
    pub async fn log_ends<S: AsRef<str> + Sync>(&self, partitions: &[(S, i32)]) -> Result<Vec<EpochOffset>, Error> {
        self.offsets(partitions, At::Latest).await
    }

    async fn offsets<S: AsRef<str> + Sync>(&self, partitions: &[(S, i32)], at: At) -> Result<Vec<EpochOffset>, Error> {
        let wanted: Vec<(&str, i32)> = partitions.iter().map(|(topic, partition)| (topic.as_ref(), *partition)).collect();
        self.ask_leaders(&wanted, &Question::Offset(at)).await
    }

    /// Where leaders' epochs end, in the order asked: the largest epoch that is not larger than the one asked for and has records, and
    /// the offset behind its last record. A log that was cut after it had been read ends an epoch before where it was read to.
    pub async fn epoch_ends<S: AsRef<str> + Sync>(&self, epochs: &[(S, i32, i32)]) -> Result<Vec<EpochOffset>, Error> {
        let wanted: Vec<(&str, i32)> = epochs.iter().map(|(topic, partition, _)| (topic.as_ref(), *partition)).collect();
        let epochs = wanted.iter().copied().zip(epochs.iter().map(|(.., epoch)| *epoch)).collect();
        self.ask_leaders(&wanted, &Question::EpochEnd(epochs)).await
    }

    /// Asks the leaders of all partitions, as often as they move; in the order asked.
    async fn ask_leaders(&self, wanted: &[(&str, i32)], question: &Question<'_>) -> Result<Vec<EpochOffset>, Error> {
        let mut found = BTreeMap::new();
        let mut patience = Patience::new();
        loop {
            let missing: BTreeSet<_> = wanted.iter().copied().filter(|partition| !found.contains_key(partition)).collect();
            let Err(error) = self.ask_missing(&missing, question, &mut found).await else { break };
            self.forget_leaders(&missing);
            patience.after(error).await?;
        }
        Ok(wanted.iter().map(|partition| found[partition]).collect())
    }

    async fn ask_missing<'a>(
        &self,
        missing: &BTreeSet<(&'a str, i32)>,
        question: &Question<'_>,
        found: &mut Found<'a>,
    ) -> Result<(), Error> {
        for (leader, partitions) in self.by_leader(missing).await? {
            match question {
                Question::Offset(at) => self.list_offsets_of(&leader, &partitions, *at, found).await?,
                Question::EpochEnd(epochs) => self.epoch_ends_of(&leader, &partitions, epochs, found).await?,
            }
        }
        Ok(())
    }

    async fn by_leader<'a>(&self, partitions: &BTreeSet<(&'a str, i32)>) -> Result<Vec<(Broker, Vec<(&'a str, i32)>)>, Error> {
        let unknown = self.without_leader(partitions);
        if !unknown.is_empty() {
            let mut topics: Vec<String> = unknown.iter().map(|(topic, _)| topic.to_string()).collect();
            topics.dedup();
            let metadata = self.metadata(Some(&topics)).await?;
            for (topic, partition) in unknown {
                self.learn_leader(topic, partition, metadata.leader(topic, partition)?);
            }
        }
        let mut by_leader: BTreeMap<i32, (Broker, Vec<_>)> = BTreeMap::new();
        for (topic, partition) in partitions {
            // Forgotten by another question meanwhile: that one has been told that it has moved.
            let moved = || Error::Kafka {
                api: MetadataRequest::NAME,
                about: about(topic, *partition),
                code: ResponseError::NotLeaderOrFollower.code(),
                message: None,
            };
            let leader = self.leader(topic, *partition).ok_or_else(moved)?;
            by_leader.entry(leader.id).or_insert_with(|| (leader, Vec::new())).1.push((*topic, *partition));
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
        let answers = response.topics.into_iter().flat_map(|topic| {
            let name = topic.name.to_string();
            topic.partitions.into_iter().map(move |answer| Answer {
                topic: name.clone(),
                partition: answer.partition_index,
                code: answer.error_code,
                value: EpochOffset { epoch: answer.leader_epoch, offset: answer.offset },
            })
        });
        take(ListOffsetsRequest::NAME, partitions, answers, found)
    }

    async fn epoch_ends_of<'a>(
        &self,
        leader: &Broker,
        partitions: &[(&'a str, i32)],
        epochs: &BTreeMap<(&str, i32), i32>,
        found: &mut Found<'a>,
    ) -> Result<(), Error> {
        let topics = by_topic(partitions).into_iter().map(|(topic, partitions)| {
            let partitions = partitions.into_iter().map(|partition| {
                OffsetForLeaderPartition::default()
                    .with_partition(partition)
                    .with_current_leader_epoch(-1)
                    .with_leader_epoch(epochs[&(topic, partition)])
            });
            OffsetForLeaderTopic::default().with_topic(TopicName(text(topic))).with_partitions(partitions.collect())
        });
        let request = OffsetForLeaderEpochRequest::default().with_replica_id(BrokerId(CONSUMER)).with_topics(topics.collect());
        let response = self.to(leader).await?.call(request).await?;
        let answers = response.topics.into_iter().flat_map(|topic| {
            let name = topic.topic.to_string();
            topic.partitions.into_iter().map(move |answer| Answer {
                topic: name.clone(),
                partition: answer.partition,
                code: answer.error_code,
                value: EpochOffset { epoch: answer.leader_epoch, offset: answer.end_offset },
            })
        });
        take(OffsetForLeaderEpochRequest::NAME, partitions, answers, found)
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

/// What a leader says of one partition.
struct Answer {
    topic: String,
    partition: i32,
    code: i16,
    value: EpochOffset,
}

/// Takes the answers for what was asked; fails with the first error among them, or if one is missing.
fn take<'a>(
    api: &'static str,
    asked: &[(&'a str, i32)],
    answers: impl Iterator<Item = Answer>,
    found: &mut Found<'a>,
) -> Result<(), Error> {
    let mut result = Ok(());
    for answer in answers {
        let about = about(&answer.topic, answer.partition);
        match Error::check(api, answer.code, &about, None) {
            Ok(()) => {
                let own = asked.iter().find(|(topic, partition)| *topic == answer.topic && *partition == answer.partition);
                let own = own.ok_or_else(|| Error::Protocol(format!("{api} was answered for {about}")))?;
                found.insert(*own, answer.value);
            }
            error => result = result.and(error),
        }
    }
    result?;
    match asked.iter().find(|partition| !found.contains_key(partition)) {
        Some((topic, partition)) => Err(Error::Protocol(format!("{api} was not answered for {}", about(topic, *partition)))),
        None => Ok(()),
    }
}

fn about(topic: &str, partition: i32) -> String {
    format!("topic `{topic}` partition {partition}")
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
