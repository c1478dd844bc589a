//! The definition judged by a real API server: what it makes of a manifest, what it refuses and in which words.

use std::io;

use faust_testbed::{ApiServer, unique};
use serde_json::{Value, json};

/// The name of a new namespace on a server that knows the definition.
fn namespace() -> (&'static ApiServer, String) {
    let (server, name) = (ApiServer::shared(), unique("crd"));
    server.kubectl_with_input(["apply", "--server-side", "-f", "-"], &faust_crds::manifest()).unwrap();
    server.kubectl(["wait", "--for=condition=Established", "crd/faustapps.faust.dev", "--timeout=60s"]).unwrap();
    server.kubectl(["create", "namespace", &name]).unwrap();
    (server, name)
}

/// The shortest manifest, with `patch` merged into it.
fn manifest(patch: Value) -> Value {
    let mut manifest = json!({
        "apiVersion": "faust.dev/v1alpha1", "kind": "FaustApp", "metadata": { "name": "page-views" },
        "spec": { "image": "ghcr.io/acme/page-views:1", "kafka": { "bootstrapServers": "kafka:9092" } },
    });
    merge(&mut manifest, patch);
    manifest
}

fn merge(into: &mut Value, patch: Value) {
    match (into, patch) {
        (Value::Object(into), Value::Object(patch)) => {
            patch.into_iter().for_each(|(name, value)| merge(into.entry(name).or_insert(Value::Null), value));
        }
        (into, patch) => *into = patch,
    }
}

fn create(server: &ApiServer, namespace: &str, manifest: &Value, dry_run: bool) -> io::Result<Value> {
    let dry_run = if dry_run { "--dry-run=server" } else { "--dry-run=none" };
    let output = server.kubectl_with_input(["create", "-n", namespace, dry_run, "-o", "json", "-f", "-"], &manifest.to_string())?;
    Ok(serde_json::from_slice(&output.stdout).expect("JSON was asked for"))
}

#[test]
fn the_shortest_manifest_gets_its_defaults_on_apiserver() {
    let (server, namespace) = namespace();
    let patch = json!({ "spec": { "topics": [{ "name": "page_views" }], "rollout": { "maxUnavailable": "50%" } } });
    let made = create(server, &namespace, &manifest(patch), true).unwrap();
    let expected = json!({
        "image": "ghcr.io/acme/page-views:1",
        "kafka": { "bootstrapServers": "kafka:9092" },
        "replicas": 1,
        "standbyReplicas": 1,
        "scaling": { "mode": "Manual" },
        "processing": { "guarantee": "AtLeastOnce" },
        "storage": { "type": "Persistent", "size": "10Gi", "retention": { "whenDeleted": "Delete", "whenScaled": "Retain" } },
        "rollout": { "maxUnavailable": "50%", "drainTimeout": "60s", "progressDeadline": "10m" },
        "deletion": { "internalTopics": "Retain", "consumerGroup": "Retain" },
        "suspend": false,
        "topics": [{ "name": "page_views", "management": "Managed", "deletionPolicy": "Retain" }],
    });
    assert_eq!(made["spec"], expected);
}

#[test]
fn a_manifest_is_taken_or_refused_with_a_sentence_on_apiserver() {
    let (server, namespace) = namespace();
    let topic = |topic: Value| json!({ "spec": { "topics": [topic] } });
    let auto = |auto: Value| json!({ "spec": { "scaling": { "mode": "Auto", "auto": auto } } });
    let cases = [
        ("nothing more", json!({}), ""),
        (
            "a long retention",
            topic(json!({ "name": "t", "config": { "retention.ms": 31_536_000_000_i64, "cleanup.policy": "delete" } })),
            "",
        ),
        ("no replicas", json!({ "spec": { "replicas": 0 } }), ""),
        ("null for absent", json!({ "spec": { "appId": null, "resources": null } }), ""),
        ("a partial pod", json!({ "spec": { "podTemplate": { "spec": { "nodeSelector": { "disk": "nvme" } } } } }), ""),
        (
            "what a later step brings",
            json!({ "spec": { "processing": { "guarantee": "ExactlyOnce" }, "monitoring": { "podMonitor": true } } }),
            "",
        ),
        ("Auto with bounds", auto(json!({ "minReplicas": 2, "maxReplicas": 12 })), ""),
        ("a name with capitals", json!({ "metadata": { "name": "page.views" } }), "at most 40 characters of a-z, 0-9 and '-'"),
        ("a long name", json!({ "metadata": { "name": "a".repeat(41) } }), "at most 40 characters"),
        ("no image", json!({ "spec": { "image": null } }), "spec.image"),
        ("an empty image", json!({ "spec": { "image": "" } }), "spec.image"),
        ("no brokers", json!({ "spec": { "kafka": { "bootstrapServers": "" } } }), "bootstrapServers"),
        ("a broker without port", json!({ "spec": { "kafka": { "bootstrapServers": "kafka" } } }), "bootstrapServers"),
        (
            "a broker with a scheme",
            json!({ "spec": { "kafka": { "bootstrapServers": "PLAINTEXT://kafka:9092" } } }),
            "bootstrapServers",
        ),
        ("too many replicas", json!({ "spec": { "replicas": 1001 } }), "less than or equal to 1000"),
        ("replicas as text", json!({ "spec": { "replicas": "two" } }), "spec.replicas"),
        ("an unknown field", json!({ "spec": { "replica": 2 } }), "unknown field \"spec.replica\""),
        (
            "an unknown guarantee",
            json!({ "spec": { "processing": { "guarantee": "AtMostOnce" } } }),
            "supported values: \"AtLeastOnce\", \"ExactlyOnce\"",
        ),
        ("a duration in words", json!({ "spec": { "rollout": { "drainTimeout": "a minute" } } }), "spec.rollout.drainTimeout"),
        ("a size without meaning", json!({ "spec": { "storage": { "size": "big" } } }), "spec.storage.size"),
        ("a topic without partitions", topic(json!({ "name": "t", "partitions": 0 })), "greater than or equal to 1"),
        ("a topic with a space", topic(json!({ "name": "page views" })), "spec.topics[0].name"),
        ("a topic twice", json!({ "spec": { "topics": [{ "name": "t" }, { "name": "t" }] } }), "Duplicate value"),
        (
            "an External topic with config",
            topic(json!({ "name": "t", "management": "External", "config": { "a": "b" } })),
            "only be set when management is Managed",
        ),
        (
            "Auto without bounds",
            json!({ "spec": { "scaling": { "mode": "Auto" } } }),
            "scaling.auto is required when scaling.mode is Auto",
        ),
        ("bounds that cross", auto(json!({ "minReplicas": 3, "maxReplicas": 2 })), "minReplicas must not exceed maxReplicas"),
        (
            "two authorities",
            json!({ "spec": { "kafka": { "tls": { "caSecret": { "name": "a", "key": "b" }, "caConfigMap": { "name": "a", "key": "b" } } } } }),
            "set only one of caSecret and caConfigMap",
        ),
        (
            "Auto on sand",
            json!({ "spec": { "standbyReplicas": 0, "storage": { "type": "Ephemeral" }, "scaling": { "mode": "Auto", "auto": { "maxReplicas": 2 } } } }),
            "needs standbyReplicas of at least 1",
        ),
    ];
    for (case, patch, refusal) in cases {
        match (create(server, &namespace, &manifest(patch), true), refusal) {
            (Ok(_), "") => {}
            (Err(error), refusal) if !refusal.is_empty() => assert!(error.to_string().contains(refusal), "{case}: {error}"),
            (Ok(_), refusal) => panic!("{case} is taken, and should be refused: {refusal}"),
            (Err(error), _) => panic!("{case}: {error}"),
        }
    }
}

#[test]
fn what_must_not_change_does_not_on_apiserver() {
    let (server, namespace) = namespace();
    let topics = json!([{ "name": "t", "partitions": 4 }]);
    create(server, &namespace, &manifest(json!({ "spec": { "topics": topics, "storage": { "size": "10Gi" } } })), false).unwrap();
    let cases = [
        ("the same app id, written out", json!({ "appId": "page-views" }), ""),
        ("more partitions", json!({ "topics": [{ "name": "t", "partitions": 8 }] }), ""),
        ("a size written differently", json!({ "storage": { "size": "10240Mi" } }), ""),
        ("a greater size", json!({ "storage": { "size": "20Gi" } }), ""),
        ("another image", json!({ "image": "ghcr.io/acme/page-views:2" }), ""),
        ("another app id", json!({ "appId": "views" }), "spec.appId is immutable"),
        ("fewer partitions", json!({ "topics": [{ "name": "t", "partitions": 2 }] }), "partitions can't shrink"),
        ("a smaller size", json!({ "storage": { "size": "5Gi" } }), "storage.size can't shrink"),
        ("another kind of storage", json!({ "storage": { "type": "Ephemeral" } }), "storage.type is immutable"),
        ("a class where none was", json!({ "storage": { "storageClassName": "fast" } }), "storage.storageClassName is immutable"),
    ];
    for (case, spec, refusal) in cases {
        let patch = json!({ "spec": spec }).to_string();
        let patched =
            server.kubectl(["patch", "faustapp/page-views", "-n", &namespace, "--type=merge", "--dry-run=server", "-p", &patch]);
        match (patched, refusal) {
            (Ok(_), "") => {}
            (Err(error), refusal) if !refusal.is_empty() => assert!(error.to_string().contains(refusal), "{case}: {error}"),
            (Ok(_), refusal) => panic!("{case} is taken, and should be refused: {refusal}"),
            (Err(error), _) => panic!("{case}: {error}"),
        }
    }
}

#[test]
fn scale_explain_and_columns_work_as_kubectl_users_expect_on_apiserver() {
    let (server, namespace) = namespace();
    let said = |arguments: &[&str]| String::from_utf8(server.kubectl(arguments).unwrap().stdout).unwrap();
    create(server, &namespace, &manifest(json!({})), false).unwrap();
    said(&["scale", "faustapp/page-views", "-n", &namespace, "--replicas=3"]);
    assert_eq!(said(&["get", "fa", "page-views", "-n", &namespace, "-o", "jsonpath={.spec.replicas}"]), "3");
    assert!(said(&["get", "faust", "-n", &namespace]).contains("page-views"), "found by its category");

    let status = json!({ "status": {
        "summary": { "pods": "2/3", "lag": "<10k" },
        "conditions": [{ "type": "Ready", "status": "False", "reason": "Restoring", "message": "page-views-1 restores its tables",
                         "lastTransitionTime": "2026-11-24T15:00:00Z", "observedGeneration": 1 }],
    } });
    said(&["patch", "fa", "page-views", "-n", &namespace, "--subresource=status", "--type=merge", "-p", &status.to_string()]);
    let table = said(&["get", "fa", "-n", &namespace, "-o", "wide"]);
    let (head, row) = table.split_once('\n').unwrap();
    assert_eq!(head.split_whitespace().collect::<Vec<_>>(), ["NAME", "READY", "REASON", "PODS", "LAG", "AGE", "IMAGE", "MESSAGE"]);
    assert!(
        ["False", "Restoring", "2/3", "<10k", "page-views-1 restores its tables"].iter().all(|text| row.contains(text)),
        "{row}"
    );

    let explained = said(&["explain", "faustapp.spec"]);
    let lines: Vec<&str> = explained.lines().collect();
    let is_field = |line: &str| line.starts_with("  ") && !line.starts_with("   ") && line.contains('<');
    let fields: Vec<_> = lines.windows(2).filter(|pair| is_field(pair[0])).collect();
    let undescribed: Vec<_> = fields.iter().filter(|pair| pair[1].trim().is_empty()).map(|pair| pair[0]).collect();
    assert!(fields.len() > 15 && undescribed.is_empty(), "{undescribed:?}\n{explained}");
}
