//! Who gets which task: a pure function of what the members say they have.
//!
//! It looks for the *target* – balanced, with as few moves as possible – and then hands out of it only what nobody else has in
//! hand: a task that moves is first taken from its old owner, and given to the new one in a later generation, when the old one
//! doesn't claim it any more. What doesn't move stays where it is all along.

use crate::topology::{CoPartitioned, TaskId};

mod balance;
#[cfg(test)]
mod tests;

/// What a member says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub id: String,
    /// The tasks in its hands, and the generation that put them there.
    pub owned: Vec<TaskId>,
    pub generation: i32,
    /// Whether it can be given tasks at all. One that can't still keeps others from what it has until it lets go.
    pub able: bool,
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

/// A member's part of a plan. Its target is `active` and `waits` together.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Share {
    pub member: String,
    /// What it keeps and what it may start, sorted.
    pub active: Vec<TaskId>,
    /// What it has in hand and must let go of.
    pub revokes: Vec<TaskId>,
    /// What it will get when those that have it in hand have let go.
    pub waits: Vec<TaskId>,
}

/// Plans the next generation. The same input gives the same plan whatever the order of the members.
pub(crate) fn assign(members: &[Member], groups: &[CoPartitioned]) -> Plan {
    let mut members: Vec<&Member> = members.iter().collect();
    members.sort_by(|a, b| a.id.cmp(&b.id));
    let able: Vec<usize> = (0..members.len()).filter(|&member| members[member].able).collect();
    let holders: Vec<Vec<Holder>> = holders(&members, groups);
    let quotas = balance::quotas(&counts(&holders, &able), &sizes(groups));

    let mut shares: Vec<Share> = members.iter().map(|m| Share { member: m.id.clone(), ..Share::default() }).collect();
    for (group, holders) in holders.iter().enumerate() {
        let quotas = quotas.get(group).map_or(&[][..], Vec::as_slice);
        for (partition, target) in targets(holders, &able, quotas).into_iter().enumerate() {
            let task = TaskId { group: group as u32, partition: partition as u32 };
            match (target, holders[partition]) {
                (Some(target), Holder::None) => shares[target].active.push(task),
                (Some(target), Holder::One(holder)) if holder == target => shares[target].active.push(task),
                (Some(target), _) if mutant!("given before it is let go of") => shares[target].active.push(task),
                (Some(target), _) => shares[target].waits.push(task),
                (None, _) => {}
            }
        }
    }
    for (share, member) in shares.iter_mut().zip(&members) {
        let mut revokes: Vec<TaskId> =
            member.owned.iter().copied().filter(|task| share.active.binary_search(task).is_err()).collect();
        revokes.sort();
        revokes.dedup();
        share.revokes = revokes;
    }
    let more = shares.iter().any(|share| !share.waits.is_empty() || !share.revokes.is_empty());
    Plan { shares, more }
}

/// Who has a task in hand, by what the members say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holder {
    None,
    /// A member, as an index.
    One(usize),
    /// Two got it from the same generation, so neither can be believed: it is given to nobody before both have let go.
    Several,
}

/// Who holds each partition of each group: of two that claim it, the one to whom a newer generation gave it.
fn holders(members: &[&Member], groups: &[CoPartitioned]) -> Vec<Vec<Holder>> {
    let mut held: Vec<Vec<(Holder, i32)>> = groups.iter().map(|g| vec![(Holder::None, i32::MIN); g.partitions as usize]).collect();
    for (index, member) in members.iter().enumerate() {
        for task in &member.owned {
            let Some(held) = held.get_mut(task.group as usize).and_then(|group| group.get_mut(task.partition as usize)) else {
                continue;
            };
            *held = match *held {
                (Holder::None, _) => (Holder::One(index), member.generation),
                (_, generation) if generation < member.generation => (Holder::One(index), member.generation),
                (Holder::One(other), generation) if generation == member.generation && other != index => {
                    (Holder::Several, generation)
                }
                other => other,
            };
        }
    }
    held.into_iter().map(|group| group.into_iter().map(|(holder, _)| holder).collect()).collect()
}

fn sizes(groups: &[CoPartitioned]) -> Vec<usize> {
    groups.iter().map(|group| group.partitions as usize).collect()
}

/// How many tasks of each group each of the able members has: `[group][member]`, members as positions in `able`.
fn counts(holders: &[Vec<Holder>], able: &[usize]) -> Vec<Vec<usize>> {
    let mut counts = vec![vec![0; able.len()]; holders.len()];
    for (counts, holders) in counts.iter_mut().zip(holders) {
        for holder in holders {
            if let Holder::One(member) = holder
                && let Ok(position) = able.binary_search(member)
            {
                counts[position] += 1;
            }
        }
    }
    counts
}

/// The target owner of each partition of one group: a member keeps what it has, lowest partitions first, up to its quota, and what is
/// left goes to those who have less.
fn targets(holders: &[Holder], able: &[usize], quotas: &[usize]) -> Vec<Option<usize>> {
    let mut left = quotas.to_vec();
    let mut targets: Vec<Option<usize>> = holders
        .iter()
        .map(|holder| {
            let Holder::One(member) = holder else { return None };
            let left = &mut left[able.binary_search(member).ok()?];
            *left = left.checked_sub(1)?;
            Some(*member)
        })
        .collect();
    let mut needy = able.iter().zip(left).flat_map(|(&member, left)| std::iter::repeat_n(member, left));
    for target in targets.iter_mut().filter(|target| target.is_none()) {
        *target = needy.next();
    }
    targets
}
