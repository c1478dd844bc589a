//! The HTTP pages of a worker.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Mutex;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use faust::prelude::*;
use serde_json::{Value as Json, json};

mod common;

use common::http::get;
use common::{app, settings, start, until, until_committed};

struct Counting {
    app: App,
    input: Topic<String, u64>,
}

/// Sums per key, of text keys.
fn counting(app: App) -> Counting {
    let input = app.topic::<String, u64>("in").partitions(2);
    let sums = app.table::<String, u64>("sums");
    app.agent("sum", (input, sums), async |mut stream, sums| {
        while let Some(event) = stream.next().await {
            sums.update(event.key(), |n| *n += *event)?;
        }
        Ok(())
    });
    Counting { app, input }
}

#[tokio::test]
async fn a_worker_that_runs_is_alive_ready_and_tells_what_it_does() {
    let Counting { app, input } = counting(app("told"));
    let worker = start(app).await;
    let web = worker.web();
    for n in 0..10 {
        input.send(&n.to_string(), &1).await.unwrap();
    }
    until_committed(web, "in", 10).await;
    assert_eq!((get(web, "/livez").await.status, get(web, "/readyz").await.status), (200, 200));
    assert_eq!(get(web, "/nothing").await.status, 404);

    let state = get(web, "/state").await;
    assert_eq!(state.header("content-type"), Some("application/json"));
    let state: Json = serde_json::from_str(&state.body).unwrap();
    assert_eq!((&state["app"], &state["ready"], &state["waiting"]), (&json!("told"), &json!(true), &json!(null)));
    let tasks = state["tasks"].as_array().unwrap();
    assert_eq!(tasks.iter().map(|task| task["task"].as_str().unwrap()).collect::<Vec<_>>(), ["0_0", "0_1"]);
    for task in tasks {
        assert_eq!((&task["role"], &task["stage"], &task["problem"]), (&json!("active"), &json!("running"), &json!(null)));
        let (input, table) = (&task["inputs"][0], &task["tables"][0]);
        assert_eq!((&input["topic"], &input["agent"]), (&json!("in"), &json!("sum")));
        assert_eq!((&input["committed"], &table["changed"]), (&input["records"], &input["records"]));
        assert!(table["stored"].as_i64() <= table["changed"].as_i64(), "a store follows the commits: {table}");
        assert_eq!(input["dropped"], json!({"decode": 0, "input_expired": 0}));
    }
    worker.stop().await.unwrap();
}

#[tokio::test]
async fn every_line_of_the_metrics_is_prometheus_text() {
    let Counting { app, input } = counting(app("metrics"));
    let worker = start(app).await;
    let web = worker.web();
    for n in 0..10 {
        input.send(&n.to_string(), &1).await.unwrap();
    }
    until_committed(web, "in", 10).await;
    let page = get(web, "/metrics").await;
    assert_eq!(page.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let mut typed = None;
    let mut samples = Vec::new();
    for line in page.body.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            assert!(help.split_once(' ').is_some_and(|(_, text)| text.ends_with('.')), "{line}");
        } else if let Some(family) = line.strip_prefix("# TYPE ") {
            let (name, kind) = family.split_once(' ').unwrap();
            assert!(name.starts_with("faust_") && (name.ends_with("_total") == (kind == "counter")), "{line}");
            typed = Some(name.to_string());
        } else {
            let (name, value) = sample(line).unwrap_or_else(|| panic!("{line}"));
            assert_eq!(Some(name), typed.as_deref(), "{line}");
            samples.push((line.rsplit_once(' ').unwrap().0, value));
        }
    }
    let sum = |of: &str| samples.iter().filter(|(name, _)| name.starts_with(of)).map(|(_, value)| value).sum::<f64>();
    assert_eq!(
        (sum("faust_records_total{"), sum("faust_committed_offset{"), sum("faust_changelog_records_total{")),
        (10.0, 10.0, 10.0)
    );
    assert_eq!((sum("faust_ready"), sum("faust_assigned_partitions{"), sum("faust_task_epochs_total{")), (1.0, 2.0, 2.0));
    assert_eq!(samples.iter().filter(|(name, _)| name.starts_with("faust_lag_records{")).count(), 2);
    worker.stop().await.unwrap();
}

#[tokio::test]
async fn promtool_has_nothing_to_say_about_the_metrics() {
    let Counting { app, input } = counting(app("judged"));
    let worker = start(app).await;
    let web = worker.web();
    input.send("a", &1).await.unwrap();
    until_committed(web, "in", 1).await;
    let page = get(web, "/metrics").await;
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool, which `scripts/setup.sh test` brings");
    promtool.stdin.take().expect("piped").write_all(page.body.as_bytes()).unwrap();
    let said = promtool.wait_with_output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
    assert!(said.status.success() && out.is_empty() && err.is_empty(), "{}: {out}{err}", said.status);
    worker.stop().await.unwrap();
}

/// Name and value of `name{label="value",…} 1`; labels here need no escapes.
fn sample(line: &str) -> Option<(&str, f64)> {
    let (series, value) = line.rsplit_once(' ')?;
    let (name, labels) = match series.split_once('{') {
        Some((name, labels)) => (name, labels.strip_suffix('}')?),
        None => (series, ""),
    };
    let is_name = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    let is_label = |label: &str| {
        let (name, value) = label.split_once('=').unwrap_or_default();
        is_name(name) && value.len() >= 2 && value.starts_with('"') && value.ends_with('"')
    };
    let legal = is_name(name) && labels.split(',').filter(|label| !label.is_empty()).all(is_label);
    Some((name, value.parse().ok()?)).filter(|_| legal)
}

#[tokio::test]
async fn a_row_is_found_by_the_text_or_the_bytes_of_its_key() {
    let Counting { app, input } = counting(app("rows"));
    let worker = start(app).await;
    let web = worker.web();
    let long = "long ".repeat(1_000);
    let keys = ["a", "", "a/b?c&d=e%41", "ключ", "+ +", &long];
    for (n, key) in (1..).zip(keys) {
        input.send(key, &n).await.unwrap();
    }
    until_committed(web, "in", 6).await;
    for (n, key) in (1..).zip(keys) {
        let encoded: String = key.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let base64 = URL_SAFE_NO_PAD.encode(key);
        let mut paths = vec![format!("/tables/sums?key={encoded}"), format!("/tables/sums?key64={base64}")];
        paths.extend((!key.is_empty()).then(|| format!("/tables/sums/{encoded}")));
        for path in paths {
            let row = get(web, &path).await;
            assert_eq!(
                (row.status, &*row.body, row.header("content-type")),
                (200, &*n.to_string(), Some("application/json")),
                "{path}"
            );
        }
    }
    for (path, status, sentence) in [
        ("/tables/sums/b", 404, "no such key\n"),
        ("/tables/sums?key64=YQ==", 200, "1"),
        ("/tables/sums?key64=_w", 404, "no such key\n"),
        ("/tables/none/a", 404, "no such table: `none`\n"),
        ("/tables/sums", 400, "give the row's key as `?key=` or, in base64url, as `?key64=`\n"),
        ("/tables/sums?key=a&key64=YQ", 400, "give the row's key as `?key=` or, in base64url, as `?key64=`\n"),
    ] {
        let row = get(web, path).await;
        assert_eq!((row.status, &*row.body), (status, sentence), "{path}");
    }
    let row = get(web, "/tables/sums?key64=!").await;
    assert!(row.status == 400 && row.body.starts_with("`key64` is not base64url"), "{row:?}");
    worker.stop().await.unwrap();
}

#[tokio::test]
async fn while_a_table_is_restored_its_rows_are_not_ready_and_the_worker_can_stop() {
    let Counting { app: first, input } = counting(app("restoring"));
    let worker = start(first).await;
    for n in 0..1_000 {
        input.send(&n.to_string(), &1).await.unwrap();
    }
    until_committed(worker.web(), "in", 1_000).await;
    worker.stop().await.unwrap();

    let again = counting(App::with("restoring", settings().restore_rate(1)));
    let worker = again.app.start().await.unwrap();
    let web = worker.web();
    until("restoring", || async { get(web, "/state").await.body.contains("\"stage\":\"restoring\"") }).await;
    let state: Json = serde_json::from_str(&get(web, "/state").await.body).unwrap();
    assert_eq!(state["ready"], json!(false));
    let row = get(web, "/tables/sums/1").await;
    assert_eq!((row.status, row.header("retry-after")), (503, Some("1")), "{row:?}");
    assert!(row.body.starts_with("restoring: partition "), "{row:?}");
    let ready = get(web, "/readyz").await;
    assert_eq!((ready.status, &*ready.body), (503, "0 of 2 tasks run, the others are being opened or restored\n"));
    assert_eq!(get(web, "/livez").await.status, 200);
    worker.stop().await.unwrap();
}

#[tokio::test]
async fn a_worker_that_waits_for_its_topics_says_for_what_and_can_stop() {
    let app = app("waiting");
    let (a, b) = (app.topic::<String, u64>("a").partitions(2), app.topic::<String, u64>("b").partitions(3));
    app.table::<String, u64>("sums");
    app.agent("both", (a, b), async |mut a, mut b| {
        while a.next().await.is_some() && b.next().await.is_some() {}
        Ok(())
    });
    let worker = app.start().await.unwrap();
    let web = worker.web();
    let sentence =
        "topic `a` has 2 partitions, topic `b` has 3; they are used together (agents `both`), so the counts must be equal";
    until("said", || async { get(web, "/readyz").await.body.trim_end() == sentence }).await;
    assert_eq!((get(web, "/readyz").await.status, get(web, "/livez").await.status), (503, 200));
    let state: Json = serde_json::from_str(&get(web, "/state").await.body).unwrap();
    assert_eq!((&state["waiting"], &state["joined"], &state["tasks"]), (&json!(sentence), &json!(false), &json!([])));
    let row = get(web, "/tables/sums/a").await;
    assert_eq!((row.status, row.header("retry-after")), (503, Some("1")), "{row:?}");
    worker.stop().await.unwrap();
}

#[tokio::test]
async fn an_agent_that_blocks_its_thread_keeps_neither_the_pages_nor_the_end_of_the_worker() {
    let app = App::with("blocked", settings().shutdown_timeout(millis(300)));
    let input = app.topic::<String, u64>("in").partitions(1);
    let sums = app.table::<String, u64>("sums");
    let gate = app.state(Mutex::new(()));
    app.agent("block", (input, sums, gate), async |mut stream, sums, gate| {
        while let Some(event) = stream.next().await {
            drop(gate.lock());
            sums.update(event.key(), |n| *n += *event)?;
        }
        Ok(())
    });
    let closed = gate.lock();
    let worker = start(app).await;
    let web = worker.web();
    input.send("a", &1).await.unwrap();
    until("in hand", || async {
        get(web, "/metrics").await.body.contains("faust_records_total{agent=\"block\",partition=\"0\",topic=\"in\"} 1")
    })
    .await;
    assert_eq!(get(web, "/livez").await.status, 200);
    let row = get(web, "/tables/sums/a").await;
    assert_eq!((row.status, &*row.body), (503, "no answer: an agent keeps the partition's thread busy\n"));
    let error = worker.stop().await.unwrap_err().to_string();
    assert_eq!(error, "not drained within `shutdown-timeout`; what was in hand is read again");
    drop(closed);
}
