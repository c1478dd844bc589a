//! The resource itself: `FaustApp` and its spec.

use k8s_openapi::api::core::v1::{LocalObjectReference, ResourceRequirements};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Deletion, FaustAppStatus, InternalTopics, Kafka, PodTemplate, Properties, PullPolicy, Rollout, Storage, TableSpec, Topic,
    schema,
};

/// A stream-processing application: a worker image and what it needs to run on Kubernetes and Kafka.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "faust.dev", version = "v1alpha1", kind = "FaustApp", namespaced,
    shortname = "fa", category = "faust", status = "FaustAppStatus", derive = "PartialEq",
    doc = "FaustApp runs a stream-processing application built with Faust: its pods, volumes and Kafka topics.",
    scale(spec_replicas_path = ".spec.replicas", status_replicas_path = ".status.replicas", label_selector_path = ".status.labelSelector"),
    selectable = ".spec.kafka.bootstrapServers",
    printcolumn(name = "Ready", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].status"#),
    printcolumn(name = "Reason", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].reason"#),
    printcolumn(name = "Pods", type_ = "string", json_path = ".status.summary.pods", description = "ready / wanted"),
    printcolumn(name = "Lag", type_ = "string", json_path = ".status.summary.lag", description = "Records not processed yet, in bands; exact values are metrics"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Image", type_ = "string", json_path = ".spec.image", priority = 1),
    printcolumn(name = "Message", type_ = "string", json_path = r#".status.conditions[?(@.type=="Ready")].message"#, priority = 1),
    validation = Rule::new("self.metadata.name.size() <= 40 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')").message("metadata.name must be at most 40 characters of a-z, 0-9 and '-', starting with a letter and not ending with '-': it becomes the name of the StatefulSet, of a Service and the prefix of Kafka topics").reason(Reason::FieldValueInvalid),
    validation = Rule::new("(has(self.spec.appId) ? self.spec.appId : self.metadata.name) == (has(oldSelf.spec.appId) ? oldSelf.spec.appId : oldSelf.metadata.name)").message("spec.appId is immutable: it names the consumer group and the changelog topics; create another FaustApp instead").field_path(".spec.appId")
)]
#[x_kube(
    validation = Rule::new("!has(self.scaling) || self.scaling.mode != 'Auto' || has(self.scaling.auto)").message("scaling.auto is required when scaling.mode is Auto"),
    validation = Rule::new("!has(self.scaling) || self.scaling.mode != 'Auto' || self.storage.type == 'Persistent' || self.standbyReplicas >= 1").message("Auto scaling with ephemeral storage needs standbyReplicas of at least 1")
)]
pub struct FaustAppSpec {
    /// Name of the application in Kafka: its consumer group, and the prefix of its changelog, repartition and reply topics. Default metadata.name. Immutable.
    #[schemars(length(min = 1, max = 100), regex(pattern = r"^[a-zA-Z0-9][a-zA-Z0-9._-]*$"))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_id: Option<String>,

    /// Container image of the worker. A change rolls the pods one by one.
    #[schemars(length(min = 1, max = 512))]
    pub image: String,

    /// When to pull the image: Always, IfNotPresent or Never. Default as for any pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_pull_policy: Option<PullPolicy>,

    /// Secrets in this namespace to pull the image with.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[schemars(length(max = 8))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub image_pull_secrets: Vec<LocalObjectReference>,

    /// Wanted number of worker pods: what kubectl scale, an HPA or KEDA write. At most as many run as the widest group of co-partitioned topics has partitions; a condition says so. 0 stops the application. Default 1. Leave it out of manifests where a scaler writes it.
    #[schemars(range(min = 0, max = 1000))]
    #[serde(default = "one")]
    pub replicas: i32,

    /// Who decides the number of pods.
    #[serde(default)]
    pub scaling: Scaling,

    /// Copies of each table partition that are kept warm on other pods, besides the active one. At most replicas - 1 are placed. Default 1.
    #[schemars(range(min = 0, max = 8))]
    #[serde(default = "one")]
    pub standby_replicas: i32,

    /// How to reach Kafka.
    pub kafka: Kafka,

    /// Topics that the application reads or writes. Managed ones are created when missing; others that the code uses must exist.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[schemars(length(max = 256))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub topics: Vec<Topic>,

    /// Tables whose settings differ from the defaults. A table in the code needs no entry here; an entry that the code doesn't have is refused.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[schemars(length(max = 128))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tables: Vec<TableSpec>,

    /// Defaults of the topics that the framework itself makes: changelogs, repartition and reply topics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub internal_topics: Option<InternalTopics>,

    /// Processing guarantee and commit interval.
    #[serde(default)]
    pub processing: Processing,

    /// Where pods keep their copies of tables.
    #[serde(default)]
    pub storage: Storage,

    /// Further settings of the worker, by their names in the worker's --help. A name that the worker doesn't know is refused, with the nearest one, in status.
    #[schemars(schema_with = "schema::properties")]
    #[serde(default, skip_serializing_if = "Properties::is_empty")]
    pub settings: Properties,

    /// CPU and memory of the worker's container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,

    /// ServiceAccount of the pods, for example for a cloud identity. Its token is not mounted unless podTemplate asks for it.
    #[schemars(length(max = 253))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account_name: Option<String>,

    /// Merged over the generated pod, as a strategic merge patch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_template: Option<PodTemplate>,

    /// How pods are replaced.
    #[serde(default)]
    pub rollout: Rollout,

    /// Stop all pods and keep topics, offsets and volumes. Default false.
    #[serde(default)]
    pub suspend: bool,

    /// What becomes of things in Kafka when this FaustApp is deleted.
    #[serde(default)]
    pub deletion: Deletion,

    /// Objects for monitoring.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monitoring: Option<Monitoring>,
}

fn one() -> i32 {
    1
}

impl FaustApp {
    /// The name in Kafka: `spec.appId`, or else the resource's own name.
    pub fn app_id(&self) -> &str {
        self.spec.app_id.as_deref().or(self.metadata.name.as_deref()).unwrap_or_default()
    }
}

/// Who decides the number of pods.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct Scaling {
    /// Manual: spec.replicas is the number, whoever writes it (you, kubectl scale, an HPA, KEDA). Auto: the operator decides within scaling.auto and never writes spec.replicas. Default Manual.
    #[serde(default)]
    pub mode: ScalingMode,
    /// Bounds and goals of mode Auto.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto: Option<AutoScaling>,
}

/// Who decides the number of pods.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Default, JsonSchema)]
pub enum ScalingMode {
    #[default]
    Manual,
    Auto,
}

/// Bounds and goals of the autoscaler.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.minReplicas <= self.maxReplicas").message("minReplicas must not exceed maxReplicas").field_path(".minReplicas"))]
pub struct AutoScaling {
    /// Least number of pods. Default 1.
    #[schemars(range(min = 1, max = 1000))]
    #[serde(default = "one")]
    pub min_replicas: i32,
    /// Greatest number of pods; the partition count caps it further.
    #[schemars(range(min = 1, max = 1000))]
    pub max_replicas: i32,
    /// Percent of its capacity at which a pod should run. Default 70.
    #[schemars(range(min = 10, max = 100))]
    #[serde(default = "seventy")]
    pub target_utilization_percent: i32,
    /// Time in which a backlog is to be worked off after scaling. Default 10m.
    #[schemars(schema_with = "schema::duration")]
    #[serde(default = "ten_minutes")]
    pub catch_up: String,
}

fn seventy() -> i32 {
    70
}
fn ten_minutes() -> String {
    "10m".into()
}

/// Processing guarantee and commit interval.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct Processing {
    /// AtLeastOnce or ExactlyOnce. Default AtLeastOnce. A change rolls the pods.
    #[serde(default)]
    pub guarantee: Guarantee,
    /// Time between commits. Absent: 1s at least once, 100ms exactly once.
    #[schemars(schema_with = "schema::duration")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit_interval: Option<String>,
}

/// Processing guarantee.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Default, JsonSchema)]
pub enum Guarantee {
    #[default]
    AtLeastOnce,
    ExactlyOnce,
}

/// Objects for monitoring.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct Monitoring {
    /// Make a PodMonitor for the Prometheus operator, where that API is there. Default false.
    #[serde(default)]
    pub pod_monitor: bool,
    /// Labels of the PodMonitor.
    #[schemars(schema_with = "schema::string_map")]
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub labels: std::collections::BTreeMap<String, String>,
}
