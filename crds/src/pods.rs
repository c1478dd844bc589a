//! What a FaustApp says of its pods and their volumes.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::{api::resource::Quantity, util::intstr::IntOrString};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Retention, schema};

/// When to pull the image.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, JsonSchema)]
pub enum PullPolicy {
    Always,
    IfNotPresent,
    Never,
}

/// Where pods keep their copies of tables.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.type == oldSelf.type").message("storage.type is immutable").field_path(".type"),
    validation = Rule::new("has(self.storageClassName) == has(oldSelf.storageClassName) && (!has(self.storageClassName) || self.storageClassName == oldSelf.storageClassName)").message("storage.storageClassName is immutable"),
    validation = Rule::new("quantity(string(self.size)).compareTo(quantity(string(oldSelf.size))) >= 0").message("storage.size can't shrink").field_path(".size")
)]
pub struct Storage {
    /// Persistent: a volume for each pod. Ephemeral: an emptyDir, whose tables are rebuilt from the changelogs when the pod is replaced. Default Persistent. Immutable.
    #[serde(default)]
    pub r#type: StorageType,
    /// Size of each pod's volume, or the limit of the emptyDir. Default 10Gi. Can't shrink.
    #[schemars(schema_with = "schema::quantity")]
    #[serde(default = "ten_gibibytes")]
    pub size: Quantity,
    /// Class of the volumes. Absent: the cluster's default class. Immutable.
    #[schemars(length(max = 253))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_class_name: Option<String>,
    /// What becomes of volumes. They are copies of what the changelogs hold.
    #[serde(default)]
    pub retention: VolumeRetention,
}

impl Default for Storage {
    fn default() -> Self {
        Self {
            r#type: StorageType::default(),
            size: ten_gibibytes(),
            storage_class_name: None,
            retention: VolumeRetention::default(),
        }
    }
}

fn ten_gibibytes() -> Quantity {
    Quantity("10Gi".into())
}

/// Kind of storage.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Default, JsonSchema)]
pub enum StorageType {
    #[default]
    Persistent,
    Ephemeral,
}

/// What becomes of volumes.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct VolumeRetention {
    /// When the FaustApp is deleted. Default Delete.
    #[serde(default = "delete")]
    pub when_deleted: Retention,
    /// When the number of pods is lowered. Default Retain, so that a pod that comes back has its tables.
    #[serde(default)]
    pub when_scaled: Retention,
}

impl Default for VolumeRetention {
    fn default() -> Self {
        Self { when_deleted: Retention::Delete, when_scaled: Retention::Retain }
    }
}

fn delete() -> Retention {
    Retention::Delete
}

/// Merged over the generated pod.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct PodTemplate {
    /// Labels and annotations to add.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<PodTemplateMeta>,
    /// A partial PodSpec. The worker's container is named worker; its command, ports, probes, data volume and FAUST_ variables belong to the operator.
    #[schemars(schema_with = "schema::open_object")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spec: Option<serde_json::Value>,
}

/// Labels and annotations to add to pods.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct PodTemplateMeta {
    /// Labels to add. Those of the operator are refused.
    #[schemars(schema_with = "schema::string_map")]
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations to add.
    #[schemars(schema_with = "schema::string_map")]
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// How pods are replaced.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Rollout {
    /// Pods that may be down at a time because of the operator, as a number or as percent of replicas. Default 1. Never more than standbys cover.
    #[serde(default = "one")]
    pub max_unavailable: IntOrString,
    /// Time for a pod to finish and commit what it has in hand before it is killed. Default 60s.
    #[schemars(schema_with = "schema::duration")]
    #[serde(default = "sixty_seconds")]
    pub drain_timeout: String,
    /// Time without progress (tables restored, pods ready) after which a roll halts, the last stable template is put back, and Stalled says why. Default 10m.
    #[schemars(schema_with = "schema::duration")]
    #[serde(default = "ten_minutes")]
    pub progress_deadline: String,
    /// Pods are only replaced, and only leave by scale-in, inside one of these windows. Empty: always.
    #[x_kube(merge_strategy = ListMerge::Atomic)]
    #[schemars(length(max = 16))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub maintenance_windows: Vec<Window>,
}

impl Default for Rollout {
    fn default() -> Self {
        Self {
            max_unavailable: one(),
            drain_timeout: sixty_seconds(),
            progress_deadline: ten_minutes(),
            maintenance_windows: Vec::new(),
        }
    }
}

fn one() -> IntOrString {
    IntOrString::Int(1)
}
fn sixty_seconds() -> String {
    "60s".into()
}
fn ten_minutes() -> String {
    "10m".into()
}

/// A recurring window of time.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Window {
    /// Start, in cron syntax.
    #[schemars(length(min = 9, max = 100))]
    pub schedule: String,
    /// Length.
    #[schemars(schema_with = "schema::duration")]
    pub duration: String,
    /// Time zone by its IANA name. Absent: UTC.
    #[schemars(length(max = 64))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
}
