//! The worker's HTTP pages: is it alive, is it ready, what is it doing, what is in its tables.
//!
//! Read-only, on the control runtime, views of [`Status`](crate::status::Status): they hold no state of their own. What changes
//! something is asked for on another port, in `admin`.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use crate::app::{AppNode, Running};
use crate::cli::{ExitReason, Refusal};
use crate::contract::Description;
use crate::settings::Resolved;

pub(crate) mod admin;
mod metrics;
mod state;
mod tables;
#[cfg(test)]
mod tests;

/// What the pages show.
#[derive(Clone)]
struct Pages {
    app: &'static AppNode,
    running: Arc<Running>,
    facts: Arc<Facts>,
}

/// What doesn't change while the worker runs.
pub(crate) struct Facts {
    pub instance: Option<String>,
    /// What the configuration file has and this version doesn't know.
    pub ignored: Vec<String>,
    pub topology: Description,
}

/// A bound port that doesn't answer yet.
pub(crate) struct Server {
    listener: TcpListener,
    address: SocketAddr,
}

/// Takes the port, or says that it is taken.
pub(crate) async fn bind(settings: &Resolved) -> Result<Server, Refusal> {
    let (listener, address) = listen("web-port", settings.web_host, settings.web_port).await?;
    Ok(Server { listener, address })
}

async fn listen(setting: &str, host: IpAddr, port: u16) -> Result<(TcpListener, SocketAddr), Refusal> {
    let refused = |error: std::io::Error| {
        let at = SocketAddr::new(host, port);
        let sentence =
            format!("`{setting}` {port}: can't listen on {at}: {error}; give each worker of a machine its own, or 0 for any");
        Refusal::new(ExitReason::PortInUse, sentence).about(format!("settings.{setting}"))
    };
    let listener = TcpListener::bind((host, port)).await.map_err(refused)?;
    let address = listener.local_addr().map_err(refused)?;
    Ok((listener, address))
}

impl Server {
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers for ever.
    pub async fn serve(self, app: &'static AppNode, running: Arc<Running>, facts: Arc<Facts>) {
        let router = Router::new()
            .route("/livez", get(livez))
            // The data folder is locked and the settings are read before the port answers at all.
            .route("/startupz", get(async || "started\n"))
            .route("/topology", get(topology))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics))
            .route("/state", get(state))
            .route("/tables/{table}", get(tables::by_query))
            .route("/tables/{table}/{key}", get(tables::by_path))
            .with_state(Pages { app, running, facts });
        if let Err(error) = axum::serve(self.listener, router).await {
            tracing::error!("HTTP has stopped: {error}");
        }
    }
}

/// The pages are served by the control runtime: one that doesn't turn doesn't answer, which is what probes take for dead.
async fn livez(State(pages): State<Pages>) -> Response {
    match pages.running.status.fatal() {
        None => "alive\n".into_response(),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, one_line(&why)).into_response(),
    }
}

/// 200 when the worker is a member of its group and all its tasks run; else 503 with one sentence.
async fn readyz(State(pages): State<Pages>) -> Response {
    match pages.running.readiness() {
        Ok(()) => "ready\n".into_response(),
        Err(unready) => (StatusCode::SERVICE_UNAVAILABLE, one_line(&unready.sentence)).into_response(),
    }
}

fn one_line(sentence: &str) -> String {
    sentence.replace('\n', " ") + "\n"
}

async fn topology(State(pages): State<Pages>) -> Response {
    axum::Json(&pages.facts.topology).into_response()
}

async fn metrics(State(pages): State<Pages>) -> Response {
    let text = metrics::render(&pages.running);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

async fn state(State(pages): State<Pages>) -> Response {
    axum::Json(state::describe(pages.app.id, &pages.running, &pages.facts)).into_response()
}
