//! Against a real coordinator: what no fake would say of itself.
#![allow(clippy::disallowed_methods, reason = "Kafka's own tools block, and a frozen process is a blocked thread")]

use std::collections::{BTreeMap, BTreeSet};

use faust_testbed::{Broker, Kafka, shared, unique};
use faust_wire::{Client, Config};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::timeout;

use super::*;
use crate::topology::{CoPartitioned, TaskId};

pub(super) const SESSION: Duration = Duration::from_secs(3);
/// Beyond everything that a loaded machine needs: only what never comes reaches it.
pub(super) const LIMIT: Duration = Duration::from_secs(60);

fn client(broker: &Broker) -> Client {
    Client::new(Config::parse(&broker.bootstrap(), "faust-test").unwrap())
}

pub(super) fn settings(broker: &Broker, group_id: &str, topic: &str, partitions: u32) -> GroupSettings {
    GroupSettings {
        group_id: group_id.to_string(),
        way: Arc::new(client(broker)),
        groups: vec![CoPartitioned { topics: vec![topic.to_string()], partitions, stateful: false, standbys: 0 }],
        session_timeout: SESSION,
        rebalance_timeout: Duration::from_secs(20),
        margin: SESSION / 3,
        instance: None,
        endpoint: String::new(),
        zone: String::new(),
        node: String::new(),
        recovery_lag: 10_000,
        max_warmups: 2,
    }
}

pub(super) async fn in_time<T>(what: impl Future<Output = T>) -> T {
    timeout(LIMIT, what).await.expect("it never came")
}

pub(super) async fn assigned(group: &KafkaGroup) -> (i32, Vec<TaskId>) {
    in_time(async {
        loop {
            match group.next().await {
                GroupEvent::Assigned { generation, tasks, .. } => return (generation, tasks),
                GroupEvent::Away { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    })
    .await
}

/// Takes events until this member has tasks.
async fn takes_over(group: &KafkaGroup) -> Vec<TaskId> {
    loop {
        let (_, tasks) = assigned(group).await;
        if !tasks.is_empty() {
            return tasks;
        }
    }
}

/// A member on a thread of its own that can be made to stand still, as SIGSTOP does to a process.
struct Freezable {
    group: Arc<KafkaGroup>,
    runtime: Handle,
    _end: tokio::sync::oneshot::Sender<()>,
}

impl Freezable {
    fn start(settings: GroupSettings) -> Self {
        let (started, starts) = std::sync::mpsc::channel();
        let (end, ended) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                started.send((KafkaGroup::start(settings), Handle::current())).unwrap();
                let _ = ended.await;
            });
        });
        let (group, runtime) = starts.recv().unwrap();
        Self { group, runtime, _end: end }
    }

    /// Until what is returned is dropped.
    fn freeze(&self) -> std::sync::mpsc::Sender<()> {
        let (thaw, thawed) = std::sync::mpsc::channel::<()>();
        self.runtime.spawn(async move { thawed.recv() });
        thaw
    }
}

#[tokio::test]
async fn a_zombies_commit_is_refused_and_it_has_no_lease() {
    let broker = shared();
    let (group, topic) = (unique("zombie"), unique("views"));
    broker.create_topic(&topic, 2, &[]).unwrap();
    let first = TopicPartition::new(topic.as_str(), 0);

    let zombie = Freezable::start(settings(broker, &group, &topic, 2));
    let (generation, tasks) = assigned(&zombie.group).await;
    assert_eq!(tasks.len(), 2);
    zombie.group.commit(vec![(first.clone(), 100)]).await.unwrap();
    assert!(zombie.group.lease().holds(rt::uptime_millis()));
    let as_was = zombie.group.shared.now.read().sender.clone();

    let frozen = zombie.freeze();
    let heir = KafkaGroup::start(settings(broker, &group, &topic, 2));
    assert_eq!(takes_over(&heir).await, tasks);
    assert_eq!(heir.committed(std::slice::from_ref(&first)).await, Ok(vec![Some(100)]));
    heir.commit(vec![(first.clone(), 200)]).await.unwrap();
    assert!(!zombie.group.lease().holds(rt::uptime_millis()), "it must not write when it wakes");

    // The broker itself refuses what it may still send.
    let link = heir.way.link(&group).await.unwrap();
    let verdict = heir.asking.commit(&*link.other, &as_was, &[(first.clone(), 150)]).await;
    assert_eq!(verdict, Ok(Committed::As(Verdict::UnknownMember)));

    drop(frozen);
    let commit = in_time(zombie.group.commit(vec![(first.clone(), 150)])).await;
    assert!(matches!(commit, Err(GroupError::Lost(_))), "{commit:?}");
    assert!(matches!(in_time(zombie.group.next()).await, GroupEvent::Lost { .. }));
    assert!(!zombie.group.lease().holds(rt::uptime_millis()), "not before the loss is dealt with");
    let (later, _) = assigned(&zombie.group).await;
    assert!(later > generation, "it joins again by itself");
    assert!(zombie.group.lease().holds(rt::uptime_millis()));
    assert_eq!(heir.committed(&[first]).await, Ok(vec![Some(200)]));
}

/// What the workers of a test have in hand, and what they let go of.
#[derive(Default)]
struct Hands {
    owners: BTreeMap<TaskId, usize>,
    released: Vec<(usize, TaskId)>,
}

impl Hands {
    fn of(&self, member: usize) -> BTreeSet<TaskId> {
        self.owners.iter().filter(|(_, owner)| **owner == member).map(|(task, _)| *task).collect()
    }

    fn shared_by(&self, members: &[usize], each: usize) -> bool {
        self.owners.len() == members.len() * each && members.iter().all(|member| self.of(*member).len() == each)
    }
}

/// A worker that starts and releases at once, and panics when a task is in two hands.
async fn work(member: usize, group: Arc<KafkaGroup>, hands: watch::Sender<Hands>) {
    loop {
        let tasks: BTreeSet<TaskId> = match group.next().await {
            GroupEvent::Assigned { tasks, .. } => tasks.into_iter().collect(),
            GroupEvent::Left => return hands.send_modify(|hands| hands.owners.retain(|_, owner| *owner != member)),
            GroupEvent::Away { .. } => continue,
            other => panic!("{other:?}"),
        };
        hands.send_modify(|hands| {
            let had = hands.of(member);
            for task in had.difference(&tasks) {
                hands.owners.remove(task);
                hands.released.push((member, *task));
            }
            for task in tasks.difference(&had) {
                assert_eq!(hands.owners.insert(*task, member), None, "{task} is in two hands");
            }
        });
        group.released();
    }
}

#[tokio::test]
async fn members_share_and_what_does_not_move_is_never_released() {
    let broker = shared();
    let (id, topic) = (unique("share"), unique("views"));
    broker.create_topic(&topic, 12, &[]).unwrap();
    let hands = watch::Sender::new(Hands::default());
    let mut seen = hands.subscribe();
    let join = |member: usize| {
        let group = KafkaGroup::start(settings(broker, &id, &topic, 12));
        (group.clone(), tokio::spawn(work(member, group, hands.clone())))
    };

    let (first, first_works) = join(0);
    let (second, _works) = join(1);
    in_time(seen.wait_for(|hands| hands.shared_by(&[0, 1], 6))).await.unwrap();
    let two = seen.borrow().owners.clone();
    hands.send_modify(|hands| hands.released.clear());

    let (third, _works) = join(2);
    in_time(seen.wait_for(|hands| hands.shared_by(&[0, 1, 2], 4))).await.unwrap();
    let three = seen.borrow().owners.clone();
    let moved: BTreeSet<_> =
        two.iter().filter(|(task, owner)| three[task] != **owner).map(|(task, owner)| (*owner, *task)).collect();
    let released: Vec<_> = seen.borrow().released.clone();
    assert_eq!(moved.len(), 4);
    assert_eq!(released.iter().copied().collect::<BTreeSet<_>>(), moved, "only what moved was released");
    assert_eq!(released.len(), 4, "and once");

    for group in [&first, &second, &third] {
        let member = [&first, &second, &third].iter().position(|other| Arc::ptr_eq(other, group)).unwrap();
        let tasks = three.iter().filter(|(_, owner)| **owner == member);
        let offsets = tasks.map(|(task, _)| (TopicPartition::new(topic.as_str(), task.partition), i64::from(task.partition) + 1));
        in_time(group.commit(offsets.collect())).await.unwrap();
    }
    let seen_by_kafka = describe(broker, &id).await;
    let ours: BTreeMap<String, BTreeSet<u32>> = [&first, &second, &third]
        .iter()
        .enumerate()
        .map(|(index, group)| {
            (group.view().member, three.iter().filter(|(_, owner)| **owner == index).map(|(t, _)| t.partition).collect())
        })
        .collect();
    assert_eq!(seen_by_kafka, ours, "Kafka's own tool reads our group");

    hands.send_modify(|hands| hands.released.clear());
    in_time(first.end()).await;
    in_time(seen.wait_for(|hands| hands.shared_by(&[1, 2], 6))).await.unwrap();
    assert!(seen.borrow().released.is_empty(), "the others only got more");
    first_works.await.unwrap();

    let all: Vec<_> = (0..12).map(|partition| TopicPartition::new(topic.as_str(), partition)).collect();
    assert_eq!(in_time(second.committed(&all)).await, Ok((1..=12).map(Some).collect()), "offsets survive their members");
}

/// Members and their partitions, as `kafka-consumer-groups` shows them.
async fn describe(broker: &'static Broker, group: &str) -> BTreeMap<String, BTreeSet<u32>> {
    let arguments = ["--describe", "--members", "--verbose", "--group", group].map(str::to_string);
    let described = tokio::task::spawn_blocking(move || broker.tool("ConsumerGroupCommand", arguments)).await.unwrap().unwrap();
    let text = String::from_utf8(described.stdout).unwrap();
    let lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).filter(|line| line.first() == Some(&group));
    lines
        .map(|line| {
            let assigned =
                line.iter().find(|column| column.contains('(') || column.contains(':')).unwrap_or_else(|| panic!("{text}"));
            let partitions = assigned.rsplit(['(', ':']).next().unwrap().trim_end_matches(')');
            (line[1].to_string(), partitions.split(',').map(|partition| partition.parse().unwrap()).collect())
        })
        .collect()
}

#[tokio::test]
async fn a_member_outlives_its_broker() {
    let broker = tokio::task::spawn_blocking(Kafka::start).await.unwrap().unwrap();
    let (id, topic) = (unique("outlives"), unique("views"));
    broker.create_topic(&topic, 2, &[]).unwrap();
    let group = KafkaGroup::start(settings(&broker, &id, &topic, 2));
    let (_, tasks) = assigned(&group).await;
    let partition = TopicPartition::new(topic.as_str(), 1);
    group.commit(vec![(partition.clone(), 7)]).await.unwrap();

    broker.kill().unwrap();
    assert!(matches!(in_time(group.next()).await, GroupEvent::Away { .. }));
    while !matches!(in_time(group.next()).await, GroupEvent::Lost { .. }) {}
    assert!(!group.lease().holds(rt::uptime_millis()));

    let broker = tokio::task::spawn_blocking(move || broker.restart().map(|()| broker)).await.unwrap().unwrap();
    assert_eq!(takes_over(&group).await, tasks);
    assert_eq!(in_time(group.committed(std::slice::from_ref(&partition))).await, Ok(vec![Some(7)]));
    in_time(group.commit(vec![(partition, 8)])).await.unwrap();
    in_time(group.end()).await;
    drop(broker);
}

/// A member of a named place.
pub(super) fn as_instance(settings: GroupSettings, name: &str) -> GroupSettings {
    GroupSettings { instance: Some(name.to_string()), ..settings }
}

/// Two static members with six tasks each, at rest.
struct Pair {
    settings: Box<dyn Fn() -> GroupSettings>,
    group: String,
    topic: String,
    members: [Arc<KafkaGroup>; 2],
    tasks: [Vec<TaskId>; 2],
}

impl Pair {
    async fn at_rest(name: &str) -> Self {
        let broker = shared();
        let (group, topic) = (unique(name), unique("views"));
        broker.create_topic(&topic, 12, &[]).unwrap();
        let settings = {
            let (group, topic) = (group.clone(), topic.clone());
            move || settings(broker, &group, &topic, 12)
        };
        let members = ["pod-0", "pod-1"].map(|name| KafkaGroup::start(as_instance(settings(), name)));
        let mut tasks = [Vec::new(), Vec::new()];
        in_time(async {
            while tasks.each_ref().map(Vec::len) != [6, 6] {
                let (index, event) = tokio::select! {
                    event = members[0].next() => (0, event),
                    event = members[1].next() => (1, event),
                };
                match event {
                    GroupEvent::Assigned { tasks: assigned, .. } => {
                        tasks[index] = assigned;
                        members[index].released();
                    }
                    GroupEvent::Away { .. } => {}
                    other => panic!("{other:?}"),
                }
            }
        })
        .await;
        let pair = Self { settings: Box::new(settings), group, topic, members, tasks };
        pair.until_at_rest().await;
        pair
    }

    /// Until a whole heartbeat of each member was answered with nothing new.
    async fn until_at_rest(&self) {
        in_time(async {
            loop {
                let before = self.generations();
                let quiet = timeout(SESSION, async {
                    tokio::select! {
                        event = self.members[0].next() => event,
                        event = self.members[1].next() => event,
                    }
                });
                match quiet.await {
                    Ok(GroupEvent::Assigned { .. } | GroupEvent::Away { .. }) => {}
                    Ok(other) => panic!("{other:?}"),
                    Err(_) if self.generations() == before && before[0] == before[1] => return,
                    Err(_) => {}
                }
            }
        })
        .await;
    }

    fn generations(&self) -> [i32; 2] {
        self.members.each_ref().map(|member| member.view().generation)
    }

    fn start_again(&self, index: usize) -> Arc<KafkaGroup> {
        KafkaGroup::start(as_instance((self.settings)(), &format!("pod-{index}")))
    }

    fn partition_of(&self, index: usize) -> TopicPartition {
        TopicPartition::new(self.topic.as_str(), self.tasks[index][0].partition)
    }

    /// The instance ids in the group, as the coordinator has them.
    async fn instances(&self) -> BTreeSet<String> {
        let described = client(shared()).describe_group(&self.group).await.unwrap();
        described.members.into_iter().map(|member| member.instance_id.unwrap_or(member.id)).collect()
    }
}

/// Both the leader and the other one.
#[tokio::test]
async fn a_static_member_that_comes_back_has_its_tasks_and_nobody_hears_of_it() {
    let mut pair = Pair::at_rest("static").await;
    let [generation, _] = pair.generations();
    for index in 0..2 {
        let before = pair.members[index].view();
        pair.members[index].commit(vec![(pair.partition_of(index), 100)]).await.unwrap();
        in_time(pair.members[index].end()).await;
        let as_was = pair.members[index].shared.now.read().sender.clone();

        let back = pair.start_again(index);
        assert_eq!(assigned(&back).await, (generation, pair.tasks[index].clone()));
        let after = back.view();
        assert_eq!(after.leader, before.leader);
        assert_ne!(after.member, before.member);
        back.commit(vec![(pair.partition_of(index), 200)]).await.unwrap();
        assert!(back.lease().holds(rt::uptime_millis()));

        let link = back.way.link(&pair.group).await.unwrap();
        let verdict = back.asking.commit(&*link.other, &as_was, &[(pair.partition_of(index), 150)]).await;
        assert_eq!(verdict, Ok(Committed::As(Verdict::Fenced)), "the process before is out");
        assert_eq!(back.committed(&[pair.partition_of(index)]).await, Ok(vec![Some(200)]));
        pair.members[index] = back;
    }
    pair.until_at_rest().await;
    assert_eq!(pair.generations(), [generation; 2]);
    assert_eq!(pair.members.each_ref().map(|member| member.view().rebalances), [1, 1], "each has synced once");
}

#[tokio::test]
async fn a_static_member_that_comes_back_without_its_stores_or_elsewhere_asks_for_one_rebalance() {
    let mut pair = Pair::at_rest("cold").await;
    let [generation, _] = pair.generations();
    in_time(pair.members[1].end()).await;
    pair.members[1] = pair.start_again(1);
    assert_eq!(assigned(&pair.members[1]).await, (generation, pair.tasks[1].clone()));
    // As often as it has tasks.
    for _ in 0..6 {
        pair.members[1].cold();
    }
    for (member, tasks) in pair.members.iter().zip(&pair.tasks) {
        assert_eq!(assigned(member).await, (generation + 1, tasks.clone()), "nothing moves");
    }
    pair.members[1].cold();
    pair.until_at_rest().await;
    assert_eq!(pair.generations(), [generation + 1; 2]);

    in_time(pair.members[0].end()).await;
    let elsewhere = GroupSettings { endpoint: "elsewhere:6066".into(), ..(pair.settings)() };
    pair.members[0] = KafkaGroup::start(as_instance(elsewhere, "pod-0"));
    pair.until_at_rest().await;
    assert_eq!(pair.generations(), [generation + 2; 2]);
}

#[tokio::test]
async fn a_twin_that_wakes_is_fenced_and_ends() {
    let broker = shared();
    let (group, topic) = (unique("twin"), unique("views"));
    broker.create_topic(&topic, 2, &[]).unwrap();
    let first = TopicPartition::new(topic.as_str(), 0);
    let settings = || as_instance(settings(broker, &group, &topic, 2), "pod-0");
    let old = Freezable::start(settings());
    let (generation, tasks) = assigned(&old.group).await;
    old.group.commit(vec![(first.clone(), 100)]).await.unwrap();

    let frozen = old.freeze();
    let new = KafkaGroup::start(settings());
    assert_eq!(assigned(&new).await, (generation, tasks));
    new.commit(vec![(first.clone(), 200)]).await.unwrap();
    drop(frozen);

    let commit = in_time(old.group.commit(vec![(first.clone(), 150)])).await;
    assert!(matches!(commit, Err(GroupError::Lost(_))), "{commit:?}");
    assert!(matches!(in_time(old.group.next()).await, GroupEvent::Lost { .. }));
    assert!(!old.group.lease().holds(rt::uptime_millis()));
    let failed = in_time(old.group.next()).await;
    assert!(matches!(&failed, GroupEvent::Failed { reason } if reason.contains("`pod-0`")), "{failed:?}");
    new.commit(vec![(first.clone(), 300)]).await.unwrap();
    assert_eq!(new.committed(&[first]).await, Ok(vec![Some(300)]), "it did not fight back");
}

#[tokio::test]
async fn a_member_that_drains_gives_its_tasks_away_and_leaves_its_place() {
    let pair = Pair::at_rest("drain").await;
    let hands = watch::Sender::new(Hands::default());
    hands.send_modify(|hands| {
        for (index, tasks) in pair.tasks.iter().enumerate() {
            hands.owners.extend(tasks.iter().map(|task| (*task, index)));
        }
    });
    let mut seen = hands.subscribe();
    let [stays, drains] = [0, 1].map(|index| tokio::spawn(work(index, pair.members[index].clone(), hands.clone())));
    pair.members[1].drain(Drain::Leave);
    in_time(seen.wait_for(|hands| hands.of(0).len() == 12)).await.unwrap();
    in_time(drains).await.unwrap();
    assert_eq!(seen.borrow().released.len(), 6, "each was released once, and none of the other's");
    assert_eq!(pair.instances().await, BTreeSet::from(["pod-0".to_string()]));

    // Nobody is there to take them.
    pair.members[0].drain(Drain::Leave);
    in_time(stays).await.unwrap();
    assert_eq!(pair.instances().await, BTreeSet::new());
    assert_eq!(seen.borrow().released.len(), 6 + 12);
}

/// A rolling upgrade whose new image reads more, or a topic that has grown: the new member is there, idle, until the old one has gone.
#[tokio::test]
async fn members_of_two_topologies_do_not_share_and_the_younger_takes_all_when_the_older_has_left() {
    let broker = shared();
    let (group, topic) = (unique("mixed"), unique("views"));
    broker.create_topic(&topic, 4, &[]).unwrap();
    let old = KafkaGroup::start(as_instance(settings(broker, &group, &topic, 3), "pod-0"));
    assert_eq!(assigned(&old).await.1.len(), 3);
    let new = KafkaGroup::start(as_instance(settings(broker, &group, &topic, 4), "pod-1"));
    assert_eq!(assigned(&new).await.1, []);
    assert!(matches!(in_time(new.next()).await, GroupEvent::Idle { .. }));
    assert!(new.view().joined, "a member all the same");
    assert_eq!(assigned(&old).await.1.len(), 3);

    old.drain(Drain::Leave);
    let hands = watch::Sender::new(Hands::default());
    let leaves = work(0, old.clone(), hands);
    let takes = async {
        loop {
            match new.next().await {
                GroupEvent::Assigned { tasks, .. } if tasks.len() == 4 => return,
                GroupEvent::Assigned { .. } | GroupEvent::Idle { .. } | GroupEvent::Away { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    };
    in_time(async { tokio::join!(leaves, takes) }).await;
}
