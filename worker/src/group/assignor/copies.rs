//! Who has a copy of which task, and how far it is.

use super::Member;
use crate::group::lag::Lag;
use crate::topology::{CoPartitioned, TaskId};

/// A copy of a task's tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Copy {
    pub member: usize,
    pub lag: Lag,
    pub kept: Kept,
}

/// Why a member has a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// It was left there, or it is that of the owner itself.
    Left,
    AsStandby,
    AsWarmup,
    /// As a standby that is to become active.
    AsBoth,
}

/// Of each partition of each group, by member.
pub(super) struct Copies(Vec<Vec<Vec<Copy>>>);

impl Copies {
    /// Of members that can keep some only. One that is kept, and of which no lag is told, hasn't begun.
    pub fn of(members: &[&Member], groups: &[CoPartitioned], keepers: &[Vec<usize>]) -> Self {
        let mut copies = Self(groups.iter().map(|group| vec![Vec::new(); group.partitions as usize]).collect());
        for (index, member) in members.iter().enumerate() {
            let can = |task: &TaskId| keepers.get(task.group as usize).is_some_and(|of| of.binary_search(&index).is_ok());
            for (task, lag) in member.copies.iter().flatten().filter(|(task, _)| can(task)) {
                copies.note(*task, index, |copy| copy.lag = *lag);
            }
            for task in member.standbys.iter().filter(|task| can(task)) {
                copies.note(*task, index, |copy| copy.kept = Kept::AsStandby);
            }
            for task in member.warmups.iter().filter(|task| can(task)) {
                copies.note(*task, index, |copy| {
                    copy.kept = if copy.kept == Kept::Left { Kept::AsWarmup } else { Kept::AsBoth };
                });
            }
        }
        copies
    }

    /// Members come one after the other, so a copy that is known already is the last one.
    fn note(&mut self, task: TaskId, member: usize, what: impl FnOnce(&mut Copy)) {
        let Some(of_task) = self.0[task.group as usize].get_mut(task.partition as usize) else { return };
        if of_task.last().is_none_or(|copy| copy.member != member) {
            of_task.push(Copy { member, lag: Lag::UNKNOWN, kept: Kept::Left });
        }
        what(of_task.last_mut().expect("pushed"));
    }

    pub fn of_task(&self, group: usize, partition: usize) -> &[Copy] {
        &self.0[group][partition]
    }

    pub fn get(&self, group: usize, partition: usize, member: usize) -> Option<&Copy> {
        self.of_task(group, partition).iter().find(|copy| copy.member == member)
    }
}

impl Copy {
    pub fn is_warmup(&self) -> bool {
        matches!(self.kept, Kept::AsWarmup | Kept::AsBoth)
    }

    pub fn is_standby(&self) -> bool {
        matches!(self.kept, Kept::AsStandby | Kept::AsBoth)
    }
}
