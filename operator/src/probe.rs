//! Asks workers, over plain HTTP and bounded in time.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::model::{Topology, WorkerState};

/// A worker that is well answers at once; one that isn't must not hold up the others.
const PATIENCE: Duration = Duration::from_millis(1500);
/// More than any answer of ours has.
const LARGEST: usize = 16 << 20;

/// A client for workers.
#[derive(Clone)]
pub struct Probe(Client<HttpConnector, Full<Bytes>>);

impl Probe {
    pub fn new() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(PATIENCE));
        // A pod's address may come to be another pod's: no connection outlives its question.
        Self(Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector))
    }

    /// `/state` of the worker at `address`; None when it doesn't answer, or not in a way that this operator reads.
    pub async fn state(&self, address: &str) -> Option<WorkerState> {
        self.get(address, "/state").await.inspect_err(|problem| tracing::debug!("{address}/state: {problem}")).ok()
    }

    /// `/topology` of the worker at `address`.
    pub async fn topology(&self, address: &str) -> Option<Topology> {
        self.get(address, "/topology").await.inspect_err(|problem| tracing::debug!("{address}/topology: {problem}")).ok()
    }

    /// Asks the worker behind the admin port at `address` to give its partitions away.
    pub async fn drain(&self, address: &str, token: &str, nonce: &str) -> Result<(), String> {
        let body = json!({ "mode": "leave", "nonce": nonce }).to_string();
        let request = Request::builder()
            .method(Method::POST)
            .uri(format!("http://{address}/drain"))
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::from(body))
            .map_err(|error| error.to_string())?;
        self.send(request).await.map(drop)
    }

    async fn get<T: DeserializeOwned>(&self, address: &str, path: &str) -> Result<T, String> {
        let request = Request::get(format!("http://{address}{path}")).body(Full::default()).map_err(|error| error.to_string())?;
        let body = self.send(request).await?;
        serde_json::from_slice(&body).map_err(|error| format!("the answer can't be read: {error}"))
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<Bytes, String> {
        let answered = async {
            let response = self.0.request(request).await.map_err(|error| error.to_string())?;
            let status = response.status();
            let body = Limited::new(response.into_body(), LARGEST).collect().await.map_err(|error| error.to_string())?.to_bytes();
            if status.is_success() { Ok(body) } else { Err(format!("{status}: {}", String::from_utf8_lossy(&body).trim())) }
        };
        tokio::time::timeout(PATIENCE, answered).await.unwrap_or_else(|_| Err(format!("no answer within {PATIENCE:?}")))
    }
}
