//! Tasks of the app beside its agents, on the log in memory, with the worker's real threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use faust::prelude::*;

mod common;

use common::{app, start, until};

#[tokio::test]
async fn tasks_send_and_query_also_on_the_leader_and_hear_of_the_stop() {
    let app = app("tasks");
    let words = app.topic::<String, u64>("words").partitions(2);
    let counts = app.table::<String, u64>("counts");
    app.agent("count", (words, counts), async |mut words, counts| {
        while let Some(word) = words.next().await {
            counts.update(word.key(), |n| *n += word.value())?;
        }
        Ok(())
    });
    let stopped = Arc::new(AtomicU32::new(0));
    app.task("once", async move |_| {
        words.send("once", &1).await?;
        Ok(())
    });
    let heard = stopped.clone();
    let leads = app.task("leads", async move |shutdown| {
        words.send("leads", &1).await?;
        // Not `Send`, and needs not be.
        let rows = std::rc::Rc::new(std::cell::Cell::new(None));
        while shutdown.sleep(millis(2)).await {
            rows.set(counts.query("once").await.ok().flatten());
            if rows.get() == Some(1) {
                words.send("seen", &1).await?;
                shutdown.requested().await;
            }
        }
        heard.fetch_add(1, Ordering::Relaxed);
        Ok(())
    });
    assert_eq!(leads.on_leader().name(), "leads");
    let worker = start(app).await;
    for word in ["once", "leads", "seen"] {
        until(word, || async { counts.query(word).await == Ok(Some(1)) }).await;
    }
    assert_eq!(stopped.load(Ordering::Relaxed), 0);
    worker.stop().await.unwrap();
    assert_eq!(stopped.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_task_that_fails_or_panics_ends_the_worker_with_its_name() {
    for (id, panics, sentence) in
        [("fails", false, "task `odd` failed: no luck"), ("panics", true, "task `odd` panicked: no luck at all")]
    {
        let app = app(&format!("task-{id}"));
        let words = app.topic::<String, u64>("words").partitions(1);
        app.agent("read", words, async |mut words| {
            while words.next().await.is_some() {}
            Ok(())
        });
        app.task("odd", async move |_| match panics {
            true => panic!("no luck at all"),
            false => Err(faust::Error::msg("no luck")),
        })
        .on_leader();
        let worker = app.start().await.unwrap();
        let error = worker.wait().await.unwrap_err();
        assert!(error.to_string().contains(sentence), "{error}");
    }
}
