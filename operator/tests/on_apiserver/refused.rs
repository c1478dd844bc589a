//! What the API server or Kafka refuse ends in a condition with their sentence, and not in a loop.

use k8s_openapi::api::core::v1::Service;
use kube::Api;
use kube::api::PostParams;
use serde_json::json;

use crate::app::App;
use crate::operator::Operator;
use crate::stage::Stage;
use crate::wait::{holds, until};

#[tokio::test]
async fn a_template_that_the_api_server_refuses_is_told_and_not_written_again_and_again_on_apiserver() {
    let stage = Stage::set().await;
    let _operator = Operator::start(&stage, "faust-operator-0");
    let labels = json!({ "metadata": { "labels": { "team": "not a label" } } });
    let app = App::apply(&stage, |spec| spec["podTemplate"] = labels).await;
    let message = app.until_condition("WorkersReady", "False", "InvalidSpec").await;
    assert!(message.contains("a valid label must be"), "{message}");
    app.until_condition("Stalled", "True", "InvalidSpec").await;
    until_quiet(&app).await;
    stage.assert_rights_sufficed();
}

#[tokio::test]
async fn a_topic_that_kafka_refuses_is_told_and_the_others_are_made_on_apiserver() {
    let stage = Stage::set().await;
    let _operator = Operator::start(&stage, "faust-operator-0");
    let app = App::apply(&stage, |spec| spec["topics"][0]["config"] = json!({ "retention.ms": "abc" })).await;
    let message = app.until_condition("TopicsReady", "False", "TopicRefused").await;
    assert!(message.contains(&app.views) && message.contains("retention.ms"), "{message}");
    until("the other topic is made and recorded", async || {
        let topics = app.status().await.topics;
        let made = topics.iter().any(|topic| topic.name == app.counts && topic.created);
        holds(made, format_args!("{topics:?}"))
    })
    .await;
    until_quiet(&app).await;
}

#[tokio::test]
async fn what_is_somebody_elses_is_not_taken_over_on_apiserver() {
    let stage = Stage::set().await;
    let app = App::apply(&stage, |_| {}).await;
    let services = Api::<Service>::namespaced(stage.client.clone(), &stage.namespace);
    let theirs =
        json!({ "metadata": { "name": app.name }, "spec": { "ports": [{ "port": 80 }], "selector": { "app": "theirs" } } });
    let theirs = services.create(&PostParams::default(), &serde_json::from_value(theirs).unwrap()).await.unwrap();

    let _operator = Operator::start(&stage, "faust-operator-0");
    let message = app.until_condition("Ready", "False", "NameTaken").await;
    assert!(message.contains("Service") && message.contains(&app.name), "{message}");
    app.until_condition("Stalled", "True", "NameTaken").await;
    until_quiet(&app).await;
    assert_eq!(services.get(&app.name).await.unwrap(), theirs);
}

/// Looks again and again, and writes nothing.
async fn until_quiet(app: &App<'_>) {
    let stirred = async |note: usize| {
        let mark = app.stage.mark();
        app.annotate("note", &note.to_string()).await;
        let looked = async || {
            let requests = app.stage.requests(mark);
            let looked = requests.iter().any(|request| request.verb == "list" && request.resource == "configmaps");
            holds(looked, format_args!("{requests:?}"))
        };
        until("the operator looks", looked).await;
        mark
    };
    let mut round = 0;
    // What was told is written once; then the rounds begin that count.
    until("two rounds in which nothing is written", async || {
        round += 3;
        let mark = stirred(round).await;
        stirred(round + 1).await;
        stirred(round + 2).await;
        let writes = app.stage.writes(mark);
        holds(writes.is_empty(), format_args!("{writes:?}"))
    })
    .await;
}
