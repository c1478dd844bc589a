//! What a commit has in it, and whom it waits for.

use super::*;

#[test]
fn counts_are_exact_over_many_commits_and_a_restart() {
    on_one_thread(async {
        const KEYS: u64 = 50;
        const ROUNDS: u64 = 40;
        for start in 1..=2 {
            let Counting { app, input, counts } = counting("exact", 3).with_agent();
            let world = World::start(app, settings()).await;
            for n in 0..ROUNDS * KEYS {
                input.send(&format!("ключ {}", n % KEYS), &1).await.unwrap();
                if n % 300 == 0 {
                    tokio::time::sleep(millis(2)).await;
                }
            }
            for partition in 0..3 {
                let end = world.log.bounds(&[TopicPartition::new("in", partition)]).await.unwrap()[0].end;
                world.until_committed("in", partition, end).await;
            }
            for key in 0..KEYS {
                assert_eq!(counts.query(&format!("ключ {key}")).await, Ok(Some(start * ROUNDS)));
            }
            assert_eq!(counts.query("другой").await, Ok(None));
            world.stop().await.unwrap();
        }
    });
}

#[test]
fn what_is_in_hand_at_a_stop_is_finished_and_committed() {
    on_one_thread(async {
        let Counting { app, input, counts } = counting("drain", 1);
        let door = Door::default();
        let at_door = door.clone();
        app.agent("count", (input, counts), async move |mut stream, counts| {
            while let Some(event) = stream.next().await {
                counts.update(event.key(), |n| *n += *event)?;
                at_door.pass().await;
                counts.update(event.key(), |n| *n += *event)?;
            }
            counts.insert("after the last event", 1)?;
            Ok(())
        });
        let world = World::start(app, settings()).await;
        input.send("a", &1).await.unwrap();
        input.send("a", &100).await.unwrap();
        let records = world.input("in", 0);
        until("the first event is in hand", || records.records.get() == 1).await;
        world.handle.stop();
        until("the stream is closed", || world.task(0).stage() == crate::status::Stage::Draining).await;
        assert_eq!(world.records("drain-counts-changelog", 0), [], "an event in hand is in no commit");
        door.open();
        world.ended().await.unwrap();
        let rows = [("a", "2"), ("after the last event", "1")].map(|(key, value)| (key.to_string(), value.to_string()));
        assert_eq!(world.latest("drain-counts-changelog", 0), rows.into());

        let again = counting("drain", 1).with_agent();
        let world = World::start(again.app, settings()).await;
        world.until_committed("in", 0, 2).await;
        assert_eq!(again.counts.query("a").await, Ok(Some(102)));
        world.stop().await.unwrap();
    });
}

#[test]
fn an_event_that_is_held_holds_back_the_offset_and_one_that_is_acked_does_not() {
    on_one_thread(async {
        let app = App::new("held");
        let input = app.topic::<String, u64>("in").partitions(1);
        let door = Door::default();
        let at_door = door.clone();
        app.agent("hold", input, async move |mut stream| {
            let mut held = Vec::new();
            while let Some(event) = stream.next().await {
                match *event {
                    0 => held.push(event),
                    1 => drop(event),
                    2 => {
                        event.ack();
                        at_door.pass().await;
                    }
                    _ => held.clear(),
                }
            }
            Ok(())
        });
        let world = World::start(app, settings()).await;
        for n in [1, 0, 1] {
            input.send("a", &n).await.unwrap();
        }
        world.until_committed("in", 0, 1).await;
        let records = world.input("in", 0);
        until("all are with the agent", || records.records.get() == 3).await;
        assert_eq!(world.committed("in", 0).await, Some(1), "the second one is held");
        input.send("a", &3).await.unwrap();
        world.until_committed("in", 0, 4).await;
        input.send("a", &2).await.unwrap();
        until("the agent is at the door", || records.records.get() == 5).await;
        assert_eq!(world.committed("in", 0).await, Some(4), "in the middle of an event nothing freezes, acked or not");
        door.open();
        world.until_committed("in", 0, 5).await;
        world.stop().await.unwrap();
    });
}

#[test]
fn a_handler_that_waits_holds_back_its_own_commit_and_nobody_elses() {
    on_one_thread(async {
        let Counting { app, input, counts } = counting("waits", 2);
        let door = Door::default();
        let at_door = door.clone();
        app.agent("count", (input, counts), async move |mut stream, counts| {
            while let Some(event) = stream.next().await {
                counts.update(event.key(), |n| *n += 1)?;
                if *event == 0 {
                    at_door.pass().await;
                }
            }
            Ok(())
        });
        let world = World::start(app, settings()).await;
        let (slow, quick) = (key_in(0, 2), key_in(1, 2));
        input.send(&slow, &1).await.unwrap();
        world.until_committed("in", 0, 1).await;
        input.send(&slow, &0).await.unwrap();
        let waiting = world.task(0);
        until("the handler waits", || world.input("in", 0).records.get() == 2).await;
        for n in 1..=20 {
            input.send(&quick, &1).await.unwrap();
            world.until_committed("in", 1, n).await;
        }
        until("the waiting one has missed commits", || waiting.missed_commits.get() > 3).await;
        assert_eq!(world.committed("in", 0).await, Some(1));
        assert_eq!(world.latest("waits-counts-changelog", 0), [(slow.clone(), "1".to_string())].into());
        assert_eq!(counts.query(&slow).await, Ok(Some(2)), "a query sees the newest value");
        door.open();
        world.until_committed("in", 0, 2).await;
        assert_eq!(waiting.missed_commits.get(), 0);
        world.stop().await.unwrap();
    });
}

#[test]
fn two_agents_of_a_task_that_are_never_idle_together_commit_all_the_same() {
    on_one_thread(async {
        let app = App::new("two");
        let (left, right) = (app.topic::<String, u64>("left").partitions(1), app.topic::<String, u64>("right").partitions(1));
        let sums = app.table::<String, u64>("sums");
        for (name, topic) in [("left", left), ("right", right)] {
            app.agent(name, (topic, sums), async move |mut stream, sums| {
                while let Some(event) = stream.next().await {
                    tokio::time::sleep(millis(2)).await;
                    sums.update("both", |n| *n += *event)?;
                    sums.update(name, |n| *n += *event)?;
                }
                Ok(())
            });
        }
        let world = World::start(app, settings()).await;
        const EACH: i64 = 400;
        for _ in 0..EACH {
            left.send("a", &1).await.unwrap();
            right.send("a", &1).await.unwrap();
        }
        let task = world.task(0);
        until("a commit comes", || task.commits.get() > 3).await;
        assert!(world.input("left", 0).records.get() < EACH as u64, "while both still have work");
        world.until_committed("left", 0, EACH).await;
        world.until_committed("right", 0, EACH).await;
        let sum = EACH as u64;
        assert_eq!(sums.query("both").await, Ok(Some(2 * sum)));
        assert_eq!((sums.query("left").await, sums.query("right").await), (Ok(Some(sum)), Ok(Some(sum))));
        world.stop().await.unwrap();
    });
}

#[test]
fn one_agent_with_two_topics_and_a_table_has_them_all_in_one_task() {
    on_one_thread(async {
        let app = App::new("select");
        let (plus, minus) = (app.topic::<String, i64>("plus").partitions(2), app.topic::<String, i64>("minus").partitions(2));
        let sums = app.table::<String, i64>("sums");
        app.agent("sum", (plus, minus, sums), async |mut plus, mut minus, sums| {
            loop {
                tokio::select! {
                    Some(event) = plus.next() => sums.update(event.key(), |n| *n += *event)?,
                    Some(event) = minus.next() => sums.update(event.key(), |n| *n -= *event)?,
                    else => return Ok(()),
                }
            }
        });
        let world = World::start(app, settings()).await;
        let keys = [key_in(0, 2), key_in(1, 2)];
        for n in 0..1_000 {
            plus.send(&keys[n as usize % 2], &n).await.unwrap();
            minus.send(&keys[n as usize % 2], &1).await.unwrap();
        }
        for partition in 0..2 {
            let input = world.input("plus", partition);
            until("all plus", || input.records.get() == 500).await;
            let input = world.input("minus", partition);
            until("all minus", || input.records.get() == 500).await;
        }
        let sum = |odd: i64| (0..1_000).filter(|n| n % 2 == odd).sum::<i64>() - 500;
        assert_eq!((sums.query(&keys[0]).await, sums.query(&keys[1]).await), (Ok(Some(sum(0))), Ok(Some(sum(1)))));
        world.stop().await.unwrap();
    });
}

#[test]
fn at_the_bound_of_open_rows_commits_come_early_instead_of_never() {
    on_one_thread(async {
        let Counting { app, input, counts } = counting("bound", 2).with_agent();
        let world = World::start(app, settings().commit_interval(hours(1)).cache_memory(8_000)).await;
        const KEYS: u64 = 3_000;
        for n in 0..2 * KEYS {
            input.send(&(n % KEYS).to_string(), &1).await.unwrap();
        }
        let records = || (0..2).map(|partition| world.input("in", partition).records.get()).sum::<u64>();
        until("all are counted", || records() == 2 * KEYS).await;
        assert!(world.task(0).commits.get() > 20, "{} commits", world.task(0).commits.get());
        for key in (0..KEYS).step_by(100) {
            assert_eq!(counts.query(&key.to_string()).await, Ok(Some(2)));
        }
        world.stop().await.unwrap();
    });
}

#[test]
fn a_task_that_waits_with_many_open_rows_does_not_stop_the_others() {
    on_one_thread(async {
        let Counting { app, input, counts } = counting("hog", 2);
        let door = Door::default();
        let at_door = door.clone();
        app.agent("count", (input, counts), async move |mut stream, counts| {
            while let Some(event) = stream.next().await {
                if *event == 0 {
                    // Many rows in one event, and then a long wait.
                    let own = (0u32..).map(|n| format!("row-{n}")).filter(|key| crate::log::partition_of(key.as_bytes(), 2) == 0);
                    own.take(200).try_for_each(|key| counts.insert(&key, 1))?;
                    at_door.pass().await;
                }
                counts.update(event.key(), |n| *n += 1)?;
            }
            Ok(())
        });
        let world = World::start(app, settings().cache_memory(8_000)).await;
        let (slow, quick) = (key_in(0, 2), key_in(1, 2));
        input.send(&slow, &0).await.unwrap();
        until("it waits", || world.input("in", 0).records.get() == 1).await;
        for _ in 0..100 {
            input.send(&quick, &1).await.unwrap();
        }
        world.until_committed("in", 1, 100).await;
        assert_eq!(world.input("in", 0).committed.get(), 0);
        door.open();
        world.until_committed("in", 0, 1).await;
        world.stop().await.unwrap();
    });
}

#[test]
fn after_so_many_records_or_bytes_a_commit_does_not_wait_for_its_time() {
    on_one_thread(async {
        let never = || settings().commit_interval(hours(1));
        let Counting { app, input, .. } = counting("records", 2).with_agent();
        let world = World::start(app, never().commit_records(100)).await;
        for n in 0..250 {
            input.send(&n.to_string(), &1).await.unwrap();
        }
        let committed = || (0..2).map(|partition| world.input("in", partition).committed.get()).sum::<i64>();
        until("two commits came", || committed() >= 200).await;
        world.stop().await.unwrap();

        let app = App::new("bytes");
        let (input, lists) = (app.topic::<String, u64>("in").partitions(1), app.table::<String, Vec<u8>>("lists"));
        app.agent("collect", (input, lists), async |mut stream, lists| {
            while let Some(event) = stream.next().await {
                lists.update(event.key(), |list| list.extend([0; 100]))?;
            }
            Ok(())
        });
        let world = World::start(app, never().commit_bytes(10_000)).await;
        for _ in 0..1_000 {
            input.send("one row that grows", &1).await.unwrap();
        }
        until("a commit came", || world.input("in", 0).committed.get() > 0).await;
        world.stop().await.unwrap();
    });
}

#[test]
fn stores_get_the_rows_of_several_commits_at_once_and_no_later_than_at_the_end() {
    on_one_thread(async {
        let Counting { app, input, .. } = counting("lag", 1).with_agent();
        let world = World::start(app, settings()).await;
        let task = world.task(0);
        let stored = || task.tables[0].stored.get();
        let begun = crate::rt::now();
        for n in 1..=20 {
            input.send("a", &1).await.unwrap();
            world.until_committed("in", 0, n).await;
        }
        assert!(begun.elapsed() < millis(900) && stored() == 0, "nothing is in the store yet: {}", stored());
        until("it gets there without another commit", || stored() == 20).await;
        assert!(begun.elapsed() < secs(2));
        input.send("a", &1).await.unwrap();
        world.until_committed("in", 0, 21).await;
        world.stop().await.unwrap();
        assert_eq!(stored(), 21);
    });
}
