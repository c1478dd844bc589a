//! `spec.topics`, `spec.tables` and what becomes of things in Kafka.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Properties, schema};

/// One topic that the application reads or writes.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.partitions) || !has(oldSelf.partitions) || self.partitions >= oldSelf.partitions").message("partitions can't shrink: Kafka can't take partitions away from a topic").field_path(".partitions"),
    validation = Rule::new("self.management == 'Managed' || !has(self.replicationFactor) && !has(self.config)").message("replicationFactor and config can only be set when management is Managed")
)]
pub struct Topic {
    /// Name in Kafka.
    #[schemars(length(min = 1, max = 249), regex(pattern = r"^[a-zA-Z0-9._-]+$"))]
    pub name: String,
    /// Managed: created when missing, drift of config repaired. External: only checked. Default Managed.
    #[serde(default)]
    pub management: TopicManagement,
    /// Number of partitions. Managed: at creation, and what is expected afterwards. External: what is expected. Absent: whatever is there, and the broker's default at creation.
    #[schemars(range(min = 1, max = 10000))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partitions: Option<i32>,
    /// Copies in Kafka, at creation. Absent: the broker's default.
    #[schemars(range(min = 1, max = 16))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replication_factor: Option<i32>,
    /// Topic configuration by Kafka's names, for example retention.ms. Only the listed keys are set and watched.
    #[schemars(schema_with = "schema::properties")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<Properties>,
    /// What becomes of the topic when the FaustApp is deleted. Delete acts only on topics that this FaustApp created. Default Retain.
    #[serde(default)]
    pub deletion_policy: Retention,
}

/// Who looks after a topic.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Default, JsonSchema)]
pub enum TopicManagement {
    #[default]
    Managed,
    External,
}

/// Keep it or delete it.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Default, JsonSchema)]
pub enum Retention {
    #[default]
    Retain,
    Delete,
}

/// Settings of one table that differ from the defaults.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct TableSpec {
    /// Name in the code.
    #[schemars(length(min = 1, max = 128), regex(pattern = r"^[a-zA-Z0-9._-]+$"))]
    pub name: String,
    /// Overrides spec.standbyReplicas for this table.
    #[schemars(range(min = 0, max = 8))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standby_replicas: Option<i32>,
    /// Overrides spec.internalTopics for this table's changelog.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changelog: Option<InternalTopics>,
}

/// Settings of topics that the framework makes: names, partitions and cleanup policy come from the code.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct InternalTopics {
    /// Copies in Kafka, at creation. Absent: the broker's default.
    #[schemars(range(min = 1, max = 16))]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replication_factor: Option<i32>,
    /// Topic configuration by Kafka's names.
    #[schemars(schema_with = "schema::properties")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<Properties>,
}

/// What becomes of things in Kafka when the FaustApp is deleted.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct Deletion {
    /// Changelog, repartition and reply topics. Default Retain.
    #[serde(default)]
    pub internal_topics: Retention,
    /// The consumer group with its offsets. Default Retain.
    #[serde(default)]
    pub consumer_group: Retention,
}
