//! Subscription and assignment in the bytes of Kafka's `consumer` protocol, with our user-data inside.
//!
//! The standard part is for others: the broker reads the topics (it expires offsets of topics that nobody subscribes to), and
//! `kafka-consumer-groups` and lag exporters the partitions.

use std::collections::BTreeMap;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use faust_wire::messages::TopicName;
use faust_wire::messages::consumer_protocol_assignment::{ConsumerProtocolAssignment, TopicPartition as AssignedPartitions};
use faust_wire::messages::consumer_protocol_subscription::{ConsumerProtocolSubscription, TopicPartition as OwnedPartitions};
use faust_wire::text;
use kafka_protocol::protocol::Encodable;

use crate::group::protocol::Peer;
use crate::group::userdata::{Assignment, Subscription};
use crate::time::TopicPartition;
use crate::topology::{Groups, TaskId};

/// Of the standard part; it has owned partitions (1), their generation (2) and the rack (3).
const VERSION: i16 = 3;

pub(super) fn subscription(said: &Subscription, groups: &Groups) -> Bytes {
    let mut topics: Vec<_> = groups.iter().flat_map(|group| &group.topics).collect();
    topics.sort();
    topics.dedup();
    let owned = |(topic, partitions): (&str, Vec<i32>)| {
        OwnedPartitions::default().with_topic(TopicName(text(topic))).with_partitions(partitions)
    };
    versioned(
        ConsumerProtocolSubscription::default()
            .with_topics(topics.into_iter().map(text).collect())
            .with_user_data(Some(said.encode().into()))
            .with_owned_partitions(partitions(&said.active, groups).into_iter().map(owned).collect())
            .with_generation_id(said.generation)
            .with_rack_id(Some(said.zone.as_str()).filter(|zone| !zone.is_empty()).map(text)),
    )
}

/// A member as its subscription shows it. One that can't be read has nothing and gets nothing.
pub(super) fn peer(id: String, bytes: Bytes) -> Peer {
    let (user_data, partitions) = read_subscription(bytes).unwrap_or_default();
    Peer { id, subscription: Subscription::decode(&user_data), partitions }
}

/// User-data and owned partitions.
fn read_subscription(mut bytes: Bytes) -> Option<(Bytes, Vec<TopicPartition>)> {
    let version = bytes.try_get_i16().ok()?;
    for _ in 0..bytes.try_get_i32().ok()? {
        take_text(&mut bytes)?;
    }
    let user_data = take_bytes(&mut bytes)?;
    let owned = if version >= 1 { take_partitions(&mut bytes)? } else { Vec::new() };
    Some((user_data, owned))
}

/// `active` are its active tasks as `groups` has them.
pub(super) fn assignment(told: &Assignment, active: &[TaskId], groups: &Groups) -> Bytes {
    let assigned = |(topic, partitions): (&str, Vec<i32>)| {
        AssignedPartitions::default().with_topic(TopicName(text(topic))).with_partitions(partitions)
    };
    versioned(
        ConsumerProtocolAssignment::default()
            .with_assigned_partitions(partitions(active, groups).into_iter().map(assigned).collect())
            .with_user_data(Some(told.encode().into())),
    )
}

/// None if these are no bytes of ours.
pub(super) fn told(mut bytes: Bytes) -> Option<Assignment> {
    let _version = bytes.try_get_i16().ok()?;
    take_partitions(&mut bytes)?;
    Assignment::decode(&take_bytes(&mut bytes)?)
}

/// The partitions of all topics that the tasks read.
fn partitions<'a>(tasks: &[TaskId], groups: &'a Groups) -> BTreeMap<&'a str, Vec<i32>> {
    let mut partitions: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for task in tasks {
        for topic in groups.get(task.group as usize).map_or(&[][..], |group| &group.topics) {
            partitions.entry(topic).or_default().push(task.partition as i32);
        }
    }
    partitions
}

fn versioned(message: impl Encodable) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_i16(VERSION);
    message.encode(&mut bytes, VERSION).expect("fits its own version");
    bytes.freeze()
}

// The codec would read this too, but it reserves memory for as many elements as the bytes claim to have, and these bytes come from
// whoever is in the group.

fn take_partitions(bytes: &mut Bytes) -> Option<Vec<TopicPartition>> {
    let mut partitions = Vec::new();
    for _ in 0..bytes.try_get_i32().ok()? {
        let topic = take_text(bytes)?;
        for _ in 0..bytes.try_get_i32().ok()? {
            let partition = bytes.try_get_i32().ok()?.try_into().ok()?;
            partitions.push(TopicPartition::new(topic.as_str(), partition));
        }
    }
    Some(partitions)
}

fn take_text(bytes: &mut Bytes) -> Option<String> {
    let length = bytes.try_get_i16().ok()?.try_into().ok()?;
    let text = (bytes.len() >= length).then(|| bytes.split_to(length))?;
    String::from_utf8(text.to_vec()).ok()
}

/// Null reads as empty.
fn take_bytes(bytes: &mut Bytes) -> Option<Bytes> {
    let length = bytes.try_get_i32().ok()?.max(0) as usize;
    (bytes.len() >= length).then(|| bytes.split_to(length))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::group::lag::Lag;
    use crate::group::topology_hash::{GroupHash, TopologyHash};
    use crate::topology::CoPartitioned;

    fn task(group: u32, partition: u32) -> TaskId {
        TaskId { group, partition }
    }

    #[test]
    fn tasks_are_the_partitions_of_all_their_topics_and_come_back_as_tasks() {
        let groups = vec![
            CoPartitioned { topics: vec!["a".into(), "b".into()], partitions: 4, stateful: false, standbys: 0 },
            CoPartitioned { topics: vec!["c".into()], partitions: 1, stateful: false, standbys: 0 },
        ];
        let active = vec![task(0, 1), task(0, 3), task(1, 0)];
        let said =
            Subscription { process: "p".into(), generation: 3, active: active.clone(), zone: "z".into(), ..Default::default() };
        let seen = peer("m".into(), subscription(&said, &groups));
        let owned: Vec<_> = seen.partitions.iter().map(|partition| partition.to_string()).collect();
        assert_eq!(owned, ["a[1]", "a[3]", "b[1]", "b[3]", "c[0]"]);
        assert_eq!(seen.subscription, Some(said));

        let assigned =
            Assignment { active: active.clone(), leader: "m".into(), topology: TopologyHash::of(&groups), ..Default::default() };
        assert_eq!(told(assignment(&assigned, &active, &groups)), Some(assigned));
    }

    proptest! {
        #[test]
        fn whatever_others_say_it_is_read_or_refused(garbage: Vec<u8>, topics in 0..2u8) {
            let bytes = Bytes::from([&[0, 1, 0, 0, 0, topics], garbage.as_slice()].concat());
            let seen = peer("m".into(), bytes.clone());
            prop_assert!(seen.subscription.is_none());
            prop_assert_eq!(told(bytes), None);
        }
    }

    /// The coordinator keeps a group in one record, and brokers take records up to 1 MiB by default. Every member has a standby for each
    /// of its tasks, and as many left-over copies as are told of.
    #[test]
    fn a_group_of_300_members_and_5_000_partitions_with_standbys_fits_one_record() {
        let groups = vec![CoPartitioned {
            topics: vec!["some-topic-of-usual-length".into()],
            partitions: 5_000,
            stateful: true,
            standbys: 1,
        }];
        let member = |member: u32| {
            let of = |member: u32| {
                (0..5_000).filter(move |partition| partition % 300 == member % 300).map(|p| task(0, p)).collect::<Vec<_>>()
            };
            let (active, standby) = (of(member), of(member + 1));
            let left = (2..17).flat_map(|other| of(member + other)).take(256);
            let mut copies: Vec<_> =
                active.iter().chain(&standby).copied().chain(left).map(|task| (task, Lag::of(12_345))).collect();
            copies.sort();
            let id = format!("some-client-id-{}", "0".repeat(36));
            let said = Subscription {
                process: "0".repeat(36),
                nonce: u64::MAX >> 8,
                endpoint: "some-app-17.some-app.some-namespace.svc.cluster.local:6066".into(),
                zone: "some-region-1a".into(),
                node: "ip-10-11-12-13.some-region-1.compute.internal".into(),
                active: active.clone(),
                standby: standby.clone(),
                copies: Some(copies),
                groups: groups.iter().map(GroupHash::of).collect(),
                ..Default::default()
            };
            let told =
                Assignment { active: active.clone(), standby, leader: id.clone(), heard: Some(said.heard()), ..Default::default() };
            id.len() * 2 + 100 + subscription(&said, &groups).len() + assignment(&told, &active, &groups).len()
        };
        let bytes: usize = (0..300).map(member).sum();
        assert!(bytes < 1_000_000, "{bytes} bytes");
    }
}
