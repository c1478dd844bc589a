//! Every object that we render, as a real API server gives it back.

use std::collections::BTreeMap;

use faust_testbed::ApiServer;
use serde_json::{Value, json};

use super::differs;
use crate::app::App;
use crate::golden;
use crate::objects::{self, MANAGER};
use crate::revision::render;

fn all(app: &App) -> Vec<Value> {
    let revision = render(app);
    vec![
        objects::service(app),
        objects::stateful_set(app, &revision, app.wanted(), None),
        objects::disruption_budget(app),
        objects::token_secret(app),
        objects::topics_record(app, &BTreeMap::from([("page_views".to_string(), "{}".to_string())])),
        revision.config_map(app),
    ]
}

fn app(name: &str) -> App {
    let mut app = golden::app(name);
    app.namespace = faust_testbed::unique("objects");
    ApiServer::shared().kubectl(["create", "namespace", &app.namespace]).unwrap();
    app
}

fn apply(object: &Value) -> Value {
    let server = ApiServer::shared();
    let apply = ["apply", "--server-side", "--force-conflicts", "--field-manager", MANAGER, "-f", "-"];
    server.kubectl_with_input(apply, &object.to_string()).unwrap();
    read(object)
}

fn read(object: &Value) -> Value {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap();
    let get =
        ["get", text("/kind"), text("/metadata/name"), "-n", text("/metadata/namespace"), "--show-managed-fields", "-o", "json"];
    serde_json::from_slice(&ApiServer::shared().kubectl(get).unwrap().stdout).unwrap()
}

/// A field that we set, changed by somebody else.
fn meddle(object: &Value, patch: Value) -> Value {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap();
    let (kind, name, patch) = (text("/kind"), text("/metadata/name"), patch.to_string());
    let patch = ["patch", kind, name, "-n", text("/metadata/namespace"), "--type", "strategic", "-p", &patch];
    ApiServer::shared().kubectl(patch).unwrap();
    read(object)
}

#[test]
fn what_was_applied_comes_back_as_no_difference() {
    for app in [app("minimal"), app("full")] {
        for object in all(&app) {
            let live = apply(&object);
            assert!(!differs(&object, &live, MANAGER), "{object:#}\n{live:#}");
            assert_eq!(apply(&object)["metadata"]["resourceVersion"], live["metadata"]["resourceVersion"], "{}", object["kind"]);
        }
    }
}

#[test]
fn what_others_change_is_seen_and_what_they_add_is_left_alone() {
    let app = app("full");
    let objects = all(&app);
    let [service, set, budget, secret, topics, _] = &objects[..] else { unreachable!() };
    for object in &objects {
        apply(object);
    }
    for object in [service, set, budget, secret, topics] {
        let live = meddle(object, json!({ "metadata": { "annotations": { "note": "by somebody" } } }));
        assert!(!differs(object, &live, MANAGER), "{}: an annotation of theirs", object["kind"]);
        let live = meddle(object, json!({ "metadata": { "labels": { "app.kubernetes.io/managed-by": null } } }));
        assert!(differs(object, &live, MANAGER), "{}: a label of ours is gone", object["kind"]);
        assert!(!differs(object, &apply(object), MANAGER), "{}: mended", object["kind"]);
    }
    for (object, patch) in [
        (service, json!({ "spec": { "publishNotReadyAddresses": false } })),
        (service, json!({ "spec": { "selector": { "more": "narrow" } } })),
        (set, json!({ "spec": { "replicas": 9 } })),
        (set, json!({ "spec": { "template": { "metadata": { "labels": { "faust.dev/revision": "other" } } } } })),
        (set, json!({ "spec": { "template": { "spec": { "containers": [{ "name": "worker", "args": ["shell"] }] } } } })),
        (set, json!({ "spec": { "template": { "spec": { "nodeSelector": { "more": "narrow" } } } } })),
        (budget, json!({ "spec": { "maxUnavailable": 2 } })),
        (topics, json!({ "data": { "page_views": null } })),
    ] {
        assert!(differs(object, &meddle(object, patch.clone()), MANAGER), "{patch}");
        assert!(!differs(object, &apply(object), MANAGER), "{patch} was mended");
    }
}

#[test]
fn what_we_no_longer_want_is_seen() {
    let app = app("full");
    let (set, topics) = (&all(&app)[1], &all(&app)[4]);
    let (live_set, live_topics) = (apply(set), apply(topics));
    let mut without = set.clone();
    without["spec"]["template"]["spec"]["containers"][0]["env"].as_array_mut().unwrap().pop();
    assert!(differs(&without, &live_set, MANAGER), "a variable");
    assert!(!differs(&without, &apply(&without), MANAGER));
    let mut without = topics.clone();
    without["data"].as_object_mut().unwrap().clear();
    assert!(differs(&without, &live_topics, MANAGER), "a topic");
    assert!(!differs(&without, &apply(&without), MANAGER));
}
