//! A group's committed offsets and its topic's ends, asked from outside.

use std::collections::BTreeMap;
use std::time::Duration;

use faust_testbed::Broker;
use faust_wire::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use faust_wire::messages::{GroupId, OffsetCommitRequest, TopicName};
use faust_wire::{At, Client, Config, text};
use tokio::runtime::{Builder, Runtime};

use crate::wait;

/// A group and the topic that it reads.
pub struct Offsets {
    runtime: Runtime,
    client: Client,
    group: String,
    topic: String,
    partitions: i32,
}

/// Per partition, what lies between a committed offset and a later end: what may be counted twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Window(pub BTreeMap<i32, std::ops::Range<i64>>);

impl Window {
    /// How many records lie in it.
    pub fn len(&self) -> u64 {
        self.0.values().map(|range| range.end.saturating_sub(range.start) as u64).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Offsets {
    pub fn of(broker: &Broker, group: &str, topic: &str, partitions: i32) -> Self {
        Self::at(&broker.bootstrap(), group, topic, partitions)
    }

    pub fn at(bootstrap: &str, group: &str, topic: &str, partitions: i32) -> Self {
        let mut config = Config::parse(bootstrap, "faust-e2e").expect("a broker's address");
        // One broker of several may be stopped: it keeps its connections and doesn't answer.
        config.request_timeout = Duration::from_secs(5);
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        Self { runtime, client: Client::new(config), group: group.into(), topic: topic.into(), partitions }
    }

    /// OffsetFetch: of the next record to read, by partition.
    #[track_caller]
    pub fn committed(&self) -> Vec<Option<i64>> {
        let partitions = self.partitions();
        let fetched = self.runtime.block_on(self.client.offset_fetch(&self.group, Some(&partitions), true));
        let fetched = fetched.unwrap_or_else(|error| panic!("the offsets of group {}: {error}", self.group));
        partitions.iter().map(|partition| fetched.get(partition).copied().flatten()).collect()
    }

    /// ListOffsets: behind the last record, by partition.
    #[track_caller]
    pub fn ends(&self) -> Vec<i64> {
        ends(&self.runtime, &self.client, &self.partitions())
    }

    /// The same, or why they can't be told now.
    pub fn ask_ends(&self) -> Result<Vec<i64>, String> {
        let asked = self.runtime.block_on(self.client.list_offsets(&self.partitions(), At::Latest));
        asked.map_err(|error| error.to_string())
    }

    /// The broker that coordinates the group.
    pub fn coordinator(&self) -> Result<i32, String> {
        let found = self.runtime.block_on(self.client.coordinator(&self.group));
        found.map(|broker| broker.id).map_err(|error| error.to_string())
    }

    /// What may be counted twice because of an act on the worker that has these partitions: the committed offsets are asked just
    /// before it and the ends just after it. Both only grow, so nothing escapes in between.
    #[track_caller]
    pub fn around(&self, partitions: &[i32], act: impl FnOnce()) -> Window {
        let committed = self.committed();
        act();
        let ends = self.ends();
        let range = |partition: i32| committed[partition as usize].unwrap_or(0)..ends[partition as usize];
        Window(partitions.iter().map(|&partition| (partition, range(partition))).collect())
    }

    /// Waits until the lag is 0. The producer must have finished.
    #[track_caller]
    pub fn until_consumed(&self) {
        let ends = self.ends();
        wait::until(format_args!("group {} has committed all of {}", self.group, self.topic), || {
            let committed = self.committed();
            let lag: i64 = committed.iter().zip(&ends).map(|(committed, end)| end - committed.unwrap_or(0)).sum();
            if lag == 0 { Ok(()) } else { Err(format!("lag {lag}, committed {committed:?} of {ends:?}")) }
        });
    }

    /// What the coordinator answers to a member that commits under this generation: Kafka's error code, 0 for none.
    pub fn commit_as(&self, member: &str, generation: i32, partition: i32, offset: i64) -> i16 {
        let partition = OffsetCommitRequestPartition::default().with_partition_index(partition).with_committed_offset(offset);
        let topic = OffsetCommitRequestTopic::default().with_name(TopicName(text(&self.topic))).with_partitions(vec![partition]);
        let request = OffsetCommitRequest::default()
            .with_group_id(GroupId(text(&self.group)))
            .with_generation_id_or_member_epoch(generation)
            .with_member_id(text(member))
            .with_topics(vec![topic]);
        let answer = self.runtime.block_on(async {
            let coordinator = self.client.coordinator(&self.group).await?;
            self.client.to(&coordinator).await?.call(request).await
        });
        answer.unwrap_or_else(|error| panic!("a commit in group {}: {error}", self.group)).topics[0].partitions[0].error_code
    }

    fn partitions(&self) -> Vec<(String, i32)> {
        (0..self.partitions).map(|partition| (self.topic.clone(), partition)).collect()
    }
}

/// How many records lie in the partitions of a topic of which none was ever deleted.
pub fn record_counts(broker: &Broker, topic: &str, partitions: i32) -> Vec<i64> {
    let offsets = Offsets::of(broker, "", topic, partitions);
    offsets.ends()
}

fn ends(runtime: &Runtime, client: &Client, partitions: &[(String, i32)]) -> Vec<i64> {
    runtime
        .block_on(client.list_offsets(partitions, At::Latest))
        .unwrap_or_else(|error| panic!("the ends of {partitions:?}: {error}"))
}
