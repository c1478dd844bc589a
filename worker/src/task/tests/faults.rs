//! A log that fails, is slow, is full, or has lost things.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::OnEventTimeout;
use crate::log::{NewTopic, Row};

/// Fails, holds or lets through what is sent to one topic.
fn fate_of(world: &World, topic: &'static str, fate: Fate) {
    world.log.decide_fates(move |to, _| if to == topic { fate } else { Fate::Deliver });
}

#[test]
fn a_changelog_that_fails_commits_nothing_and_its_task_starts_over_until_it_is_mended() {
    on_one_thread(async {
        let Counting { app, input, counts } = counting("changelog fails", 1).with_agent();
        let world = World::start(app, settings()).await;
        input.send("a", &1).await.unwrap();
        world.until_committed("in", 0, 1).await;

        fate_of(&world, "changelog fails-counts-changelog", Fate::Fail("the disk of the broker is full"));
        input.send("a", &10).await.unwrap();
        let task = world.task(0);
        until("it starts over", || task.starts_over.get() == 2).await;
        assert_eq!(world.committed("in", 0).await, Some(1));
        assert_eq!(
            world.running().readiness().unwrap_err().sentence,
            "task 0_0: starting over from the committed offset: a flush was not delivered: the disk of the broker is full"
        );

        fate_of(&world, "", Fate::Deliver);
        world.until_committed("in", 0, 2).await;
        assert_eq!(counts.query("a").await, Ok(Some(11)), "nothing had landed, so nothing counts twice");
        assert_eq!(world.running().readiness(), Ok(()));
        assert_eq!(world.task(0).epochs.get(), 1 + task.starts_over.get());
        world.stop().await.unwrap();
    });
}

#[test]
fn an_event_that_is_never_finished_is_read_again_where_that_is_asked_for_and_the_other_partition_goes_on() {
    on_one_thread(async {
        let Counting { app, input, counts } = counting("never finished", 2);
        let tries = Arc::new(AtomicU64::new(0));
        let counted = tries.clone();
        app.agent("count", (input, counts), async move |mut stream, counts| {
            while let Some(event) = stream.next().await {
                counts.update(event.key(), |n| *n += *event)?;
                if *event == 100 && counted.fetch_add(1, Ordering::Relaxed) < 2 {
                    std::future::pending::<()>().await;
                }
            }
            Ok(())
        });
        let settings = settings().event_timeout(millis(20)).on_event_timeout(OnEventTimeout::Retry);
        let world = World::start(app, settings).await;
        let [stuck, other] = [0, 1].map(|partition| key_in(partition, 2));
        for event in [1, 100, 10] {
            input.send(&stuck, &event).await.unwrap();
        }
        until("it starts over", || world.task(0).starts_over.get() == 1).await;
        let unready = world.running().readiness().unwrap_err().sentence;
        assert!(
            unready.contains("agent count is still in the middle of in[0]@1") && unready.contains("`event-timeout`"),
            "{unready}"
        );
        input.send(&other, &1).await.unwrap();
        world.until_committed("in", 1, 1).await;
        world.until_committed("in", 0, 3).await;
        assert_eq!(counts.query(&stuck).await, Ok(Some(111)), "what was dropped counts for nothing");
        assert_eq!((tries.load(Ordering::Relaxed), world.task(0).starts_over.get()), (3, 2));
        world.stop().await.unwrap();
    });
}

#[test]
fn an_output_that_fails_holds_back_the_offset_of_its_event() {
    on_one_thread(async {
        let app = App::new("output fails");
        let input = app.topic::<String, u64>("in").partitions(1);
        let output = app.topic::<String, u64>("out").partitions(1);
        app.agent("copy", input, async move |mut stream| {
            while let Some(event) = stream.next().await {
                output.send(event.key(), &event).await?;
            }
            Ok(())
        });
        let world = World::start(app, settings()).await;
        fate_of(&world, "out", Fate::Fail("no leader"));
        for n in 1..=3 {
            input.send("a", &n).await.unwrap();
        }
        let task = world.task(0);
        until("it starts over", || task.starts_over.get() == 2).await;
        assert_eq!(world.committed("in", 0).await, Some(0));
        fate_of(&world, "", Fate::Deliver);
        world.until_committed("in", 0, 3).await;
        let values: Vec<_> = world.records("out", 0).into_iter().filter_map(|(_, value)| value).collect();
        assert_eq!(values, ["1", "2", "3"]);
        world.stop().await.unwrap();
    });
}

#[test]
fn offsets_wait_for_the_delivery_of_the_changelog_and_the_work_does_not() {
    on_one_thread(async {
        let Counting { app, input, counts } = counting("held flush", 1).with_agent();
        let world = World::start(app, settings()).await;
        fate_of(&world, "held flush-counts-changelog", Fate::Hold);
        for n in 1..=10 {
            input.send("a", &1).await.unwrap();
            until("it is counted", || world.input("in", 0).records.get() == n).await;
            assert_eq!(counts.query("a").await, Ok(Some(n)));
        }
        until("a flush is out", || !world.records("held flush-counts-changelog", 0).is_empty()).await;
        assert_eq!(world.committed("in", 0).await, Some(0));
        fate_of(&world, "", Fate::Deliver);
        world.log.report_held();
        world.until_committed("in", 0, 10).await;
        world.stop().await.unwrap();
    });
}

#[test]
fn a_full_buffer_is_waited_for_by_sends_and_by_flushes() {
    on_one_thread(async {
        let Counting { app, input, counts } = counting("full", 1);
        let output = app.topic::<String, u64>("out").partitions(1);
        app.agent("count", (input, counts), async move |mut stream, counts| {
            while let Some(event) = stream.next().await {
                let n = counts.update(event.key(), |n| {
                    *n += 1;
                    *n
                })?;
                output.send(event.key(), &n).await?;
            }
            Ok(())
        });
        let world = World::start(app, settings()).await;
        world.log.decide_fates(|topic, _| if topic == "in" { Fate::Deliver } else { Fate::Full });
        for _ in 0..3 {
            input.send("a", &1).await.unwrap();
        }
        until("the send waits", || world.task(0).missed_commits.get() > 3).await;
        assert_eq!((world.input("in", 0).records.get(), world.records("out", 0)), (1, vec![]));
        fate_of(&world, "full-counts-changelog", Fate::Full);
        until("the sends are out", || world.records("out", 0).len() == 3).await;
        assert_eq!(world.committed("in", 0).await, Some(0), "the changelog is still full");
        fate_of(&world, "", Fate::Deliver);
        world.until_committed("in", 0, 3).await;
        assert_eq!(world.latest("full-counts-changelog", 0), [("a".to_string(), "3".to_string())].into());
        world.stop().await.unwrap();
    });
}

#[test]
fn a_stop_whose_last_commit_does_not_get_through_says_so_and_loses_nothing() {
    on_one_thread(async {
        let failed = "stopped, but the last work could not be committed; it is read again";
        let late = "not drained within `shutdown-timeout`; what was in hand is read again";
        // Rows that may still land are waited for; rows that were not taken or were given up are not.
        for (name, fate, sentence, landed) in
            [("failed", Fate::Fail("not today"), failed, 0), ("held", Fate::Hold, late, 1), ("full", Fate::Full, failed, 0)]
        {
            let id = format!("last-commit-{name}");
            let changelog: &'static str = String::leak(format!("{id}-counts-changelog"));
            let Counting { app, input, counts: _ } = counting(&id, 1).with_agent();
            let world = World::start(app, settings().commit_interval(hours(1)).shutdown_timeout(millis(50))).await;
            input.send("a", &1).await.unwrap();
            until("it is counted", || world.input("in", 0).records.get() == 1).await;
            fate_of(&world, changelog, fate);
            world.handle.stop();
            assert_eq!(world.failure().await, sentence, "{name}");
            fate_of(&world, "", Fate::Deliver);
            world.log.report_held();

            let again = counting(&id, 1).with_agent();
            let world = World::start(again.app, settings()).await;
            world.until_committed("in", 0, 1).await;
            assert_eq!(again.counts.query("a").await, Ok(Some(1 + landed)), "{name}: at least once");
            world.stop().await.unwrap();
        }
    });
}

#[test]
fn records_that_expired_unread_are_counted_and_the_rest_is_read() {
    on_one_thread(async {
        let world = World::start(counting("expired", 1).with_agent().app, settings()).await;
        let (log, at) = (world.log.clone(), TopicPartition::new("in", 0));
        world.stop().await.unwrap();
        let rows: Vec<Row> = (0..10).map(|n| Row { key: b"a".to_vec(), value: Some(n.to_string().into_bytes()) }).collect();
        log.producer().send_rows(&at, &rows, &Arc::default()).unwrap();
        log.expire(&at, 4);

        let Counting { app, input: _, counts } = counting("expired", 1).with_agent();
        let world = World::start(app, settings()).await;
        world.until_committed("in", 0, 10).await;
        assert_eq!(world.input("in", 0).drops(crate::status::DropReason::InputExpired), 4);
        assert_eq!(counts.query("a").await, Ok(Some((4..10).sum())));
        world.stop().await.unwrap();
    });
}

#[test]
fn a_changelog_without_offsets_is_not_counted_upon_again() {
    on_one_thread(async {
        let Counting { app, input, counts } = counting("no offsets", 1).with_agent();
        let log = control::memory_log("no offsets");
        let changelog = NewTopic { name: "no offsets-counts-changelog".into(), partitions: 1, config: vec![] };
        log.create(&[changelog]).await.unwrap();
        let at = TopicPartition::new("no offsets-counts-changelog", 0);
        let old = Row { key: b"a".to_vec(), value: Some(b"41".to_vec()) };
        log.producer().send_rows(&at, &[old], &Arc::default()).unwrap();

        let world = World::begin(app, settings()).await;
        until("it waits", || {
            world.app.running().is_some_and(|running| running.readiness().is_err_and(|why| why.sentence.contains("in[0]")))
        })
        .await;
        let why = world.running().readiness().unwrap_err().sentence;
        assert!(why.starts_with("task 0_0: in[0]: the group has no committed offset but the changelog has records"), "{why}");
        input.send("a", &1).await.unwrap();
        let ready = counts.query("a").await.unwrap_err();
        assert_eq!(ready.to_string(), "table `counts`: partition 0 is being restored; try again in 1 s");
        world.stop().await.unwrap();
    });
}

#[test]
fn a_producer_that_has_failed_for_good_ends_the_worker() {
    on_one_thread(async {
        let Counting { app, .. } = counting("fails for good", 1).with_agent();
        let world = World::start(app, settings()).await;
        world.log.break_for_good("out of order");
        let refusal = world.ended().await.unwrap_err();
        assert_eq!(refusal.reason, crate::cli::ExitReason::KafkaRefuses);
        assert!(
            refusal.sentence.starts_with("the producer has failed for good: out of order; what is not committed"),
            "{refusal:?}"
        );
    });
}

#[test]
fn an_input_that_was_made_anew_is_a_matter_for_people() {
    on_one_thread(async {
        let Counting { app, input, counts: _ } = counting("anew", 1).with_agent();
        let world = World::start(app, settings()).await;
        input.send("a", &1).await.unwrap();
        world.until_committed("in", 0, 1).await;
        world.log.delete_topic("in");
        until("it waits", || world.running().readiness().is_err_and(|why| why.sentence.contains("log's end"))).await;
        assert_eq!(
            world.running().readiness().unwrap_err().sentence,
            "task 0_0: in[0]: the committed offset 1 lies behind the log's end 0: the topic was made anew or truncated; stop all \
             workers and set the group's offset with Kafka's tools"
        );
        assert!(world.task(0).starts_over.get() >= 1);
        world.stop().await.unwrap();
    });
}
