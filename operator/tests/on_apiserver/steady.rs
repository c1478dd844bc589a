//! An application comes up from nothing; and then nothing is written.

use std::fmt::Debug;

use faust_testbed::audit::Request;
use faust_wire::{Client, Config};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::ListParams;
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use crate::app::{App, PARTITIONS};
use crate::operator::Operator;
use crate::stage::Stage;
use crate::wait::{holds, until};

/// Enough for a status that says the lag, or a transition's time, or an object that never compares equal, to be written.
const ROUNDS: usize = 12;

#[tokio::test]
async fn an_application_comes_up_and_then_nothing_is_written_whatever_its_lag_on_apiserver() {
    let stage = Stage::set().await;
    let _operator = Operator::start(&stage, "faust-operator-0");
    let app = App::apply(&stage, |_| {}).await;

    until("the pods are asked for", async || {
        let set = Api::<StatefulSet>::namespaced(stage.client.clone(), &stage.namespace).get_opt(&app.name).await.unwrap();
        holds(set.is_some(), format_args!("{:?}", app.status().await))
    })
    .await;
    let kafka = Client::new(Config::parse(&faust_testbed::shared().bootstrap(), "test").unwrap());
    assert_eq!(partitions(&kafka, &[&app.views, &app.counts]).await, [PARTITIONS, PARTITIONS]);
    assert_eq!(config(&kafka, &app.views, "retention.ms").await, "3600000");
    let ready = app.condition("Ready").await.unwrap();
    assert!(ready.status == "False" && !ready.reason.is_empty() && !ready.message.is_empty(), "{ready:?}");

    let (pods, workers) = app.pods().await;
    workers[0].lags(10);
    app.until_settled(&pods).await;
    assert_eq!(partitions(&kafka, &[&app.changelog()]).await, [PARTITIONS]);
    assert_eq!(config(&kafka, &app.changelog(), "cleanup.policy").await, "compact");
    let topics = app.status().await.topics;
    assert!(topics.len() == 3 && topics.iter().all(|topic| topic.created), "{topics:?}");
    owned::<StatefulSet>(&app, &[&app.name]).await;
    owned::<Service>(&app, &[&app.name]).await;
    owned::<PodDisruptionBudget>(&app, &[&app.name]).await;
    owned::<Secret>(&app, &[&format!("{}-operator", app.name)]).await;
    let revision = app.status().await.revision.unwrap().target;
    owned::<ConfigMap>(&app, &[&format!("{}-{revision}", app.name), &format!("{}-topics", app.name)]).await;

    // A round has written all it had to once the next one asks.
    let stirred = async |note: usize| {
        let before = workers[0].asked();
        pods.stir(0, note).await;
        until("the operator looks", async || holds(workers[0].asked() > before, before)).await;
    };
    stirred(1000).await;
    stirred(1001).await;
    let mark = stage.mark();
    for round in 0..ROUNDS {
        workers[0].lags(100 + 60 * round as u64);
        stirred(round).await;
    }
    let looks = async || {
        let ours =
            |request: &Request| (&*request.verb, &*request.resource, &request.namespace) == ("list", "pods", &stage.namespace);
        let looks = stage.requests(mark).into_iter().filter(ours).count();
        holds(looks >= ROUNDS, looks)
    };
    until("the audit log has the rounds", looks).await;
    assert_eq!(stage.writes(mark), []);
    stage.assert_rights_sufficed();
}

async fn partitions(kafka: &Client, topics: &[&str]) -> Vec<usize> {
    let names: Vec<String> = topics.iter().map(|topic| topic.to_string()).collect();
    let found = kafka.metadata(Some(&names)).await.unwrap().topics;
    let count = |name: &String| found.iter().find(|topic| topic.name == *name).map_or(0, |topic| topic.partitions.len());
    names.iter().map(count).collect()
}

async fn config(kafka: &Client, topic: &str, key: &str) -> String {
    let entries = kafka.describe_topic_configs(topic, &[key]).await.unwrap();
    entries.into_iter().find(|entry| entry.name == key && entry.set_on_topic).and_then(|entry| entry.value).unwrap_or_default()
}

/// Exactly these exist, and each belongs to the application.
async fn owned<K>(app: &App<'_>, names: &[&str])
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    let all = Api::<K>::namespaced(app.stage.client.clone(), &app.stage.namespace).list(&ListParams::default()).await.unwrap();
    let found: Vec<String> = all.iter().map(ResourceExt::name_any).collect();
    assert_eq!(found, names, "{}", K::kind(&()));
    for object in all {
        let owners = object.owner_references();
        let ours = owners.len() == 1 && owners[0].uid == app.uid && owners[0].controller == Some(true);
        assert!(ours, "{} {}: {owners:?}", K::kind(&()), object.name_any());
    }
}
