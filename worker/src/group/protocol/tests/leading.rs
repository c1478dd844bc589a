use proptest::prelude::*;

use super::talk::{RECOVERY_LAG, Talk, groups, task, tasks};
use crate::group::protocol::*;
use crate::time::TopicPartition;
use crate::topology::CoPartitioned;

#[test]
fn the_leader_gives_nothing_to_a_member_of_another_topology_and_to_nobody_what_that_has() {
    let mut talk = Talk::new();
    talk.connected();
    let ours = talk.join.take().unwrap();
    let other = Subscription {
        topology: TopologyHash(1),
        groups: vec![GroupHash(1)],
        active: vec![TaskId { group: 7, partition: 1 }],
        ..ours.clone()
    };
    let peers = vec![
        Peer { id: "m".into(), subscription: Some(ours), partitions: vec![] },
        Peer {
            id: "x".into(),
            subscription: Some(other),
            partitions: vec![TopicPartition::new("views", 3), TopicPartition::new("old", 0)],
        },
    ];
    let joined = Joined { member: "m".into(), generation: 1, leader: "m".into(), peers, skip_assignment: false };
    let actions = talk.member.step(talk.now, Input::Joined { answer: Ok(joined) });
    let Some(Action::Sync { assignments, .. }) = actions.last() else { panic!("{actions:?}") };
    let given: Vec<_> =
        assignments.iter().map(|told| (told.member.as_str(), told.assignment.active.clone(), told.assignment.more)).collect();
    assert_eq!(given, [("m", tasks(0..3), true), ("x", vec![], true)]);
}

const POLICY: Policy = Policy { recovery_lag: RECOVERY_LAG, max_warmups: 2 };

/// The next version of the app reads another topic as well, whose name comes first.
#[test]
fn versions_of_the_app_share_the_groups_that_are_the_same_in_both_each_in_its_own_terms() {
    let group = |topic: &str| CoPartitioned { topics: vec![topic.into()], partitions: 2, stateful: false, standbys: 0 };
    let (older, newer) = (vec![group("views")], vec![group("clicks"), group("views")]);
    let peer = |id: &str, groups: &Groups, active: &[(u32, u32)]| {
        let said = Subscription {
            generation: 3,
            active: active.iter().map(|&(group, partition)| TaskId { group, partition }).collect(),
            topology: TopologyHash::of(groups),
            groups: groups.iter().map(GroupHash::of).collect(),
            ..Subscription::default()
        };
        Peer { id: id.into(), subscription: Some(said), partitions: vec![] }
    };
    let peers = [peer("a", &older, &[(0, 0), (0, 1)]), peer("b", &newer, &[])];
    for (leads, leader) in [(&older, "a"), (&newer, "b")] {
        let plan = leader::plan(leader, &peers, leads, POLICY);
        assert_eq!(plan[0].assignment.active, [TaskId { group: 0, partition: 0 }], "it keeps one and gives one away");
        assert_eq!(
            (plan[0].assignment.topology, plan[1].assignment.topology),
            (TopologyHash::of(&older), TopologyHash::of(&newer))
        );
        assert!(plan[0].assignment.more);
    }
    let peers = [peer("a", &older, &[(0, 0)]), peer("b", &newer, &[])];
    let plan = leader::plan("a", &peers, &older, POLICY);
    assert_eq!(plan[1].assignment.active, [TaskId { group: 1, partition: 1 }], "as the newer one calls it");
    assert_eq!(plan[1].active, [TaskId { group: 0, partition: 1 }], "as the older one shows it");
    let plan = leader::plan("b", &peers, &newer, POLICY);
    assert_eq!(plan[1].assignment.active.len(), 3, "what only it knows it works on alone");
}

proptest! {
    /// What the leader says in one generation after the other, to members that do as they are told.
    #[test]
    fn nobody_who_drains_is_given_anything_and_the_others_soon_have_it_all(
        drains in prop::collection::vec(any::<bool>(), 1..6), owners in prop::collection::vec(0..6usize, 4),
    ) {
        let mut hands: Vec<Vec<TaskId>> = vec![Vec::new(); drains.len()];
        for (partition, owner) in (0..).zip(&owners) {
            hands[owner % drains.len()].push(task(partition));
        }
        for generation in 1..4 {
            let peer = |(index, active): (usize, &Vec<TaskId>)| {
                let (topology, drains) = (TopologyHash::of(&groups()), drains[index].then_some(Drain::Leave));
                let said = Subscription { generation, active: active.clone(), topology, drains, ..Subscription::default() };
                Peer { id: index.to_string(), subscription: Some(said), partitions: vec![] }
            };
            let peers: Vec<Peer> = hands.iter().enumerate().map(peer).collect();
            for Told { member: id, assignment: told, .. } in leader::plan("0", &peers, &groups(), POLICY) {
                let index: usize = id.parse().unwrap();
                prop_assert!(!drains[index] || told.active.is_empty(), "{id} drains and is given {:?}", told.active);
                hands[index] = told.active;
            }
        }
        let given = hands.iter().flatten().count();
        prop_assert_eq!(given, if drains.contains(&false) { 4 } else { 0 });
    }
}
