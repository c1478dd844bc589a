//! A real Kafka and a real Kubernetes API server on this machine, for tests and for trying things out.
//!
//! A test that hurts its broker (kills, pauses, restarts it) or needs settings of its own starts one: [`Kafka::start`]. It ends
//! with the value, and with the test's process however that ends; [`KafkaCluster`] is three of them. All other tests use the broker that `make kafka` started,
//! [`shared`], each with its own names: [`unique`].
//!
//! Tests of what Kubernetes makes of an object share an API server per process, [`ApiServer::shared`], each with namespaces of
//! its own, or start one: [`ApiServer::start`].
//!
//! Tests of everything together run on the cluster that `make cluster` started: [`Cluster::find`].
//!
//! Everything here blocks the calling thread and uses nothing of ours but the kernel, Kafka and Kubernetes themselves.

mod admin;
mod apiserver;
pub mod audit;
mod broker;
mod cluster;
mod folder;
mod install;
mod kafka;
mod kafka_cluster;
mod kubectl;
mod node;
mod port;
mod process;
mod secured;
mod shared;
mod wait;

pub use admin::Partition;
pub use apiserver::ApiServer;
pub use broker::Broker;
pub use cluster::{Cluster, Restricted};
pub use install::paths;
pub use kafka::{Builder, Kafka};
pub use kafka_cluster::{KafkaCluster, KafkaClusterBuilder};
pub use process::spawn_bound_to_us;
pub use secured::{Listener, Secured};
pub use shared::{State, down, find, shared, status, up};

/// A name that no other test, now or in an earlier run on the same broker, has used: for topics, groups, applications.
pub fn unique(name: &str) -> String {
    use std::hash::{BuildHasher, Hasher, RandomState};
    format!("{name}-{:016x}", RandomState::new().build_hasher().finish())
}
