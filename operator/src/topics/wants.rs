//! Which topics an application needs: what is declared and what its code says, made one.

use std::collections::BTreeMap;

use faust_crds::{InternalTopics, Properties, Topic, TopicManagement, TopicRole};
use serde_json::Value;

use super::nearest::nearest;
use crate::app::App;
use crate::model::{CodeRole, CodeTopic, Partitions, Topology};

/// Who makes a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Maker {
    /// We, and its configuration is ours to keep.
    Us,
    /// Declared as External: we only look.
    Others,
    /// The code uses it, and nobody declared it: we only look.
    Nobody,
}

/// One topic that is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub name: String,
    pub role: TopicRole,
    /// What the code has it for; None while the code isn't known.
    pub used_as: Option<CodeRole>,
    pub maker: Maker,
    /// `spec.topics[…].partitions`.
    pub declared: Option<u32>,
    /// What the code says of partitions.
    pub code: Partitions,
    pub replication_factor: Option<u16>,
    /// Keys to set and to watch.
    pub config: BTreeMap<String, String>,
    /// Tables that are made from its records.
    pub tables: Vec<String>,
}

/// All of them, by name, and where declaration and code contradict each other, as sentences.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wants {
    pub topics: BTreeMap<String, Wanted>,
    pub contradictions: Vec<String>,
}

pub(super) fn wants(app: &App, topology: Option<&Topology>) -> Wants {
    let mut wants = Wants::default();
    for topic in &app.spec.topics {
        wants.topics.insert(topic.name.clone(), declared(topic));
    }
    let Some(topology) = topology else { return wants };
    for code in &topology.topics {
        let tables = tables_from(topology, &code.name);
        if internal(code.role).is_some() {
            wants.topics.insert(code.name.clone(), framework(app, topology, code, tables));
            continue;
        }
        let wanted = wants.topics.entry(code.name.clone()).or_insert_with(|| undeclared(code));
        wanted.used_as = Some(code.role);
        wanted.code = code.partitions.clone();
        wanted.tables = tables;
    }
    wants.contradictions = contradictions(app, topology);
    wants
}

/// Values as Kafka takes them: people write numbers and booleans bare.
pub(super) fn as_text(properties: &Properties) -> BTreeMap<String, String> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_string);
    properties.iter().map(|(key, value)| (key.clone(), text(value))).collect()
}

fn declared(topic: &Topic) -> Wanted {
    Wanted {
        name: topic.name.clone(),
        role: TopicRole::Declared,
        used_as: None,
        maker: match topic.management {
            TopicManagement::Managed => Maker::Us,
            TopicManagement::External => Maker::Others,
        },
        declared: topic.partitions.and_then(|partitions| partitions.try_into().ok()),
        code: Partitions::Whatever,
        replication_factor: topic.replication_factor.and_then(|factor| factor.try_into().ok()),
        config: topic.config.as_ref().map(as_text).unwrap_or_default(),
        tables: Vec::new(),
    }
}

fn undeclared(code: &CodeTopic) -> Wanted {
    Wanted {
        name: code.name.clone(),
        role: TopicRole::Declared,
        used_as: Some(code.role),
        maker: Maker::Nobody,
        declared: None,
        code: code.partitions.clone(),
        replication_factor: None,
        config: BTreeMap::new(),
        tables: Vec::new(),
    }
}

/// A topic that the framework makes: the code's configuration, over it `spec.internalTopics`, over it the table's own.
fn framework(app: &App, topology: &Topology, code: &CodeTopic, tables: Vec<String>) -> Wanted {
    let table = topology.tables.iter().find(|table| table.changelog == code.name);
    let spec = table.and_then(|table| app.spec.tables.iter().find(|spec| spec.name == table.name));
    let of_table = spec.and_then(|spec| spec.changelog.as_ref());
    let layers: Vec<&InternalTopics> = app.spec.internal_topics.iter().chain(of_table).collect();
    let mut config = code.config.clone();
    for layer in &layers {
        config.extend(layer.config.as_ref().map(as_text).unwrap_or_default());
    }
    let factor = layers.iter().rev().find_map(|layer| layer.replication_factor);
    Wanted {
        name: code.name.clone(),
        role: internal(code.role).unwrap_or(TopicRole::Declared),
        used_as: Some(code.role),
        maker: Maker::Us,
        declared: None,
        code: code.partitions.clone(),
        replication_factor: factor.and_then(|factor| factor.try_into().ok()),
        config,
        tables,
    }
}

/// What the framework makes itself; the other topics are the user's.
fn internal(role: CodeRole) -> Option<TopicRole> {
    match role {
        CodeRole::Source | CodeRole::Sink | CodeRole::Inbox => None,
        CodeRole::Changelog => Some(TopicRole::Changelog),
        CodeRole::Repartition => Some(TopicRole::Repartition),
        CodeRole::Reply => Some(TopicRole::Reply),
        CodeRole::Deadletter => Some(TopicRole::DeadLetter),
    }
}

fn tables_from(topology: &Topology, topic: &str) -> Vec<String> {
    let groups = topology.groups.iter().filter(|group| group.topics.iter().any(|read| read == topic));
    let mut tables: Vec<String> = groups.flat_map(|group| group.tables.clone()).collect();
    tables.sort();
    tables.dedup();
    tables
}

fn contradictions(app: &App, topology: &Topology) -> Vec<String> {
    let mut found = Vec::new();
    if topology.app != app.app_id {
        found.push(format!(
            "the image's code has the app id `{}`, this FaustApp `{}`: set spec.appId, which takes a new FaustApp, or change the image",
            topology.app, app.app_id
        ));
    }
    for topic in &app.spec.topics {
        found.extend(against_code(topic, topology));
    }
    for table in &app.spec.tables {
        if !topology.tables.iter().any(|known| known.name == table.name) {
            let known = topology.tables.iter().map(|known| known.name.as_str());
            found.push(not_in_code("spec.tables", &table.name, nearest(&table.name, known)));
        }
    }
    found.extend(policy_is_the_codes("spec.internalTopics", app.spec.internal_topics.as_ref()));
    for table in &app.spec.tables {
        found.extend(policy_is_the_codes(&format!("spec.tables[{}].changelog", table.name), table.changelog.as_ref()));
    }
    found.extend(topology.topics.iter().filter_map(|topic| without_end(topic, topology)));
    found
}

fn against_code(topic: &Topic, topology: &Topology) -> Option<String> {
    let name = &topic.name;
    let Some(code) = topology.topics.iter().find(|code| code.name == *name) else {
        let known = topology.topics.iter().filter(|code| internal(code.role).is_none()).map(|code| code.name.as_str());
        return Some(not_in_code("spec.topics", name, nearest(name, known)));
    };
    if let Some(role) = internal(code.role) {
        return Some(format!(
            "spec.topics names `{name}`, a {} topic that the framework makes itself: remove the entry, and set what has to differ in \
             spec.internalTopics or spec.tables[].changelog",
            format!("{role:?}").to_lowercase()
        ));
    }
    match (topic.partitions, &code.partitions) {
        (Some(declared), Partitions::Exactly(insisted)) if declared as u32 != *insisted => {
            Some(format!("spec.topics[{name}].partitions says {declared}, the code insists on {insisted}: change one of them"))
        }
        _ => None,
    }
}

fn not_in_code(field: &str, name: &str, nearest: Option<&str>) -> String {
    let meant = nearest.map(|nearest| format!(" (it has `{nearest}`)")).unwrap_or_default();
    format!("{field} names `{name}`, which the code doesn't have{meant}: correct the name or remove the entry")
}

/// With another policy a table would lose what its changelog holds.
fn policy_is_the_codes(field: &str, topics: Option<&InternalTopics>) -> Option<String> {
    topics?.config.as_ref()?.get("cleanup.policy")?;
    Some(format!("{field}.config sets cleanup.policy, which the code decides, or tables would lose their records: remove the key"))
}

/// A topic whose partitions are counted by one that the code doesn't have, or by itself.
fn without_end(topic: &CodeTopic, topology: &Topology) -> Option<String> {
    let mut at = topic;
    for _ in 0..=topology.topics.len() {
        let source = source_of(&at.partitions)?;
        match topology.topics.iter().find(|topic| topic.name == source) {
            Some(next) => at = next,
            None => {
                return Some(format!(
                    "the code wants `{}` to have as many partitions as `{source}`, a topic that it doesn't have: build the image anew",
                    at.name
                ));
            }
        }
    }
    Some(format!("the code counts the partitions of `{}` by itself, round in a circle: build the image anew", topic.name))
}

/// The topic that the partitions are counted by.
pub(super) fn source_of(partitions: &Partitions) -> Option<&str> {
    match partitions {
        Partitions::As(source) => Some(source.strip_prefix("source:").unwrap_or(source)),
        Partitions::Exactly(_) | Partitions::Whatever => None,
    }
}
