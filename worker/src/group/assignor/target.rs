//! The owners that all plans approach.

use std::cmp::Reverse;

use super::claims::Holder;
use super::copies::Copy;
use super::{Cluster, balance};

/// The target owner of each partition of each group; none where nobody can own it.
pub(super) fn targets(cluster: &Cluster) -> Vec<Vec<Option<usize>>> {
    let intended: Vec<Vec<Option<usize>>> = (0..cluster.groups.len()).map(|group| intended(cluster, group)).collect();
    let sizes: Vec<usize> = cluster.groups.iter().map(|group| group.partitions as usize).collect();
    let have: Vec<Vec<usize>> = intended.iter().map(|of_group| counts(of_group, cluster.members.len())).collect();
    let quotas = balance::quotas(&have, &cluster.owners, &sizes);
    let of_group = |(group, intended)| Targets::of(cluster, group, intended, &quotas[group]).find();
    intended.into_iter().enumerate().map(of_group).collect()
}

/// Whose each task is, or will be as soon as its warm-up has caught up.
fn intended(cluster: &Cluster, group: usize) -> Vec<Option<usize>> {
    let of_task = |(partition, holder): (usize, &Holder)| {
        let warmups = cluster.copies.of_task(group, partition).iter().filter(|copy| copy.is_warmup());
        let warmups = warmups.filter(|copy| cluster.owns(group, copy.member));
        let warmup = warmups.min_by_key(|copy| (copy.lag, copy.member)).map(|copy| copy.member);
        warmup.or(match holder {
            Holder::One(holder) if cluster.owns(group, *holder) => Some(*holder),
            _ => None,
        })
    };
    cluster.holders[group].iter().enumerate().map(of_task).collect()
}

fn counts(owners: &[Option<usize>], members: usize) -> Vec<usize> {
    let mut counts = vec![0; members];
    owners.iter().flatten().for_each(|&owner| counts[owner] += 1);
    counts
}

/// The targets of one group, while they are looked for.
///
/// A member keeps what it has up to its quota. Which ones those are that have more than that give away, and to whom they and those
/// without an owner go, is decided by the copies: a task goes where its copy is best.
struct Targets<'a> {
    cluster: &'a Cluster<'a>,
    group: usize,
    /// As intended; what is to go elsewhere is taken out.
    owners: Vec<Option<usize>>,
    /// How many tasks each member has still to give away.
    surplus: Vec<usize>,
    /// How many each can still take.
    room: Vec<usize>,
}

impl<'a> Targets<'a> {
    fn of(cluster: &'a Cluster, group: usize, owners: Vec<Option<usize>>, quotas: &[usize]) -> Self {
        let have = counts(&owners, quotas.len());
        let surplus = have.iter().zip(quotas).map(|(have, quota)| have.saturating_sub(*quota)).collect();
        let room = have.iter().zip(quotas).map(|(have, quota)| quota.saturating_sub(*have)).collect();
        Self { cluster, group, owners, surplus, room }
    }

    fn find(mut self) -> Vec<Option<usize>> {
        self.move_to_copies();
        self.give_away();
        self.fill();
        self.owners
    }

    /// The best copies first; of equally good ones those of tasks that nobody has.
    fn move_to_copies(&mut self) {
        let (cluster, group) = (self.cluster, self.group);
        let caught_up = |copy: &Copy| copy.lag <= cluster.policy.recovery_lag;
        let may_go = |owner: Option<usize>| owner.is_none_or(|owner| self.surplus[owner] > 0);
        let mut moves: Vec<_> = (0..self.owners.len())
            .filter(|&partition| may_go(self.owners[partition]))
            .flat_map(|partition| cluster.copies.of_task(group, partition).iter().map(move |copy| (partition, copy)))
            .filter(|(partition, copy)| self.room[copy.member] > 0 && self.owners[*partition] != Some(copy.member))
            .map(|(partition, copy)| (!caught_up(copy), self.owners[partition].is_some(), copy.lag, partition, copy.member))
            .collect();
        moves.sort();
        let mut moved = vec![false; self.owners.len()];
        for (.., partition, to) in moves {
            let from = self.owners[partition];
            if moved[partition] || self.room[to] == 0 || from.is_some_and(|from| self.surplus[from] == 0) {
                continue;
            }
            if let Some(from) = from {
                self.surplus[from] -= 1;
            }
            self.room[to] -= 1;
            self.owners[partition] = Some(to);
            moved[partition] = true;
        }
    }

    /// First what a member doesn't have yet, and of the rest the last ones.
    fn give_away(&mut self) {
        let holders = &self.cluster.holders[self.group];
        let mut order: Vec<usize> = (0..self.owners.len()).collect();
        order.sort_by_key(|&partition| {
            (self.owners[partition].is_some_and(|owner| holders[partition].is(owner)), Reverse(partition))
        });
        for partition in order {
            if let Some(owner) = self.owners[partition].filter(|&owner| self.surplus[owner] > 0) {
                self.surplus[owner] -= 1;
                self.owners[partition] = None;
            }
        }
    }

    /// What is left stays with who has it in hand, or goes to those that have room, in order.
    fn fill(&mut self) {
        for (partition, holder) in self.cluster.holders[self.group].iter().enumerate() {
            if let (None, Holder::One(holder)) = (self.owners[partition], holder)
                && self.room[*holder] > 0
            {
                self.room[*holder] -= 1;
                self.owners[partition] = Some(*holder);
            }
        }
        let mut needy = self.room.iter().enumerate().flat_map(|(member, room)| std::iter::repeat_n(member, *room));
        for owner in self.owners.iter_mut().filter(|owner| owner.is_none()) {
            *owner = needy.next();
        }
    }
}
