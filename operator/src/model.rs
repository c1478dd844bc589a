//! What the operator decides with, as plain data: what was seen, and what is to be done about it.
//!
//! ```text
//! observe ──▶ Snapshot ──▶ plan ──▶ Plan ──▶ apply
//! ```
//!
//! Only `observe` reads and only `apply` writes; everything between them is values in, values out.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use faust_crds::{FaustAppStatus, TopicRole};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Everything that was seen of one application, at one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub now: Timestamp,
    /// As it was last written.
    pub status: FaustAppStatus,
    pub cluster: Cluster,
    pub kafka: Kafka,
    /// What the code of a revision declares, as one of its pods told it; by revision.
    pub topologies: BTreeMap<String, Topology>,
    /// An older FaustApp of this cluster with the same app id on the same brokers, as `namespace/name`.
    pub older_twin: Option<String>,
    /// Actions that were refused lately.
    pub refusals: Vec<Refusal>,
}

/// What the API server has of one application.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    pub stateful_set: Option<StatefulSet>,
    pub pods: Vec<Pod>,
    /// What the pods' workers answered to `/state`, by pod name. A pod that isn't here didn't answer.
    pub workers: BTreeMap<String, WorkerState>,
    pub claims: Vec<PersistentVolumeClaim>,
    /// Our ConfigMaps of this application: one for each revision, and the record of its topics.
    pub config_maps: Vec<ConfigMap>,
    /// Live objects that we apply, as JSON with managed fields, by kind and name. What isn't here doesn't exist.
    pub objects: BTreeMap<(String, String), Value>,
    /// Whether the Secret with the workers' admin token exists.
    pub has_token: bool,
    /// Whether the storage class asked for (or a default one) exists; None when that wasn't looked at.
    pub storage_class_exists: Option<bool>,
}

/// What Kafka says.
#[derive(Clone, Debug)]
pub enum Kafka {
    Seen(KafkaFacts),
    /// It couldn't be asked.
    Unknown {
        refused: bool,
        message: String,
    },
}

#[derive(Clone, Debug, Default)]
pub struct KafkaFacts {
    /// Topics that exist, of those that were asked for.
    pub topics: BTreeMap<String, TopicFacts>,
    /// Instance ids (else member ids with host) of the group's members.
    pub members: Vec<Member>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicFacts {
    /// Kafka's id of the topic in base64url, as Kafka's own tools print it.
    pub id: String,
    pub partitions: u32,
    /// Values in effect of the keys that we watch.
    pub config: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub id: String,
    pub instance_id: Option<String>,
    pub host: String,
}

/// `/topology` of a worker (contract, version 1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topology {
    pub contract: u32,
    pub worker: String,
    pub app: String,
    pub hash: String,
    #[serde(default)]
    pub topics: Vec<CodeTopic>,
    #[serde(default)]
    pub tables: Vec<CodeTable>,
    #[serde(default)]
    pub groups: Vec<CodeGroup>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodeTopic {
    pub name: String,
    pub role: CodeRole,
    #[serde(default)]
    pub partitions: Partitions,
    #[serde(default)]
    pub config: BTreeMap<String, String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CodeRole {
    Source,
    Sink,
    Inbox,
    Changelog,
    Repartition,
    Reply,
    Deadletter,
}

/// How many partitions a topic of the code has: a number, `"source:<topic>"`, or nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Partitions {
    Exactly(u32),
    /// `source:<topic>`: as many as that topic.
    As(String),
    #[default]
    Whatever,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodeTable {
    pub name: String,
    pub changelog: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CodeGroup {
    pub topics: Vec<String>,
    #[serde(default)]
    pub tables: Vec<String>,
    #[serde(default)]
    pub agents: Vec<String>,
}

/// `/state` of a worker (contract, version 1): the part that the operator relies on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkerState {
    pub contract: u32,
    pub version: String,
    pub topology_hash: String,
    #[serde(default)]
    pub features: Vec<String>,
    #[serde(default)]
    pub leader: bool,
    #[serde(default)]
    pub ready: bool,
    pub reason: Option<String>,
    pub waiting: Option<String>,
    #[serde(default)]
    pub caught_up: bool,
    pub draining: Option<Draining>,
    pub lag: Option<u64>,
    pub restore: Option<WorkerRestore>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Draining {
    Draining,
    Drained,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkerRestore {
    pub partitions: u32,
    pub records: u64,
    pub remaining: u64,
    pub eta_seconds: Option<u64>,
}

/// What is to be done, the status to write before it, and when to look again.
#[derive(Clone, Debug)]
pub struct Plan {
    pub status: FaustAppStatus,
    /// In this order, each after the one before has succeeded.
    pub actions: Vec<Action>,
    /// The record of the topics that are there; what an action creates is added to it.
    pub record: BTreeMap<String, String>,
    pub events: Vec<Event>,
    pub again: Duration,
}

/// An action that was refused, in the words of who refused it. The same one isn't tried again before its time.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    pub action: Action,
    pub message: String,
    pub again: Timestamp,
}

/// One write.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    CreateTopics(Vec<NewTopic>),
    /// Sets these keys of a topic's configuration and leaves all others alone.
    ConfigureTopic {
        topic: String,
        set: BTreeMap<String, String>,
    },
    /// Server-side apply of a whole object.
    Apply(Box<Value>),
    /// The Secret with the workers' admin token; its content is made where it is written.
    CreateToken(Box<Value>),
    DeleteConfigMap {
        name: String,
        uid: String,
    },
    DeletePod {
        name: String,
        uid: String,
        why: String,
    },
    /// Asks a pod's worker to give its partitions away.
    Drain {
        pod: String,
        nonce: String,
    },
    /// Removes a static member that is left in the group after its pod.
    RemoveMember {
        instance_id: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTopic {
    pub name: String,
    pub role: TopicRole,
    /// None: the broker's default.
    pub partitions: Option<u32>,
    pub replication_factor: Option<u16>,
    pub config: BTreeMap<String, String>,
}

/// Something to tell people once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub warning: bool,
    pub reason: Reason,
    pub message: String,
}

/// What one part of the plan comes to: a condition, whether it keeps going, and whether only the user can help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// None: unknown.
    pub holds: Option<bool>,
    pub reason: Reason,
    pub message: String,
    /// Work towards the spec is going on.
    pub reconciling: bool,
    /// Nothing gets better until somebody changes something.
    pub stalled: bool,
    /// When to look again if nothing else happens.
    pub again: Duration,
}

impl Verdict {
    /// All is as wanted.
    pub fn holds(reason: Reason, message: impl Into<String>) -> Self {
        Self { holds: Some(true), reason, message: message.into(), reconciling: false, stalled: false, again: STEADY }
    }

    /// Not yet, and work goes on.
    pub fn working(reason: Reason, message: impl Into<String>) -> Self {
        Self { holds: Some(false), reason, message: message.into(), reconciling: true, stalled: false, again: BUSY }
    }

    /// Not, and waiting for something outside: it is looked at again after a while.
    pub fn waiting(reason: Reason, message: impl Into<String>, again: Duration) -> Self {
        Self { holds: Some(false), reason, message: message.into(), reconciling: false, stalled: false, again }
    }

    /// Not, until the user changes something.
    pub fn stalled(reason: Reason, message: impl Into<String>) -> Self {
        Self { holds: Some(false), reason, message: message.into(), reconciling: false, stalled: true, again: STEADY }
    }

    /// It can't be told.
    pub fn unknown(reason: Reason, message: impl Into<String>, again: Duration) -> Self {
        Self { holds: None, reason, message: message.into(), reconciling: false, stalled: false, again }
    }
}

/// Between two looks while something is going on, and while nothing is.
pub const BUSY: Duration = Duration::from_secs(1);
pub const STEADY: Duration = Duration::from_secs(10);

/// The one word of a condition or an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub enum Reason {
    AsWanted,
    CappedByPartitions,
    CrashLooping,
    GroupInUse,
    ImagePullFailed,
    InvalidSpec,
    KafkaAuthFailed,
    KafkaUnreachable,
    ModeNotSupported,
    NameTaken,
    NotEnoughPods,
    NotSupported,
    PartitionMismatch,
    Paused,
    PodReplaced,
    PodStarting,
    Restoring,
    RolloutFinished,
    RolloutHalted,
    RollingOut,
    Scaled,
    Scaling,
    StorageClassNotFound,
    StorageNotReady,
    Suspended,
    TopicConfigured,
    TopicCreated,
    TopicMissing,
    TopicRefused,
    TopicReplaced,
    TopicsPending,
    TopologyMismatch,
    Unschedulable,
    Warming,
    WorkerNotReady,
    WorkerRefused,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_worker_of_the_last_release_says_of_itself_is_read() {
        let state: WorkerState = serde_json::from_str(include_str!("../../worker/contract/v1/state.json")).unwrap();
        assert_eq!((state.contract, state.ready, state.caught_up), (1, true, true));
        assert!(state.features.iter().any(|feature| feature == "drain-leave") && state.draining.is_none());
    }
}
