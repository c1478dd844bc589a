//! One row of a table over HTTP, as it stands in the changelog.

use std::collections::HashMap;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use tokio::time::timeout;

use super::Pages;
use crate::app::StaleRow;
use crate::error::QueryError;
use crate::group::Places;
use crate::table::TableNode;

/// How long a row is waited for. Its thread reads it in no time, unless an agent blocks it.
const PATIENCE: Duration = Duration::from_secs(2);

/// How far behind the copy was that the row is from; the owner's answers don't have it.
const STALE_BY: HeaderName = HeaderName::from_static("faust-stale-by");

/// `GET /tables/{table}/{key}`: the key is the text of the changelog record's key. With `?stale=true` also from a copy.
pub(super) async fn by_path(
    State(pages): State<Pages>,
    Path((table, key)): Path<(String, String)>,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    match stale(&query) {
        Ok(stale) => row(&pages, &table, key.into_bytes(), stale).await,
        Err(wrong) => say(StatusCode::BAD_REQUEST, wrong),
    }
}

/// `GET /tables/{table}?key=` and `?key64=` (base64url): for keys that are empty, long, or not text. `stale` as above.
pub(super) async fn by_query(
    State(pages): State<Pages>,
    Path(table): Path<String>,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    let key = match (query.get("key"), query.get("key64")) {
        (Some(key), None) => key.clone().into_bytes(),
        (None, Some(key)) => match URL_SAFE_NO_PAD.decode(key.trim_end_matches('=')) {
            Ok(key) => key,
            Err(error) => return say(StatusCode::BAD_REQUEST, format!("`key64` is not base64url: {error}")),
        },
        _ => return say(StatusCode::BAD_REQUEST, "give the row's key as `?key=` or, in base64url, as `?key64=`".into()),
    };
    match stale(&query) {
        Ok(stale) => row(&pages, &table, key, stale).await,
        Err(wrong) => say(StatusCode::BAD_REQUEST, wrong),
    }
}

/// Whether a copy's answer will do.
fn stale(query: &HashMap<String, String>) -> Result<bool, String> {
    match query.get("stale").map(String::as_str) {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(other) => Err(format!("`stale` is `true` or `false`, not {other:?}")),
    }
}

async fn row(pages: &Pages, table: &str, key: Vec<u8>, stale: bool) -> Response {
    let Some(node) = pages.app.table_named(table) else { return say(StatusCode::NOT_FOUND, format!("no such table: `{table}`")) };
    let own = timeout(PATIENCE, pages.running.query(node, key.clone())).await;
    if stale && matches!(own, Ok(Err(QueryError::NotHere { .. } | QueryError::NotReady { .. }))) {
        match pages.running.query_copy(node, key).await {
            Ok(Some(StaleRow { value, lag })) => return with_lag(found(node, value), lag),
            Ok(None) => {}
            Err(error) => return say(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
        }
    }
    let Ok(answer) = own else {
        let retry_after = [(header::RETRY_AFTER, "1")];
        return (StatusCode::SERVICE_UNAVAILABLE, retry_after, "no answer: an agent keeps the partition's thread busy\n")
            .into_response();
    };
    match answer {
        Ok(value) => found(node, value),
        Err(QueryError::NotHere { partition, .. }) => elsewhere(pages, node, partition).await,
        Err(QueryError::NotReady { retry_after, partition, .. }) => {
            let retry_after = [(header::RETRY_AFTER, retry_after.as_secs().max(1).to_string())];
            (StatusCode::SERVICE_UNAVAILABLE, retry_after, format!("restoring: partition {partition}\n")).into_response()
        }
        Err(QueryError::NotStarted { .. }) => {
            let retry_after = [(header::RETRY_AFTER, "1")];
            (StatusCode::SERVICE_UNAVAILABLE, retry_after, "not started: the worker has no tasks yet\n").into_response()
        }
        Err(QueryError::Table(error)) => say(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

fn found(node: &TableNode, value: Option<Vec<u8>>) -> Response {
    match value {
        Some(value) => ([(header::CONTENT_TYPE, node.content_type)], value).into_response(),
        None => say(StatusCode::NOT_FOUND, "no such key".into()),
    }
}

fn with_lag(mut response: Response, lag: u64) -> Response {
    response.headers_mut().insert(STALE_BY, lag.into());
    response
}

/// Who has the row. The caller goes there: a worker that fetched it for others would answer for what it can't know to be so still.
async fn elsewhere(pages: &Pages, table: &'static TableNode, partition: u32) -> Response {
    let Places { owner, standbys } = timeout(PATIENCE, pages.running.places(table, partition)).await.unwrap_or_default();
    let error = format!("not owned here: partition {partition} is on another worker");
    let answer = json!({"error": error, "partition": partition, "owner": owner, "standbys": standbys});
    (StatusCode::MISDIRECTED_REQUEST, Json(answer)).into_response()
}

fn say(code: StatusCode, sentence: String) -> Response {
    (code, format!("{sentence}\n")).into_response()
}
