//! `FaustApp`, the custom resource: its types, their schema with what the API server checks itself, and the manifest made of them.
//!
//! Doc comments here are what `kubectl explain faustapp.spec` prints. What only the operator can check is in its own crate.

mod app;
mod duration;
mod kafka;
mod manifest;
mod pods;
mod schema;
mod status;
mod topics;

pub use app::{AutoScaling, FaustApp, FaustAppSpec, Guarantee, Monitoring, Processing, Scaling, ScalingMode};
pub use duration::parse_duration;
pub use kafka::{Kafka, Sasl, SaslMechanism, Tls};
pub use manifest::manifest;
pub use pods::{PodTemplate, PodTemplateMeta, PullPolicy, Rollout, Storage, StorageType, VolumeRetention, Window};
pub use status::{
    FaustAppStatus, Operation, OperationKind, Restore, Revision, ScalingDecision, Summary, TopicRole, TopicStatus, WorkerFacts,
};
pub use topics::{Deletion, InternalTopics, Retention, TableSpec, Topic, TopicManagement};

/// Values of open maps by name: Kafka's topic configuration, client properties, settings. Strings, or integers as people write them.
pub type Properties = std::collections::BTreeMap<String, serde_json::Value>;
