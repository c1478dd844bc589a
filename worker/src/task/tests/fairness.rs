//! Partitions of one shard share its thread: neither one with much to do nor one that waits keeps the others from going on.

use std::sync::Mutex;

use super::membership::ToldGroup;
use super::standbys::owner_writes;
use super::*;
use crate::status::Stage;

const HOT: usize = 20_000;

#[test]
fn a_partition_with_a_backlog_and_one_that_waits_do_not_starve_the_others() {
    on_one_thread(async {
        let app = App::new("fairness");
        let input = app.topic::<String, u64>("in").partitions(4);
        let order = app.state(Mutex::new(Vec::new()));
        let door = Door::default();
        let behind = door.clone();
        app.agent("note", (input, order), async move |mut stream, order| {
            while let Some(event) = stream.next().await {
                if event.partition() == 3 {
                    behind.pass().await;
                }
                order.lock().unwrap().push(event.partition());
            }
            Ok(())
        });
        let world = World::start(app, settings()).await;
        // Nobody else has a turn before all of it is there: memory takes it at once.
        for _ in 0..HOT {
            input.send("key", &0).partition(0).await.unwrap();
        }
        for n in 0..30 {
            input.send("key", &n).partition(1 + (n % 3) as u32).await.unwrap();
        }
        until("all but one is done", || order.lock().unwrap().len() == HOT + 20).await;
        let done = order.lock().unwrap().clone();
        for partition in [1, 2] {
            let last = done.iter().rposition(|at| *at == partition).unwrap();
            assert!(last < HOT / 4, "partition {partition} was through after {last} others");
        }
        until("all is done", || {
            door.open();
            order.lock().unwrap().len() == HOT + 30
        })
        .await;
        world.stop().await.unwrap();
    });
}

#[test]
fn a_task_whose_table_is_being_restored_does_not_keep_the_others_from_processing_and_committing() {
    on_one_thread(async {
        let Counting { app, input, counts } = counting("restores", 2).with_agent();
        let group = ToldGroup::of(app.id());
        group.assign(&[1]);
        // At a byte a second no restore comes to its end before the test does.
        let world = World::start(app, settings().restore_rate(1)).await;
        owner_writes(&world, "restores", 0, 0..1_000);
        group.set_committed("in", 0, 0);
        group.assign(&[0, 1]);
        let restoring = || {
            let tasks = world.running().status.tasks();
            let task = tasks.iter().find(|task| task.id.partition == 0).cloned();
            task.filter(|task| task.stage() == Stage::Restoring && task.tables[0].restored.get() > 0)
        };
        until("the restore is under way", || restoring().is_some()).await;

        let [waiting, going] = [0, 1].map(|partition| key_in(partition, 2));
        input.send(&waiting, &1).await.unwrap();
        for n in 1..=10 {
            input.send(&going, &1).await.unwrap();
            world.until_committed("in", 1, n).await;
        }
        assert_eq!((counts.query(&going).await, world.task(1).epochs.get()), (Ok(Some(10)), 1));
        assert_eq!(world.latest("restores-counts-changelog", 1), [(going, "10".to_string())].into());
        // The restore is where it was: nothing of its partition has been handed out.
        assert!(restoring().is_some());
        assert_eq!((world.input("in", 0).records.get(), world.committed("in", 0).await), (0, Some(0)));
        let row = counts.query(&waiting).await.unwrap_err();
        assert_eq!(row.to_string(), "table `counts`: partition 0 is being restored; try again in 1 s");
        world.stop().await.unwrap();
    });
}
