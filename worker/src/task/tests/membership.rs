//! A group that gives, takes away, is away, and is lost.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{Notify, mpsc, oneshot};

use super::super::flusher::Flusher;
use super::super::shard::{self, Message, Shared, Stop};
use super::*;
use crate::group::{Drain, GroupError, GroupEvent, Lease, MemberView, Membership, Places};
use crate::log::{BoxFuture, NewTopic, Row};
use crate::state::{BatchMemory, FlushLimits, Place, Stores};
use crate::status::{Stage, Status};

const MOVED: &str = r#"{"error":"not owned here: partition 0 is on another worker","owner":"owner:6066","partition":0,"standbys":["standby:6066"]}"#;

/// Says what the test tells it to say.
pub(super) struct ToldGroup {
    events: Mutex<VecDeque<GroupEvent>>,
    arrived: Notify,
    offsets: Mutex<BTreeMap<TopicPartition, i64>>,
    /// What commits are answered, if not that they are done.
    refusal: Mutex<Option<GroupError>>,
    refused: AtomicU64,
    pub lease: Lease,
    released: AtomicU64,
    copies: Mutex<Vec<(TaskId, u64)>>,
}

impl ToldGroup {
    pub fn of(app: &str) -> Arc<Self> {
        let group = Arc::new(Self {
            events: Mutex::default(),
            arrived: Notify::new(),
            offsets: Mutex::default(),
            refusal: Mutex::default(),
            refused: AtomicU64::new(0),
            lease: Lease::new(Duration::from_millis(u64::MAX), Duration::ZERO),
            released: AtomicU64::new(0),
            copies: Mutex::default(),
        });
        group.lease.renew(1);
        control::in_group(app, group.clone());
        group
    }

    fn say(&self, event: GroupEvent) {
        self.events.lock().unwrap().push_back(event);
        self.arrived.notify_one();
    }

    /// The partitions of the only co-partition group that are this member's from now on.
    pub fn assign(&self, partitions: &[u32]) {
        self.assign_with(partitions, &[]);
    }

    /// The same, and those of which it keeps copies.
    pub fn assign_with(&self, partitions: &[u32], standbys: &[u32]) {
        let ids = |partitions: &[u32]| partitions.iter().map(|&partition| TaskId { group: 0, partition }).collect();
        self.say(GroupEvent::Assigned { generation: 1, tasks: ids(partitions), standbys: ids(standbys) });
    }

    /// What the worker has said last of its copy of a partition.
    pub fn copy(&self, partition: u32) -> Option<u64> {
        let copies = self.copies.lock().unwrap();
        copies.iter().find(|(id, _)| id.partition == partition).map(|(_, lag)| *lag)
    }

    /// What others have committed.
    pub fn set_committed(&self, topic: &str, partition: u32, offset: i64) {
        self.offsets.lock().unwrap().insert(TopicPartition::new(topic, partition), offset);
    }

    pub fn lose(&self) {
        self.say(GroupEvent::Lost { reason: "the session has expired".into() });
    }

    pub fn refuse(&self, refusal: Option<GroupError>) {
        *self.refusal.lock().unwrap() = refusal;
    }

    pub fn released(&self) -> u64 {
        self.released.load(Ordering::Relaxed)
    }
}

impl Membership for ToldGroup {
    fn next(&self) -> BoxFuture<'_, GroupEvent> {
        Box::pin(async {
            loop {
                if let Some(event) = self.events.lock().unwrap().pop_front() {
                    return event;
                }
                self.arrived.notified().await;
            }
        })
    }

    fn released(&self) {
        self.released.fetch_add(1, Ordering::Relaxed);
    }

    fn committed<'a>(&'a self, of: &'a [TopicPartition]) -> BoxFuture<'a, Result<Vec<Option<i64>>, GroupError>> {
        let offsets = self.offsets.lock().unwrap();
        let committed = of.iter().map(|partition| offsets.get(partition).copied()).collect();
        Box::pin(std::future::ready(Ok(committed)))
    }

    fn commit(&self, offsets: Vec<(TopicPartition, i64)>) -> BoxFuture<'_, Result<(), GroupError>> {
        let mut refusal = self.refusal.lock().unwrap().clone();
        let mut committed = self.offsets.lock().unwrap();
        match &refusal {
            None => committed.extend(offsets),
            Some(GroupError::Partition { partition, .. }) => {
                let (refused, others): (Vec<_>, Vec<_>) = offsets.into_iter().partition(|(of, _)| of == partition);
                committed.extend(others);
                refusal = refusal.filter(|_| !refused.is_empty());
            }
            Some(_) => {
                self.refused.fetch_add(1, Ordering::Relaxed);
            }
        }
        Box::pin(std::future::ready(refusal.map_or(Ok(()), Err)))
    }

    fn lease(&self) -> &Lease {
        &self.lease
    }

    fn view(&self) -> MemberView {
        MemberView { joined: true, ..MemberView::default() }
    }

    fn places(&self, _of: TaskId) -> BoxFuture<'_, Result<Places, GroupError>> {
        let standbys = vec!["standby:6066".to_string()];
        Box::pin(std::future::ready(Ok(Places { owner: Some("owner:6066".to_string()), standbys })))
    }

    fn cold(&self) {}

    fn copies(&self, lags: Vec<(TaskId, u64)>) {
        *self.copies.lock().unwrap() = lags;
    }

    fn drain(&self, _how: Drain) {}

    fn end(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// What the shards of an app's worker share, without the worker around them.
pub(super) fn shared(node: &'static AppNode) -> Shared {
    Shared {
        rt: Rt::single(),
        settings: Arc::new(settings::resolve(node.id, &settings(), &settings::FileLayer::default(), [], &[]).unwrap()),
        topology: Arc::new(node.topology().map_err(|_| "contradictory").unwrap()),
        log: control::memory_log(node.id),
        membership: ToldGroup::of(node.id),
        stores: Stores::open(&Place::Memory).unwrap(),
        status: Arc::new(Status::new(node.id)),
        failures: mpsc::unbounded_channel().0,
        flusher: Arc::new(Flusher::new(FlushLimits { records: 1_000, interval: secs(1), bytes: 1 << 20 })),
        tombstones: Arc::default(),
        throttle: None,
        batches: Arc::new(BatchMemory::new(1 << 20)),
        epochs: Arc::default(),
        tenure: Arc::default(),
        undrained: Arc::default(),
    }
}

/// Counts; at a 0 it waits at the door, in the middle of the event.
fn waiting_at_0(id: &str, partitions: u32) -> (Counting, Door) {
    let counting = counting(id, partitions);
    let door = Door::default();
    let at_door = door.clone();
    counting.app.agent("count", (counting.input, counting.counts), async move |mut stream, counts| {
        while let Some(event) = stream.next().await {
            counts.update(event.key(), |n| *n += 1)?;
            if *event == 0 {
                at_door.pass().await;
            }
        }
        Ok(())
    });
    (counting, door)
}

#[test]
fn a_task_that_is_taken_away_is_committed_before_it_is_released_and_the_others_do_not_notice() {
    on_one_thread(async {
        let (Counting { app, input, counts }, door) = waiting_at_0("taken", 2);
        let group = ToldGroup::of(app.id());
        group.assign(&[0, 1]);
        let world = World::start(app, settings()).await;
        let (going, staying) = (key_in(0, 2), key_in(1, 2));
        input.send(&going, &0).await.unwrap();
        until("it is in hand", || world.input("in", 0).records.get() == 1).await;
        group.assign(&[1]);
        until("it drains", || world.task(0).stage() == Stage::Draining).await;
        for n in 1..=5 {
            input.send(&staying, &1).await.unwrap();
            world.until_committed("in", 1, n).await;
        }
        assert_eq!((group.released(), world.committed("in", 0).await), (0, Some(0)));
        door.open();
        until("it is released", || group.released() == 1).await;
        assert_eq!(world.committed("in", 0).await, Some(1));
        let elsewhere = counts.query(&going).await.unwrap_err();
        assert_eq!(elsewhere.to_string(), "table `counts`: partition 0 is on another worker");
        let page = http::get(world.handle.web, &format!("/tables/counts/{going}")).await;
        assert_eq!((page.status, &*page.body), (421, MOVED));
        let stayed = world.task(1);
        assert_eq!((stayed.epochs.get(), world.input("in", 1).fetches.get()), (1, 1));

        group.assign(&[0, 1]);
        until("it is back", || world.running().readiness().is_ok()).await;
        input.send(&going, &1).await.unwrap();
        world.until_committed("in", 0, 2).await;
        assert_eq!(counts.query(&going).await, Ok(Some(2)));
        assert_eq!((world.task(0).epochs.get(), stayed.epochs.get()), (2, 1));
        world.stop().await.unwrap();
    });
}

#[test]
fn a_task_that_comes_back_while_it_leaves_is_not_started_before_it_has_left() {
    on_one_thread(async {
        let (Counting { app, input, counts }, door) = waiting_at_0("back", 1);
        let group = ToldGroup::of(app.id());
        group.assign(&[0]);
        let world = World::start(app, settings()).await;
        input.send("a", &0).await.unwrap();
        until("it is in hand", || world.input("in", 0).records.get() == 1).await;
        group.assign(&[]);
        group.assign(&[0]);
        until("it drains", || world.task(0).stage() == Stage::Draining).await;
        assert_eq!(world.task(0).epochs.get(), 1);
        door.open();
        until("it runs again", || world.task(0).epochs.get() == 2).await;
        assert_eq!(group.released(), 1);
        input.send("a", &1).await.unwrap();
        world.until_committed("in", 0, 2).await;
        assert_eq!(counts.query("a").await, Ok(Some(2)));
        world.stop().await.unwrap();
    });
}

/// Or the group would wait for ever, and the partition with it.
#[test]
fn a_task_that_is_taken_away_before_it_could_start_is_released() {
    on_one_thread(async {
        let Counting { app, .. } = counting("never started", 1).with_agent();
        let group = ToldGroup::of(app.id());
        group.assign(&[0]);
        let world = World::start(app, settings()).await;
        // All of it before the task of the lost membership has left.
        group.lose();
        group.assign(&[0]);
        group.assign(&[]);
        until("the group hears of it", || group.released() == 1).await;
        assert_eq!(world.task(0).epochs.get(), 1);
        world.stop().await.unwrap();
    });
}

#[test]
fn a_lost_membership_drops_the_work_of_all_tasks_also_of_one_that_is_draining() {
    on_one_thread(async {
        let (Counting { app, input, counts }, door) = waiting_at_0("lost", 2);
        let group = ToldGroup::of(app.id());
        group.assign(&[0, 1]);
        let world = World::start(app, settings().revoke_timeout(hours(1)).rebalance_timeout(hours(2))).await;
        let keys = [key_in(0, 2), key_in(1, 2)];
        for key in &keys {
            input.send(key, &0).await.unwrap();
        }
        let records = |partition| world.input("in", partition).records.get();
        until("both are in hand", || (records(0), records(1)) == (1, 1)).await;
        group.assign(&[1]);
        until("one drains", || world.task(0).stage() == Stage::Draining).await;
        group.lose();
        until("both have ended", || (0..2).all(|partition| world.task(partition).stage() == Stage::Absent)).await;
        door.open();
        door.open();
        assert_eq!(world.running().readiness().map_err(|why| why.sentence), Err("joining the group".to_string()));
        assert_eq!(group.released(), 0, "nobody waits for it any more");

        group.assign(&[0, 1]);
        until("both are in hand again", || (records(0), records(1)) == (2, 2)).await;
        for partition in 0..2 {
            assert_eq!(world.records("lost-counts-changelog", partition), [], "nothing of the lost membership was written");
            assert_eq!(world.committed("in", partition).await, Some(0));
        }
        // One of them went through the door that was left open.
        door.open();
        door.open();
        for (partition, key) in keys.iter().enumerate() {
            world.until_committed("in", partition as u32, 1).await;
            assert_eq!(counts.query(key).await, Ok(Some(1)));
        }
        world.stop().await.unwrap();
    });
}

#[test]
fn work_of_a_lost_membership_is_not_written_by_a_shard_that_has_not_heard_of_it() {
    on_one_thread(async {
        let Counting { app, .. } = counting("deaf", 1).with_agent();
        let node = app.node();
        let (shared, log) = (shared(node), control::memory_log(node.id));
        let rows = |key: &str, value: &str| [Row { key: key.into(), value: Some(value.into()) }];
        for topic in ["in", "deaf-counts-changelog"] {
            log.create(&[NewTopic { name: topic.into(), partitions: 1, config: vec![] }]).await.unwrap();
        }
        let (mailbox, _shard) = shard::start(shared.clone(), 0);
        let (stop, on_stop) = mpsc::unbounded_channel();
        let (ended, on_end) = oneshot::channel();
        let id = TaskId { group: 0, partition: 0 };
        mailbox.send(Message::Start { id, epoch: 1, tenure: 0, stop: on_stop, ended }).map_err(|_| "no shard").unwrap();
        let task = || shared.status.tasks().pop();
        let counted = || task().map_or(0, |task| task.inputs[0].records.get());
        let bounds = async |topic: &str| log.bounds(&[TopicPartition::new(topic, 0)]).await.unwrap()[0];

        log.producer().send_rows(&TopicPartition::new("in", 0), &rows("a", "1"), &Arc::default()).unwrap();
        until("it is committed", || task().is_some_and(|task| task.commits.get() == 1)).await;
        shared.tenure.fetch_add(1, Ordering::SeqCst);
        log.producer().send_rows(&TopicPartition::new("in", 0), &rows("a", "1"), &Arc::default()).unwrap();
        until("the agent still counts", || counted() == 2).await;
        // As many turns as a commit would need by far.
        for _ in 0..50 {
            tokio::time::sleep(millis(1)).await;
        }
        assert_eq!((bounds("deaf-counts-changelog").await.end, task().unwrap().inputs[0].committed.get()), (1, 1));
        stop.send(Stop::Drop).unwrap();
        on_end.await.unwrap();
    });
}

#[test]
fn without_a_lease_nothing_is_produced_and_with_it_everything() {
    on_one_thread(async {
        let Counting { app, input, counts } = counting("lease", 1);
        let output = app.topic::<String, u64>("out").partitions(1);
        app.agent("count", (input, counts), async move |mut stream, counts| {
            while let Some(event) = stream.next().await {
                counts.update(event.key(), |n| *n += 1)?;
                if *event == 0 {
                    output.send("a", &event).await?;
                }
            }
            Ok(())
        });
        let group = ToldGroup::of(app.id());
        group.assign(&[0]);
        let world = World::start(app, settings()).await;
        group.lease.end();
        input.send("a", &1).await.unwrap();
        until("it is counted", || world.input("in", 0).records.get() == 1).await;
        // As many turns as a commit with a lease would need by far.
        for _ in 0..50 {
            tokio::time::sleep(millis(1)).await;
        }
        assert_eq!((world.records("lease-counts-changelog", 0), world.committed("in", 0).await), (vec![], Some(0)));
        input.send("a", &0).await.unwrap();
        until("the send waits", || world.input("in", 0).records.get() == 2).await;
        assert_eq!(world.records("out", 0), []);
        group.lease.renew(1);
        world.until_committed("in", 0, 2).await;
        assert_eq!((world.records("out", 0).len(), counts.query("a").await), (1, Ok(Some(2))));
        world.stop().await.unwrap();
    });
}

#[test]
fn a_coordinator_that_is_away_is_waited_for_and_what_was_paused_stays_paused() {
    on_one_thread(async {
        let app = App::new("away");
        let (numbers, texts) = (app.topic::<String, u64>("numbers").partitions(1), app.topic::<String, u64>("texts").partitions(1));
        app.agent("both", (numbers, texts), async |mut numbers, mut texts| {
            loop {
                tokio::select! {
                    Some(_) = numbers.next() => {}
                    Some(_) = texts.next() => {}
                    else => return Ok(()),
                }
            }
        });
        let group = ToldGroup::of(app.id());
        group.assign(&[0]);
        let world = World::start(app, settings()).await;
        let bad = crate::log::Outgoing {
            topic: "texts",
            partition: 0,
            key: Some(b"a"),
            value: Some(b"x"),
            headers: &[],
            timestamp: None,
        };
        world.log.producer().send(bad, &Arc::default()).unwrap();
        until("it is paused", || world.running().readiness().is_err_and(|why| why.sentence.contains("texts[0]@0"))).await;

        group.refuse(Some(GroupError::Unavailable("no answer".into())));
        numbers.send("a", &1).await.unwrap();
        until("it is in hand", || world.input("numbers", 0).records.get() == 1).await;
        let task = world.task(0);
        until("a commit waits", || task.waiting().is_some_and(|why| why == "the group's coordinator can't be reached: no answer"))
            .await;
        assert_eq!((world.committed("numbers", 0).await, task.commits.get()), (Some(0), 0));
        group.refuse(None);
        world.until_committed("numbers", 0, 1).await;
        assert_eq!(task.waiting(), None);
        assert!(
            world.running().readiness().is_err_and(|why| why.sentence.contains("texts[0]@0")),
            "the paused partition stays named"
        );
        world.stop().await.unwrap();
    });
}

#[test]
fn what_could_not_be_committed_for_a_lost_membership_is_in_no_store() {
    on_one_thread(async {
        let (Counting { app, input, counts }, _) = waiting_at_0("not applied", 1);
        let group = ToldGroup::of(app.id());
        group.assign(&[0]);
        let world = World::start(app, settings()).await;
        group.refuse(Some(GroupError::Lost("unknown member".into())));
        input.send("a", &1).await.unwrap();
        until("the commit is refused", || group.refused.load(Ordering::Relaxed) > 0).await;
        group.lose();
        group.refuse(None);
        group.assign(&[0]);
        // The changelog had it already: at least once.
        world.until_committed("in", 0, 1).await;
        assert_eq!(counts.query("a").await, Ok(Some(2)));
        assert_eq!(world.latest("not applied-counts-changelog", 0), [("a".to_string(), "2".to_string())].into());
        world.stop().await.unwrap();
    });
}

#[test]
fn a_partition_whose_offset_is_refused_holds_up_its_own_task_only() {
    on_one_thread(async {
        let (Counting { app, input, .. }, _) = waiting_at_0("one refused", 2);
        let group = ToldGroup::of(app.id());
        group.assign(&[0, 1]);
        let world = World::start(app, settings()).await;
        let partition = TopicPartition::new("in", 0);
        group.refuse(Some(GroupError::Partition { partition, reason: "it is not there".into() }));
        for partition in [0, 1] {
            input.send(&key_in(partition, 2), &1).await.unwrap();
        }
        world.until_committed("in", 1, 1).await;
        until("its task starts over", || world.task(0).starts_over.get() > 0).await;
        let why = world.running().readiness().unwrap_err().sentence;
        assert!(why.contains("the offset of in[0] can't be committed: it is not there"), "{why}");
        assert_eq!((world.committed("in", 0).await, world.task(1).epochs.get()), (Some(0), 1));
        group.refuse(None);
        world.until_committed("in", 0, 1).await;
        world.stop().await.unwrap();
    });
}

#[test]
fn a_group_that_cannot_be_joined_ends_the_worker() {
    on_one_thread(async {
        let Counting { app, .. } = counting("refused", 1).with_agent();
        let group = ToldGroup::of(app.id());
        group.say(GroupEvent::Away { reason: "the coordinator is loading".into() });
        let world = World::begin(app, settings()).await;
        until("it waits", || {
            world.app.running().is_some_and(|running| running.readiness().is_err_and(|why| why.sentence.contains("loading")))
        })
        .await;
        group.say(GroupEvent::Failed { reason: "not authorised".into() });
        let refusal = world.ended().await.unwrap_err();
        assert_eq!((refusal.reason, &*refusal.sentence), (crate::cli::ExitReason::KafkaRefuses, "not authorised"));
    });
}

/// The first of a new version in a rolling upgrade: whoever rolls waits for it to be ready before the others, on whom it waits, go.
#[test]
fn a_worker_that_gets_no_tasks_because_the_leader_runs_another_topology_is_ready_and_says_why() {
    on_one_thread(async {
        let group = ToldGroup::of("mixed");
        let (counting, _door) = waiting_at_0("mixed", 2);
        group.assign(&[]);
        group.say(GroupEvent::Idle { reason: "the leader runs another version".into() });
        let world = World::start(counting.app, settings()).await;
        let state = || async {
            let page = http::get(world.handle.web, "/state").await;
            serde_json::from_str::<serde_json::Value>(&page.body).unwrap()
        };
        until("said", || world.running().status.idle_because().is_some()).await;
        let told = state().await;
        assert_eq!((&told["ready"], &told["caughtUp"], &told["reason"]), (&true.into(), &true.into(), &().into()));
        assert_eq!(told["waiting"], "the leader runs another version");
        assert_eq!(http::get(world.handle.web, "/readyz").await.status, 200);
        group.assign(&[0, 1]);
        until("its turn", || world.running().status.tasks().iter().filter(|task| task.stage() == Stage::Running).count() == 2)
            .await;
        assert_eq!(state().await["waiting"], serde_json::Value::Null);
        world.stop().await.unwrap();
    });
}
