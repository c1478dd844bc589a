//! One row of a table over HTTP, as it stands in the changelog.

use std::collections::HashMap;
use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::time::timeout;

use super::Pages;
use crate::error::QueryError;

/// How long a row is waited for. Its thread reads it in no time, unless an agent blocks it.
const PATIENCE: Duration = Duration::from_secs(2);

/// `GET /tables/{table}/{key}`: the key is the text of the changelog record's key.
pub(super) async fn by_path(State(pages): State<Pages>, Path((table, key)): Path<(String, String)>) -> Response {
    row(&pages, &table, key.into_bytes()).await
}

/// `GET /tables/{table}?key=` and `?key64=` (base64url): for keys that are empty, long, or not text.
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
    row(&pages, &table, key).await
}

async fn row(pages: &Pages, table: &str, key: Vec<u8>) -> Response {
    let Some(node) = pages.app.table_named(table) else { return say(StatusCode::NOT_FOUND, format!("no such table: `{table}`")) };
    let Ok(answer) = timeout(PATIENCE, pages.running.query(node, key)).await else {
        let retry_after = [(header::RETRY_AFTER, "1")];
        return (StatusCode::SERVICE_UNAVAILABLE, retry_after, "no answer: an agent keeps the partition's thread busy\n")
            .into_response();
    };
    match answer {
        Ok(Some(value)) => ([(header::CONTENT_TYPE, node.content_type)], value).into_response(),
        Ok(None) => say(StatusCode::NOT_FOUND, "no such key".into()),
        Err(QueryError::NotHere { partition, .. }) => {
            say(StatusCode::MISDIRECTED_REQUEST, format!("not owned here: partition {partition} is on another worker"))
        }
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

fn say(code: StatusCode, sentence: String) -> Response {
    (code, format!("{sentence}\n")).into_response()
}
