//! Members that do as they are told, one generation after the other, and the laws that hold in every one of them.

use std::collections::{BTreeMap, BTreeSet};

use crate::group::assignor::next::{Next, Step};
use crate::group::assignor::{self, Member, Plan, Policy, Role, target};
use crate::group::lag::Lag;
use crate::topology::{CoPartitioned, TaskId};

/// What a copy lacks that has to be made anew.
pub const WHOLE: u64 = 1_000_000;
pub const RECOVERY_LAG: u64 = 100;

#[derive(Clone, Debug)]
pub struct Cluster {
    pub groups: Vec<CoPartitioned>,
    pub policy: Policy,
    pub generation: i32,
    pub members: BTreeMap<String, Worker>,
}

#[derive(Clone, Debug, Default)]
pub struct Worker {
    pub role: Role,
    pub serves: Vec<bool>,
    /// It is of a version that keeps no copies.
    pub keeps_none: bool,
    pub hand: BTreeSet<TaskId>,
    pub generation: i32,
    /// What the last plan took away and is not released yet.
    pub revoked: BTreeSet<TaskId>,
    pub copies: BTreeMap<TaskId, u64>,
    pub standbys: BTreeSet<TaskId>,
    pub warmups: BTreeSet<TaskId>,
    pub zone: String,
    pub node: String,
}

pub fn task(group: u32, partition: u32) -> TaskId {
    TaskId { group, partition }
}

pub fn group(partitions: u32, standbys: u32) -> CoPartitioned {
    CoPartitioned { topics: vec![format!("t{partitions}")], partitions, stateful: true, standbys }
}

pub fn stateless(partitions: u32) -> CoPartitioned {
    CoPartitioned { stateful: false, ..group(partitions, 0) }
}

impl Cluster {
    pub fn new(groups: Vec<CoPartitioned>, members: usize) -> Self {
        let policy = Policy { recovery_lag: Lag::of(RECOVERY_LAG), max_warmups: 2 };
        let mut cluster = Self { groups, policy, generation: 0, members: BTreeMap::new() };
        for index in 0..members {
            cluster.join(&format!("m{index:04}"));
        }
        cluster
    }

    pub fn join(&mut self, id: &str) -> &mut Worker {
        let serves = vec![true; self.groups.len()];
        self.members.entry(id.to_string()).or_insert_with(|| Worker { serves, ..Worker::default() })
    }

    pub fn said(&self) -> Vec<Member> {
        let said = |(id, worker): (&String, &Worker)| Member {
            id: id.clone(),
            role: worker.role,
            serves: worker.serves.clone(),
            owned: worker.hand.iter().copied().collect(),
            generation: worker.generation,
            copies: (!worker.keeps_none).then(|| worker.copies.iter().map(|(task, lag)| (*task, Lag::of(*lag))).collect()),
            standbys: worker.standbys.iter().copied().collect(),
            warmups: worker.warmups.iter().copied().collect(),
            zone: worker.zone.clone(),
            node: worker.node.clone(),
        };
        self.members.iter().map(said).collect()
    }

    pub fn stateful(&self, task: TaskId) -> bool {
        self.groups[task.group as usize].stateful
    }

    fn serves(&self, id: &str, task: TaskId) -> bool {
        self.members[id].serves[task.group as usize]
    }

    fn keeps(&self, id: &str, task: TaskId) -> bool {
        let worker = &self.members[id];
        self.stateful(task) && !worker.keeps_none && worker.role != Role::Leaves && self.serves(id, task)
    }

    fn caught_up(&self, id: &str, task: TaskId) -> bool {
        self.members[id].copies.get(&task).is_some_and(|lag| *lag <= RECOVERY_LAG)
    }

    pub fn tasks(&self) -> Vec<TaskId> {
        let of =
            |(index, group): (usize, &CoPartitioned)| (0..group.partitions).map(move |p| task(index as u32, p)).collect::<Vec<_>>();
        self.groups.iter().enumerate().flat_map(of).collect()
    }

    pub fn holder(&self, task: TaskId) -> Option<&str> {
        self.members.iter().find(|(_, worker)| worker.hand.contains(&task)).map(|(id, _)| id.as_str())
    }

    /// One generation: everybody says what it has, and gets its share.
    pub fn rebalance(&mut self) -> Plan {
        let plan = assignor::assign(&self.said(), &self.groups, self.policy);
        self.check(&plan);
        self.generation += 1;
        for share in &plan.shares {
            let worker = self.members.get_mut(&share.member).unwrap();
            let active: BTreeSet<_> = share.active.iter().copied().collect();
            worker.revoked = worker.hand.difference(&active).copied().collect();
            assert_eq!(worker.revoked, share.revokes.iter().copied().collect());
            worker.hand.extend(active);
            worker.generation = self.generation;
            worker.standbys = share.standbys.iter().copied().collect();
            worker.warmups = share.warmups.iter().copied().collect();
            for live in worker.hand.iter().chain(&worker.standbys).chain(&worker.warmups) {
                if self.groups[live.group as usize].stateful {
                    worker.copies.entry(*live).or_insert(WHOLE);
                }
            }
        }
        let in_hand = self.members.values().map(|worker| worker.hand.len()).sum::<usize>();
        let distinct: BTreeSet<_> = self.members.values().flat_map(|worker| &worker.hand).collect();
        assert_eq!(in_hand, distinct.len(), "a task is in two members' hands");
        plan
    }

    pub fn release(&mut self, id: &str) {
        let worker = self.members.get_mut(id).unwrap();
        for task in std::mem::take(&mut worker.revoked) {
            worker.hand.remove(&task);
        }
    }

    /// What a member keeps up to date is so; what is only left on its disk falls behind. Whether something has caught up by that.
    pub fn catch_up(&mut self, id: &str) -> bool {
        let worker = self.members.get_mut(id).unwrap();
        let mut caught_up = false;
        for (task, lag) in &mut worker.copies {
            let live = worker.hand.contains(task) || worker.standbys.contains(task) || worker.warmups.contains(task);
            caught_up |= live && *lag > RECOVERY_LAG;
            *lag = if live { 0 } else { *lag + 30 };
        }
        caught_up
    }

    /// What must hold in every generation.
    fn check(&self, plan: &Plan) {
        assert_eq!(plan.shares.iter().map(|share| &share.member).collect::<Vec<_>>(), self.members.keys().collect::<Vec<_>>());
        let mut cold = 0;
        for share in &plan.shares {
            for list in [&share.active, &share.waits, &share.standbys, &share.warmups] {
                assert!(list.is_sorted_by(|a, b| a < b), "sorted, and each once");
            }
            let worker = &self.members[&share.member];
            for task in share.standbys.iter().chain(&share.warmups) {
                assert!(self.keeps(&share.member, *task), "{} can't keep a copy of {task}", share.member);
                assert!(!worker.hand.contains(task) && !share.active.contains(task), "a copy of {task} beside itself");
            }
            for task in &share.active {
                let has = worker.hand.contains(task);
                assert!(has || worker.role != Role::Leaves && self.serves(&share.member, *task));
                assert!(has || self.holder(*task).is_none(), "{task} is in another's hands");
            }
            cold += share.warmups.iter().filter(|task| !self.caught_up(&share.member, **task)).count();
        }
        assert!(cold <= self.policy.max_warmups, "{cold} warm-ups are under way");
        let by_task = |list: fn(&assignor::Share) -> &Vec<TaskId>| {
            let mut who: BTreeMap<TaskId, Vec<&str>> = BTreeMap::new();
            for share in &plan.shares {
                list(share).iter().for_each(|task| who.entry(*task).or_default().push(&share.member));
            }
            who
        };
        let given = [by_task(|share| &share.active), by_task(|share| &share.waits), by_task(|share| &share.standbys)];
        for task in self.tasks() {
            self.check_task(task, given.each_ref().map(|given| given.get(&task).map_or(&[][..], Vec::as_slice)));
        }
    }

    /// By whom a task is worked on, waited for and kept up to date.
    fn check_task(&self, task: TaskId, [active, waits, standbys]: [&[&str]; 3]) {
        let some = |role: Role| self.members.iter().any(|(id, worker)| worker.role == role && self.serves(id, task));
        let able = some(Role::Works) || some(Role::HandsOver);
        assert_eq!(active.len() + waits.len(), usize::from(able), "{task} has one owner, or will have one");

        let hands = |id: &str| active.contains(&id) || self.members[id].hand.contains(&task);
        let keepers = self.members.keys().filter(|id| self.keeps(id, task) && !hands(id)).count();
        let wanted = keepers.min(self.groups[task.group as usize].standbys as usize);
        assert_eq!(standbys.len(), wanted, "standbys of {task}");

        // Who can go on with it at once.
        let may_own = |id: &str| {
            self.serves(id, task) && self.members[id].role == if some(Role::Works) { Role::Works } else { Role::HandsOver }
        };
        let holder = self.holder(task);
        let ready: Vec<&str> =
            self.members.keys().map(String::as_str).filter(|id| may_own(id) && self.caught_up(id, task)).collect();
        if let (true, [to], Some(holder)) = (self.stateful(task), waits, holder) {
            let works_on = self.serves(holder, task);
            assert!(!works_on || !self.keeps(to, task) || ready.contains(to), "{task} moves to {to} that isn't ready");
        }
        if let (true, [to], None) = (self.stateful(task), active, holder)
            && self.keeps(to, task)
        {
            let lag = |id: &str| self.members[id].copies.get(&task).copied().unwrap_or(u64::MAX);
            let best = self.members.keys().filter(|id| may_own(id) && self.keeps(id, task)).map(|id| lag(id)).min().unwrap();
            assert!(ready.contains(to) || Lag::of(lag(to)) == Lag::of(best), "{task} goes to {to}, and others have a better copy");
        }
    }

    /// Tasks that have still to move when their copies have caught up.
    pub fn to_move(&self) -> usize {
        let said = self.said();
        let cluster = assignor::Cluster::new(&said, &self.groups, self.policy);
        let targets = target::targets(&cluster);
        let steps = assignor::next::steps(&cluster, &targets);
        let away = |(target, step): (&Option<usize>, &Step)| target.is_some_and(|target| step.next != Next::Has(target));
        targets.iter().flatten().zip(steps.iter().flatten()).filter(|both| away(*both)).count()
    }

    /// Rebalances, with all released and all caught up in between, until nothing moves any more; the number of generations that
    /// changed something.
    pub fn settle(&mut self) -> usize {
        // A task that can't wait for its target's copy moves twice: at once to the best copy there is, and from there when the target
        // has one. That is so where its owner drains, or has to restore it, to which it may go back.
        let restores =
            |worker: &Worker| worker.hand.iter().any(|task| worker.copies.get(task).is_some_and(|lag| *lag > RECOVERY_LAG));
        let drains = |worker: &Worker| worker.role != Role::Works && !worker.hand.is_empty();
        let twice = match () {
            () if self.members.values().any(restores) => 2,
            () if self.members.values().any(drains) => 1,
            () => 0,
        };
        let bound = self.to_move().div_ceil(self.policy.max_warmups) + 2 + twice;
        for generations in 0..=bound {
            let before = self.placement();
            let more = self.rebalance().more;
            let ids: Vec<_> = self.members.keys().cloned().collect();
            let mut caught_up = false;
            for id in ids {
                self.release(&id);
                caught_up |= self.catch_up(&id);
            }
            if !more && !caught_up && self.placement() == before {
                self.check_settled();
                return generations;
            }
        }
        panic!("doesn't settle within {bound} generations: {self:?}");
    }

    /// Who has what, and keeps copies of what.
    pub fn placement(&self) -> BTreeMap<String, [BTreeSet<TaskId>; 3]> {
        let of =
            |(id, worker): (&String, &Worker)| (id.clone(), [worker.hand.clone(), worker.standbys.clone(), worker.warmups.clone()]);
        self.members.iter().map(of).collect()
    }

    pub fn owners(&self) -> BTreeMap<TaskId, String> {
        self.members.iter().flat_map(|(id, worker)| worker.hand.iter().map(move |task| (*task, id.clone()))).collect()
    }

    /// What holds when nothing moves any more.
    fn check_settled(&self) {
        let works = |group: usize| -> Vec<&Worker> {
            let of = |role: Role| self.members.values().filter(move |worker| worker.role == role && worker.serves[group]);
            let works: Vec<_> = of(Role::Works).collect();
            if works.is_empty() { of(Role::HandsOver).collect() } else { works }
        };
        for (index, group) in self.groups.iter().enumerate() {
            let counts: Vec<usize> =
                works(index).iter().map(|worker| worker.hand.iter().filter(|task| task.group as usize == index).count()).collect();
            let owned = if counts.is_empty() { 0 } else { group.partitions as usize };
            assert_eq!(counts.iter().sum::<usize>(), owned, "every task has an owner that works: {self:?}");
            assert!(differ_by_one(&counts), "group {index} is not balanced: {counts:?}");
        }
        let all: Vec<&Worker> = self.members.values().filter(|worker| worker.role == Role::Works).collect();
        if all.iter().all(|worker| worker.serves.iter().all(|serves| *serves)) {
            assert!(differ_by_one(&all.iter().map(|worker| worker.hand.len()).collect::<Vec<_>>()), "totals are not balanced");
        }
        assert!(self.members.values().all(|worker| worker.warmups.is_empty()), "nothing is to be warmed up any more");
        for task in self.tasks().into_iter().filter(|task| self.groups[task.group as usize].standbys > 0) {
            self.check_spread(task);
        }
    }

    /// The copies of a task, its own included, are in as many zones as they could be, and else on as many nodes.
    fn check_spread(&self, task: TaskId) {
        let copies: Vec<&Worker> = self.members.values().filter(|w| w.hand.contains(&task) || w.standbys.contains(&task)).collect();
        let could = self.members.iter().filter(|(id, worker)| self.keeps(id, task) || worker.hand.contains(&task));
        let could: Vec<&Worker> = could.map(|(_, worker)| worker).collect();
        for place in [|worker: &Worker| worker.zone.clone(), |worker: &Worker| worker.node.clone()] {
            let distinct = |workers: &[&Worker]| workers.iter().map(|worker| place(worker)).collect::<BTreeSet<_>>().len();
            let possible = distinct(&could).min(copies.len());
            if self.members.values().all(|worker| !place(worker).is_empty()) {
                assert_eq!(distinct(&copies), possible, "{task} is in one place where it could be in several: {self:?}");
            }
            if possible > 1 {
                return;
            }
        }
    }
}

fn differ_by_one(counts: &[usize]) -> bool {
    counts.iter().max().unwrap_or(&0) - counts.iter().min().unwrap_or(&0) <= 1
}
