//! The worker's HTTP pages: is it alive, is it ready, what is it doing, what is in its tables.
//!
//! Read-only, on the control runtime, views of [`Status`](crate::status::Status): they hold no state of their own.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use crate::app::{AppNode, Running};
use crate::cli::{ExitReason, Refusal};
use crate::settings::Resolved;

mod metrics;
mod state;
mod tables;

/// What the pages show.
#[derive(Clone)]
struct Pages {
    app: &'static AppNode,
    running: Arc<Running>,
}

/// A bound port that doesn't answer yet.
pub(crate) struct Server {
    listener: TcpListener,
    address: SocketAddr,
}

/// Takes the port, or says that it is taken.
pub(crate) async fn bind(settings: &Resolved) -> Result<Server, Refusal> {
    let wanted = (settings.web_host, settings.web_port);
    let refused = |error: std::io::Error| {
        let (host, port) = wanted;
        let sentence = format!(
            "`web-port` {port}: can't listen on {host}:{port}: {error}; give each worker of a machine its own, or 0 for any"
        );
        Refusal::new(ExitReason::PortInUse, sentence).about("settings.web-port")
    };
    let listener = TcpListener::bind(wanted).await.map_err(refused)?;
    let address = listener.local_addr().map_err(refused)?;
    Ok(Server { listener, address })
}

impl Server {
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers for ever.
    pub async fn serve(self, app: &'static AppNode, running: Arc<Running>) {
        let router = Router::new()
            .route("/livez", get(async || "ok\n"))
            .route("/readyz", get(readyz))
            .route("/metrics", get(metrics))
            .route("/state", get(state))
            .route("/tables/{table}", get(tables::by_query))
            .route("/tables/{table}/{key}", get(tables::by_path))
            .with_state(Pages { app, running });
        if let Err(error) = axum::serve(self.listener, router).await {
            tracing::error!("HTTP has stopped: {error}");
        }
    }
}

/// 200 when the worker is a member of its group and all its tasks run; else 503 with one sentence.
async fn readyz(State(pages): State<Pages>) -> Response {
    match pages.running.readiness() {
        Ok(()) => "ready\n".into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

async fn metrics(State(pages): State<Pages>) -> Response {
    let text = metrics::render(&pages.running);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

async fn state(State(pages): State<Pages>) -> Response {
    axum::Json(state::describe(pages.app.id, &pages.running)).into_response()
}
