//! `/healthz` and `/metrics`.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::http::header;
use axum::routing::get;
use tokio::net::TcpListener;

use crate::metrics::Metrics;

/// Takes the port and answers for ever.
pub async fn serve(address: SocketAddr, metrics: Arc<Metrics>) -> Result<impl Future<Output = ()>, String> {
    let failed = |error: std::io::Error| format!("--http-address {address}: can't listen: {error}");
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let render = async move || ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], metrics.render());
    // A candidate that waits for the lease is as healthy as the leader: otherwise a roll of the operator would never end.
    let router = Router::new().route("/healthz", get(async || "ok\n")).route("/metrics", get(render));
    Ok(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!("HTTP has stopped: {error}");
        }
    })
}
