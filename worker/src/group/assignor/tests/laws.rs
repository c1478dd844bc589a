use std::collections::BTreeSet;

use proptest::prelude::*;

use super::cluster::{Cluster, WHOLE, Worker, group, stateless};
use crate::group::assignor::{Member, Role, assign, balance};
use crate::group::lag::Lag;
use crate::topology::{CoPartitioned, TaskId};

#[derive(Clone, Debug)]
enum Step {
    Join(usize),
    Leave(usize),
    /// The process is new: it has nothing in hand.
    Restart(usize),
    /// And nothing on its disk.
    Cold(usize),
    /// It stays a member, has its tasks in hand, and has to restore them.
    ColdInPlace(usize),
    Drain(usize, Role),
    Subscribe(usize, u8),
    Release(usize),
    CatchUp(usize),
    Rebalance,
    Settle,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let who = || 0..12usize;
    prop::collection::vec(
        prop_oneof![
            2 => who().prop_map(Step::Join),
            1 => who().prop_map(Step::Leave),
            1 => who().prop_map(Step::Restart),
            1 => who().prop_map(Step::Cold),
            1 => who().prop_map(Step::ColdInPlace),
            1 => (who(), prop::sample::select(vec![Role::Works, Role::HandsOver, Role::Leaves])).prop_map(|(who, role)| Step::Drain(who, role)),
            1 => (who(), any::<u8>()).prop_map(|(who, groups)| Step::Subscribe(who, groups)),
            1 => who().prop_map(Step::Release),
            2 => who().prop_map(Step::CatchUp),
            2 => Just(Step::Rebalance),
            1 => Just(Step::Settle),
        ],
        0..40,
    )
}

fn groups() -> impl Strategy<Value = Vec<CoPartitioned>> {
    let one = (1..24u32, 0..4u32, prop::bool::weighted(0.8));
    prop::collection::vec(one.prop_map(|(size, r, stateful)| if stateful { group(size, r) } else { stateless(size) }), 1..5)
}

/// In one of three zones and on one of six nodes, or of a version that keeps no copies.
fn place(worker: &mut Worker, who: usize, zones: bool, old: bool) {
    worker.node = format!("n{}", who % 6);
    worker.zone = if zones { format!("z{}", who % 3) } else { String::new() };
    worker.keeps_none = old && who.is_multiple_of(4);
}

fn play(groups: Vec<CoPartitioned>, steps: Vec<Step>, zones: bool, old: bool) -> Cluster {
    let mut cluster = Cluster::new(groups, 0);
    let join = |cluster: &mut Cluster, who: usize| place(cluster.join(&id(who)), who, zones, old);
    join(&mut cluster, 0);
    for step in steps {
        match step {
            Step::Join(who) => join(&mut cluster, who),
            Step::Leave(who) => {
                if cluster.members.len() > 1 {
                    cluster.members.remove(&id(who));
                }
            }
            Step::Rebalance => {
                cluster.rebalance();
            }
            Step::Settle => {
                cluster.settle();
            }
            Step::Release(who) if cluster.members.contains_key(&id(who)) => cluster.release(&id(who)),
            Step::CatchUp(who) if cluster.members.contains_key(&id(who)) => {
                cluster.catch_up(&id(who));
            }
            Step::Restart(who) | Step::Cold(who) | Step::ColdInPlace(who) | Step::Drain(who, _) | Step::Subscribe(who, _) => {
                let Some(worker) = cluster.members.get_mut(&id(who)) else { continue };
                match step {
                    Step::Restart(_) | Step::Cold(_) => {
                        let copies =
                            if matches!(step, Step::Restart(_)) { std::mem::take(&mut worker.copies) } else { Default::default() };
                        let serves = worker.serves.clone();
                        *worker = Worker { copies, serves, ..Worker::default() };
                        place(worker, who, zones, old);
                    }
                    Step::ColdInPlace(_) => worker.copies.values_mut().for_each(|lag| *lag = WHOLE),
                    Step::Drain(_, role) => worker.role = role,
                    Step::Subscribe(_, groups) => {
                        worker.serves.iter_mut().enumerate().for_each(|(index, serves)| *serves = groups >> index & 1 == 1);
                    }
                    _ => unreachable!(),
                }
            }
            Step::Release(_) | Step::CatchUp(_) => {}
        }
    }
    cluster
}

fn id(who: usize) -> String {
    format!("m{who:04}")
}

proptest! {
    /// What holds in every generation is checked by `rebalance`: one owner and never two, standbys beside nobody, moves only to copies that
    /// have caught up, so many warm-ups and no more. `settle` checks balance and spread, and that it comes to rest in time: a wave of
    /// warm-ups is a generation, and after the last one the tasks are taken and given.
    #[test]
    fn whatever_happens_a_cluster_settles_balanced_and_stays_as_it_is(
        groups in groups(), steps in steps(), zones: bool, old: bool, max_warmups in 1..4usize,
    ) {
        let mut cluster = play(groups, steps, zones, old);
        cluster.policy.max_warmups = max_warmups;
        cluster.settle();
        let before = cluster.placement();
        prop_assert_eq!(cluster.settle(), 0);
        prop_assert_eq!(cluster.placement(), before, "planned again it stays as it is");
    }

    #[test]
    fn all_that_come_back_with_what_they_had_have_it_again(groups in groups(), members in 1..10usize, zones: bool) {
        let mut cluster = Cluster::new(groups, members);
        (0..members).for_each(|who| place(cluster.join(&id(who)), who, zones, false));
        cluster.settle();
        let before = cluster.placement();
        // The coordinator has lost the group: everybody has its copies and nothing in hand.
        for worker in cluster.members.values_mut() {
            worker.hand.clear();
            worker.generation = -1;
        }
        cluster.settle();
        for (id, [hand, ..]) in cluster.placement() {
            prop_assert_eq!(hand.len(), before[&id][0].len(), "nobody has to do more");
        }
        prop_assert!(cluster.members.values().all(|worker| worker.copies.values().all(|lag| *lag < WHOLE)), "no copy is made anew");
    }

    /// Between several groups the totals must stay balanced too, which can need more moves than the new member gets tasks; that they
    /// are the fewest is the next but one property.
    #[test]
    fn a_join_moves_no_more_of_a_group_than_a_members_share(size in 1..60u32, members in 1..12usize, standbys in 0..3u32) {
        let mut cluster = Cluster::new(vec![group(size, standbys)], members);
        cluster.policy.max_warmups = 1_000;
        cluster.settle();
        let before = cluster.owners();
        cluster.join("m0000-new");
        cluster.settle();
        let now = cluster.owners();
        let moved = before.iter().filter(|(task, owner)| now[task] != **owner).count();
        prop_assert!(moved <= (size as usize).div_ceil(members + 1), "{moved} moved");
        prop_assert!(before.iter().all(|(task, owner)| now[task] == *owner || now[task] == "m0000-new"));
    }

    /// Where tasks have tables, another one of its heir may move on in the place of one that it has got.
    #[test]
    fn a_leave_moves_as_many_tasks_as_the_member_had(size in 1..50u32, standbys in 0..3u32, tables: bool, members in 2..12usize, leaves in 0..12usize) {
        let mut cluster = Cluster::new(vec![if tables { group(size, standbys) } else { stateless(size) }], members);
        cluster.settle();
        let before = cluster.owners();
        let leaver = id(leaves % members);
        let had = cluster.members.remove(&leaver).unwrap().hand.len();
        cluster.settle();
        let now = cluster.owners();
        let moved = before.iter().filter(|(task, owner)| **owner != leaver && now[task] != **owner).count();
        prop_assert!(moved <= if tables { had } else { 0 }, "{moved} tasks of others moved");
    }

    /// A member that dies is followed at once by those that have caught-up copies; nobody else stops.
    #[test]
    fn what_a_dead_member_had_is_where_a_standby_was_in_the_next_generation(
        size in 1..40u32, standbys in 1..3u32, members in 2..8usize, dies in 0..8usize,
    ) {
        let mut cluster = Cluster::new(vec![group(size, standbys)], members);
        cluster.settle();
        let dead = cluster.members.remove(&id(dies % members)).unwrap();
        let before = cluster.clone();
        let plan = cluster.rebalance();
        prop_assert!(!plan.more);
        for share in &plan.shares {
            let was = &before.members[&share.member];
            prop_assert!(share.active.iter().all(|task| was.hand.contains(task) || dead.hand.contains(task) && was.standbys.contains(task)));
        }
        prop_assert_eq!(cluster.owners().len(), size as usize);
    }

    #[test]
    fn loads_are_even_where_no_places_are_known(size in 1..60u32, standbys in 0..4u32, members in 1..10usize, joins in 0..4usize) {
        let mut cluster = Cluster::new(vec![group(size, standbys)], members);
        cluster.settle();
        for joins in 0..joins {
            cluster.join(&format!("n{joins}"));
            cluster.settle();
        }
        let loads: Vec<usize> = cluster.members.values().map(|worker| worker.hand.len() + worker.standbys.len()).collect();
        prop_assert!(loads.iter().max().unwrap() - loads.iter().min().unwrap() <= 2, "{loads:?}");
    }

    #[test]
    fn no_balanced_target_needs_fewer_moves(
        have in prop::collection::vec(prop::collection::vec(0..6usize, 4), 1..4),
        free in prop::collection::vec(0..6usize, 3),
        subscribed in prop::collection::vec(1..16u8, 3),
        members in 1..5usize,
    ) {
        let owners: Vec<Vec<usize>> = subscribed.iter().take(have.len()).map(|bits| {
            let all: Vec<usize> = (0..members).filter(|member| bits >> member & 1 == 1).collect();
            if all.is_empty() { vec![0] } else { all }
        }).collect();
        let count = |group: usize, member: usize| if owners[group].contains(&member) { have[group][member] } else { 0 };
        let have: Vec<Vec<usize>> = (0..have.len()).map(|group| (0..members).map(|member| count(group, member)).collect()).collect();
        let sizes: Vec<usize> = have.iter().zip(free).map(|(have, free)| have.iter().sum::<usize>() + free).collect();
        let quotas = balance::quotas(&have, &owners, &sizes);
        let kept = |group: usize| have[group].iter().zip(&quotas[group]).map(|(have, quota)| have.min(quota)).sum::<usize>();
        let moves: usize = (0..sizes.len()).map(|group| sizes[group] - kept(group)).sum();
        let totals = (0..members).map(|member| quotas.iter().map(|quotas| quotas[member]).sum::<usize>());
        let squares = totals.map(|total| total * total).sum::<usize>();
        prop_assert_eq!((squares, moves), best(&have, &owners, &sizes));
    }

    /// Claims may be anything: doubled, of other generations, of tasks that don't exist, by members that can't be given any.
    #[test]
    fn nobody_is_given_what_another_holds_whatever_the_claims(groups in groups(), members in prop::collection::vec(claims(), 1..8)) {
        let mut members: Vec<Member> = members;
        members.iter_mut().enumerate().for_each(|(index, member)| member.id = format!("m{index}"));
        let policy = Cluster::new(vec![], 0).policy;
        let plan = assign(&members, &groups, policy);
        let mut given = BTreeSet::new();
        for (share, member) in plan.shares.iter().zip(&members) {
            for task in &share.active {
                prop_assert!(given.insert(*task), "{task} is given twice");
                let claims = |other: &&Member| other.id != member.id && other.owned.contains(task);
                let mine = if member.owned.contains(task) { member.generation } else { i32::MIN };
                prop_assert!(members.iter().filter(claims).all(|other| other.generation < mine), "{task} is in another's hands");
            }
        }
        members.reverse();
        prop_assert_eq!(assign(&members, &groups, policy), plan);
    }
}

fn claims() -> impl Strategy<Value = Member> {
    let tasks = || prop::collection::vec((0..5u32, 0..26u32).prop_map(|(group, partition)| TaskId { group, partition }), 0..20);
    let copies = prop::option::weighted(0.8, prop::collection::vec(any::<u8>(), 20));
    let roles = prop::sample::select(vec![Role::Works, Role::Works, Role::HandsOver, Role::Leaves]);
    (tasks(), -1..4i32, prop::collection::vec(prop::bool::weighted(0.8), 0..6), tasks(), copies, tasks(), tasks(), roles, "[ab]?")
        .prop_map(|(owned, generation, serves, of, lags, standbys, warmups, role, zone)| {
            let copies = lags.map(|lags| of.into_iter().zip(lags).map(|(task, lag)| (task, Lag(lag))).collect());
            Member { id: String::new(), role, serves, owned, generation, copies, standbys, warmups, zone, node: String::new() }
        })
}

/// The smallest sum of squares of the members' totals, and the fewest moves to it, found by trying all ways.
fn best(have: &[Vec<usize>], owners: &[Vec<usize>], sizes: &[usize]) -> (usize, usize) {
    fn from(group: usize, have: &[Vec<usize>], owners: &[Vec<usize>], sizes: &[usize], totals: &mut Vec<usize>) -> (usize, usize) {
        if group == sizes.len() {
            return (totals.iter().map(|total| total * total).sum(), 0);
        }
        let (floor, extras) = (sizes[group] / owners[group].len(), sizes[group] % owners[group].len());
        let choices = (0..1u32 << owners[group].len()).filter(|choice| choice.count_ones() as usize == extras);
        let choice = |choice: u32| {
            let mut quota = vec![0; totals.len()];
            owners[group].iter().enumerate().for_each(|(index, member)| quota[*member] = floor + (choice >> index & 1) as usize);
            let moves = sizes[group] - quota.iter().zip(&have[group]).map(|(quota, have)| quota.min(have)).sum::<usize>();
            totals.iter_mut().zip(&quota).for_each(|(total, quota)| *total += quota);
            let (squares, rest) = from(group + 1, have, owners, sizes, totals);
            totals.iter_mut().zip(&quota).for_each(|(total, quota)| *total -= quota);
            (squares, moves + rest)
        };
        choices.map(choice).min().expect("there is always a way")
    }
    from(0, have, owners, sizes, &mut vec![0; have[0].len()])
}
