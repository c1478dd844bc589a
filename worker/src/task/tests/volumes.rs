//! Workers that come back to a volume that doesn't fit its changelog any more.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use tempfile::TempDir;

use super::*;
use crate::log::Row;
use crate::state::WipeReason;

const ROWS: u64 = 10;

fn on_disk(datadir: &TempDir) -> Settings {
    settings().store(Store::RocksDb).datadir(datadir.path())
}

fn changelog(id: &str) -> TopicPartition {
    TopicPartition::new(format!("{id}-counts-changelog"), 0)
}

/// A worker that has counted ten keys once and was stopped; the log that it leaves.
async fn counted(id: &str, datadir: &TempDir) -> Arc<MemoryLog> {
    let Counting { app, input, .. } = counting(id, 1).with_agent();
    let world = World::start(app, on_disk(datadir)).await;
    for n in 0..ROWS {
        input.send(&n.to_string(), &1).await.unwrap();
    }
    world.until_committed("in", 0, ROWS as i64).await;
    until("the commit is in the store", || world.task(0).tables[0].changed.get() == ROWS).await;
    let log = world.log.clone();
    world.stop().await.unwrap();
    log
}

fn write(log: &MemoryLog, id: &str, rows: impl IntoIterator<Item = (u64, Option<&'static str>)>) {
    let row = |(key, value): (u64, Option<&str>)| Row { key: key.to_string().into(), value: value.map(Into::into) };
    let rows: Vec<Row> = rows.into_iter().map(row).collect();
    log.producer().send_rows(&changelog(id), &rows, &Arc::default()).unwrap();
}

/// Starts again on the volume; what was wiped, and how many records were read.
async fn wiped_and_restored(id: &str, datadir: &TempDir) -> (BTreeMap<WipeReason, u64>, u64) {
    let world = World::start(counting(id, 1).with_agent().app, on_disk(datadir)).await;
    let table = world.task(0).tables[0].clone();
    let told = (table.wipes(), table.restored.get());
    world.stop().await.unwrap();
    told
}

#[test]
fn the_volume_that_was_left_in_order_is_up_to_date() {
    on_one_thread(async {
        let datadir = TempDir::new().unwrap();
        counted("in order", &datadir).await;
        assert_eq!(wiped_and_restored("in order", &datadir).await, ([].into(), 0));
    });
}

#[test]
fn a_changelog_that_was_cut_and_has_grown_again_is_read_anew() {
    on_one_thread(async {
        let datadir = TempDir::new().unwrap();
        let log = counted("cut", &datadir).await;
        log.cut(&changelog("cut"), 4);
        write(&log, "cut", (20..40).map(|key| (key, Some("1"))));
        assert_eq!(wiped_and_restored("cut", &datadir).await, ([(WipeReason::LogDiverged, 1)].into(), 24));
        assert_eq!(wiped_and_restored("cut", &datadir).await, ([].into(), 0), "what was restored has the new epoch");
    });
}

#[test]
fn a_change_of_leaders_that_loses_nothing_rebuilds_nothing() {
    on_one_thread(async {
        let datadir = TempDir::new().unwrap();
        let log = counted("led anew", &datadir).await;
        log.cut(&changelog("led anew"), ROWS as i64);
        write(&log, "led anew", [(0, Some("2"))]);
        assert_eq!(wiped_and_restored("led anew", &datadir).await, ([].into(), 1));
    });
}

#[test]
fn a_volume_older_than_tombstones_live_is_built_anew_if_anything_has_come_since() {
    on_one_thread(async {
        let datadir = TempDir::new().unwrap();
        let log = counted("old", &datadir).await;
        log.limit_tombstones(&changelog("old").topic, millis(1));
        assert_eq!(wiped_and_restored("old", &datadir).await, ([].into(), 0), "it is at the end still");
        write(&log, "old", [(0, None)]);
        assert_eq!(wiped_and_restored("old", &datadir).await, ([(WipeReason::TombstonesExpired, 1)].into(), ROWS + 1));
        log.limit_tombstones(&changelog("old").topic, hours(1));
        write(&log, "old", [(0, None)]);
        assert_eq!(wiped_and_restored("old", &datadir).await, ([].into(), 1), "young enough");
    });
}

#[test]
fn a_table_that_nobody_writes_to_says_that_it_is_at_the_end_while_its_task_runs() {
    on_one_thread(async {
        let datadir = TempDir::new().unwrap();
        let log = counted("quiet", &datadir).await;
        log.limit_tombstones(&changelog("quiet").topic, secs(1));
        let world = World::start(counting("quiet", 1).with_agent().app, on_disk(&datadir).flush_interval(millis(1))).await;
        let table = world.task(0).tables[0].clone();
        let (opened, stored) = (table.written_at.get(), table.stored.get());
        until("it says so", || table.written_at.get() >= opened + 1_000).await;
        let said = table.written_at.get();
        world.handle.stop();
        world.ended().await.unwrap();
        let stores = crate::state::Stores::open(&crate::state::Place::Disk(
            datadir.path().to_path_buf(),
            crate::state::StoreMemory::default(),
        ))
        .unwrap();
        let left = stores.store("counts", 0).unwrap().store.position().unwrap().unwrap();
        assert!(left.written_at >= said && left.next_offset == stored, "{left:?}");
    });
}

/// A disk of 16 MiB, which only root can make.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let disk = Self(TempDir::new().unwrap());
        let mounted =
            std::process::Command::new("mount").args(["-t", "tmpfs", "-o", "size=16m", "tmpfs"]).arg(disk.0.path()).status();
        mounted.is_ok_and(|status| status.success()).then_some(disk)
    }

    fn filler(&self) -> std::path::PathBuf {
        self.0.path().join("filler")
    }

    /// Leaves no room at all.
    fn fill(&self) {
        let mut filler = std::fs::File::create(self.filler()).unwrap();
        while std::io::Write::write(&mut filler, &[0; 4_096]).is_ok_and(|written| written > 0) {}
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_stops_what_needs_it_loses_nothing_and_is_gone_on_with_when_there_is_room() {
    let Some(disk) = SmallDisk::mount() else {
        eprintln!("left out: only root can make a small disk");
        return;
    };
    on_one_thread(async {
        let Counting { app, input, counts } = counting("full disk", 1).with_agent();
        let settings = settings().store(Store::RocksDb).datadir(disk.0.path().join("data")).flush_interval(millis(1));
        let world = World::start(app, settings).await;
        input.send("first", &1).await.unwrap();
        world.until_committed("in", 0, 1).await;
        disk.fill();
        let mut sent = 0;
        let full = || world.running().readiness().is_err_and(|why| why.sentence.contains("the disk is full"));
        while !full() {
            assert!(sent < 10_000, "it goes on as if there were room");
            input.send(&format!("key {sent}"), &1).await.unwrap();
            sent += 1;
            tokio::time::sleep(millis(1)).await;
        }
        let why = world.running().readiness().unwrap_err().sentence;
        assert!(why.starts_with("task 0_0: ") && why.contains("make room, the worker goes on by itself"), "{why}");
        assert!(world.task(0).problem().is_some_and(|problem| problem.contains("the disk is full")), "and `/state` has it");

        std::fs::remove_file(disk.filler()).unwrap();
        until("it goes on", || world.running().readiness().is_ok()).await;
        world.until_committed("in", 0, sent + 1).await;
        for key in (0..sent).map(|n| format!("key {n}")).chain(["first".to_string()]) {
            assert_eq!(counts.query(&key).await, Ok(Some(1)), "{key}");
        }
        assert_eq!(world.task(0).tables[0].wipes(), [].into());
        world.stop().await.unwrap();
    });
}

/// An app with two tables that writes input `n` to the row `n` of both, and to row 0 always. At an input of 1 it waits once `held`.
fn pair(held: &Arc<AtomicBool>) -> (App, Topic<String, u64>) {
    let app = App::new("pair");
    let input = app.topic::<String, u64>("in").partitions(1);
    let (first, second) = (app.table::<String, u64>("first"), app.table::<String, u64>("second"));
    let held = held.clone();
    app.agent("both", (input, first, second), async move |mut stream, first, second| {
        while let Some(event) = stream.next().await {
            if *event == 1 && held.load(Ordering::Relaxed) {
                std::future::pending::<()>().await;
            }
            for table in [&first, &second] {
                for row in [0, *event] {
                    table.update(&row.to_string(), |n| *n += 1)?;
                }
            }
            if held.load(Ordering::Relaxed) {
                // A commit comes due meanwhile, and has this event alone.
                tokio::time::sleep(millis(1_500)).await;
            }
        }
        Ok(())
    });
    (app, input)
}

#[test]
fn what_a_failed_flush_left_in_a_changelog_is_not_passed_over() {
    on_one_thread(async {
        let (datadir, held) = (TempDir::new().unwrap(), Arc::new(AtomicBool::new(false)));
        let settings = || on_disk(&datadir).commit_interval(millis(1_000));
        let (app, input) = pair(&held);
        let world = World::start(app, settings().shutdown_timeout(millis(100))).await;
        // Of the flush of both inputs the first table's rows land, the second's don't; what follows it lands again.
        world.log.decide_fates({
            let held = held.clone();
            move |topic, _| {
                let fails = topic == "pair-second-changelog" && !held.swap(true, Ordering::Relaxed);
                if fails { Fate::Fail("on purpose") } else { Fate::Deliver }
            }
        });
        input.send("a", &0).await.unwrap();
        input.send("a", &1).await.unwrap();
        world.until_committed("in", 0, 1).await;
        until("the worker is stuck at the second input", || world.input("in", 0).records.get() >= 2).await;
        assert_eq!(world.records("pair-first-changelog", 0).len(), 3, "two rows of the failed flush, one of the next");
        world.handle.stop();
        world.ended().await.unwrap_err();

        world.log.decide_fates(|_, _| Fate::Deliver);
        held.store(false, Ordering::Relaxed);
        let world = World::start(pair(&held).0, settings()).await;
        assert_eq!(world.task(0).tables[0].restored.get(), 3);
        world.stop().await.unwrap();
    });
}
