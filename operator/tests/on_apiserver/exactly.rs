//! What is deleted is what was seen.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::http::Method;

use crate::app::App;
use crate::door::Door;
use crate::operator::Operator;
use crate::stage::Stage;
use crate::wait::{holds, until};

#[tokio::test]
async fn a_pod_that_was_replaced_meanwhile_is_not_deleted_on_apiserver() {
    let stage = Stage::set().await;
    let app = App::apply(&stage, |_| {}).await;
    let (pods, _workers) = app.pods().await;
    let (last, done) = (pods.pod_name(1), Arc::new(AtomicBool::new(false)));
    let (at, replaced) = (format!("/pods/{last}"), pods.clone());
    let door = Door::open(&stage, move |method, path| {
        let first = method == Method::DELETE && path.ends_with(&at) && !done.swap(true, Ordering::SeqCst);
        let (pods, last) = (replaced.clone(), at.trim_start_matches("/pods/").to_owned());
        async move {
            if first {
                pods.replace(&last).await;
            }
        }
    })
    .await;
    let _operator = Operator::start_with(door.kubeconfig(), "faust-operator-0");
    app.until_settled(&pods).await;

    let before = app.status().await.revision.unwrap().target;
    app.annotate("faust.dev/restartedAt", "now").await;
    until("another revision is asked for", async || {
        let target = app.status().await.revision.unwrap().target;
        holds(target != before, target)
    })
    .await;
    app.until_settled(&pods).await;
    // The one who took the name is of the new revision already.
    until("both deletions are in the audit log", async || {
        let deletions = stage.deletions();
        holds(deletions == [(last.clone(), 409), (pods.pod_name(0), 200)], format_args!("{deletions:?}"))
    })
    .await;
}
