//! `status`: what the operator saw and does. Only values that stay the same under steady traffic: every change is a write.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the operator saw and does.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct FaustAppStatus {
    /// Generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Is it well, and if not, why and what would mend it.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    #[schemars(length(max = 16))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Pods that exist (for the scale subresource).
    #[serde(default)]
    pub replicas: i32,
    /// Pods wanted, after suspension and caps.
    #[serde(default)]
    pub desired_replicas: i32,
    /// Pods that are ready.
    #[serde(default)]
    pub ready_replicas: i32,
    /// Pods of the target revision.
    #[serde(default)]
    pub updated_replicas: i32,
    /// Label selector of the pods (for the scale subresource; an HPA refuses to work without it).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label_selector: Option<String>,
    /// Partitions of the widest group of co-partitioned topics: as many pods can be active at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partitions: Option<i32>,
    /// Revisions of the pods: each a hash of pod template and configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<Revision>,
    /// What the running workers say of themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<WorkerFacts>,
    /// Topics of the application, with the ids under which the operator created or found them.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[schemars(length(max = 512))]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub topics: Vec<TopicStatus>,
    /// State that is being restored; absent when none is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore: Option<Restore>,
    /// Last scaling decision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaling: Option<ScalingDecision>,
    /// Short texts for kubectl get.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<Summary>,
    /// Work in several steps that is under way, written before each step is taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<Operation>,
}

/// Short texts for kubectl get.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Ready / wanted.
    pub pods: String,
    /// Records not processed yet, in bands.
    pub lag: String,
}

/// Work in several steps that is under way.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Operation {
    /// What is done.
    pub kind: OperationKind,
    /// The pod that it is done to.
    pub target: String,
    /// The pod's UID before it.
    pub uid: String,
    /// Names this operation to the worker.
    pub nonce: String,
    /// When it began.
    pub started_at: Time,
}

/// Kind of work.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
pub enum OperationKind {
    /// A pod is replaced by one of the target revision.
    Replace,
    /// A pod gives its partitions away and goes.
    ScaleIn,
}

/// Revisions of the pods.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct Revision {
    /// The last one with which every pod became ready and caught up; what a halted roll goes back to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stable: Option<String>,
    /// The one that the spec asks for.
    pub target: String,
    /// One that did not come up; it is not tried again until the spec changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    /// When pods of the target last got further (one became ready, tables were restored).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progressed_at: Option<Time>,
    /// How far pods of the target got at best: 100 for each that was ready and caught up, plus the restored percent of the rest.
    #[serde(default)]
    pub progress: i32,
}

/// What the running workers say of themselves.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct WorkerFacts {
    /// Version of the library that the worker was built with.
    pub version: String,
    /// Version of the contract that it speaks.
    pub contract: String,
    /// Hash of what its code declares.
    pub topology_hash: String,
    /// Pod that leads the group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<String>,
}

/// One topic.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct TopicStatus {
    /// Name in Kafka.
    pub name: String,
    /// Kafka's topic id; a topic with another id under this name is not the one that we made.
    pub id: String,
    /// What it is for.
    pub role: TopicRole,
    /// Partitions found.
    pub partitions: i32,
    /// True when this FaustApp created it: only then may a deletion policy remove it.
    pub created: bool,
    /// What is wrong with it, or was repaired; absent when nothing is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// What a topic is for.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
pub enum TopicRole {
    Declared,
    Changelog,
    Repartition,
    Reply,
    DeadLetter,
}

/// State that is being restored.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Restore {
    /// Table partitions under way.
    pub partitions: i32,
    /// Part that is done, in steps of 5.
    pub percent: i32,
    /// When it will be done, as far as can be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done_at: Option<Time>,
}

/// Last scaling decision.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ScalingDecision {
    /// Pods decided for.
    pub replicas: i32,
    /// One word.
    pub reason: String,
    /// A sentence.
    pub message: String,
    /// When.
    pub at: Time,
}
