//! A revision: the pod template together with the configuration file it mounts, named by what is in them.
//!
//! What was rendered once is kept, in an immutable ConfigMap, and used verbatim for as long as its inputs stay the same: an operator
//! of another version, which renders the same spec differently, must not roll a running application. The ConfigMap of the last
//! stable revision is also what a halted roll goes back to.

mod config;
mod pod;

#[cfg(test)]
mod tests;

use faust_crds::{Kafka, PodTemplate, Processing, Properties, PullPolicy, StorageType};
use k8s_openapi::api::core::v1::{ConfigMap, LocalObjectReference, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::app::App;
use crate::objects;

pub use pod::{LABEL, MOUNTS, TOKEN_KEY, VOLUMES, WORKER};

const APP_YAML: &str = "app.yaml";
const TEMPLATE: &str = "template.json";
const INPUTS: &str = "faust.dev/inputs";

#[derive(Clone, Debug, PartialEq)]
pub struct Revision {
    /// Hash of the rest, in hex; the pods' label `faust.dev/revision`.
    pub name: String,
    /// Hash of the parts of the spec that it was made from.
    pub inputs: String,
    pub app_yaml: String,
    /// A PodTemplateSpec.
    pub template: Value,
}

/// As this operator makes it.
pub fn render(app: &App) -> Revision {
    let app_yaml = config::render(app);
    // The name is in the template, by label and ConfigMap; what it is a hash of is the template without it.
    let name = hash(&json!([app_yaml, pod::template(app, "")]));
    let template = pod::template(app, &name);
    Revision { name, inputs: inputs(app), app_yaml, template }
}

/// The revision that the spec asks for: the current target, or else any that is still there, if it was made from the same inputs.
pub fn target(app: &App, config_maps: &[ConfigMap], current: Option<&str>) -> Revision {
    let inputs = inputs(app);
    let ours = |config_map: &&ConfigMap| config_map.metadata.owner_references.iter().flatten().any(|owner| owner.uid == app.uid);
    let stored = config_maps.iter().filter(ours).filter_map(stored).filter(|revision| revision.inputs == inputs);
    stored.min_by_key(|revision| (Some(revision.name.as_str()) != current, revision.name.clone())).unwrap_or_else(|| render(app))
}

/// None if this isn't the ConfigMap of a revision.
pub fn stored(config_map: &ConfigMap) -> Option<Revision> {
    let data = config_map.data.as_ref()?;
    Some(Revision {
        name: config_map.metadata.labels.as_ref()?.get(LABEL)?.clone(),
        inputs: config_map.metadata.annotations.as_ref()?.get(INPUTS)?.clone(),
        app_yaml: data.get(APP_YAML)?.clone(),
        template: serde_json::from_str(data.get(TEMPLATE)?).ok()?,
    })
}

impl Revision {
    /// Name of the ConfigMap that keeps it.
    pub fn config_map_name(&self, app: &App) -> String {
        config_map_name(app, &self.name)
    }

    /// The ConfigMap that keeps it, and that its pods mount.
    pub fn config_map(&self, app: &App) -> Value {
        let mut metadata = objects::metadata(app, &self.config_map_name(app));
        metadata["labels"][LABEL] = json!(self.name);
        metadata["annotations"] = json!({ INPUTS: self.inputs });
        let data = json!({ APP_YAML: self.app_yaml, TEMPLATE: self.template.to_string() });
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "immutable": true, "data": data })
    }
}

fn config_map_name(app: &App, revision: &str) -> String {
    format!("{}-{revision}", app.name)
}

/// What rolls the pods when it changes, and nothing else. A field that is new must leave no trace while it isn't used, or the operator
/// that brings it rolls every application.
#[derive(Serialize)]
struct Inputs<'a> {
    app_id: &'a str,
    image: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    image_pull_policy: Option<PullPolicy>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    image_pull_secrets: &'a [LocalObjectReference],
    standby_replicas: i32,
    kafka: &'a Kafka,
    topics: Vec<(&'a str, Option<i32>)>,
    tables: Vec<(&'a str, Option<i32>)>,
    processing: &'a Processing,
    /// Size of the emptyDir.
    #[serde(skip_serializing_if = "Option::is_none")]
    ephemeral: Option<&'a Quantity>,
    settings: &'a Properties,
    #[serde(skip_serializing_if = "Option::is_none")]
    resources: Option<&'a ResourceRequirements>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_account_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pod_template: Option<&'a PodTemplate>,
    drain_timeout: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    restarted_at: Option<&'a str>,
}

fn inputs(app: &App) -> String {
    let spec = &app.spec;
    hash(&Inputs {
        app_id: &app.app_id,
        image: &spec.image,
        image_pull_policy: spec.image_pull_policy,
        image_pull_secrets: &spec.image_pull_secrets,
        standby_replicas: spec.standby_replicas,
        kafka: &spec.kafka,
        topics: spec.topics.iter().map(|topic| (topic.name.as_str(), topic.partitions)).collect(),
        tables: spec.tables.iter().map(|table| (table.name.as_str(), table.standby_replicas)).collect(),
        processing: &spec.processing,
        ephemeral: (spec.storage.r#type == StorageType::Ephemeral).then_some(&spec.storage.size),
        settings: &spec.settings,
        resources: spec.resources.as_ref(),
        service_account_name: spec.service_account_name.as_deref(),
        pod_template: spec.pod_template.as_ref(),
        drain_timeout: &spec.rollout.drain_timeout,
        restarted_at: app.restarted_at.as_deref(),
    })
}

/// Forty bits are plenty for the few revisions of one application, and short enough to read out.
fn hash(of: &impl Serialize) -> String {
    let json = serde_json::to_vec(of).expect("plain data is JSON");
    Sha256::digest(json).iter().take(5).map(|byte| format!("{byte:02x}")).collect()
}
