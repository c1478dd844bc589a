//! The objects of one application besides its revisions' ConfigMaps, whole, as they are handed to server-side apply.

use std::collections::BTreeMap;

use faust_crds::StorageType;
use k8s_openapi::api::apps::v1::StatefulSet;
use serde_json::{Value, json};

use crate::app::App;
use crate::revision::Revision;

/// Whom the API server has down as the one who applied our fields.
pub const MANAGER: &str = "faust-operator";

/// Name of the claim template; a pod's claim is `data-<pod>`.
pub const CLAIM: &str = "data";

/// The pods' names, ready or not: a worker asks others for rows, and the operator asks all of them.
pub fn service(app: &App) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": metadata(app, &app.name),
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": true,
            "selector": selector(app),
            "ports": [{ "name": "web", "port": app.web_port, "targetPort": "web", "protocol": "TCP" }],
        },
    })
}

/// The pods. What Kubernetes doesn't let change is taken from the live one, if there is one.
pub fn stateful_set(app: &App, revision: &Revision, replicas: u32, live: Option<&StatefulSet>) -> Value {
    let retention = &app.spec.storage.retention;
    let claims = live.and_then(|live| live.spec.as_ref()).and_then(|spec| spec.volume_claim_templates.as_ref());
    json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": metadata(app, &app.name),
        "spec": {
            "serviceName": app.name,
            "replicas": replicas,
            "podManagementPolicy": "Parallel",
            "updateStrategy": { "type": "OnDelete" },
            "revisionHistoryLimit": 2,
            "selector": { "matchLabels": selector(app) },
            "persistentVolumeClaimRetentionPolicy": {
                "whenDeleted": retention.when_deleted, "whenScaled": retention.when_scaled,
            },
            "template": revision.template,
            "volumeClaimTemplates": claims.map_or_else(|| claim_templates(app), |claims| json!(claims)),
        },
    })
}

/// One pod at a time may be evicted, and one that isn't ready always: it would block the drain of its node for good.
pub fn disruption_budget(app: &App) -> Value {
    json!({
        "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": metadata(app, &app.name),
        "spec": {
            "maxUnavailable": 1,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": { "matchLabels": selector(app) },
        },
    })
}

/// The Secret with the token for the workers' admin servers, without the token.
pub fn token_secret(app: &App) -> Value {
    json!({ "apiVersion": "v1", "kind": "Secret", "metadata": metadata(app, &token_name(app)), "type": "Opaque" })
}

pub fn token_name(app: &App) -> String {
    format!("{}-operator", app.name)
}

/// The ConfigMap with the record of topics.
pub fn topics_record(app: &App, data: &BTreeMap<String, String>) -> Value {
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata(app, &topics_record_name(app)), "data": data })
}

pub fn topics_record_name(app: &App) -> String {
    format!("{}-topics", app.name)
}

/// Belongs to the FaustApp: it goes when that goes, and not before the API server has seen to it.
pub fn metadata(app: &App, name: &str) -> Value {
    json!({
        "name": name,
        "namespace": app.namespace,
        "labels": labels(app),
        "ownerReferences": [{
            "apiVersion": "faust.dev/v1alpha1", "kind": "FaustApp", "name": app.name, "uid": app.uid,
            "controller": true, "blockOwnerDeletion": true,
        }],
    })
}

/// Whether a live object belongs to this FaustApp, or to nobody any more and was made for one of its name.
pub fn is_ours(app: &App, live: &Value) -> bool {
    let owners = live["metadata"]["ownerReferences"].as_array();
    let controller = owners.and_then(|owners| owners.iter().find(|owner| owner["controller"] == json!(true)));
    match controller {
        Some(owner) => owner["uid"] == json!(app.uid),
        None => app.labels().iter().all(|(name, value)| live["metadata"]["labels"][name] == json!(value)),
    }
}

pub fn labels(app: &App) -> Value {
    app.labels().into_iter().map(|(name, value)| (name.to_string(), json!(value))).collect()
}

/// `App::selector`, as the API has it.
pub fn selector(app: &App) -> Value {
    json!({ "app.kubernetes.io/name": "faustapp", "app.kubernetes.io/instance": app.name })
}

fn claim_templates(app: &App) -> Value {
    let storage = &app.spec.storage;
    if storage.r#type == StorageType::Ephemeral {
        return json!([]);
    }
    let mut spec = json!({ "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": storage.size } } });
    if let Some(class) = &storage.storage_class_name {
        spec["storageClassName"] = json!(class);
    }
    json!([{
        "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": { "name": CLAIM, "labels": labels(app) },
        "spec": spec,
    }])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden;
    use crate::revision::render;

    #[test]
    fn stateful_sets_are_rendered_as_ever() {
        for name in ["minimal", "full"] {
            let app = golden::app(name);
            let set = stateful_set(&app, &render(&app), app.wanted(), None);
            golden::assert(&format!("goldens/{name}.statefulset.yaml"), &serde_yaml::to_string(&set).unwrap());
            serde_json::from_value::<StatefulSet>(set).unwrap();
        }
    }

    #[test]
    fn claim_templates_stay_as_they_were_made() {
        let app = golden::app("minimal");
        let made = stateful_set(&app, &render(&app), 2, None);
        let live: StatefulSet = serde_json::from_value(made.clone()).unwrap();
        let grown = golden::app_with("minimal", json!({ "storage": { "size": "20Gi" } }));
        let set = stateful_set(&grown, &render(&grown), 2, Some(&live));
        assert_eq!(set["spec"]["volumeClaimTemplates"], made["spec"]["volumeClaimTemplates"]);
    }
}
