//! A door between an operator and the API server, at which a test can hold it: after what it reads has been answered, and before what
//! it writes is carried out. What the world does meanwhile is the test's choice, and no matter of luck.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::header::{CONNECTION, HOST, TRANSFER_ENCODING};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use kube::Client;
use serde_json::json;
use tempfile::NamedTempFile;
use tokio::net::TcpListener;

use crate::stage::Stage;

/// Open as long as the test's runtime runs.
pub struct Door {
    kubeconfig: NamedTempFile,
}

impl Door {
    /// Everybody who comes through it is the chart's account. `held` is asked with method and path.
    pub async fn open<F, H>(stage: &Stage, held: F) -> Self
    where
        F: Fn(Method, String) -> H + Clone + Send + Sync + 'static,
        H: Future<Output = ()> + Send,
    {
        let client = stage.account_client().await;
        let pass = move |request: Request| {
            let (client, held) = (client.clone(), held.clone());
            async move {
                let (method, path) = (request.method().clone(), request.uri().path().to_owned());
                if method == Method::GET {
                    let answer = forward(client, request).await;
                    held(method, path).await;
                    answer
                } else {
                    held(method, path).await;
                    forward(client, request).await
                }
            }
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(pass)).await });

        let kubeconfig = NamedTempFile::new().unwrap();
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "door",
            "clusters": [{ "name": "door", "cluster": { "server": format!("http://{address}") } }],
            "users": [{ "name": "door", "user": {} }],
            "contexts": [{ "name": "door", "context": { "cluster": "door", "user": "door" } }],
        });
        std::fs::write(kubeconfig.path(), config.to_string()).unwrap();
        Self { kubeconfig }
    }

    pub fn kubeconfig(&self) -> &std::path::Path {
        self.kubeconfig.path()
    }
}

async fn forward(client: Client, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    for of_this_connection in [HOST, CONNECTION, TRANSFER_ENCODING] {
        parts.headers.remove(of_this_connection);
    }
    let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
    match client.send(Request::from_parts(parts, kube::client::Body::from(body))).await {
        Ok(mut answer) => {
            answer.headers_mut().remove(TRANSFER_ENCODING);
            answer.map(Body::new)
        }
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    }
}
