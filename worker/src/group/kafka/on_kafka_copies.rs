//! Standbys, warm-ups and handovers where a real coordinator decides when the leader is asked.

use std::collections::{BTreeMap, BTreeSet};

use faust_testbed::{shared, unique};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::on_kafka::{SESSION, as_instance, in_time, settings};
use super::*;
use crate::topology::TaskId;

/// What a member was given last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Has {
    generation: i32,
    tasks: BTreeSet<TaskId>,
    copies: BTreeSet<TaskId>,
}

type All = BTreeMap<usize, Has>;

/// Members of a group with tables, whose workers have each copy made as soon as they are told to keep it.
struct Workers {
    settings: Box<dyn Fn() -> GroupSettings>,
    now: watch::Sender<All>,
    members: BTreeMap<usize, (Arc<KafkaGroup>, JoinHandle<()>)>,
}

impl Workers {
    fn new(name: &str, partitions: u32, standbys: u32) -> Self {
        let broker = shared();
        let (group, topic) = (unique(name), unique("views"));
        broker.create_topic(&topic, partitions, &[]).unwrap();
        let settings = move || {
            let mut settings = settings(broker, &group, &topic, partitions);
            (settings.groups[0].stateful, settings.groups[0].standbys) = (true, standbys);
            settings
        };
        Self { settings: Box::new(settings), now: watch::Sender::default(), members: BTreeMap::new() }
    }

    /// A static member with these copies on its disk.
    fn start(&self, index: usize, copies: Vec<(TaskId, u64)>) -> Arc<KafkaGroup> {
        let settings = GroupSettings { endpoint: format!("pod-{index}:6066"), ..(self.settings)() };
        let group = KafkaGroup::start(as_instance(settings, &format!("pod-{index}")));
        group.copies(copies);
        group
    }

    fn works(&mut self, index: usize, group: Arc<KafkaGroup>) {
        let work = tokio::spawn(work(index, group.clone(), self.now.clone()));
        self.members.insert(index, (group, work));
    }

    async fn end(&mut self, index: usize) {
        let (group, work) = self.members.remove(&index).unwrap();
        in_time(group.end()).await;
        work.await.unwrap();
        self.now.send_modify(|all| _ = all.remove(&index));
    }

    async fn until(&self, holds: impl Fn(&All) -> bool) -> All {
        in_time(self.now.subscribe().wait_for(holds)).await.unwrap().clone()
    }

    /// Nothing is said for as long as a session lasts, in which each member is asked by the coordinator several times.
    async fn rests(&self) -> bool {
        let mut now = self.now.subscribe();
        timeout(SESSION, now.changed()).await.is_err()
    }

    /// Two members with `each` tasks and copies of the other's, in one generation.
    async fn pair(name: &str, each: usize) -> Self {
        let mut workers = Self::new(name, each as u32 * 2, 1);
        for index in 0..2 {
            let group = workers.start(index, vec![]);
            workers.works(index, group);
        }
        workers.until(|all| is_even(all, each)).await;
        while !workers.rests().await {}
        assert!(is_even(&workers.now.borrow(), each));
        workers
    }
}

fn is_even(all: &All, each: usize) -> bool {
    let fits = |has: &Has| has.tasks.len() == each && has.copies.len() == each;
    all.len() == 2 && all.values().all(fits) && all[&0].generation == all[&1].generation
}

async fn work(index: usize, group: Arc<KafkaGroup>, now: watch::Sender<All>) {
    loop {
        let (generation, tasks, standbys) = match group.next().await {
            GroupEvent::Assigned { generation, tasks, standbys } => (generation, tasks, standbys),
            GroupEvent::Away { .. } => continue,
            GroupEvent::Left => return,
            other => panic!("{other:?}"),
        };
        let lags = tasks.iter().chain(&standbys).map(|task| (*task, 0)).collect();
        now.send_modify(|all| {
            let (tasks, copies) = (tasks.into_iter().collect(), standbys.into_iter().collect());
            all.insert(index, Has { generation, tasks, copies });
        });
        group.released();
        group.copies(lags);
    }
}

#[tokio::test]
async fn a_member_that_joins_is_warmed_up_before_it_gets_tasks() {
    let mut workers = Workers::new("warm-up", 4, 0);
    let first = workers.start(0, vec![]);
    workers.works(0, first);
    workers.until(|all| all.get(&0).is_some_and(|has| has.tasks.len() == 4)).await;

    let second = workers.start(1, vec![]);
    let (generation, tasks, warmups) = loop {
        match in_time(second.next()).await {
            GroupEvent::Assigned { generation, tasks, standbys } if !standbys.is_empty() => break (generation, tasks, standbys),
            GroupEvent::Assigned { .. } | GroupEvent::Away { .. } => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((tasks.len(), warmups.len()), (0, 2));
    workers.until(|all| all[&0].generation == generation).await;
    assert!(workers.rests().await, "the first one goes on with all of them");
    assert_eq!(workers.now.borrow()[&0].tasks.len(), 4);

    second.copies(warmups.iter().map(|task| (*task, 10_000)).collect());
    workers.works(1, second);
    let all = workers.until(|all| all.get(&1).is_some_and(|has| has.tasks.len() == 2)).await;
    assert_eq!(all[&1].tasks, warmups.into_iter().collect());
}

#[tokio::test]
async fn a_static_member_that_has_lost_its_stores_is_stood_in_for_within_one_rebalance() {
    let mut workers = Workers::pair("cold-copies", 3).await;
    let before = workers.now.borrow().clone();
    let generation = before[&0].generation;
    workers.end(1).await;

    let back = workers.start(1, vec![]);
    let given = async |tasks: &BTreeSet<TaskId>, generation: i32| match in_time(back.next()).await {
        GroupEvent::Assigned { generation: g, tasks: t, standbys } => {
            assert_eq!((g, &t.into_iter().collect::<BTreeSet<_>>()), (generation, tasks));
            standbys
        }
        other => panic!("{other:?}"),
    };
    given(&before[&1].tasks, generation).await;
    back.cold();
    given(&BTreeSet::new(), generation).await;
    back.released();
    let copies = given(&BTreeSet::new(), generation + 1).await;
    assert_eq!(copies.len(), 6, "a standby of all, some of which are to come back");
    let all = workers.until(|all| all[&0].generation > generation).await;
    assert_eq!((all[&0].generation, all[&0].tasks.len()), (generation + 1, 6), "the other one goes on with all at once");
    assert!(workers.rests().await, "exactly one");

    back.copies(copies.into_iter().map(|task| (task, 0)).collect());
    workers.works(1, back);
    workers.until(|all| is_even(all, 3)).await;
}

#[tokio::test]
async fn a_static_member_that_comes_back_with_its_stores_moves_nothing() {
    let mut workers = Workers::pair("warm-copies", 3).await;
    let before = workers.now.borrow().clone();
    workers.end(1).await;
    let back = workers.start(1, before[&1].tasks.union(&before[&1].copies).map(|task| (*task, 5)).collect());
    workers.works(1, back);
    workers.until(|all| all.len() == 2).await;
    assert!(workers.rests().await);
    assert_eq!(*workers.now.borrow(), before);
}

#[tokio::test]
async fn a_member_hands_over_to_the_standbys_stays_and_has_its_share_again_when_it_comes_back() {
    let mut workers = Workers::pair("handover", 3).await;
    let handed_over = workers.members[&1].0.clone();
    handed_over.drain(Drain::Handover);
    let all = workers.until(|all| all[&0].tasks.len() == 6).await;
    assert!(all[&1].tasks.is_empty());
    workers.until(|all| all[&1].copies.len() == 6).await;
    assert!(workers.rests().await);
    assert!(handed_over.view().handed_over && handed_over.view().joined);

    let copies = workers.now.borrow()[&1].copies.clone();
    workers.end(1).await;
    let back = workers.start(1, copies.into_iter().map(|task| (task, 0)).collect());
    workers.works(1, back);
    workers.until(|all| is_even(all, 3)).await;
}

#[tokio::test]
async fn where_a_task_and_its_copies_are_is_what_the_coordinator_says() {
    let workers = Workers::pair("places", 1).await;
    for (asked, other) in [(0, 1), (1, 0)] {
        let task = *workers.now.borrow()[&other].tasks.first().unwrap();
        let places = in_time(workers.members[&asked].0.places(task)).await.unwrap();
        let at = |index| format!("pod-{index}:6066");
        assert_eq!(places, Places { owner: Some(at(other)), standbys: vec![at(asked)] });
    }
}
