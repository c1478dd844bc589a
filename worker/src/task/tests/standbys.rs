//! Copies of other workers' tables: kept, promoted, given back.

use super::membership::ToldGroup;
use super::*;
use crate::log::Row;
use crate::state::WipeReason;
use crate::status::{Role, Stage};

/// What the owner of the partition, which is another worker, writes.
pub(super) fn owner_writes(world: &World, app: &str, partition: u32, numbers: std::ops::Range<u64>) {
    let row = |n: u64| Row { key: key_in(partition, 2).into_bytes(), value: Some(n.to_string().into_bytes()) };
    let at = TopicPartition::new(format!("{app}-counts-changelog"), partition);
    world.log.producer().send_rows(&at, &numbers.map(row).collect::<Vec<_>>(), &Arc::default()).unwrap();
}

/// Restored and followed records of a task's only table, and where its store is.
fn applied(task: &TaskMeter) -> (u64, u64, i64) {
    let table = &task.tables[0];
    (table.restored.get(), table.followed.get(), table.stored.get())
}

async fn until_standby(world: &World, partition: u32, stored: i64) {
    let there = || {
        let found = world.running().status.standbys().find(|task| task.id.partition == partition);
        found.is_some_and(|task| task.stage() == Stage::Running && task.tables[0].stored.get() == stored)
    };
    until(&format!("a copy of partition {partition} at {stored}"), there).await;
}

async fn state(world: &World) -> serde_json::Value {
    serde_json::from_str(&http::get(world.handle.web, "/state").await.body).unwrap()
}

#[test]
fn a_standby_follows_its_owner_and_when_it_is_promoted_reads_no_record_twice() {
    on_one_thread(async {
        let Counting { app, input, counts } = counting("promoted", 2).with_agent();
        let group = ToldGroup::of(app.id());
        group.assign_with(&[1], &[0]);
        let world = World::start(app, settings()).await;
        owner_writes(&world, "promoted", 0, 0..300);
        until_standby(&world, 0, 300).await;
        until("the group knows", || group.copy(0) == Some(0)).await;
        assert_eq!(group.copy(1), Some(0), "of what runs, too");

        let key = key_in(0, 2);
        assert_eq!(counts.query(&key).await.unwrap_err().to_string(), "table `counts`: partition 0 is on another worker");
        let page = async |query: &str| http::get(world.handle.web, &format!("/tables/counts/{key}{query}")).await;
        assert_eq!(page("").await.status, 421);
        let stale = page("?stale=true").await;
        assert_eq!((stale.status, &*stale.body, stale.header("faust-stale-by")), (200, "299", Some("0")));
        assert_eq!(page("?stale=maybe").await.status, 400);

        // The owner dies behind its last commit; there is an input that it has not counted.
        owner_writes(&world, "promoted", 0, 300..310);
        group.set_committed("in", 0, 0);
        input.send(&key, &1).await.unwrap();
        group.assign(&[0, 1]);
        world.until_committed("in", 0, 1).await;
        assert_eq!(counts.query(&key).await, Ok(Some(310)));
        let task = world.task(0);
        let (restored, followed, _) = applied(&task);
        assert_eq!((restored + followed, task.role()), (310, Role::Active), "each record once");
        assert_eq!(page("?stale=true").await.header("faust-stale-by"), None, "it is the owner's own answer");
        world.stop().await.unwrap();
    });
}

#[test]
fn a_task_that_becomes_a_standby_is_committed_and_released_and_goes_on_from_where_its_store_is() {
    on_one_thread(async {
        let Counting { app, input, counts } = counting("demoted", 2).with_agent();
        let group = ToldGroup::of(app.id());
        group.assign(&[0, 1]);
        let world = World::start(app, settings()).await;
        let key = key_in(0, 2);
        input.send(&key, &1).await.unwrap();
        until("it is counted", || world.input("in", 0).records.get() == 1).await;
        group.assign_with(&[1], &[0]);
        until("it is released", || group.released() == 1).await;
        assert_eq!(world.committed("in", 0).await, Some(1));
        until_standby(&world, 0, 1).await;
        owner_writes(&world, "demoted", 0, 7..8);
        until_standby(&world, 0, 2).await;
        let task = world.task(0);
        assert_eq!(applied(&task), (0, 1, 2), "what it had written itself it never reads");
        assert_eq!(group.released(), 1, "a copy that is taken away is nobody's to wait for");

        group.assign(&[0, 1]);
        until("it is back", || task.role() == Role::Active && task.stage() == Stage::Running).await;
        input.send(&key, &1).await.unwrap();
        world.until_committed("in", 0, 2).await;
        assert_eq!((counts.query(&key).await, applied(&task).0), (Ok(Some(8)), 0));
        assert_eq!(world.task(1).epochs.get(), 1, "the others did not notice");
        world.stop().await.unwrap();
    });
}

#[test]
fn a_copy_goes_on_while_the_membership_is_lost_and_is_closed_when_nobody_wants_it() {
    on_one_thread(async {
        let Counting { app, .. } = counting("copy stays", 2).with_agent();
        let group = ToldGroup::of(app.id());
        group.assign_with(&[1], &[0]);
        let world = World::start(app, settings()).await;
        until_standby(&world, 0, 0).await;
        group.lose();
        until("the task is dropped", || world.task(1).stage() == Stage::Absent).await;
        owner_writes(&world, "copy stays", 0, 0..5);
        until_standby(&world, 0, 5).await;
        group.assign(&[]);
        until("it is closed", || world.task(0).stage() == Stage::Absent).await;
        let page = http::get(world.handle.web, &format!("/tables/counts/{}?stale=true", key_in(0, 2))).await;
        assert_eq!(page.status, 421, "it is not kept up to date any more");
        world.stop().await.unwrap();
    });
}

#[test]
fn a_copy_that_is_far_behind_is_told_and_keeps_the_worker_from_being_caught_up_but_not_from_being_ready() {
    on_one_thread(async {
        let Counting { app, .. } = counting("behind", 2).with_agent();
        let group = ToldGroup::of(app.id());
        group.assign(&[1]);
        let world = World::start(app, settings().restore_rate(1)).await;
        owner_writes(&world, "behind", 0, 0..15_000);
        group.assign_with(&[1], &[0]);
        until("it is begun", || group.copy(0).is_some_and(|lag| (10_001..15_000).contains(&lag))).await;
        let told = state(&world).await;
        assert_eq!((&told["ready"], &told["caughtUp"]), (&true.into(), &false.into()));
        let task = &told["tasks"][0];
        assert_eq!((&task["task"], &task["role"], &task["stage"]), (&"0_0".into(), &"standby".into(), &"restoring".into()));
        assert_eq!(task["copyLag"].as_u64(), group.copy(0));
        assert!(task["tables"][0]["restore"]["remaining"].as_u64() > Some(10_000), "{task}");
        let metrics = http::get(world.handle.web, "/metrics").await.body;
        let lag = format!("faust_standby_lag{{partition=\"0\",table=\"counts\"}} {}", task["copyLag"]);
        assert!(metrics.contains(&lag), "{lag} in {metrics}");
        assert!(metrics.contains("faust_assigned_partitions{role=\"standby\"} 1"), "{metrics}");
        world.stop().await.unwrap();
    });
}

#[test]
fn a_copy_whose_changelog_is_made_anew_is_wiped_and_built_again_and_the_worker_does_not_mind() {
    on_one_thread(async {
        let Counting { app, .. } = counting("anew copy", 2).with_agent();
        let group = ToldGroup::of(app.id());
        group.assign_with(&[1], &[0]);
        let world = World::start(app, settings()).await;
        owner_writes(&world, "anew copy", 0, 0..5);
        until_standby(&world, 0, 5).await;
        world.log.delete_topic("anew copy-counts-changelog");
        owner_writes(&world, "anew copy", 0, 40..43);
        until_standby(&world, 0, 3).await;
        let table = world.task(0).tables[0].clone();
        assert_eq!(table.wipes(), [(WipeReason::OtherChangelog, 1)].into());
        let page = http::get(world.handle.web, &format!("/tables/counts/{}?stale=true", key_in(0, 2))).await;
        assert_eq!((page.status, &*page.body), (200, "42"));
        assert_eq!(world.running().readiness(), Ok(()));
        world.stop().await.unwrap();
    });
}

#[cfg(feature = "rocksdb")]
#[test]
fn what_lies_on_the_disk_is_told_before_anything_is_assigned() {
    on_one_thread(async {
        let datadir = tempfile::TempDir::new().unwrap();
        let on_disk = || settings().store(Store::RocksDb).datadir(datadir.path());
        let group = ToldGroup::of("left on disk");
        group.assign_with(&[1], &[0]);
        let world = World::start(counting("left on disk", 2).with_agent().app, on_disk()).await;
        owner_writes(&world, "left on disk", 0, 0..100);
        until_standby(&world, 0, 100).await;
        let log = world.log.clone();
        world.stop().await.unwrap();

        let row = Row { key: b"a".to_vec(), value: None };
        log.producer().send_rows(&TopicPartition::new("left on disk-counts-changelog", 0), &[row], &Arc::default()).unwrap();
        let group = ToldGroup::of("left on disk");
        let world = World::begin(counting("left on disk", 2).with_agent().app, on_disk()).await;
        until("it is told", || group.copy(0) == Some(1)).await;
        assert_eq!((group.copy(1), state(&world).await["tasks"].as_array().map(Vec::len)), (Some(0), Some(0)));
        group.set_committed("in", 0, 0);
        group.assign(&[0, 1]);
        until("it runs", || world.running().readiness().is_ok()).await;
        assert_eq!(applied(&world.task(0)), (1, 0, 101));
        world.stop().await.unwrap();
    });
}
