//! What is served before Kafka answers, and what the admin server takes.

use std::net::SocketAddr;
use std::path::Path;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::cli::Refusal;
use crate::contract::configure;
use crate::control::{self, Handle};
use crate::{App, Settings, Table, Topic, secs};

/// An app that counts, with the partitions of its source declared.
fn app(id: &str) -> App {
    let app = App::with(id, Settings::new().broker("memory://").web_port(0).admin_port(0));
    let input: Topic<String, u64> = app.topic("in").partitions(2);
    let table: Table<String, u64> = app.table("sums");
    app.agent("sum", (input, table), async |mut stream, _| {
        while stream.next().await.is_some() {}
        Ok(())
    });
    app
}

async fn start(app: App, environment: &[(&str, &str)]) -> Result<Handle, Refusal> {
    let node = app.node();
    let store = [("FAUST_STORE", "memory")];
    let environment = environment.iter().chain(&store).map(|(name, value)| (name.to_string(), value.to_string()));
    control::start(node, configure(node.id, &node.settings(), environment, &[])?).await
}

/// Status and body.
async fn ask(address: SocketAddr, request: &str, headers: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let length = body.len();
    let text =
        format!("{request} HTTP/1.1\r\nhost: worker\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}");
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_string())
}

async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    ask(address, &format!("GET {path}"), "", "").await
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[cfg(feature = "kafka")]
#[tokio::test]
async fn a_worker_whose_kafka_is_away_is_alive_and_says_what_it_needs_and_waits_for() {
    // A port that was free a moment ago and answers nothing.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let worker = start(app("away"), &[("FAUST_BROKER", &free), ("FAUST_TOPIC_MANAGEMENT", "operator")]).await.unwrap();
    let (code, topology) = get(worker.web, "/topology").await;
    let topology: serde_json::Value = serde_json::from_str(&topology).unwrap();
    assert_eq!((code, &topology["topics"][0]["name"]), (200, &"away-sums-changelog".into()));
    assert_eq!((get(worker.web, "/startupz").await.0, get(worker.web, "/livez").await.0), (200, 200));
    let waits = async {
        loop {
            let state: serde_json::Value = serde_json::from_str(&get(worker.web, "/state").await.1).unwrap();
            if state["reason"] == "WaitingForKafka" {
                break state;
            }
            tokio::time::sleep(crate::millis(10)).await;
        }
    };
    let state = tokio::time::timeout(secs(60), waits).await.expect("it waits");
    assert_eq!((&state["caughtUp"], &state["lag"], &state["ready"]), (&false.into(), &().into(), &false.into()));
    let (code, line) = get(worker.web, "/readyz").await;
    assert!(code == 503 && line.starts_with("Kafka can't be reached: ") && line.matches('\n').count() == 1, "{line}");
    worker.stop();
    worker.ended().await.unwrap();
}

#[tokio::test]
async fn a_drain_takes_the_token_that_the_file_has_now() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "first\n").unwrap();
    let worker = start(app("drained"), &[("FAUST_ADMIN_TOKEN_FILE", path(&token))]).await.unwrap();
    tokio::time::timeout(secs(60), worker.ready()).await.expect("ready");
    let admin = worker.admin.expect("an admin server");
    let drain = async |token: &str, body: &str| ask(admin, "POST /drain", &format!("authorization: {token}\r\n"), body).await;
    let leave = r#"{"mode": "leave", "nonce": "1"}"#;

    assert_eq!(ask(admin, "POST /drain", "", leave).await.0, 401);
    for wrong in ["Bearer second", "Bearer ", "Bearer first and more", "first", "Basic first"] {
        assert_eq!(drain(wrong, leave).await.0, 401, "{wrong}");
    }
    std::fs::write(&token, "second").unwrap();
    assert_eq!(drain("Bearer first", leave).await.0, 401);
    for wrong in ["", "{}", r#"{"mode": "leave"}"#, r#"{"mode": "go", "nonce": "1"}"#] {
        let (code, why) = drain("Bearer second", wrong).await;
        assert!(code == 400 && why.contains("expected {\"mode\": \"leave\""), "{wrong}: {why}");
    }
    let long = " ".repeat(4_097);
    assert_eq!((drain("Bearer second", &long).await.0, drain("Bearer first", &long).await.0), (413, 401), "the token first");
    assert_eq!(get(worker.web, "/readyz").await.0, 200, "nothing has happened yet");
    assert_eq!(ask(worker.web, "POST /drain", "authorization: Bearer second\r\n", leave).await.0, 404, "not on the open port");

    let handover = drain("Bearer second", r#"{"mode": "handover", "nonce": "1"}"#).await;
    assert_eq!(handover, (202, r#"{"state":"handing-over"}"#.into()), "there is nobody to take anything");
    assert_eq!(get(worker.web, "/readyz").await.0, 200, "it goes on meanwhile, and may still be told to leave");
    let drained = async {
        loop {
            match drain("Bearer second", leave).await {
                (202, body) => assert_eq!(body, r#"{"state":"draining"}"#),
                answer => break answer,
            }
        }
    };
    assert_eq!(tokio::time::timeout(secs(60), drained).await.expect("drained"), (200, r#"{"state":"drained"}"#.into()));
    let state: serde_json::Value = serde_json::from_str(&get(worker.web, "/state").await.1).unwrap();
    let told = (&state["reason"], &state["draining"], &state["tasks"], &state["caughtUp"]);
    assert_eq!(told, (&"Drained".into(), &"drained".into(), &serde_json::json!([]), &false.into()));
    assert_eq!((get(worker.web, "/livez").await.0, get(worker.web, "/readyz").await.0), (200, 503));
    worker.stop();
    worker.ended().await.unwrap();
}

#[tokio::test]
async fn without_a_token_there_is_no_admin_server() {
    let worker = start(app("no-token"), &[]).await.unwrap();
    assert_eq!(worker.admin, None);
    worker.stop();
    worker.ended().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    let refused = async || start(app("no-token"), &[("FAUST_ADMIN_TOKEN_FILE", path(&token))]).await.err().expect("refused");
    assert!(refused().await.sentence.contains("can't be read: No such file"));
    std::fs::write(&token, " \n").unwrap();
    let refusal = refused().await;
    assert_eq!((refusal.reason.code(), refusal.field.as_deref()), (78, Some("settings.admin-token-file")));
    assert!(refusal.sentence.contains("is empty; put a token into it"), "{refusal}");
}
