use serde_json::{Value, json};

use super::*;
use crate::golden::{self, app, app_with};

fn kept(revision: &Revision, app: &App) -> ConfigMap {
    serde_json::from_value(revision.config_map(app)).unwrap()
}

#[test]
fn the_configuration_is_as_the_contract_has_it() {
    golden::assert("contract/v1/app.yaml", &render(&app("full")).app_yaml);
}

#[test]
fn a_revision_comes_back_from_its_config_map() {
    let app = app("full");
    let revision = render(&app);
    assert_eq!(stored(&kept(&revision, &app)), Some(revision));
    assert_eq!(stored(&serde_json::from_value(objects::topics_record(&app, &Default::default())).unwrap()), None);
}

#[test]
fn what_another_operator_rendered_stays_until_the_spec_changes() {
    let app = app("minimal");
    let mut older = render(&app);
    older.name = "0123456789".into();
    older.template["spec"]["hostUsers"] = json!(false);
    let config_maps = [kept(&older, &app)];

    assert_eq!(target(&app, &config_maps, Some("0123456789")), older);
    assert_eq!(target(&app, &config_maps, None), older, "also when nobody remembers that it was the target");
    let newer = app_with("minimal", json!({ "image": "ghcr.io/acme/page-views:1.0.1" }));
    assert_eq!(target(&newer, &config_maps, Some("0123456789")), render(&newer));
    let recreated = App { uid: "another".into(), ..app };
    assert_eq!(target(&recreated, &config_maps, None), render(&recreated), "its volumes and owner are another's");
}

/// When this fails, the operator with that change rolls every application there is.
#[test]
fn inputs_are_the_same_to_every_version_of_the_operator() {
    assert_eq!(render(&app("minimal")).inputs, "66baea6c84");
    assert_eq!(render(&app("full")).inputs, "90dd101a80");
}

#[test]
fn only_what_pods_see_rolls_them() {
    let name = |patch: Value| render(&app_with("minimal", patch)).name;
    let inputs = |patch: Value| render(&app_with("minimal", patch)).inputs;
    let now = json!({});
    for same in [
        json!({ "replicas": 7 }),
        json!({ "suspend": true }),
        json!({ "rollout": { "maxUnavailable": 2, "progressDeadline": "1m" } }),
        json!({ "internalTopics": { "replicationFactor": 3 } }),
        json!({ "storage": { "size": "20Gi", "retention": { "whenDeleted": "Retain" } } }),
        json!({ "topics": [{ "name": "page_views", "partitions": 12, "config": { "retention.ms": 1000 } }] }),
    ] {
        assert_eq!((name(same.clone()), inputs(same.clone())), (name(now.clone()), inputs(now.clone())), "{same}");
    }
    for other in [
        json!({ "image": "x" }),
        json!({ "settings": { "log-level": "debug" } }),
        json!({ "standbyReplicas": 2 }),
        json!({ "kafka": { "bootstrapServers": "other:9092" } }),
        json!({ "topics": [{ "name": "page_views", "partitions": 24 }] }),
        json!({ "rollout": { "drainTimeout": "2m" } }),
        json!({ "resources": { "limits": { "memory": "1Gi" } } }),
        json!({ "podTemplate": { "metadata": { "labels": { "team": "web" } } } }),
        json!({ "storage": { "type": "Ephemeral" } }),
    ] {
        assert_ne!(name(other.clone()), name(now.clone()), "{other}");
        assert_ne!(inputs(other.clone()), inputs(now.clone()), "{other}");
    }
    let restarted = App { restarted_at: Some("2026-11-24T15:00:00Z".into()), ..app("minimal") };
    assert_ne!(target(&restarted, &[kept(&render(&app("minimal")), &restarted)], None).name, name(now));
}

#[test]
fn an_ephemeral_volume_has_a_limit() {
    let revision = render(&app_with("minimal", json!({ "storage": { "type": "Ephemeral", "size": "1Gi" } })));
    let volumes = revision.template["spec"]["volumes"].as_array().unwrap();
    assert!(volumes.contains(&json!({ "name": "data", "emptyDir": { "sizeLimit": "1Gi" } })), "{volumes:?}");
}
