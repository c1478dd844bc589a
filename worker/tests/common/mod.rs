//! Workers on `memory://` as a user's program has them, and a look at their HTTP pages.
#![allow(dead_code, reason = "every test program has its own use of it")]

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use faust::prelude::*;
use faust::{Store, Worker};

pub mod http;

/// Ends a test that waits for what never comes.
const HANGS: Duration = Duration::from_secs(60);

/// Settings that commit often and disturb nobody.
pub fn settings() -> Settings {
    Settings::new().broker("memory://").store(Store::Memory).web_port(0).commit_interval(millis(10))
}

/// An app of this id; a second one finds what the first has left in the log.
pub fn app(id: &str) -> App {
    App::with(id, settings())
}

/// Starts the app and waits until it is ready.
pub async fn start(app: App) -> Worker {
    let worker = app.start().await.expect("a worker");
    tokio::time::timeout(HANGS, worker.ready()).await.expect("in time").expect("ready");
    worker
}

/// Waits until a condition holds.
pub async fn until<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    let wait = async {
        while !condition().await {
            tokio::time::sleep(millis(2)).await;
        }
    };
    if tokio::time::timeout(HANGS, wait).await.is_err() {
        panic!("{what}: not so after {HANGS:?}");
    }
}

/// Waits until a row has a value.
pub async fn until_row<K: Key, V: Value + PartialEq>(table: Table<K, V>, key: &K, value: V) {
    until(table.name(), || async { table.query(key).await.expect("an answer").as_ref() == Some(&value) }).await;
}

/// Waits until nothing is left to commit, as `/state` tells.
pub async fn until_committed(web: SocketAddr, topic: &str, records: i64) {
    let committed = || async {
        let state: serde_json::Value = serde_json::from_str(&http::get(web, "/state").await.body).expect("JSON");
        let inputs = state["tasks"].as_array().expect("tasks").iter().flat_map(|task| task["inputs"].as_array().expect("inputs"));
        let of_topic = inputs.filter(|input| input["topic"] == topic);
        of_topic.filter_map(|input| input["committed"].as_i64()).sum::<i64>() == records
    };
    until(&format!("{records} of `{topic}` committed"), committed).await;
}

/// The error with which a worker ends by itself.
pub async fn failure(worker: &Worker) -> String {
    tokio::time::timeout(HANGS, worker.wait()).await.expect("in time").expect_err("a failure").to_string()
}
