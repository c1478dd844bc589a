//! `spec.podTemplate`: what may be merged over the generated pod. What is ours is refused, each with a sentence.

use faust_crds::{PodTemplate, PodTemplateMeta};
use k8s_openapi::api::core::v1::{Container, PodSpec};
use serde_json::Value;

use super::Refused;
use crate::revision::{MOUNTS, VOLUMES, WORKER};

const AT: &str = "spec.podTemplate";

/// The partial pod, typed.
pub(super) fn check(template: Option<&PodTemplate>) -> Result<PodSpec, Refused> {
    let Some(template) = template else { return Ok(PodSpec::default()) };
    if let Some(metadata) = &template.metadata {
        names_are_free(metadata)?;
    }
    let Some(given) = &template.spec else { return Ok(PodSpec::default()) };
    let pod: PodSpec = serde_path_to_error::deserialize(given).map_err(|error| {
        let at = match error.path().to_string() {
            path if path == "." => String::new(),
            path => format!(".{path}"),
        };
        Refused::invalid(format!("{AT}.spec{at}: not what a pod has there: {}", error.inner()))
    })?;
    if let Some(path) = serde_json::to_value(&pod).ok().and_then(|kept| unknown(given, &kept)) {
        return Err(Refused::invalid(format!("{AT}.spec{path}: a pod has no such field; remove it or mend its name")));
    }
    pod_fields_are_free(&pod)?;
    for (n, container) in pod.containers.iter().enumerate() {
        if container.name.is_empty() {
            return Err(Refused::invalid(format!(
                "{AT}.spec.containers[{n}]: has no name; the worker's container is named {WORKER}, any other is added"
            )));
        }
        if container.name == WORKER {
            worker_is_ours(container)?;
        }
    }
    Ok(pod)
}

fn refuse(path: &str, instead: &str) -> Refused {
    Refused::invalid(format!("{AT}.{path}: remove it: {instead}"))
}

fn names_are_free(metadata: &PodTemplateMeta) -> Result<(), Refused> {
    let ours = |name: &str| {
        name.starts_with("faust.dev/")
            || ["app.kubernetes.io/name", "app.kubernetes.io/instance", "app.kubernetes.io/managed-by"].contains(&name)
    };
    for (kind, names) in [("labels", &metadata.labels), ("annotations", &metadata.annotations)] {
        if let Some(name) = names.keys().find(|name| ours(name)) {
            return Err(refuse(&format!("metadata.{kind}[{name}]"), "the operator finds its pods by it"));
        }
    }
    Ok(())
}

fn pod_fields_are_free(pod: &PodSpec) -> Result<(), Refused> {
    let of_the_set = "the StatefulSet sets it";
    for (field, given, instead) in [
        ("terminationGracePeriodSeconds", pod.termination_grace_period_seconds.is_some(), "use spec.rollout.drainTimeout"),
        ("serviceAccountName", pod.service_account_name.is_some(), "use spec.serviceAccountName"),
        ("serviceAccount", pod.service_account.is_some(), "use spec.serviceAccountName"),
        ("restartPolicy", pod.restart_policy.is_some(), of_the_set),
        ("hostname", pod.hostname.is_some(), of_the_set),
        ("subdomain", pod.subdomain.is_some(), of_the_set),
        ("nodeName", pod.node_name.is_some(), "all pods would run on that node; use nodeSelector or affinity"),
    ] {
        if given {
            return Err(refuse(&format!("spec.{field}"), instead));
        }
    }
    for volume in pod.volumes.iter().flatten() {
        if VOLUMES.contains(&volume.name.as_str()) {
            return Err(refuse(&format!("spec.volumes[{}]", volume.name), "the operator has a volume of this name; use another"));
        }
    }
    Ok(())
}

fn worker_is_ours(worker: &Container) -> Result<(), Refused> {
    let probe = "the operator knows what the worker's server answers";
    for (field, given, instead) in [
        ("command", worker.command.is_some(), "the image's entrypoint is the program"),
        ("args", worker.args.is_some(), "use spec.settings"),
        ("image", worker.image.is_some(), "use spec.image"),
        ("imagePullPolicy", worker.image_pull_policy.is_some(), "use spec.imagePullPolicy"),
        ("ports", worker.ports.is_some(), "use spec.settings.web-port"),
        ("startupProbe", worker.startup_probe.is_some(), probe),
        ("livenessProbe", worker.liveness_probe.is_some(), probe),
        ("readinessProbe", worker.readiness_probe.is_some(), probe),
        ("terminationMessagePath", worker.termination_message_path.is_some(), "the worker writes its last words there"),
        ("terminationMessagePolicy", worker.termination_message_policy.is_some(), "the operator reads the worker's last words"),
    ] {
        if given {
            return Err(refuse(&format!("spec.containers[{WORKER}].{field}"), instead));
        }
    }
    for variable in worker.env.iter().flatten() {
        if variable.name.starts_with("FAUST_") {
            return Err(refuse(&format!("spec.containers[{WORKER}].env[{}]", variable.name), "use spec.settings"));
        }
    }
    for mount in worker.volume_mounts.iter().flatten() {
        if MOUNTS.iter().any(|ours| is_within(&mount.mount_path, ours)) {
            let path = format!("spec.containers[{WORKER}].volumeMounts[{}]", mount.mount_path);
            return Err(refuse(&path, "the operator mounts something there; use another path"));
        }
    }
    Ok(())
}

fn is_within(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The first field of `given` that reading it as a pod lost.
fn unknown(given: &Value, kept: &Value) -> Option<String> {
    match (given, kept) {
        (Value::Object(given), Value::Object(kept)) => {
            given.iter().filter(|(_, value)| !value.is_null()).find_map(|(name, value)| {
                let below = kept.get(name).map_or(Some(String::new()), |kept| unknown(value, kept))?;
                Some(format!(".{name}{below}"))
            })
        }
        (Value::Array(given), Value::Array(kept)) => given
            .iter()
            .zip(kept)
            .enumerate()
            .find_map(|(n, (given, kept))| unknown(given, kept).map(|below| format!("[{n}]{below}"))),
        _ => None,
    }
}
