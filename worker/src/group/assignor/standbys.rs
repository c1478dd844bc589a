//! Where the standbys are: beside nobody who has the task, spread over zones and nodes, with even loads, and where a copy is already.
//!
//! What is kept up to date and stands well stays. What is missing goes to the best copies, or else to the members with the least to do.
//! Then members that have more to do than others pass standbys on, as long as that makes the loads more even; each pass makes the sum of
//! their squares smaller, so there is a last one, and a plan that is planned again stays as it is.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::claims::Holder;
use super::copies::{Copies, Copy};
use super::next::{Next, Step};
use super::{Cluster, Member, Policy};
use crate::group::lag::Lag;

/// The members with standbys of each partition of each group.
pub(super) fn place(cluster: &Cluster, targets: &[Vec<Option<usize>>], steps: &[Vec<Step>]) -> Vec<Vec<Vec<usize>>> {
    let mut placing = Placing::new(cluster, targets);
    for (group, steps) in steps.iter().enumerate().filter(|(group, _)| cluster.groups[*group].standbys > 0) {
        if !cluster.keepers[group].is_empty() {
            placing.tasks.extend(steps.iter().enumerate().map(|(partition, step)| Task::of(cluster, group, partition, step)));
        }
    }
    placing.keep();
    placing.fill();
    placing.even_out();
    let mut placed: Vec<Vec<Vec<usize>>> = targets.iter().map(|of_group| vec![Vec::new(); of_group.len()]).collect();
    for task in placing.tasks {
        placed[task.group][task.partition] = task.standbys;
    }
    placed
}

/// A task whose standbys are placed.
struct Task {
    group: usize,
    partition: usize,
    /// Who has it, or is to have it: its standbys are to be elsewhere than this one.
    owner: Option<usize>,
    /// Who must not have a standby of it: it is in their hands.
    hands: Vec<usize>,
    /// Has a copy that is to become active. It is not one of the standbys, unless it was or there is nobody else.
    warms_up: Option<usize>,
    wanted: usize,
    standbys: Vec<usize>,
}

/// How well a member suits a standby; less is better.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Fit {
    is_warmup: bool,
    /// Copies in the same zone, and on the same node.
    in_zone: usize,
    on_node: usize,
}

impl Fit {
    fn place(self) -> (usize, usize) {
        (self.in_zone, self.on_node)
    }
}

impl Task {
    fn of(cluster: &Cluster, group: usize, partition: usize, step: &Step) -> Self {
        let mut hands = Vec::new();
        if let Holder::One(holder) = cluster.holders[group][partition] {
            hands.push(holder);
        }
        if let Next::Has(owner) = step.next
            && !hands.contains(&owner)
        {
            hands.push(owner);
        }
        let others = cluster.keepers[group].len() - hands.iter().filter(|member| cluster.keeps(group, **member)).count();
        let wanted = others.min(cluster.groups[group].standbys as usize);
        let owner = step.warms_up.or(hands.last().copied());
        Self { group, partition, owner, hands, warms_up: step.warms_up, wanted, standbys: Vec::with_capacity(wanted) }
    }

    fn may_have(&self, member: usize) -> bool {
        !self.hands.contains(&member) && !self.standbys.contains(&member)
    }

    fn copies<'a>(&self, copies: &'a Copies) -> &'a [Copy] {
        copies.of_task(self.group, self.partition)
    }
}

struct Placing<'a> {
    cluster: &'a Cluster<'a>,
    places: Places,
    /// Target actives and standbys of each member.
    loads: Vec<usize>,
    tasks: Vec<Task>,
}

impl<'a> Placing<'a> {
    fn new(cluster: &'a Cluster<'a>, targets: &[Vec<Option<usize>>]) -> Self {
        let mut loads = vec![0; cluster.members.len()];
        targets.iter().flatten().flatten().for_each(|&owner| loads[owner] += 1);
        Self { cluster, places: Places::of(cluster), loads, tasks: Vec::new() }
    }

    /// Standbys stay that stand as well as any other would; of those that stand equally well, the ones that lack least.
    fn keep(&mut self) {
        for task in &mut self.tasks {
            let mut kept: Vec<&Copy> = task.copies(&self.cluster.copies).iter().filter(|copy| copy.is_standby()).collect();
            while task.standbys.len() < task.wanted {
                kept.retain(|copy| task.may_have(copy.member));
                let place = |copy: &&&Copy| (self.places.fit(task, copy.member).place(), copy.lag, copy.member);
                let Some(copy) = kept.iter().min_by_key(place) else { break };
                let place = self.places.fit(task, copy.member).place();
                let mut others = self.cluster.keepers[task.group].iter().filter(|&&other| task.may_have(other));
                if place > (0, 0) && others.any(|&other| self.places.fit(task, other).place() < place) {
                    break;
                }
                task.standbys.push(copy.member);
                self.loads[copy.member] += 1;
            }
        }
    }

    fn fill(&mut self) {
        let missing: usize = self.tasks.iter().map(|task| task.wanted - task.standbys.len()).sum();
        let keepers = self.cluster.members.iter().filter(|member| member.copies.is_some()).count();
        let even = (self.loads.iter().sum::<usize>() + missing).div_ceil(keepers.max(1));
        for index in 0..self.tasks.len() {
            while self.tasks[index].standbys.len() < self.tasks[index].wanted {
                let member = self.best_for(&self.tasks[index], even).expect("no more are wanted than there are others");
                self.tasks[index].standbys.push(member);
                self.loads[member] += 1;
            }
        }
    }

    /// A copy counts for more than the load, up to an even load.
    fn best_for(&self, task: &Task, even: usize) -> Option<usize> {
        let mut copies = task.copies(&self.cluster.copies).iter().peekable();
        let mut best: Option<(Fit, _)> = None;
        for &member in &self.cluster.keepers[task.group] {
            // Both go by member.
            while copies.next_if(|copy| copy.member < member).is_some() {}
            let copy = copies.peek().filter(|copy| copy.member == member && self.loads[member] < even);
            let rank = copy.map_or((2, self.loads[member]), |copy| rank(copy, self.cluster.policy));
            let rank = (rank, self.loads[member], member);
            // Where it is matters for the few only that have less to do.
            let cannot_be_better = best.is_some_and(|(fit, other)| fit == Fit::default() && other < rank);
            if !cannot_be_better && task.may_have(member) {
                let key = (self.places.fit(task, member), rank);
                best = Some(best.map_or(key, |best| best.min(key)));
            }
        }
        best.map(|(_, (.., member))| member)
    }

    fn even_out(&mut self) {
        let mut of_member: Vec<Vec<usize>> = vec![Vec::new(); self.loads.len()];
        for (index, task) in self.tasks.iter().enumerate() {
            task.standbys.iter().for_each(|&member| of_member[member].push(index));
        }
        let keeps = |member: &usize| self.cluster.keepers.iter().any(|of_group| of_group.binary_search(member).is_ok());
        let keepers: Vec<usize> = (0..self.loads.len()).filter(keeps).collect();
        let mut moved = true;
        while moved {
            moved = false;
            for member in 0..of_member.len() {
                if keepers.iter().all(|&other| self.loads[other] + 1 >= self.loads[member]) {
                    continue;
                }
                // What lacks most is missed least.
                let mut own: Vec<_> = of_member[member].iter().map(|&task| (self.lag(task, member), task)).collect();
                own.sort_by_key(|own| Reverse(*own));
                for (_, index) in own {
                    let Some(to) = self.lighter(index, member) else { continue };
                    let task = &mut self.tasks[index];
                    task.standbys.retain(|other| *other != member);
                    task.standbys.push(to);
                    self.loads[member] -= 1;
                    self.loads[to] += 1;
                    of_member[member].retain(|other| *other != index);
                    of_member[to].push(index);
                    moved = true;
                }
            }
        }
    }

    fn lag(&self, task: usize, member: usize) -> Lag {
        let task = &self.tasks[task];
        self.cluster.copies.get(task.group, task.partition, member).map_or(Lag::UNKNOWN, |copy| copy.lag)
    }

    /// Who has less to do, also with this standby of `from`, and suits it as well.
    fn lighter(&self, index: usize, from: usize) -> Option<usize> {
        let task = &self.tasks[index];
        let fit = self.places.fit_without(task, from, from);
        let fits = |to: &usize| task.may_have(*to) && self.places.fit_without(task, *to, from) <= fit;
        let lighter =
            self.cluster.keepers[task.group].iter().copied().filter(|&to| self.loads[to] + 1 < self.loads[from]).filter(fits);
        lighter.min_by_key(|&to| {
            let copy = self.cluster.copies.get(task.group, task.partition, to);
            (copy.map_or((2, 0), |copy| rank(copy, self.cluster.policy)), self.loads[to], to)
        })
    }
}

/// Copies that have caught up before others, and the further the better.
fn rank(copy: &Copy, policy: Policy) -> (u8, usize) {
    (u8::from(copy.lag > policy.recovery_lag), copy.lag.0.into())
}

/// Where members are.
struct Places {
    zones: Vec<usize>,
    nodes: Vec<usize>,
}

impl Places {
    fn of(cluster: &Cluster) -> Self {
        let of_all = |name: fn(&Member) -> &str| numbered(cluster.members.iter().map(|member| name(member)));
        Self { zones: of_all(|member| &member.zone), nodes: of_all(|member| &member.node) }
    }

    fn fit(&self, task: &Task, member: usize) -> Fit {
        self.fit_without(task, member, member)
    }

    /// As if another member had no standby of it.
    fn fit_without(&self, task: &Task, member: usize, without: usize) -> Fit {
        let others = || task.owner.iter().chain(&task.standbys).filter(|other| **other != member && **other != without);
        Fit {
            is_warmup: task.warms_up == Some(member),
            in_zone: others().filter(|other| self.zones[**other] == self.zones[member]).count(),
            on_node: others().filter(|other| self.nodes[**other] == self.nodes[member]).count(),
        }
    }
}

/// A number for each name. Members that are not told where they are, or are all in one place, count as each in one of its own.
fn numbered<'a>(names: impl Iterator<Item = &'a str> + Clone) -> Vec<usize> {
    let mut known: BTreeMap<&str, usize> = BTreeMap::new();
    for name in names.clone().filter(|name| !name.is_empty()) {
        let next = known.len();
        known.entry(name).or_insert(next);
    }
    let tells_nothing = known.len() < 2;
    let number = |(index, name): (usize, &str)| match known.get(name) {
        Some(number) if !tells_nothing => *number,
        _ => known.len() + index,
    };
    names.enumerate().map(number).collect()
}
