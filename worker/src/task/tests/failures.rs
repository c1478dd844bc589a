//! An agent that fails, and records that don't decode.

use super::*;
use crate::OnDecodeError;

/// An agent that counts what comes and fails in its own way at 13.
async fn fails_at_13(id: &str, how: fn(u64) -> crate::Result<()>) -> String {
    let Counting { app, input, counts } = counting(id, 2);
    app.agent("count", (input, counts), async move |mut stream, counts| {
        while let Some(event) = stream.next().await {
            counts.update(event.key(), |n| *n += 1)?;
            if *event == 13 {
                return how(*event);
            }
        }
        Ok(())
    });
    let world = World::start(app, settings().commit_interval(hours(1))).await;
    let (bad, good) = (key_in(0, 2), key_in(1, 2));
    for n in [7, 7, 13, 7] {
        input.send(&bad, &n).await.unwrap();
        input.send(&good, &7).await.unwrap();
    }
    let running = world.running();
    let sentence = world.failure().await;
    let membership = running.membership().unwrap();
    let committed = membership.committed(&[TopicPartition::new("in", 0), TopicPartition::new("in", 1)]).await.unwrap();
    assert_eq!(committed[0], Some(0), "nothing of the interval in which the agent failed is committed");
    assert_eq!(world.records(&format!("{id}-counts-changelog"), 0), []);
    let whole = world.latest(&format!("{id}-counts-changelog"), 1);
    assert_eq!(whole.get(&good).map(|n| n.parse::<i64>().unwrap()), committed[1].filter(|&n| n > 0), "the other task drains");

    // Whoever mends the agent finds everything.
    let again = counting(id, 2).with_agent();
    let world = World::start(again.app, settings()).await;
    world.until_committed("in", 0, 4).await;
    world.until_committed("in", 1, 4).await;
    assert_eq!(again.counts.query(&bad).await, Ok(Some(7 + 7 + 13 + 7)));
    world.stop().await.unwrap();
    sentence
}

#[test]
fn an_agent_that_returns_an_error_ends_the_worker_with_the_event_named() {
    on_one_thread(async {
        let sentence = fails_at_13("error", |n| Err(crate::Error::msg(format!("{n} is unlucky")))).await;
        assert_eq!(sentence, "agent `count` failed at in[0]@2: 13 is unlucky");
    });
}

#[test]
fn an_agent_that_panics_ends_the_worker_with_the_event_named() {
    on_one_thread(async {
        let sentence = fails_at_13("panic", |n| panic!("{n} is unlucky")).await;
        assert_eq!(sentence, "agent `count` panicked at in[0]@2: 13 is unlucky");
    });
}

#[test]
fn an_agent_that_ends_early_ends_the_worker() {
    on_one_thread(async {
        let sentence = fails_at_13("early", |_| Ok(())).await;
        assert_eq!(
            sentence,
            "agent `count`, task 0_0: it ended while its stream goes on; an agent runs until `next` returns `None`"
        );
    });
}

#[test]
fn a_closure_that_panics_before_its_future_is_an_agent_that_panics() {
    on_one_thread(async {
        let app = App::new("before");
        let input = app.topic::<String, u64>("in").partitions(1);
        app.agent("hasty", input, |_: Stream<String, u64>| {
            if true {
                panic!("too early");
            }
            async { Ok(()) }
        });
        let world = World::begin(app, settings()).await;
        assert_eq!(world.failure().await, "agent `hasty` panicked: too early");
    });
}

#[test]
fn an_error_while_the_worker_stops_is_not_lost() {
    on_one_thread(async {
        let Counting { app, input, counts } = counting("last words", 1);
        app.agent("count", (input, counts), async |mut stream, counts| {
            while let Some(event) = stream.next().await {
                counts.update(event.key(), |n| *n += 1)?;
            }
            Err(crate::Error::msg("can't say goodbye"))
        });
        let world = World::start(app, settings().commit_interval(hours(1))).await;
        input.send("a", &1).await.unwrap();
        until("it is counted", || world.input("in", 0).records.get() == 1).await;
        world.handle.stop();
        assert_eq!(world.failure().await, "agent `count` failed: can't say goodbye");
        assert_eq!(world.records("last words-counts-changelog", 0), []);
    });
}

/// `good`, then a record that is no number, then `good` again; in each of two partitions, but the bad one only in the first.
async fn with_a_bad_record(id: &str, action: OnDecodeError) -> (World, Counting) {
    let counting = counting(id, 2).with_agent();
    let Counting { app, input, counts } = counting;
    let raw = App::new(id).topic::<String, String>("in");
    let node = app.node();
    let world = World::start(app, settings().on_decode_error(action)).await;
    let (bad, good) = (key_in(0, 2), key_in(1, 2));
    input.send(&bad, &1).await.unwrap();
    world.until_committed("in", 0, 1).await;
    let record = crate::log::Outgoing {
        topic: raw.name(),
        partition: 0,
        key: Some(bad.as_bytes()),
        value: Some(b"many"),
        headers: &[],
        timestamp: None,
    };
    world.log.producer().send(record, &Arc::default()).unwrap();
    input.send(&bad, &1).await.unwrap();
    input.send(&good, &1).await.unwrap();
    (world, Counting { app: App::new(node.id), input, counts })
}

#[test]
fn a_record_that_does_not_decode_stops_its_partition_and_the_rest_goes_on() {
    on_one_thread(async {
        let (world, counting) = with_a_bad_record("pause", OnDecodeError::Pause).await;
        world.until_committed("in", 1, 1).await;
        until("the partition waits", || world.task(0).problem().is_some()).await;
        let sentence = "task 0_0: in[0]@1: the value can't be decoded: expected value at line 1 column 1; the partition waits here: mend \
                        the type, or set `on-decode-error` to skip";
        assert_eq!(world.running().readiness().map_err(|why| why.sentence), Err(sentence.to_string()));
        assert_eq!(world.committed("in", 0).await, Some(1));
        assert_eq!(counting.counts.query(&key_in(0, 2)).await, Ok(Some(1)), "what is there can be asked");
        world.stop().await.unwrap();
    });
}

#[test]
fn a_record_that_does_not_decode_is_skipped_and_counted() {
    on_one_thread(async {
        let (world, counting) = with_a_bad_record("skip", OnDecodeError::Skip).await;
        world.until_committed("in", 0, 3).await;
        assert_eq!(world.input("in", 0).drops(crate::status::DropReason::Decode), 1);
        assert_eq!(counting.counts.query(&key_in(0, 2)).await, Ok(Some(2)));
        assert_eq!(world.running().readiness(), Ok(()));
        world.stop().await.unwrap();
    });
}

#[test]
fn a_record_that_does_not_decode_ends_the_worker_where_that_is_wanted() {
    on_one_thread(async {
        let (world, _) = with_a_bad_record("fail", OnDecodeError::Fail).await;
        let sentence = world.failure().await;
        assert_eq!(sentence, "in[0]@1: the value can't be decoded: expected value at line 1 column 1");
    });
}
