//! `/topology`: what the program needs of Kafka and keeps in tables, for whoever creates the topics.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use serde::{Serialize, Serializer};

use super::VERSION;
use crate::fnv::Fnv;
use crate::topic::TopicNode;
use crate::topology::{self, Topology};

/// The compiled topology, independent of the order of declarations.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Description {
    contract: u64,
    worker: &'static str,
    app: &'static str,
    /// Changes when, and only when, the rest changes.
    pub hash: String,
    /// By name.
    pub topics: Vec<Topic>,
    pub tables: Vec<Table>,
    groups: Vec<Group>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Topic {
    pub name: String,
    role: Role,
    pub partitions: Partitions,
    config: BTreeMap<&'static str, &'static str>,
}

/// What the program does with a topic.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum Role {
    /// An agent reads it.
    Source,
    /// It is only sent to.
    Sink,
    /// It holds the changes of a table.
    Changelog,
}

/// How many partitions a topic must have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Partitions {
    /// Whatever is there.
    Any,
    Count(u32),
    AsTopic(String),
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Table {
    pub name: String,
    changelog: String,
}

/// What is partitioned alike.
#[derive(Clone, Debug, Serialize)]
struct Group {
    topics: Vec<&'static str>,
    tables: Vec<&'static str>,
    agents: Vec<&'static str>,
}

impl Description {
    pub fn new(app: &'static str, topology: &Topology) -> Self {
        let mut topics: Vec<Topic> = topology.groups.iter().flat_map(topics_of).collect();
        topics.extend(topology.sinks.iter().map(|topic| declared(topic, Role::Sink)));
        topics.sort_by(|a, b| a.name.cmp(&b.name));
        let tables = topology.groups.iter().flat_map(|group| &group.tables);
        let mut tables: Vec<Table> =
            tables.map(|table| Table { name: table.name.to_string(), changelog: table.changelog() }).collect();
        tables.sort_by(|a, b| a.name.cmp(&b.name));
        let groups = topology.groups.iter().map(group).collect();
        let (worker, hash) = (env!("CARGO_PKG_VERSION"), String::new());
        let mut description = Self { contract: VERSION, worker, app, hash, topics, tables, groups };
        description.hash = hash_of(&description);
        description
    }
}

fn topics_of(group: &topology::Group) -> Vec<Topic> {
    let changelogs = group.tables.iter().map(|table| Topic {
        name: table.changelog(),
        role: Role::Changelog,
        partitions: Partitions::AsTopic(group.topics[0].name.to_string()),
        config: topology::CHANGELOG_CONFIG.into(),
    });
    group.topics.iter().map(|topic| declared(topic, Role::Source)).chain(changelogs).collect()
}

fn declared(topic: &TopicNode, role: Role) -> Topic {
    let partitions = match topic.declared_partitions.load(Ordering::Relaxed) {
        0 => Partitions::Any,
        n => Partitions::Count(n),
    };
    Topic { name: topic.name.to_string(), role, partitions, config: BTreeMap::new() }
}

fn group(group: &topology::Group) -> Group {
    let mut tables: Vec<_> = group.tables.iter().map(|table| table.name).collect();
    tables.sort_unstable();
    Group {
        topics: group.topics.iter().map(|topic| topic.name).collect(),
        tables,
        agents: group.agents.iter().map(|agent| agent.name).collect(),
    }
}

/// Of everything else; called while the hash is still empty.
fn hash_of(description: &Description) -> String {
    let bytes = serde_json::to_vec(description).expect("names are JSON");
    let mut hash = Fnv::new();
    hash.eat(&bytes);
    format!("{:016x}", hash.0)
}

impl Serialize for Partitions {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Any => serializer.serialize_none(),
            Self::Count(n) => serializer.serialize_u32(*n),
            Self::AsTopic(topic) => serializer.collect_str(&format_args!("source:{topic}")),
        }
    }
}
