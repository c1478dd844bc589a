//! What the leader of a generation does: it asks the assignor, in terms that all members understand.

use std::collections::BTreeMap;

use super::{Peer, Terms, Told};
use crate::group::Drain;
use crate::group::assignor::{self, Member, Policy, Role, Share};
use crate::group::userdata::{Assignment, Subscription};
use crate::time::TopicPartition;
use crate::topology::{CoPartitioned, Groups, TaskId};

/// What each member is to be told.
pub(super) fn plan(leader: &str, peers: &[Peer], groups: &Groups, policy: Policy) -> Vec<Told> {
    let terms: Vec<Terms> = peers.iter().map(|peer| Terms::of(peer.subscription.as_ref(), groups)).collect();
    let members: Vec<Member> = peers.iter().zip(&terms).map(|(peer, terms)| member(peer, terms, groups)).collect();
    let plan = assignor::assign(&members, groups, policy);
    let by_id: BTreeMap<_, _> = peers.iter().zip(&terms).map(|(peer, terms)| (&peer.id, (peer, terms))).collect();
    let told = |share: Share| {
        let (peer, terms) = by_id[&share.member];
        let assignment = Assignment {
            active: terms.to_theirs(&share.active),
            standby: terms.to_theirs(&share.standbys),
            warmups: terms.to_theirs(&share.warmups),
            recovery_lag: policy.recovery_lag,
            leader: leader.to_string(),
            more: plan.more,
            topology: terms.topology,
            heard: peer.subscription.as_ref().map(Subscription::heard),
        };
        Told { member: share.member, assignment, active: share.active }
    };
    plan.shares.into_iter().map(told).collect()
}

/// A member gets tasks of those groups only that it has as well, in the same shape: another version of the app may differ in the
/// others, or a topic has grown. It keeps others from every task that it reads a partition of.
fn member(peer: &Peer, terms: &Terms, groups: &Groups) -> Member {
    let Some(said) = &peer.subscription else {
        let owned = peer.partitions.iter().flat_map(|partition| tasks_of(partition, groups)).collect();
        return Member { id: peer.id.clone(), owned, generation: -1, ..Member::default() };
    };
    let mut owned = terms.to_ours(&said.active);
    if !terms.same {
        owned.extend(peer.partitions.iter().flat_map(|partition| tasks_of(partition, groups)));
        owned.sort();
        owned.dedup();
    }
    let copies = said.copies.as_ref().map(|copies| {
        copies.iter().filter_map(|(task, lag)| Some((TaskId { group: terms.ours(task.group)?, ..*task }, *lag))).collect()
    });
    Member {
        id: peer.id.clone(),
        role: match said.drains {
            None => Role::Works,
            Some(Drain::Handover) => Role::HandsOver,
            Some(Drain::Leave) => Role::Leaves,
        },
        serves: (0..groups.len() as u32).map(|group| terms.theirs(group).is_some()).collect(),
        owned,
        generation: said.generation,
        copies,
        standbys: terms.to_ours(&said.standby),
        warmups: terms.to_ours(&said.warmups),
        zone: said.zone.clone(),
        node: said.node.clone(),
    }
}

/// The tasks that read a partition.
fn tasks_of<'a>(of: &'a TopicPartition, groups: &'a Groups) -> impl Iterator<Item = TaskId> + 'a {
    let reads = move |group: &CoPartitioned| of.partition < group.partitions && group.topics.contains(&of.topic);
    (0..).zip(groups).filter(move |(_, group)| reads(group)).map(|(group, _)| TaskId { group, partition: of.partition })
}
