//! Pods go one way only: the one that was seen, and not before its partitions have moved.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::http::Method;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use serde_json::json;

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

#[tokio::test]
async fn a_pod_too_many_is_asked_with_the_secret_token_and_stays_until_its_partitions_have_moved_on_apiserver() {
    let stage = Stage::set().await;
    let _operator = Operator::start(&stage, "faust-operator-0");
    let app = App::apply(&stage, |_| {}).await;
    let (pods, workers) = app.pods().await;
    app.until_settled(&pods).await;

    app.patch(json!({ "spec": { "replicas": 1 } })).await;
    let orders = until("the last one is told to drain, and told again", async || {
        let orders = workers[1].orders();
        holds(orders.len() >= 2, format_args!("{orders:?}")).map(|()| orders)
    })
    .await;
    let secret = Api::<Secret>::namespaced(stage.client.clone(), &stage.namespace).get(&format!("{}-operator", app.name)).await;
    let token = String::from_utf8(secret.unwrap().data.unwrap()["token"].0.clone()).unwrap();
    assert_eq!(orders[0].authorization, format!("Bearer {token}"));
    assert_eq!((&orders[0].body["mode"], &orders[0]), (&json!("leave"), &orders[1]));
    assert_eq!(pods.wanted().await, 2);

    workers[1].drains();
    until("one pod less is asked for", async || {
        pods.play().await;
        holds(pods.wanted().await == 1, "2")
    })
    .await;
    assert_eq!((stage.deletions(), workers[0].orders()), (vec![], vec![]));
    stage.assert_rights_sufficed();
}
