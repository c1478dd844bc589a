//! What a member tells of its tables' copies, and when it asks for a rebalance because of them.

use super::{Lag, Protocol, Step, TaskId};

/// Copies that are only left on the disk and told of: the best ones. All of them, of all members, might not fit the group's record.
const LEFT_AT_MOST: usize = 256;

impl Protocol {
    /// The worker says how far its copies are.
    pub(super) fn has_copies(&mut self, lags: Vec<(TaskId, u64)>) {
        let groups = &self.identity.groups;
        let exists = |task: &TaskId| groups.get(task.group as usize).is_some_and(|group| task.partition < group.partitions);
        let mut copies: Vec<(TaskId, Lag)> =
            lags.into_iter().filter(|(task, _)| exists(task)).map(|(task, lag)| (task, Lag::of(lag))).collect();
        copies.sort();
        copies.dedup_by_key(|(task, _)| *task);
        self.copies = Some(copies);
        if self.step == Step::Stable && !self.give_back_cold(false) {
            self.tell_of_copies();
        }
    }

    /// A store lacks what its changelog has. A static member whose place was kept goes by what its predecessor had, and whoever plans
    /// should know better.
    pub(super) fn cold(&mut self) {
        if !self.unheard || self.step != Step::Stable || mutant!("cold is not told") {
            return;
        }
        if self.copies.is_none() || !self.give_back_cold(true) && self.lacks_much() {
            self.want_rebalance();
        }
    }

    /// Whether it lacks more of what it has in hand than a copy may that has caught up; what isn't known is lacking.
    fn lacks_much(&self) -> bool {
        let (Some(held), Some(copies)) = (&self.held, &self.copies) else { return false };
        held.assignment.active.iter().any(|task| lag(copies, task).is_none_or(|lag| lag > held.assignment.recovery_lag))
    }

    /// Gives back what the worker can't go on with, to have it processed elsewhere meanwhile: it is let go of at once and not at the next
    /// assignment, so that one rebalance is enough.
    fn give_back_cold(&mut self, unknown_too: bool) -> bool {
        let cold = self.inherited_cold(unknown_too);
        let Some(held) = self.held.as_mut().filter(|_| !cold.is_empty()) else { return false };
        held.assignment.active.retain(|task| !cold.contains(task));
        self.seq += 1;
        self.pending.extend(cold.into_iter().map(|task| (task, self.seq)));
        self.emit_assigned();
        true
    }

    /// Tasks that this process was given in its predecessor's place, and that others, who keep standbys, may go on with sooner.
    pub(super) fn inherited_cold(&self, unknown_too: bool) -> Vec<TaskId> {
        let (Some(held), Some(copies)) = (self.held.as_ref().filter(|_| self.unheard), &self.copies) else { return Vec::new() };
        if mutant!("cold is not told") {
            return Vec::new();
        }
        let has_standbys = |task: &&TaskId| self.identity.groups[task.group as usize].standbys > 0;
        let is_cold = |task: &&TaskId| lag(copies, task).map_or(unknown_too, |lag| lag > held.assignment.recovery_lag);
        held.assignment.active.iter().filter(has_standbys).filter(is_cold).copied().collect()
    }

    /// A warm-up that has caught up is what the next plan waits for; and a leader that took the member for one that keeps no copies should
    /// know better. Either is said once; what comes of it is the leader's to decide.
    pub(super) fn tell_of_copies(&mut self) {
        let (Some(held), Some(copies)) = (&self.held, &self.copies) else { return };
        let keeps_after_all = self.said.copies.is_none() && !self.unheard;
        let has_caught_up =
            |copies: &[(TaskId, Lag)], task| lag(copies, task).is_some_and(|lag| lag <= held.assignment.recovery_lag);
        let is_said = |task| !self.unheard && self.said.copies.as_ref().is_some_and(|said| has_caught_up(said, task));
        if keeps_after_all || held.assignment.warmups.iter().any(|task| has_caught_up(copies, task) && !is_said(task)) {
            self.want_rebalance();
        }
    }

    /// The copies that a JoinGroup tells of: those of tasks in `hand` and those kept up to date, and of the others the best.
    pub(super) fn stock(&self, hand: &[TaskId]) -> Option<Vec<(TaskId, Lag)>> {
        let kept = self.held.as_ref().map(|held| held.assignment.kept()).unwrap_or_default();
        let is_kept = |task: &TaskId| hand.binary_search(task).is_ok() || kept.binary_search(task).is_ok();
        let (mut stock, mut left): (Vec<_>, Vec<_>) = self.copies.as_ref()?.iter().partition(|(task, _)| is_kept(task));
        left.sort_by_key(|(task, lag)| (*lag, *task));
        stock.extend(left.into_iter().take(LEFT_AT_MOST));
        stock.sort();
        Some(stock)
    }
}

fn lag(copies: &[(TaskId, Lag)], task: &TaskId) -> Option<Lag> {
    copies.binary_search_by_key(task, |(task, _)| *task).ok().map(|index| copies[index].1)
}
