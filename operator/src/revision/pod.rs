//! The pods' template: one container that may do nothing but its work, and what the user adds to it.

use faust_crds::StorageType;
use k8s_openapi::DeepMerge;
use k8s_openapi::api::core::v1::{PodSpec, PodTemplateSpec};
use serde_json::{Value, json};

use crate::app::{ADMIN_PORT, App};
use crate::objects;

/// Name of the container.
pub const WORKER: &str = "worker";
/// The pods' label with the name of their revision.
pub const LABEL: &str = "faust.dev/revision";
/// Key of the Secret with the token for the workers' admin servers.
pub const TOKEN_KEY: &str = "token";

/// Where the configuration, the token, the pod's labels and the tables are.
const CONFIG: &str = "/etc/faust";
const TOKEN: &str = "/etc/faust-admin";
const POD: &str = "/etc/faust-pod";
pub const DATA: &str = "/var/lib/faust";

/// Paths and names of volumes that no podTemplate may use.
pub const MOUNTS: [&str; 4] = [CONFIG, TOKEN, POD, DATA];
pub const VOLUMES: [&str; 4] = ["config", "admin-token", "pod", "data"];

/// The user and group of images without a user of their own: nobody, by distroless custom.
const NOBODY: u32 = 65532;
/// Beyond the time that the worker gives itself.
const GRACE_MARGIN: u64 = 10;

/// A PodTemplateSpec that mounts the ConfigMap of this revision.
pub(super) fn template(app: &App, revision: &str) -> Value {
    let mut template = generated(app, revision);
    template.spec.get_or_insert_default().merge_from(app.pod.clone());
    if let Some(added) = app.spec.pod_template.as_ref().and_then(|template| template.metadata.clone()) {
        let metadata = template.metadata.get_or_insert_default();
        metadata.labels.get_or_insert_default().extend(added.labels);
        metadata.annotations.get_or_insert_default().extend(added.annotations);
    }
    serde_json::to_value(template).expect("a template is JSON")
}

fn generated(app: &App, revision: &str) -> PodTemplateSpec {
    let mut labels = objects::labels(app);
    labels[LABEL] = json!(revision);
    let mut annotations = json!({ "kubectl.kubernetes.io/default-container": WORKER });
    if let Some(at) = &app.restarted_at {
        annotations["faust.dev/restartedAt"] = json!(at);
    }
    let template = json!({ "metadata": { "labels": labels, "annotations": annotations }, "spec": pod(app, revision) });
    serde_json::from_value(template).expect("a pod template")
}

fn pod(app: &App, revision: &str) -> PodSpec {
    let spec = &app.spec;
    let mut volumes = vec![
        json!({ "name": "config", "configMap": {
            "name": super::config_map_name(app, revision),
            "items": [{ "key": super::APP_YAML, "path": super::APP_YAML }],
        } }),
        json!({ "name": "admin-token", "secret": { "secretName": objects::token_name(app), "defaultMode": 0o440 } }),
        json!({ "name": "pod", "downwardAPI": {
            "items": [{ "path": "labels", "fieldRef": { "fieldPath": "metadata.labels" } }],
        } }),
    ];
    if spec.storage.r#type == StorageType::Ephemeral {
        volumes.push(json!({ "name": "data", "emptyDir": { "sizeLimit": spec.storage.size } }));
    }
    let pod = json!({
        "automountServiceAccountToken": false,
        "serviceAccountName": spec.service_account_name,
        "imagePullSecrets": (!spec.image_pull_secrets.is_empty()).then_some(&spec.image_pull_secrets),
        "terminationGracePeriodSeconds": app.drain_timeout.as_secs_f64().ceil() as u64 + GRACE_MARGIN,
        "securityContext": {
            "runAsNonRoot": true, "runAsUser": NOBODY, "runAsGroup": NOBODY, "fsGroup": NOBODY,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": { "type": "RuntimeDefault" },
        },
        "topologySpreadConstraints": [{
            "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": { "matchLabels": objects::selector(app) },
        }],
        "containers": [worker(app)],
        "volumes": volumes,
    });
    serde_json::from_value(pod).expect("a pod")
}

fn worker(app: &App) -> Value {
    let spec = &app.spec;
    let probe = |path: &str, period: u32, failures: u32| {
        json!({
            "httpGet": { "path": path, "port": "web" },
            "periodSeconds": period, "timeoutSeconds": 5, "failureThreshold": failures,
        })
    };
    json!({
        "name": WORKER,
        "image": spec.image,
        "imagePullPolicy": spec.image_pull_policy,
        "args": ["worker"],
        "env": environment(app),
        "ports": [
            { "name": "web", "containerPort": app.web_port, "protocol": "TCP" },
            { "name": "admin", "containerPort": ADMIN_PORT, "protocol": "TCP" },
        ],
        // Before the first answer stands only the opening of the tables, but a store that was cut off is mended first.
        "startupProbe": probe("/startupz", 2, 300),
        "livenessProbe": probe("/livez", 10, 6),
        // Readiness is the worker's own judgement; a roll waits for it.
        "readinessProbe": probe("/readyz", 2, 2),
        "resources": spec.resources,
        "securityContext": {
            "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": { "drop": ["ALL"] },
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            { "name": "config", "mountPath": CONFIG, "readOnly": true },
            { "name": "admin-token", "mountPath": TOKEN, "readOnly": true },
            { "name": "pod", "mountPath": POD, "readOnly": true },
            { "name": "data", "mountPath": DATA },
        ],
    })
}

fn environment(app: &App) -> Value {
    let from = |name: &str, path: &str| json!({ "name": name, "valueFrom": { "fieldRef": { "fieldPath": path } } });
    let is = |name: &str, value: String| json!({ "name": name, "value": value });
    json!([
        is("FAUST_CONFIG", format!("{CONFIG}/{}", super::APP_YAML)),
        from("FAUST_INSTANCE_ID", "metadata.name"),
        // Kubernetes fills in variables that stand before.
        is("FAUST_ADVERTISED_ADDRESS", format!("$(FAUST_INSTANCE_ID).{}.{}.svc:{}", app.name, app.namespace, app.web_port)),
        from("FAUST_NODE", "spec.nodeName"),
        is("FAUST_WEB_HOST", "0.0.0.0".into()),
        is("FAUST_ADMIN_HOST", "0.0.0.0".into()),
        is("FAUST_ADMIN_PORT", ADMIN_PORT.to_string()),
        is("FAUST_ADMIN_TOKEN_FILE", format!("{TOKEN}/{TOKEN_KEY}")),
        is("FAUST_POD_LABELS_FILE", format!("{POD}/labels")),
    ])
}
