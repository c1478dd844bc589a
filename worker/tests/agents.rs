//! What a program can do with topics, agents and tables, on the log in memory, with the worker's real threads.

use std::collections::BTreeMap;
use std::sync::Mutex;

use faust::prelude::*;
use faust::{QueryError, SendError, TableError};

mod common;

use common::{app, failure, start, until, until_committed, until_row};

/// What agents tell a test.
type Told<T> = State<Mutex<Vec<T>>>;

fn told<T: Send + 'static>(app: &App) -> Told<T> {
    app.state(Mutex::new(Vec::new()))
}

async fn until_told<T: Send + Clone + 'static>(told: Told<T>, n: usize) -> Vec<T> {
    until("told", || async { told.lock().unwrap().len() >= n }).await;
    told.lock().unwrap().clone()
}

#[derive(Record, Clone, Debug, PartialEq)]
struct PageView {
    user: String,
    page: String,
}

#[tokio::test]
async fn page_views_are_counted_exactly_over_a_restart() {
    const PAGES: [&str; 5] = ["/", "/über-uns", "/страница", "", "/a b?c=d&e"];
    for round in 1..=3 {
        let app = app("page-views");
        let views = app.topic::<String, PageView>("page_views").partitions(4);
        let counts = app.table::<String, u64>("page_counts");
        app.agent("count", (views, counts), async |mut views, counts| {
            while let Some(view) = views.next().await {
                counts.update(&view.page, |n| *n += 1)?;
            }
            Ok(())
        });
        let worker = start(app).await;
        for n in 0..5_000 {
            let page = PAGES[n % PAGES.len()];
            views.send(page, &PageView { user: format!("user {n}"), page: page.to_string() }).await.unwrap();
        }
        until_committed(worker.web(), "page_views", round * 5_000).await;
        for page in PAGES {
            assert_eq!(counts.query(page).await, Ok(Some(1_000 * round as u64)), "{page}");
        }
        assert_eq!(counts.query("/nobody").await, Ok(None));
        worker.stop().await.unwrap();
        assert_eq!(counts.query("/").await, Err(QueryError::NotStarted { table: "page_counts" }));
    }
}

#[tokio::test]
async fn an_event_has_all_of_its_record_and_a_send_can_set_it() {
    let app = app("whole-record");
    let input = app.topic::<Option<String>, Option<String>>("in").partitions(3);
    let seen = told(&app);
    app.agent("see", (input, seen), async |mut stream, seen| {
        while let Some(event) = stream.next().await {
            assert_eq!((event.topic(), event.partition()), ("in", stream.task().partition));
            let headers: Vec<_> =
                event.headers().iter().map(|(name, value)| (name.to_string(), value.map(<[u8]>::to_vec))).collect();
            let last = event.headers().get("color").map(<[u8]>::to_vec);
            let (time, offset) = (event.timestamp(), event.offset());
            seen.lock().unwrap().push((event.into_parts(), time, offset, headers, last));
        }
        Ok(())
    });
    let worker = start(app).await;
    let metadata = input
        .send(&Some("key".to_string()), &Some("value".to_string()))
        .partition(2)
        .timestamp(Timestamp(1_234))
        .header("color", "red")
        .header("color", [0xff, 0])
        .header("empty", "")
        .delivered()
        .await
        .unwrap();
    assert_eq!((&*metadata.topic, metadata.partition, metadata.offset, metadata.timestamp), ("in", 2, 0, Timestamp(1_234)));
    let header = |name: &str, value: &[u8]| (name.to_string(), Some(value.to_vec()));
    let (parts, time, offset, headers, last) = until_told(seen, 1).await.remove(0);
    assert_eq!(parts, (Some("key".to_string()), Some("value".to_string())));
    assert_eq!((time, offset, last), (Timestamp(1_234), 0, Some(vec![0xff, 0])));
    assert_eq!(headers, [header("color", b"red"), header("color", &[0xff, 0]), header("empty", b"")]);

    // No key goes round the partitions; no value is a tombstone.
    let before = Timestamp::now();
    for _ in 0..6 {
        input.send(&None, &None).await.unwrap();
    }
    let rest = until_told(seen, 7).await.split_off(1);
    assert!(rest.iter().all(|(parts, time, ..)| *parts == (None, None) && *time >= before));
    let mut offsets: Vec<_> = rest.iter().map(|(_, _, offset, ..)| *offset).collect();
    offsets.sort_unstable();
    assert_eq!(offsets, [0, 0, 1, 1, 1, 2], "two in each of three partitions, one of which had a record");
    worker.stop().await.unwrap();
}

#[tokio::test]
async fn sends_from_agents_arrive_in_order_and_one_outside_of_a_task_is_refused() {
    let app = app("sends");
    let input = app.topic::<String, u64>("in").partitions(2);
    let output = app.topic::<String, u64>("out").partitions(2);
    let (seen, refused) = (told(&app), told(&app));
    app.agent("forward", (input, refused), async move |mut stream, refused| {
        while let Some(event) = stream.next().await {
            if *event == 0 {
                let (key, value) = event.into_parts();
                let bare = tokio::task::spawn_local(async move { output.send(&key, &value).await });
                let result = bare.await?;
                refused.lock().unwrap().push(result);
                continue;
            }
            match *event % 2 {
                0 => output.send(event.key(), &event).await?,
                _ => drop(output.send(event.key(), &event).delivered().await?),
            }
        }
        Ok(())
    });
    app.agent("see", (output, seen), async |mut stream, seen| {
        while let Some(event) = stream.next().await {
            seen.lock().unwrap().push((event.key().clone(), *event));
        }
        Ok(())
    });
    assert_eq!(input.send("a", &1).await, Err(SendError::NotStarted { topic: "in" }));
    let worker = start(app).await;
    for n in 1..=1_000 {
        input.send(&format!("key {}", n % 7), &n).await.unwrap();
    }
    input.send("a", &0).await.unwrap();
    assert_eq!(until_told(refused, 1).await, [Err(SendError::OutsideTask { topic: "out" })]);
    let mut of_key = BTreeMap::<String, Vec<u64>>::new();
    until_told(seen, 1_000).await.into_iter().for_each(|(key, n)| of_key.entry(key).or_default().push(n));
    assert_eq!(of_key.values().map(Vec::len).sum::<usize>(), 1_000);
    assert!(of_key.values().all(|numbers| numbers.is_sorted()), "{of_key:?}");
    until_committed(worker.web(), "in", 1_001).await;
    worker.stop().await.unwrap();
    assert_eq!(input.send("a", &1).await, Err(SendError::NotStarted { topic: "in" }));
}

#[tokio::test]
async fn a_send_that_cannot_be_says_why() {
    let app = app("bad-sends");
    let input = app.topic::<String, String>("in").partitions(2);
    let checked = app.topic::<String, Percent>("checked").partitions(1);
    app.agent("none", input, async |mut stream| {
        while stream.next().await.is_some() {}
        Ok(())
    });
    let worker = start(app).await;
    let bytes = 2_000_000;
    assert_eq!(input.send("", &"x".repeat(bytes)).await, Err(SendError::TooLarge { topic: "in", bytes }));
    let error = input.send("a", &String::new()).partition(9).await.unwrap_err();
    assert!(error.to_string().starts_with("topic `in`: the record was not accepted"), "{error}");
    let error = checked.send("a", &Percent(101)).await.unwrap_err();
    assert_eq!(error.to_string(), "topic `checked`: a key or value is not valid: more than all of it");
    worker.stop().await.unwrap();
}

#[derive(Record)]
#[record(validate = Percent::check)]
struct Percent(u8);

impl Percent {
    fn check(&self) -> Result<(), faust::Invalid> {
        if self.0 <= 100 { Ok(()) } else { Err(faust::Invalid::new("more than all of it")) }
    }
}

#[tokio::test]
async fn tables_start_from_their_default_and_are_shared_by_the_agents_of_their_task() {
    let app = app("tables");
    let plus = app.topic::<String, i64>("plus").partitions(2);
    let minus = app.topic::<String, i64>("minus").partitions(2);
    let balances = app.table::<String, i64>("balances").default(|| 100);
    let fee = app.state(3);
    app.agent("plus", (plus, balances), async |mut stream, balances| {
        while let Some(event) = stream.next().await {
            balances.update(event.key(), |balance| *balance += *event)?;
        }
        Ok(())
    });
    app.agent("minus", (minus, balances, fee), async |mut stream, balances, fee| {
        while let Some(event) = stream.next().await {
            balances.update(event.key(), |balance| *balance -= *event + *fee)?;
        }
        Ok(())
    });
    let worker = start(app).await;
    for n in 0..2_000 {
        let key = format!("account {}", n % 10);
        plus.send(&key, &7).await.unwrap();
        minus.send(&key, &2).await.unwrap();
    }
    for n in 0..10 {
        until_row(balances, &format!("account {n}"), 100 + 200 * (7 - 2 - 3)).await;
    }
    worker.stop().await.unwrap();
}

#[tokio::test]
async fn a_removed_row_stays_removed_over_a_restart() {
    for round in 0..2 {
        let app = app("removed");
        let commands = app.topic::<String, Option<u64>>("commands").partitions(2);
        let rows = app.table::<String, u64>("rows");
        let listed = told(&app);
        app.agent("keep", (commands, rows, listed), async |mut stream, rows, listed| {
            while let Some(event) = stream.next().await {
                match *event {
                    Some(0) => {
                        let all = rows.items().collect::<Result<Vec<_>, TableError>>()?;
                        listed.lock().unwrap().push(all);
                    }
                    Some(n) => rows.insert(event.key(), n)?,
                    None => rows.remove(event.key())?,
                }
            }
            Ok(())
        });
        let worker = start(app).await;
        if round == 0 {
            for key in ["", "a", "b", "c"] {
                commands.send(key, &Some(1)).await.unwrap();
            }
            until_committed(worker.web(), "commands", 4).await;
            commands.send("", &None).await.unwrap();
            commands.send("b", &None).await.unwrap();
            commands.send("c", &Some(2)).await.unwrap();
            until_committed(worker.web(), "commands", 7).await;
        }
        for partition in 0..2 {
            commands.send("any", &Some(0)).partition(partition).await.unwrap();
        }
        let mut all = until_told(listed, 2).await.concat();
        all.sort();
        assert_eq!(all, [("a".to_string(), 1), ("c".to_string(), 2)]);
        assert_eq!((rows.query("").await, rows.query("b").await, rows.query("c").await), (Ok(None), Ok(None), Ok(Some(2))));
        worker.stop().await.unwrap();
    }
}

#[tokio::test]
async fn a_key_of_another_partition_ends_the_worker_with_a_sentence() {
    let app = app("wrong-partition");
    let input = app.topic::<String, String>("in").partitions(16);
    let counts = app.table::<String, u64>("counts");
    app.agent("count", (input, counts), async |mut stream, counts| {
        while let Some(event) = stream.next().await {
            // By the value, and not by the key that the topic is partitioned by.
            counts.update(event.value(), |n| *n += 1)?;
        }
        Ok(())
    });
    let worker = start(app).await;
    for n in 0..32 {
        let _ = input.send("a", &format!("value {n}")).await;
    }
    let sentence = failure(&worker).await;
    assert!(sentence.starts_with("agent `count` failed at in["), "{sentence}");
    assert!(sentence.contains("table `counts`: key \"value "), "{sentence}");
    assert!(sentence.ends_with("use a source that is keyed by the table's key"), "{sentence}");
}

#[tokio::test]
async fn a_worker_that_nobody_holds_any_more_goes_on() {
    let app = app("dropped");
    let input = app.topic::<String, u64>("in").partitions(2);
    let sums = app.table::<String, u64>("sums");
    app.agent("sum", (input, sums), async |mut stream, sums| {
        while let Some(event) = stream.next().await {
            sums.update(event.key(), |n| *n += *event)?;
        }
        Ok(())
    });
    drop(start(app).await);
    for n in 1..=100 {
        input.send("a", &n).await.unwrap();
    }
    until_row(sums, &"a".to_string(), 5_050).await;
}

#[tokio::test]
async fn what_contradicts_itself_does_not_start() {
    let app = app("contradictory");
    let input = app.topic::<String, u64>("in");
    for name in ["x", "y"] {
        app.agent(name, input, async |mut stream| {
            while stream.next().await.is_some() {}
            Ok(())
        });
    }
    let error = app.start().await.err().expect("refused").to_string();
    assert!(error.starts_with("topic `in` is read 2 times, by agents `x` and `y`"), "{error}");
}
