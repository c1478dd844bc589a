use serde_json::{Value, json};

use super::*;
use crate::golden::{app, app_with, manifest, with};

#[track_caller]
fn refused(patch: Value, reason: Reason, says: &str) {
    let refused = resolve(&with("minimal", patch)).expect_err(says);
    assert_eq!(refused.reason, reason, "{}", refused.message);
    assert!(refused.message.starts_with(says), "`{}` doesn't start with `{says}`", refused.message);
}

#[test]
fn what_a_later_version_brings_is_refused_by_name() {
    for (patch, says) in [
        (json!({ "scaling": { "mode": "Auto", "auto": { "maxReplicas": 3 } } }), "spec.scaling.mode: Auto"),
        (json!({ "processing": { "guarantee": "ExactlyOnce" } }), "spec.processing.guarantee: ExactlyOnce"),
        (json!({ "kafka": { "tls": {} } }), "spec.kafka.tls"),
        (json!({ "kafka": { "sasl": { "mechanism": "PLAIN", "credentials": { "name": "x" } } } }), "spec.kafka.sasl"),
        (json!({ "kafka": { "properties": { "ssl.ca.location": "/ca" } } }), "spec.kafka.properties.ssl.ca.location"),
        (
            json!({ "rollout": { "maintenanceWindows": [{ "schedule": "0 2 * * 6", "duration": "4h" }] } }),
            "spec.rollout.maintenanceWindows",
        ),
        (json!({ "deletion": { "internalTopics": "Delete" } }), "spec.deletion.internalTopics: Delete"),
        (json!({ "deletion": { "consumerGroup": "Delete" } }), "spec.deletion.consumerGroup: Delete"),
        (json!({ "monitoring": { "podMonitor": true } }), "spec.monitoring.podMonitor"),
        (json!({ "topics": [{ "name": "t", "deletionPolicy": "Delete" }] }), "spec.topics[t].deletionPolicy: Delete"),
    ] {
        refused(patch.clone(), Reason::NotSupported, says);
        let message = resolve(&with("minimal", patch)).unwrap_err().message;
        assert!(message.ends_with(&format!("is not supported by {OPERATOR}")), "{message}");
    }
    let mut reset = manifest("minimal");
    reset["metadata"]["annotations"] = json!({ "faust.dev/reset": "2026-11-24" });
    assert_eq!(resolve(&serde_json::from_value(reset).unwrap()).unwrap_err().reason, Reason::NotSupported);
}

#[test]
fn what_another_field_sets_is_refused_with_that_field() {
    for (name, instead) in [
        ("broker", "use spec.kafka.bootstrapServers"),
        ("commit-interval", "use spec.processing.commitInterval"),
        ("standby-replicas", "use spec.standbyReplicas"),
        ("shutdown-timeout", "use spec.rollout.drainTimeout"),
        ("admin-token-file", "that server is for the operator"),
        ("config", "the operator mounts that file"),
    ] {
        refused(json!({ "settings": { name: "1" } }), Reason::InvalidSpec, &format!("spec.settings.{name}: remove it: {instead}"));
    }
    for (name, instead) in [
        ("bootstrap.servers", "use spec.kafka.bootstrapServers"),
        ("Group.Id", "use spec.appId"),
        ("client.id", "the worker sets it"),
        ("enable.auto.commit", "the worker commits"),
        ("group.instance.id", "the worker is the member"),
    ] {
        let says = format!("spec.kafka.properties.{name}: remove it: {instead}");
        refused(json!({ "kafka": { "properties": { name: "1" } } }), Reason::InvalidSpec, &says);
    }
}

#[test]
fn values_that_mean_nothing_are_refused() {
    for (patch, says) in [
        (json!({ "rollout": { "drainTimeout": "1d" } }), "spec.rollout.drainTimeout: `1d` is not a duration"),
        (json!({ "rollout": { "progressDeadline": "9999h" } }), "spec.rollout.progressDeadline: 9999h is too long"),
        (json!({ "processing": { "commitInterval": "0s" } }), "spec.processing.commitInterval: 0s is too short"),
        (json!({ "rollout": { "maxUnavailable": 0 } }), "spec.rollout.maxUnavailable: `0`"),
        (json!({ "rollout": { "maxUnavailable": "150%" } }), "spec.rollout.maxUnavailable: `150%`"),
        (json!({ "rollout": { "maxUnavailable": "two" } }), "spec.rollout.maxUnavailable: `two`"),
        (json!({ "settings": { "web-port": 0 } }), "spec.settings.web-port: `0`"),
        (json!({ "settings": { "web-port": "6067" } }), "spec.settings.web-port: `6067`"),
    ] {
        refused(patch, Reason::InvalidSpec, says);
    }
}

#[test]
fn a_pod_template_that_touches_what_is_ours_is_refused() {
    let worker = |fields: Value| {
        let mut container = json!({ "name": "worker" });
        container.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        json!({ "spec": { "containers": [container] } })
    };
    for (template, says) in [
        (json!({ "metadata": { "labels": { "faust.dev/revision": "x" } } }), "metadata.labels[faust.dev/revision]: remove it"),
        (
            json!({ "metadata": { "labels": { "app.kubernetes.io/name": "x" } } }),
            "metadata.labels[app.kubernetes.io/name]: remove it",
        ),
        (json!({ "metadata": { "annotations": { "faust.dev/restartedAt": "x" } } }), "metadata.annotations[faust.dev/restartedAt]"),
        (
            json!({ "spec": { "terminationGracePeriodSeconds": 5 } }),
            "spec.terminationGracePeriodSeconds: remove it: use spec.rollout",
        ),
        (json!({ "spec": { "serviceAccountName": "x" } }), "spec.serviceAccountName: remove it: use spec.serviceAccountName"),
        (json!({ "spec": { "restartPolicy": "Never" } }), "spec.restartPolicy: remove it"),
        (json!({ "spec": { "volumes": [{ "name": "data", "emptyDir": {} }] } }), "spec.volumes[data]: remove it"),
        (json!({ "spec": { "containers": [{ "image": "x" }] } }), "spec.containers[0]: has no name"),
        (json!({ "spec": { "nodeSelektor": { "a": "b" } } }), "spec.nodeSelektor: a pod has no such field"),
        (
            json!({ "spec": { "containers": [{ "name": "a", "env": [{ "nam": "b" }] }] } }),
            "spec.containers[0].env[0].nam: a pod has",
        ),
        (json!({ "spec": { "tolerations": [{ "key": 7 }] } }), "spec.tolerations[0].key: not what a pod has there: invalid type"),
        (json!({ "spec": { "containers": "worker" } }), "spec.containers: not what a pod has there: invalid type"),
        (worker(json!({ "command": ["sh"] })), "spec.containers[worker].command: remove it"),
        (worker(json!({ "args": ["x"] })), "spec.containers[worker].args: remove it"),
        (worker(json!({ "image": "x" })), "spec.containers[worker].image: remove it: use spec.image"),
        (worker(json!({ "ports": [{ "containerPort": 1 }] })), "spec.containers[worker].ports: remove it"),
        (worker(json!({ "livenessProbe": {} })), "spec.containers[worker].livenessProbe: remove it"),
        (worker(json!({ "env": [{ "name": "FAUST_BROKER" }] })), "spec.containers[worker].env[FAUST_BROKER]: remove it"),
        (
            worker(json!({ "volumeMounts": [{ "name": "x", "mountPath": "/var/lib/faust/sub" }] })),
            "spec.containers[worker].volumeMounts[/var/lib/faust/sub]: remove it",
        ),
    ] {
        refused(json!({ "podTemplate": template }), Reason::InvalidSpec, &format!("spec.podTemplate.{says}"));
    }
}

#[test]
fn what_is_asked_for_is_resolved() {
    let minimal = app("minimal");
    assert_eq!((minimal.app_id.as_str(), minimal.wanted(), minimal.max_unavailable), ("page-views", 2, 1));
    assert_eq!((minimal.drain_timeout, minimal.progress_deadline), (Duration::from_secs(60), Duration::from_secs(600)));
    assert!(!minimal.paused);

    let full = app("full");
    assert_eq!((full.app_id.as_str(), full.name.as_str(), full.web_port), ("page-views", "views", WEB_PORT));
    assert_eq!(full.max_unavailable, 1, "half of three, rounded down");
    assert_eq!(app_with("full", json!({ "rollout": { "maxUnavailable": "1%" } })).max_unavailable, 1, "or no roll could go on");
    assert_eq!(app_with("full", json!({ "suspend": true })).wanted(), 0);
}
