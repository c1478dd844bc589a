//! A worker, as far as an operator can tell: it answers, and does nothing else.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::http::{HeaderMap, StatusCode, header};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;

const STATE: &str = include_str!("../../../worker/contract/v1/state.json");
const TOPOLOGY: &str = include_str!("../../../worker/contract/v1/topology.json");

/// Answers on loopback as long as the test's runtime runs.
pub struct Worker {
    pub address: SocketAddr,
    shown: Arc<Mutex<Shown>>,
}

struct Shown {
    state: Value,
    asked: usize,
    orders: Vec<Order>,
}

/// To give its partitions away.
#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    pub authorization: String,
    pub body: Value,
}

impl Worker {
    /// One of the example's code, with names of this test.
    pub async fn start(app: &str, views: &str, counts: &str) -> Self {
        let topology = TOPOLOGY.replace("page-views", app).replace("page_view_counts", counts).replace("page_views", views);
        let topology: Value = serde_json::from_str(&topology).unwrap();
        let shown = Arc::new(Mutex::new(Shown { state: serde_json::from_str(STATE).unwrap(), asked: 0, orders: Vec::new() }));
        let asked = shown.clone();
        let state = async move || {
            let mut shown = asked.lock().unwrap();
            shown.asked += 1;
            Json(shown.state.clone())
        };
        let ordered = shown.clone();
        let drain = async move |headers: HeaderMap, Json(body): Json<Value>| {
            let authorization = headers.get(header::AUTHORIZATION).map(|value| value.to_str().unwrap().to_owned());
            let mut shown = ordered.lock().unwrap();
            shown.orders.push(Order { authorization: authorization.unwrap_or_default(), body });
            shown.state["draining"] = json!("draining");
            (StatusCode::ACCEPTED, Json(json!({ "state": "draining" })))
        };
        let router = Router::new().route("/state", get(state)).route("/topology", get(async move || Json(topology)));
        let router = router.route("/drain", post(drain));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, shown }
    }

    /// From now on so many records are not processed yet.
    pub fn lags(&self, records: u64) {
        self.shown.lock().unwrap().state["lag"] = json!(records);
    }

    /// The orders to drain that it got.
    pub fn orders(&self) -> Vec<Order> {
        self.shown.lock().unwrap().orders.clone()
    }

    /// Its partitions have moved.
    pub fn drains(&self) {
        self.shown.lock().unwrap().state["draining"] = json!("drained");
    }

    /// How often it was asked for its state: once in each of the operator's rounds.
    pub fn asked(&self) -> usize {
        self.shown.lock().unwrap().asked
    }
}
