use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

/// A group of members that do as they are told, one generation after the other.
#[derive(Clone, Debug)]
struct Cluster {
    groups: Vec<CoPartitioned>,
    generation: i32,
    members: BTreeMap<String, InHand>,
}

#[derive(Clone, Debug, Default)]
struct InHand {
    tasks: BTreeSet<TaskId>,
    generation: i32,
    /// What the last plan took away and is not released yet.
    revoked: BTreeSet<TaskId>,
}

impl Cluster {
    fn new(sizes: &[u32], members: usize) -> Self {
        let groups = sizes
            .iter()
            .enumerate()
            .map(|(i, &partitions)| CoPartitioned { topics: vec![format!("t{i}")], partitions, stateful: false, standbys: 0 })
            .collect();
        let members = (0..members).map(|i| (format!("m{i:04}"), InHand::default())).collect();
        Self { groups, generation: 0, members }
    }

    fn said(&self) -> Vec<Member> {
        let said = |(id, member): (&String, &InHand)| Member {
            id: id.clone(),
            owned: member.tasks.iter().copied().collect(),
            generation: member.generation,
            able: true,
        };
        self.members.iter().map(said).collect()
    }

    /// One generation: everybody says what it has, and gets its share.
    fn rebalance(&mut self) -> Plan {
        let plan = assign(&self.said(), &self.groups);
        self.generation += 1;
        for share in &plan.shares {
            let member = self.members.get_mut(&share.member).unwrap();
            let active: BTreeSet<_> = share.active.iter().copied().collect();
            member.revoked = member.tasks.difference(&active).copied().collect();
            assert_eq!(member.revoked, share.revokes.iter().copied().collect());
            member.tasks.extend(active);
            member.generation = self.generation;
        }
        let in_hand = self.members.values().map(|member| member.tasks.len()).sum::<usize>();
        let distinct: BTreeSet<_> = self.members.values().flat_map(|member| &member.tasks).collect();
        assert_eq!(in_hand, distinct.len(), "a task is in two members' hands");
        plan
    }

    fn release(&mut self, id: &str) {
        let member = self.members.get_mut(id).unwrap();
        for task in std::mem::take(&mut member.revoked) {
            member.tasks.remove(&task);
        }
    }

    /// Rebalances until nothing moves any more; the number of generations that gave out something new.
    fn settle(&mut self) -> usize {
        for generations in 0..10 {
            let before = self.members.clone();
            let more = self.rebalance().more;
            let ids: Vec<_> = self.members.keys().cloned().collect();
            ids.iter().for_each(|id| self.release(id));
            if !more && self.members.iter().all(|(id, member)| member.tasks == before[id].tasks) {
                self.assert_balanced();
                return generations;
            }
        }
        panic!("doesn't settle: {self:?}");
    }

    fn assert_balanced(&self) {
        let count = |group: Option<usize>| -> Vec<usize> {
            let counted = |task: &&TaskId| group.is_none_or(|group| task.group as usize == group);
            self.members.values().map(|member| member.tasks.iter().filter(counted).count()).collect()
        };
        for (index, group) in self.groups.iter().enumerate() {
            assert_eq!(count(Some(index)).iter().sum::<usize>(), group.partitions as usize, "every task has an owner");
        }
        for group in (0..self.groups.len()).map(Some).chain([None]) {
            let counts = count(group);
            let (min, max) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
            assert!(max - min <= 1, "group {group:?} is not balanced: {counts:?}");
        }
    }

    fn owners(&self) -> BTreeMap<TaskId, &str> {
        self.members.iter().flat_map(|(id, member)| member.tasks.iter().map(move |task| (*task, id.as_str()))).collect()
    }
}

#[derive(Clone, Debug)]
enum Step {
    Join(usize),
    Leave(usize),
    /// The process is new: it has nothing in hand.
    Restart(usize),
    Release(usize),
    Rebalance,
    Settle,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let who = || 0..12usize;
    prop::collection::vec(
        prop_oneof![
            who().prop_map(Step::Join),
            who().prop_map(Step::Leave),
            who().prop_map(Step::Restart),
            who().prop_map(Step::Release),
            Just(Step::Rebalance),
            Just(Step::Rebalance),
            Just(Step::Settle),
        ],
        0..40,
    )
}

fn sizes() -> impl Strategy<Value = Vec<u32>> {
    prop::collection::vec(1..24u32, 1..5)
}

/// The moves that the best balanced target needs, found by trying all of them.
fn fewest_moves(have: &[Vec<usize>], sizes: &[usize]) -> usize {
    fn best(group: usize, have: &[Vec<usize>], sizes: &[usize], totals: &mut Vec<usize>) -> Option<usize> {
        if group == sizes.len() {
            let spread = totals.iter().max().unwrap() - totals.iter().min().unwrap();
            return (spread <= 1).then_some(0);
        }
        let members = totals.len();
        let (floor, extras) = (sizes[group] / members, sizes[group] % members);
        let choices = (0..1u32 << members).filter(|choice| choice.count_ones() as usize == extras);
        choices
            .filter_map(|choice| {
                let quota: Vec<usize> = (0..members).map(|member| floor + (choice >> member & 1) as usize).collect();
                let moves: usize = sizes[group] - (0..members).map(|member| quota[member].min(have[group][member])).sum::<usize>();
                (0..members).for_each(|member| totals[member] += quota[member]);
                let rest = best(group + 1, have, sizes, totals);
                (0..members).for_each(|member| totals[member] -= quota[member]);
                Some(moves + rest?)
            })
            .min()
    }
    best(0, have, sizes, &mut vec![0; have[0].len()]).expect("a balanced target exists")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    /// `rebalance` and `settle` assert that no task is in two hands, in any generation.
    #[test]
    fn whatever_happens_a_cluster_settles_balanced_within_three_generations(sizes in sizes(), steps in steps()) {
        let mut cluster = Cluster::new(&sizes, 1);
        for step in steps {
            match step {
                Step::Join(who) => { cluster.members.entry(format!("m{who:04}")).or_default(); }
                Step::Leave(who) => {
                    if cluster.members.len() > 1 {
                        cluster.members.remove(&format!("m{who:04}"));
                    }
                }
                Step::Restart(who) => { cluster.members.entry(format!("m{who:04}")).and_modify(|member| *member = InHand::default()); }
                Step::Release(who) => {
                    let id = format!("m{who:04}");
                    if cluster.members.contains_key(&id) {
                        cluster.release(&id);
                    }
                }
                Step::Rebalance => { cluster.rebalance(); }
                Step::Settle => { cluster.settle(); }
            }
        }
        let generations = cluster.settle();
        prop_assert!(generations <= 3, "took {generations} generations");
    }

    /// Between several groups the totals must stay balanced too, which can need more moves than the new member gets tasks; that they
    /// are the fewest is the next but one property.
    #[test]
    fn a_join_moves_no_more_of_a_group_than_a_members_share(size in 1..200u32, members in 1..20usize) {
        let mut cluster = Cluster::new(&[size], members);
        cluster.settle();
        let before = cluster.clone();
        cluster.members.insert("m0000-new".into(), InHand::default());
        prop_assert!(cluster.settle() <= 2);
        let (old, new) = (before.owners(), cluster.owners());
        let moved = old.iter().filter(|(task, owner)| new[task] != **owner).count();
        prop_assert!(moved <= (size as usize).div_ceil(members + 1), "{moved} moved");
    }

    #[test]
    fn a_leave_moves_only_what_the_member_had_and_a_rejoin_of_all_moves_nothing(
        sizes in sizes(), members in 2..12usize, leaves in 0..12usize,
    ) {
        for sizes in [&sizes[..1], &sizes[..]] {
            let mut cluster = Cluster::new(sizes, members);
            cluster.settle();
            let before = cluster.clone();
            prop_assert_eq!(cluster.settle(), 0);
            prop_assert_eq!(before.owners(), cluster.owners());

            let leaver = format!("m{:04}", leaves % members);
            cluster.members.remove(&leaver);
            cluster.settle();
            let (old, new) = (before.owners(), cluster.owners());
            let moved = old.iter().filter(|(task, owner)| **owner != leaver && new[task] != **owner).count();
            prop_assert!(sizes.len() > 1 || moved == 0, "{moved} tasks of others moved");
        }
    }

    #[test]
    fn no_balanced_target_needs_fewer_moves(have in prop::collection::vec(prop::collection::vec(0..6usize, 4), 1..4),
                                            free in prop::collection::vec(0..6usize, 3), members in 1..5usize) {
        let have: Vec<Vec<usize>> = have.into_iter().map(|group| group[..members].to_vec()).collect();
        let sizes: Vec<usize> = have.iter().zip(free).map(|(have, free)| have.iter().sum::<usize>() + free).collect();
        let quotas = balance::quotas(&have, &sizes);
        let kept = |group: usize| have[group].iter().zip(&quotas[group]).map(|(have, quota)| have.min(quota)).sum::<usize>();
        let moves: usize = (0..sizes.len()).map(|group| sizes[group] - kept(group)).sum();
        prop_assert_eq!(moves, fewest_moves(&have, &sizes));
    }

    /// Claims may be anything: doubled, of other generations, of tasks that don't exist, by members that can't be given any.
    #[test]
    fn nobody_is_given_what_another_holds_whatever_the_claims(
        sizes in sizes(),
        claims in prop::collection::vec((prop::collection::vec((0..5u32, 0..26u32), 0..20), -1..4i32, prop::bool::weighted(0.8)), 1..8),
    ) {
        let cluster = Cluster::new(&sizes, 0);
        let mut members: Vec<Member> = claims.into_iter().enumerate().map(|(i, (owned, generation, able))| {
            let owned = owned.into_iter().map(|(group, partition)| TaskId { group, partition }).collect();
            Member { id: format!("m{i}"), owned, generation, able }
        }).collect();
        let plan = assign(&members, &cluster.groups);
        let mut given = BTreeSet::new();
        for (share, member) in plan.shares.iter().zip(&members) {
            prop_assert!(member.able || share.active.is_empty() && share.waits.is_empty());
            for task in &share.active {
                prop_assert!(given.insert(*task), "{task} is given twice");
                let claims = |other: &&Member| other.id != member.id && other.owned.contains(task);
                let mine = if member.owned.contains(task) { member.generation } else { i32::MIN };
                prop_assert!(members.iter().filter(claims).all(|other| other.generation < mine), "{task} is in another's hands");
            }
        }
        members.reverse();
        prop_assert_eq!(assign(&members, &cluster.groups), plan);
    }
}

#[test]
fn a_task_that_moves_is_withheld_until_its_owner_lets_go() {
    let mut cluster = Cluster::new(&[4], 1);
    cluster.settle();
    cluster.members.insert("m0001".into(), InHand::default());
    let task = |partition| TaskId { group: 0, partition };

    let plan = cluster.rebalance();
    assert!(plan.more);
    assert_eq!(plan.shares[0].revokes, [task(2), task(3)]);
    assert_eq!((plan.shares[1].active.as_slice(), plan.shares[1].waits.as_slice()), (&[][..], &[task(2), task(3)][..]));

    let plan = cluster.rebalance();
    assert!(plan.more, "the old owner still has them");
    assert!(plan.shares[1].active.is_empty());

    cluster.release("m0000");
    let plan = cluster.rebalance();
    assert!(!plan.more);
    assert_eq!(plan.shares[1].active, [task(2), task(3)]);
}

/// About ten plans, and each takes milliseconds; no clock is asked, since one that took minutes would be noticed.
#[test]
fn a_thousand_members_and_ten_thousand_tasks_are_no_matter() {
    let mut cluster = Cluster::new(&[4_000, 3_000, 1_999, 600, 301, 99, 1], 999);
    cluster.settle();
    cluster.members.insert("m0500-new".into(), InHand::default());
    for gone in [3, 77, 500] {
        cluster.members.remove(&format!("m{gone:04}"));
    }
    cluster.settle();
}
