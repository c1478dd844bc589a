//! What a worker says, as files that the tests of both sides read: written from a worker that runs.

use std::net::SocketAddr;
use std::path::Path;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::tests::page_views;
use super::{Configured, configure};
use crate::control::{self, Handle};
use crate::{App, secs};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/contract/v1");

/// A worker in memory that has nothing to do, and knows all but one key of its configuration.
async fn started(app: App) -> Handle {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("app.yaml");
    std::fs::write(&file, "contract: {version: 1}\napp: {id: page-views}\nscaling: {mode: Auto}\n").unwrap();
    let variables = [("FAUST_CONFIG", file.to_str().unwrap()), ("FAUST_INSTANCE_ID", "page-views-0"), ("FAUST_STORE", "memory")];
    let environment = variables.map(|(name, value)| (name.to_string(), value.to_string()));
    let configured: Configured = configure("page-views", &app.node().settings(), environment, &[]).unwrap();
    let handle = control::start(app.node(), configured).await.unwrap();
    tokio::time::timeout(secs(60), handle.ready()).await.expect("ready");
    handle
}

async fn get(address: SocketAddr, path: &str) -> Value {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: worker\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
}

fn assert_is_golden(name: &str, value: &Value) {
    let path = Path::new(FOLDER).join(name);
    let text = serde_json::to_string_pretty(value).unwrap() + "\n";
    if std::env::var_os("FAUST_DEV_BLESS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == text,
        "worker/contract/v1/{name} is not what a worker says; if that is meant, and an operator of the last release still understands \
         it, write it anew with `FAUST_DEV_BLESS=1 cargo test -p faust-worker golden`. A worker says:\n{text}"
    );
}

/// What differs from run to run and from machine to machine.
fn steady(mut state: Value) -> Value {
    state["lag"] = json!(0);
    let task = state["tasks"][0].take();
    state["tasks"] = json!([task]);
    let task = &mut state["tasks"][0];
    for (pointer, value) in [("/shard", json!(0)), ("/epoch", json!(1)), ("/inputs/0/end", json!(0)), ("/inputs/0/lag", json!(0))] {
        *task.pointer_mut(pointer).expect(pointer) = value;
    }
    for (pointer, value) in [("/inputs/0/committed", json!(0)), ("/inputs/0/fetches", json!(1))] {
        *task.pointer_mut(pointer).expect(pointer) = value;
    }
    state
}

#[tokio::test]
async fn what_a_worker_says_is_what_the_golden_files_say() {
    let handle = started(page_views()).await;
    let (topology, state) = (get(handle.web, "/topology").await, get(handle.web, "/state").await);
    assert_eq!(state["topologyHash"], topology["hash"]);
    assert_is_golden("topology.json", &topology);
    assert_is_golden("state.json", &steady(state));
    handle.stop();
    handle.ended().await.unwrap();
}
