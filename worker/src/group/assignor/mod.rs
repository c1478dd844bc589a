//! Who gets which task, and who keeps copies of it: a pure function of what the members say they have.
//!
//! 1. What is in whose hands, and whose copies are how far (`claims`, `copies`).
//! 2. The *target*: balanced owners with as few moves as possible (`balance`, `target`). A task that a warm-up is under way for counts as
//!    the warm-up's owner's, so the target stays the same while it is approached.
//! 3. The *next* step towards it (`next`). A task with tables moves only to a copy that has caught up; where there is none, it stays
//!    where it is, and a warm-up – a copy on its way to become active – is placed where it is to go. Only so many warm-ups are under way at
//!    a time; a member whose warm-up has caught up asks for the next plan. What has no living owner goes to the best copy at once.
//! 4. Standbys, beside that (`standbys`).
//!
//! A task that moves is first taken from its old owner, and given to the new one in a later generation, when the old one doesn't claim
//! it any more. What doesn't move stays where it is all along.

use super::lag::Lag;
use crate::topology::{CoPartitioned, TaskId};

mod balance;
mod claims;
mod copies;
mod next;
mod standbys;
mod target;
#[cfg(test)]
mod tests;

use claims::Holder;
use copies::Copies;
use next::Next;

/// What a member says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Member {
    pub id: String,
    pub role: Role,
    /// The co-partition groups that it can have tasks of, by index; what isn't there it can't. One that can't have a task still keeps
    /// others from it until it lets go.
    pub serves: Vec<bool>,
    /// The tasks in its hands, and the generation that put them there.
    pub owned: Vec<TaskId>,
    pub generation: i32,
    /// The copies that it has, kept up to date or only left on its disk. None of a member that keeps no copies: it gets tasks with nothing to
    /// warm up.
    pub copies: Option<Vec<(TaskId, Lag)>>,
    /// The copies that the last plan let it keep up to date.
    pub standbys: Vec<TaskId>,
    /// Those of them that are to become active.
    pub warmups: Vec<TaskId>,
    /// Empty if unknown.
    pub zone: String,
    pub node: String,
}

/// What a member is there for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) enum Role {
    #[default]
    Works,
    /// Has no active tasks as soon as others can have them, and keeps copies.
    HandsOver,
    /// Has nothing as soon as others can have it.
    Leaves,
}

/// What the app's settings say about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Policy {
    /// A copy that lacks no more than this has caught up.
    pub recovery_lag: Lag,
    /// Warm-ups under way at a time.
    pub max_warmups: usize,
}

/// What the members get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// One for each member, sorted by its id.
    pub shares: Vec<Share>,
    /// Some task waits for its old owner, so another rebalance is near. All members concern themselves with that, because a
    /// rebalance is as slow as the last of them to notice it.
    pub more: bool,
}

/// A member's part of a plan. All lists are sorted.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Share {
    pub member: String,
    /// What it keeps and what it may start.
    pub active: Vec<TaskId>,
    /// What it has in hand and must let go of.
    pub revokes: Vec<TaskId>,
    /// What it will get when those that have it in hand have let go.
    pub waits: Vec<TaskId>,
    pub standbys: Vec<TaskId>,
    /// Copies that are to become active: beside the standbys, or one of them.
    pub warmups: Vec<TaskId>,
}

/// What all parts of the plan look at.
struct Cluster<'a> {
    /// Sorted by id.
    members: Vec<&'a Member>,
    groups: &'a [CoPartitioned],
    policy: Policy,
    /// Members that can own tasks of each group.
    owners: Vec<Vec<usize>>,
    /// Members that can keep copies of tasks of each group.
    keepers: Vec<Vec<usize>>,
    /// What each member has in hand of each group.
    holders: Vec<Vec<Holder>>,
    copies: Copies,
}

/// Plans the next generation. The same input gives the same plan whatever the order of the members.
pub(crate) fn assign(members: &[Member], groups: &[CoPartitioned], policy: Policy) -> Plan {
    let cluster = Cluster::new(members, groups, policy);
    let targets = target::targets(&cluster);
    let steps = next::steps(&cluster, &targets);
    let standbys = standbys::place(&cluster, &targets, &steps);

    let mut shares: Vec<Share> = cluster.members.iter().map(|m| Share { member: m.id.clone(), ..Share::default() }).collect();
    for (group, of_group) in steps.iter().enumerate() {
        for (partition, step) in of_group.iter().enumerate() {
            let task = TaskId { group: group as u32, partition: partition as u32 };
            match step.next {
                Next::Nobody => {}
                Next::Has(owner) => shares[owner].active.push(task),
                Next::Waits(owner) => shares[owner].waits.push(task),
            }
            if let Some(member) = step.warms_up {
                shares[member].warmups.push(task);
            }
            for &member in &standbys[group][partition] {
                shares[member].standbys.push(task);
            }
        }
    }
    for (share, member) in shares.iter_mut().zip(&cluster.members) {
        let mut revokes: Vec<TaskId> =
            member.owned.iter().copied().filter(|task| share.active.binary_search(task).is_err()).collect();
        revokes.sort();
        revokes.dedup();
        share.revokes = revokes;
    }
    let more = shares.iter().any(|share| !share.waits.is_empty() || !share.revokes.is_empty());
    Plan { shares, more }
}

impl<'a> Cluster<'a> {
    fn new(members: &'a [Member], groups: &'a [CoPartitioned], policy: Policy) -> Self {
        let mut members: Vec<&Member> = members.iter().collect();
        members.sort_by(|a, b| a.id.cmp(&b.id));
        let serve = |group: usize, role: Role| -> Vec<usize> {
            let fits = |member: &Member| member.role == role && member.serves(group);
            (0..members.len()).filter(|&index| fits(members[index])).collect()
        };
        let owners = (0..groups.len()).map(|group| match serve(group, Role::Works) {
            // Better those that wanted to be rid of it than nobody.
            none if none.is_empty() => serve(group, Role::HandsOver),
            owners => owners,
        });
        let keeps = |group: usize, member: &Member| {
            groups[group].stateful && member.serves(group) && member.role != Role::Leaves && member.copies.is_some()
        };
        let owners = owners.collect();
        let keepers: Vec<Vec<usize>> =
            (0..groups.len()).map(|group| (0..members.len()).filter(|&index| keeps(group, members[index])).collect()).collect();
        let holders = claims::holders(&members, groups);
        let copies = Copies::of(&members, groups, &keepers);
        Self { members, groups, policy, owners, keepers, holders, copies }
    }

    fn owns(&self, group: usize, member: usize) -> bool {
        self.owners[group].binary_search(&member).is_ok()
    }

    fn keeps(&self, group: usize, member: usize) -> bool {
        self.keepers[group].binary_search(&member).is_ok()
    }
}

impl Member {
    fn serves(&self, group: usize) -> bool {
        self.serves.get(group).is_some_and(|serves| *serves)
    }
}
