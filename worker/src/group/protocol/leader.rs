//! What the leader of a generation does: it asks the assignor, in terms that all members understand.

use std::collections::BTreeMap;

use super::Peer;
use crate::group::assignor::{self, Member, Share};
use crate::group::topology_hash::TopologyHash;
use crate::group::userdata::{Assignment, Subscription};
use crate::time::TopicPartition;
use crate::topology::{CoPartitioned, Groups, TaskId};

/// What each member is to be told.
pub(super) fn plan(leader: &str, peers: &[Peer], groups: &Groups) -> Vec<(String, Assignment)> {
    let topology = TopologyHash::of(groups);
    let members: Vec<Member> = peers.iter().map(|peer| member(peer, topology, groups)).collect();
    let plan = assignor::assign(&members, groups);
    let said: BTreeMap<_, _> = peers.iter().map(|peer| (&peer.id, peer.subscription.as_ref())).collect();
    let told = |Share { member, active, .. }: Share| {
        let (leader, heard) = (leader.to_string(), said[&member].map(Subscription::heard));
        (member, Assignment { active, standby: Vec::new(), leader, more: plan.more, topology, heard })
    };
    plan.shares.into_iter().map(told).collect()
}

/// A member whose task ids don't mean what ours mean – another version of the app, or a topic has grown – gets nothing, and keeps
/// others from every task that it reads a partition of. One that drains gets nothing either, also where nobody else can: that is how
/// it is told to finish.
fn member(peer: &Peer, topology: TopologyHash, groups: &Groups) -> Member {
    let id = peer.id.clone();
    let generation = peer.subscription.as_ref().map_or(-1, |said| said.generation);
    match peer.subscription.as_ref().filter(|said| said.topology == topology) {
        Some(said) => Member { id, owned: said.active.clone(), generation, able: !said.draining },
        None => {
            let owned = peer.partitions.iter().flat_map(|partition| tasks_of(partition, groups)).collect();
            Member { id, owned, generation, able: false }
        }
    }
}

/// The tasks that read a partition.
fn tasks_of<'a>(of: &'a TopicPartition, groups: &'a Groups) -> impl Iterator<Item = TaskId> + 'a {
    let reads = move |group: &CoPartitioned| of.partition < group.partitions && group.topics.contains(&of.topic);
    (0..).zip(groups).filter(move |(_, group)| reads(group)).map(|(group, _)| TaskId { group, partition: of.partition })
}
