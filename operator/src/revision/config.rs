//! `app.yaml`, as the contract between operator and worker has it (`docs/reference/contract.md`).

use std::collections::BTreeMap;

use faust_crds::Guarantee;
use serde::Serialize;
use serde_json::{Value, json};

use super::pod::DATA;
use crate::app::{App, text};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Config<'a> {
    contract: Contract,
    app: Value,
    kafka: Kafka<'a>,
    processing: Processing<'a>,
    topic_management: &'static str,
    storage: Value,
    shutdown: Value,
    standby_replicas: i32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    topics: Vec<Topic<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tables: Vec<Table<'a>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    settings: BTreeMap<&'a str, String>,
}

#[derive(Serialize)]
struct Contract {
    version: u32,
    requires: [&'static str; 0],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Kafka<'a> {
    bootstrap_servers: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    properties: BTreeMap<&'a str, String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Processing<'a> {
    guarantee: Guarantee,
    #[serde(skip_serializing_if = "Option::is_none")]
    commit_interval: Option<&'a str>,
}

#[derive(Serialize)]
struct Topic<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    partitions: Option<i32>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Table<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    standby_replicas: Option<i32>,
}

pub(super) fn render(app: &App) -> String {
    let spec = &app.spec;
    let config = Config {
        contract: Contract { version: 1, requires: [] },
        app: json!({ "id": app.app_id }),
        kafka: Kafka {
            bootstrap_servers: &spec.kafka.bootstrap_servers,
            properties: spec.kafka.properties.iter().map(|(name, value)| (name.as_str(), text(value))).collect(),
        },
        processing: Processing {
            guarantee: spec.processing.guarantee,
            commit_interval: spec.processing.commit_interval.as_deref(),
        },
        topic_management: "operator",
        storage: json!({ "path": DATA }),
        shutdown: json!({ "timeout": spec.rollout.drain_timeout }),
        standby_replicas: spec.standby_replicas,
        topics: spec.topics.iter().map(|topic| Topic { name: &topic.name, partitions: topic.partitions }).collect(),
        tables: spec.tables.iter().map(|table| Table { name: &table.name, standby_replicas: table.standby_replicas }).collect(),
        settings: spec.settings.iter().map(|(name, value)| (name.as_str(), text(value))).collect(),
    };
    serde_yaml::to_string(&config).expect("plain data is YAML")
}
