use super::cluster::{Cluster, group, stateless, task};
use crate::group::assignor::Role;
use crate::topology::TaskId;

fn tasks(partitions: impl IntoIterator<Item = u32>) -> Vec<TaskId> {
    partitions.into_iter().map(|partition| task(0, partition)).collect()
}

#[test]
fn a_task_that_moves_is_withheld_until_its_owner_lets_go() {
    let mut cluster = Cluster::new(vec![stateless(4)], 1);
    cluster.settle();
    cluster.join("m0001");

    let plan = cluster.rebalance();
    assert!(plan.more);
    assert_eq!(plan.shares[0].revokes, tasks(2..4));
    assert_eq!((plan.shares[1].active.clone(), plan.shares[1].waits.clone()), (vec![], tasks(2..4)));

    let plan = cluster.rebalance();
    assert!(plan.more, "the old owner still has them");
    assert!(plan.shares[1].active.is_empty());

    cluster.release("m0000");
    let plan = cluster.rebalance();
    assert!(!plan.more);
    assert_eq!(plan.shares[1].active, tasks(2..4));
}

#[test]
fn a_new_member_is_warmed_up_first_and_then_gets_the_tasks_two_at_a_time() {
    let mut cluster = Cluster::new(vec![group(6, 0)], 1);
    cluster.settle();
    cluster.join("m0001");
    let mut seen = Vec::new();
    for _ in 0..4 {
        let plan = cluster.rebalance();
        assert_eq!(plan.shares[0].active.len() + plan.shares[0].revokes.len(), cluster.members["m0000"].hand.len());
        seen.push((plan.shares[1].active.len(), plan.shares[1].waits.len(), plan.shares[1].warmups.len()));
        cluster.release("m0000");
        cluster.catch_up("m0001");
    }
    // Two warm up; they are withheld and the third warms up; and so on.
    assert_eq!(seen, [(0, 0, 2), (0, 2, 3), (2, 1, 1), (3, 0, 0)]);
}

/// The coordinator gave a restarted member its tasks back, and its stores are lost.
#[test]
fn what_its_owner_has_to_restore_goes_to_the_standby() {
    let mut cluster = Cluster::new(vec![group(4, 1)], 2);
    cluster.settle();
    let had: Vec<TaskId> = cluster.members["m0000"].hand.iter().copied().collect();
    let worker = cluster.members.get_mut("m0000").unwrap();
    // It has let go of what it can't go on with, and says so.
    (worker.hand, worker.copies, worker.standbys) = Default::default();
    let plan = cluster.rebalance();
    assert!(had.iter().all(|task| plan.shares[1].active.contains(task)), "at once");
    assert!(plan.shares[0].active.is_empty());
    assert_eq!((plan.shares[0].standbys.len(), plan.shares[0].warmups.len()), (4, 2), "and back when it has caught up");
    cluster.settle();
    assert_eq!(cluster.members["m0000"].hand.len(), 2);
}

#[test]
fn a_member_that_hands_over_keeps_copies_and_what_nobody_else_can_go_on_with() {
    let mut cluster = Cluster::new(vec![group(4, 1)], 2);
    cluster.settle();
    let had = cluster.members["m0000"].hand.clone();
    let gone = *had.first().unwrap();
    cluster.members.get_mut("m0001").unwrap().copies.remove(&gone);
    cluster.members.get_mut("m0000").unwrap().role = Role::HandsOver;
    let plan = cluster.rebalance();
    assert_eq!(plan.shares[0].active, [gone], "its copy is being made");
    assert_eq!(plan.shares[1].warmups.len(), 2);
    cluster.settle();
    assert_eq!(cluster.members["m0001"].hand.len(), 4);
    assert_eq!(cluster.members["m0000"].standbys.len(), 4);

    cluster.members.get_mut("m0000").unwrap().role = Role::Works;
    assert!(cluster.settle() <= 3, "it has kept its copies");
    assert_eq!(cluster.members["m0000"].hand.len(), 2);
}

#[test]
fn the_last_member_finishes_when_it_leaves_and_goes_on_when_it_only_hands_over() {
    for (role, keeps) in [(Role::Leaves, 0), (Role::HandsOver, 4)] {
        let mut cluster = Cluster::new(vec![group(4, 1)], 1);
        cluster.settle();
        cluster.members.get_mut("m0000").unwrap().role = role;
        assert_eq!(cluster.rebalance().shares[0].active.len(), keeps);
    }
}

#[test]
fn members_of_a_version_without_copies_share_the_tasks_and_keep_none() {
    let mut cluster = Cluster::new(vec![group(4, 1)], 3);
    cluster.join("m0002").keeps_none = true;
    cluster.join("m0003");
    cluster.settle();
    assert!(cluster.members["m0002"].standbys.is_empty());
    assert_eq!(cluster.members["m0002"].hand.len(), 1);
    assert_eq!(cluster.members.values().map(|worker| worker.standbys.len()).sum::<usize>(), 4);
}
