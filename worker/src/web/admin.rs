//! The admin server: requests that change something, on a port of its own and with a token.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::json;
use subtle::ConstantTimeEq;
use tokio::net::TcpListener;

use crate::app::Running;
use crate::cli::{ExitReason, Refusal};
use crate::control::drain::DrainState;
use crate::group::Drain;
use crate::rt::Rt;
use crate::settings::Resolved;

/// In bytes, of a body; what is asked here is short.
const LONGEST_BODY: usize = 4096;

/// A bound port that doesn't answer yet.
pub(crate) struct Admin {
    listener: TcpListener,
    address: SocketAddr,
    token: PathBuf,
}

/// Takes the port, if there is a file with a token.
pub(crate) async fn bind(rt: Rt, settings: &Resolved) -> Result<Option<Admin>, Refusal> {
    let Some(token) = settings.admin_token_file.clone() else { return Ok(None) };
    let read = rt.blocking({
        let path = token.clone();
        move || read_token(&path)
    });
    if let Err(why) = read.await {
        let sentence = format!("setting `admin-token-file`: {why}; put a token into it, or leave the setting out");
        return Err(Refusal::new(ExitReason::SettingRefused, sentence).about("settings.admin-token-file"));
    }
    let (listener, address) = super::listen("admin-port", settings.admin_host, settings.admin_port).await?;
    Ok(Some(Admin { listener, address, token }))
}

impl Admin {
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers for ever.
    pub async fn serve(self, rt: Rt, running: Arc<Running>) {
        let authority = Authority { rt, token: Arc::new(self.token), running };
        let router = Router::new().route("/drain", post(drain)).with_state(authority);
        if let Err(error) = axum::serve(self.listener, router).await {
            tracing::error!("the admin server has stopped: {error}");
        }
    }
}

#[derive(Clone)]
struct Authority {
    rt: Rt,
    token: Arc<PathBuf>,
    running: Arc<Running>,
}

#[derive(Deserialize)]
struct Ask {
    mode: Mode,
    nonce: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    /// Give the partitions away and leave the group.
    Leave,
    /// Give the partitions to those who hold copies, and stay.
    Handover,
}

/// Asking again tells how far it is.
async fn drain(State(authority): State<Authority>, request: Request) -> Response {
    // Of somebody without the token not a byte more is read.
    if let Err(refused) = authority.check(request.headers()).await {
        return refused;
    }
    let Ok(body) = to_bytes(request.into_body(), LONGEST_BODY).await else {
        return (StatusCode::PAYLOAD_TOO_LARGE, format!("a body has at most {LONGEST_BODY} bytes\n")).into_response();
    };
    let ask: Ask = match serde_json::from_slice(&body) {
        Ok(ask) => ask,
        Err(error) => {
            let sentence = format!("{error}; expected {{\"mode\": \"leave\", \"nonce\": \"…\"}}\n");
            return (StatusCode::BAD_REQUEST, sentence).into_response();
        }
    };
    let how = match ask.mode {
        Mode::Leave => Drain::Leave,
        Mode::Handover => Drain::Handover,
    };
    let running = &authority.running;
    if running.drain.begin(how) {
        tracing::info!("asked to {} (nonce {:?})", if how == Drain::Leave { "leave the group" } else { "hand over" }, ask.nonce);
    }
    let (state, done) = match running.drain.state() {
        Some(state) => (state.label(), state == DrainState::Drained),
        None => (running.handover().unwrap_or_default(), running.has_handed_over()),
    };
    let code = if done { StatusCode::OK } else { StatusCode::ACCEPTED };
    (code, Json(json!({"state": state}))).into_response()
}

impl Authority {
    /// The file is read for each request, because secrets are rotated.
    async fn check(&self, headers: &HeaderMap) -> Result<(), Response> {
        let path = self.token.clone();
        let token = self.rt.blocking(move || read_token(&path)).await.map_err(|why| {
            tracing::warn!("setting `admin-token-file`: {why}");
            (StatusCode::SERVICE_UNAVAILABLE, "the worker can't read its own token; its log says why\n").into_response()
        })?;
        if bears(headers, &token) {
            return Ok(());
        }
        let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
        Err((StatusCode::UNAUTHORIZED, challenge, "say the token as `Authorization: Bearer …`\n").into_response())
    }
}

fn bears(headers: &HeaderMap, token: &[u8]) -> bool {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    given.is_some_and(|given| given.ct_eq(token).into())
}

/// Without the line's end that editors leave; never an empty one.
fn read_token(path: &Path) -> Result<Vec<u8>, String> {
    let token = std::fs::read(path).map_err(|error| format!("{} can't be read: {error}", path.display()))?;
    let token = token.trim_ascii().to_vec();
    if token.is_empty() { Err(format!("{} is empty", path.display())) } else { Ok(token) }
}
