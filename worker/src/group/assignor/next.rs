//! The next step towards the target: who has each task now, and which copies are warmed up.

use super::Cluster;
use super::claims::Holder;
use super::copies::Copy;
use crate::group::lag::Lag;

/// What becomes of a task in this generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Nobody can have it.
    Nobody,
    Has(usize),
    /// It is this member's when whoever has it in hand has let go.
    Waits(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub next: Next,
    /// Who keeps a copy that is to become active.
    pub warms_up: Option<usize>,
}

/// Of each partition of each group.
pub(super) fn steps(cluster: &Cluster, targets: &[Vec<Option<usize>>]) -> Vec<Vec<Step>> {
    let mut loads = vec![0; cluster.members.len()];
    let mut steps: Vec<Vec<Step>> = Vec::with_capacity(targets.len());
    let mut wishes = Vec::new();
    for (group, targets) in targets.iter().enumerate() {
        let mut of_group = Vec::with_capacity(targets.len());
        for (partition, target) in targets.iter().enumerate() {
            let task = Task { cluster, group, partition };
            let next = target.map_or(Next::Nobody, |target| task.next(target, &loads));
            if let Next::Has(owner) | Next::Waits(owner) = next {
                loads[owner] += 1;
            }
            let mut step = Step { next, warms_up: None };
            match task.heads_for(next, *target) {
                Some(member) if task.has_caught_up(member) => step.warms_up = Some(member),
                Some(member) => wishes.push(task.wish(member)),
                None => {}
            }
            of_group.push(step);
        }
        steps.push(of_group);
    }
    // Those under way first, then those that will soon have caught up.
    wishes.sort();
    for wish in wishes.into_iter().take(cluster.policy.max_warmups) {
        steps[wish.group][wish.partition].warms_up = Some(wish.member);
    }
    steps
}

/// A copy that is to be warmed up, in the order of their turns.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Wish {
    begins: bool,
    lag: Lag,
    group: usize,
    partition: usize,
    member: usize,
}

#[derive(Clone, Copy)]
struct Task<'a> {
    cluster: &'a Cluster<'a>,
    group: usize,
    partition: usize,
}

impl<'a> Task<'a> {
    fn next(self, target: usize, loads: &[usize]) -> Next {
        match self.holder() {
            Holder::One(holder) if holder == target && !self.is_behind(holder) => Next::Has(holder),
            Holder::One(holder) if self.works_on_it(holder) => match self.successor(target, holder, loads) {
                Some(successor) if mutant!("given before it is let go of") => Next::Has(successor),
                Some(successor) => Next::Waits(successor),
                None => Next::Has(holder),
            },
            Holder::One(_) | Holder::Several => Next::Waits(target),
            Holder::None => Next::Has(self.heir(target, loads)),
        }
    }

    fn holder(self) -> Holder {
        self.cluster.holders[self.group][self.partition]
    }

    fn copies(self) -> impl Iterator<Item = &'a Copy> {
        let copies = self.cluster.copies.of_task(self.group, self.partition);
        copies.iter().filter(move |copy| self.cluster.owns(self.group, copy.member))
    }

    /// A member that hands over or leaves keeps its tasks until others can go on with them. One that means other tasks by their names –
    /// another version of the app – can't be told to.
    fn works_on_it(self, holder: usize) -> bool {
        self.cluster.members[holder].serves(self.group)
    }

    /// Whether a member can go on with the task at once, or there is nothing to be waited for.
    fn is_ready(self, member: usize) -> bool {
        !self.cluster.keeps(self.group, member) || self.has_caught_up(member)
    }

    fn has_caught_up(self, member: usize) -> bool {
        let copy = self.cluster.copies.get(self.group, self.partition, member);
        copy.is_some_and(|copy| copy.lag <= self.cluster.policy.recovery_lag)
    }

    /// The owner itself has still to restore more than a copy may lack.
    fn is_behind(self, holder: usize) -> bool {
        let copy = self.cluster.copies.get(self.group, self.partition, holder);
        copy.is_some_and(|copy| copy.lag > self.cluster.policy.recovery_lag)
    }

    /// Who goes on with a task instead of a living owner: the target if it can, and anybody who can if the owner should not go on.
    fn successor(self, target: usize, holder: usize, loads: &[usize]) -> Option<usize> {
        if target != holder && self.is_ready(target) {
            return Some(target);
        }
        let should_go = !self.cluster.owns(self.group, holder) || self.is_behind(holder);
        let others = || self.copies().filter(|copy| copy.member != holder && self.has_caught_up(copy.member));
        let best = || others().min_by_key(|copy| (loads[copy.member], copy.lag, copy.member)).map(|copy| copy.member);
        should_go.then(best).flatten()
    }

    /// Who gets a task that nobody has, at once.
    fn heir(self, target: usize, loads: &[usize]) -> usize {
        if self.is_ready(target) {
            return target;
        }
        let caught_up = self.copies().filter(|copy| self.has_caught_up(copy.member));
        let best = caught_up.min_by_key(|copy| (loads[copy.member], copy.lag, copy.member));
        let best = best.or_else(|| self.copies().min_by_key(|copy| (copy.lag, copy.member != target, copy.member)));
        best.map_or(target, |copy| copy.member)
    }

    /// Who is to have the task and hasn't, if there is something to warm up.
    fn heads_for(self, next: Next, target: Option<usize>) -> Option<usize> {
        let to = match next {
            Next::Nobody => None,
            Next::Waits(owner) => Some(owner),
            Next::Has(owner) => target.filter(|target| *target != owner),
        };
        to.filter(|to| self.cluster.keeps(self.group, *to))
    }

    fn wish(self, member: usize) -> Wish {
        let copy = self.cluster.copies.get(self.group, self.partition, member);
        let (begins, lag) = copy.map_or((true, Lag::UNKNOWN), |copy| (!copy.is_warmup(), copy.lag));
        Wish { begins, lag, group: self.group, partition: self.partition, member }
    }
}
