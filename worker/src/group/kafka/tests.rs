use faust_wire::messages::ApiKey;
use faust_wire::{Client, Config};

use super::fake::Coordinator;
use super::*;
use crate::group::topology_hash::TopologyHash;
use crate::group::userdata::Assignment;
use crate::topology::{CoPartitioned, TaskId};

fn groups() -> Groups {
    vec![CoPartitioned { topics: vec!["views".into()], partitions: 1, stateful: false, standbys: 0 }]
}

fn everything() -> Assignment {
    let active = vec![TaskId { group: 0, partition: 0 }];
    Assignment { active, leader: "leader".into(), topology: TopologyHash::of(&groups()), ..Assignment::default() }
}

fn start(coordinator: &Coordinator) -> Arc<KafkaGroup> {
    KafkaGroup::start(GroupSettings {
        group_id: "g".into(),
        way: Arc::new(Client::new(Config::parse(&format!("127.0.0.1:{}", coordinator.port), "test").unwrap())),
        groups: groups(),
        session_timeout: Duration::from_secs(3),
        rebalance_timeout: Duration::from_secs(60),
        margin: Duration::from_secs(1),
        instance: None,
        endpoint: String::new(),
        zone: String::new(),
        node: String::new(),
        recovery_lag: 10_000,
        max_warmups: 2,
    })
}

/// Commits an offset of the only partition, as somebody else than the member's task.
fn commit(group: &Arc<KafkaGroup>) -> tokio::task::JoinHandle<Result<(), GroupError>> {
    let group = group.clone();
    tokio::spawn(async move { group.commit(vec![(TopicPartition::new("views", 0), 7)]).await })
}

/// The broker has ended the join phase and raised the generation, and our JoinGroup's answer is still on its way: what it says in
/// between is no loss.
#[tokio::test]
async fn a_commit_and_a_heartbeat_that_cross_the_answer_to_the_join_lose_nothing() {
    let mut coordinator = Coordinator::start().await;
    let group = start(&coordinator);
    coordinator.asked(ApiKey::JoinGroup).await.joined(1);
    coordinator.asked(ApiKey::SyncGroup).await.synced(&everything());
    assert!(matches!(group.next().await, GroupEvent::Assigned { generation: 1, .. }));
    coordinator.asked(ApiKey::Heartbeat).await.heartbeat(27);
    let join = coordinator.asked(ApiKey::JoinGroup).await;

    let waiting = [commit(&group), commit(&group)];
    for code in [27, 22] {
        let asked = coordinator.asked(ApiKey::OffsetCommit).await;
        assert_eq!(asked.generation, 1);
        asked.committed(code);
    }
    coordinator.asked(ApiKey::Heartbeat).await.heartbeat(22);
    join.joined(2);
    coordinator.asked(ApiKey::SyncGroup).await.synced(&everything());

    for commit in waiting {
        assert_eq!(commit.await.unwrap(), Err(GroupError::Rebalanced), "whose partition it is now is the worker's to say");
    }
    let again = commit(&group);
    let asked = coordinator.asked(ApiKey::OffsetCommit).await;
    assert_eq!(asked.generation, 2);
    asked.committed(0);
    assert_eq!(again.await.unwrap(), Ok(()));
    assert!(matches!(group.next().await, GroupEvent::Assigned { generation: 2, .. }));
    assert!(group.lease().holds(rt::uptime_millis()));
}

/// What the worker has heard when the answer comes says nothing about what it committed for.
#[tokio::test]
async fn a_commit_that_was_begun_under_a_lost_membership_is_lost_also_after_the_next_assignment() {
    let mut coordinator = Coordinator::start().await;
    let group = start(&coordinator);
    coordinator.asked(ApiKey::JoinGroup).await.joined(1);
    coordinator.asked(ApiKey::SyncGroup).await.synced(&everything());
    assert!(matches!(group.next().await, GroupEvent::Assigned { generation: 1, .. }));
    coordinator.asked(ApiKey::Heartbeat).await.heartbeat(27);
    let join = coordinator.asked(ApiKey::JoinGroup).await;
    let begun = commit(&group);
    let asked = coordinator.asked(ApiKey::OffsetCommit).await;

    join.join_refused(25);
    assert!(matches!(group.next().await, GroupEvent::Lost { .. }));
    coordinator.asked(ApiKey::JoinGroup).await.joined(5);
    coordinator.asked(ApiKey::SyncGroup).await.synced(&everything());
    assert!(matches!(group.next().await, GroupEvent::Assigned { generation: 5, .. }));
    asked.committed(22);
    assert!(matches!(begun.await.unwrap(), Err(GroupError::Lost(_))));
}

#[tokio::test]
async fn a_commit_of_an_unknown_member_is_lost_and_ends_the_lease() {
    let mut coordinator = Coordinator::start().await;
    let group = start(&coordinator);
    coordinator.asked(ApiKey::JoinGroup).await.joined(1);
    coordinator.asked(ApiKey::SyncGroup).await.synced(&everything());
    assert!(matches!(group.next().await, GroupEvent::Assigned { generation: 1, .. }));
    let lost = commit(&group);
    coordinator.asked(ApiKey::OffsetCommit).await.committed(25);
    assert!(matches!(lost.await.unwrap(), Err(GroupError::Lost(_))));
    assert!(matches!(group.next().await, GroupEvent::Lost { .. }));

    coordinator.asked(ApiKey::JoinGroup).await.joined(5);
    coordinator.asked(ApiKey::SyncGroup).await.synced(&everything());
    assert!(matches!(commit(&group).await.unwrap(), Err(GroupError::Lost(_))), "it is still of the lost membership");
    assert!(matches!(group.next().await, GroupEvent::Assigned { generation: 5, .. }));
    let good = commit(&group);
    coordinator.asked(ApiKey::OffsetCommit).await.committed(0);
    assert_eq!(good.await.unwrap(), Ok(()));
}

#[tokio::test]
async fn a_partition_that_is_refused_alone_is_named_and_holds_nothing_up() {
    let mut coordinator = Coordinator::start().await;
    let group = start(&coordinator);
    coordinator.asked(ApiKey::JoinGroup).await.joined(1);
    coordinator.asked(ApiKey::SyncGroup).await.synced(&everything());
    assert!(matches!(group.next().await, GroupEvent::Assigned { generation: 1, .. }));
    for code in [3, 29] {
        let refused = commit(&group);
        coordinator.asked(ApiKey::OffsetCommit).await.committed_each(&[0, code, 0]);
        let error = refused.await.unwrap().unwrap_err();
        assert!(matches!(error, GroupError::Partition { partition, .. } if partition == TopicPartition::new("views", 1)));
    }
    // What is said of the member comes first.
    let lost = commit(&group);
    coordinator.asked(ApiKey::OffsetCommit).await.committed_each(&[3, 25]);
    assert!(matches!(lost.await.unwrap(), Err(GroupError::Lost(_))));
}

/// Whoever waits for the drain takes the answer for a promise that the group gives the partitions to others at once.
#[tokio::test]
async fn a_farewell_that_is_refused_is_said_again_until_the_member_is_gone() {
    let mut coordinator = Coordinator::start().await;
    let group = start(&coordinator);
    coordinator.asked(ApiKey::JoinGroup).await.joined(1);
    coordinator.asked(ApiKey::SyncGroup).await.synced(&Assignment { active: vec![], ..everything() });
    assert!(matches!(group.next().await, GroupEvent::Assigned { .. }));
    group.drain(Drain::Leave);
    for (of_group, of_member) in [(16, 0), (0, 15), (14, 0)] {
        coordinator.asked(ApiKey::LeaveGroup).await.left(of_group, of_member);
    }
    drop(coordinator.asked(ApiKey::LeaveGroup).await);
    coordinator.asked(ApiKey::LeaveGroup).await.left(0, 25);
    while group.next().await != GroupEvent::Left {}
}
