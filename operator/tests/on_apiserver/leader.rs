//! Of several operators one works: who holds the lease.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::http::Method;
use k8s_openapi::api::coordination::v1::LeaseSpec;
use kube::api::PostParams;
use serde_json::json;
use tokio::sync::Barrier;

use crate::app::{App, REPLICAS};
use crate::door::Door;
use crate::operator::Operator;
use crate::stage::Stage;
use crate::wait::{holds, until};

const NAME: &str = "faust-operator";

async fn lease(stage: &Stage) -> LeaseSpec {
    stage.lease().get(NAME).await.unwrap().spec.unwrap()
}

#[tokio::test]
async fn the_roll_of_a_leader_that_is_killed_is_finished_by_the_other_and_no_pod_goes_twice_on_apiserver() {
    let stage = Stage::set().await;
    let mut leader = Operator::start(&stage, "faust-operator-a");
    leader.until_it_leads().await;
    let mut other = Operator::start(&stage, "faust-operator-b");
    let app = App::apply(&stage, |_| {}).await;
    let (pods, _workers) = app.pods().await;
    app.until_settled(&pods).await;
    assert_eq!(other.leads().await, Some(false));
    let before = lease(&stage).await;
    assert_eq!(before.holder_identity.as_deref(), Some("faust-operator-a"));

    app.annotate("faust.dev/restartedAt", "now").await;
    until("a pod of the roll is gone", async || {
        pods.observe().await;
        holds(pods.count().await == REPLICAS - 1, "all are there")
    })
    .await;
    leader.kill();
    // It says itself how long it lasts without a sign of life.
    stage.overwrite_lease(json!({ "leaseDurationSeconds": 1 })).await;
    other.until_it_leads().await;
    let after = lease(&stage).await;
    assert_eq!(after.holder_identity.as_deref(), Some("faust-operator-b"));
    assert_eq!(after.lease_transitions, before.lease_transitions.map(|transitions| transitions + 1));

    app.until_settled(&pods).await;
    let gone = [(pods.pod_name(1), 200), (pods.pod_name(0), 200)];
    until("each pod was deleted once", async || {
        let deletions = stage.deletions();
        holds(deletions == gone, format_args!("{deletions:?}"))
    })
    .await;
    stage.assert_rights_sufficed();
    other.tell_to_stop();
    assert!(other.until_ended().await.success());
    assert_eq!(lease(&stage).await.holder_identity, None);
}

#[tokio::test]
async fn who_is_told_to_stop_gives_the_lease_back_and_who_loses_it_ends_on_apiserver() {
    let stage = Stage::set().await;
    let mut first = Operator::start(&stage, "faust-operator-a");
    first.until_it_leads().await;
    first.tell_to_stop();
    assert!(first.until_ended().await.success());
    assert_eq!(lease(&stage).await.holder_identity, None);

    let mut second = Operator::start(&stage, "faust-operator-b");
    second.until_it_leads().await;
    stage.overwrite_lease(json!({ "holderIdentity": "somebody" })).await;
    let status = second.until_ended().await;
    assert_eq!(status.code(), Some(1));
    assert!(second.said().contains("error: somebody else has written the lease faust-operator"), "{}", second.said());
    assert_eq!(lease(&stage).await.holder_identity.as_deref(), Some("somebody"));
}

#[tokio::test]
async fn of_two_that_see_a_free_lease_at_the_same_time_one_gets_it_on_apiserver() {
    let stage = Stage::set().await;
    let free = json!({ "metadata": { "name": NAME }, "spec": { "holderIdentity": "" } });
    stage.lease().create(&PostParams::default(), &serde_json::from_value(free).unwrap()).await.unwrap();
    let (both, looks) = (Arc::new(Barrier::new(2)), Arc::new(AtomicUsize::new(0)));
    let seen = looks.clone();
    let door = Door::open(&stage, move |method, path| {
        let (both, looks) = (both.clone(), looks.clone());
        async move {
            if method == Method::GET && path.ends_with("/leases/faust-operator") && looks.fetch_add(1, Ordering::SeqCst) < 2 {
                both.wait().await;
            }
        }
    })
    .await;
    let (a, b) = (Operator::start_with(door.kubeconfig(), "a"), Operator::start_with(door.kubeconfig(), "b"));
    until("who was late looks at the lease again", async || {
        let seen = seen.load(Ordering::SeqCst);
        holds(seen > 2, format_args!("{seen} looks, {:?} and {:?} lead", a.leads().await, b.leads().await))
    })
    .await;
    let leader = async || match (a.leads().await, b.leads().await) {
        (Some(true), Some(false)) => Ok("a"),
        (Some(false), Some(true)) => Ok("b"),
        other => Err(format!("{other:?}")),
    };
    let leader = until("one leads", leader).await;
    assert_eq!(lease(&stage).await.holder_identity.as_deref(), Some(leader));
}
