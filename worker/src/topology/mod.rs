//! What the app declares, as plain data: topics, agents, tables, and which of them are used together.

use std::collections::BTreeMap;

use crate::agent::AgentNode;
use crate::error::TopologyError;
use crate::table::TableNode;
use crate::topic::TopicNode;

#[cfg(test)]
mod tests;

/// A task is one partition of a co-partition group: the same partition of every topic and table that its agents use together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TaskId {
    /// Index into [`Groups`].
    pub group: u32,
    pub partition: u32,
}

impl std::fmt::Display for TaskId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}_{}", self.group, self.partition)
    }
}

/// The co-partition groups of an app with the partition counts found in Kafka, in an order that every worker of the app agrees on.
pub(crate) type Groups = Vec<CoPartitioned>;

/// Topics that are read together: equal partition counts, and partition *n* of all of them is one task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CoPartitioned {
    /// Source topics, sorted.
    pub topics: Vec<String>,
    pub partitions: u32,
    /// It has tables: a task of it is best where they are on disk already.
    pub stateful: bool,
    /// How many copies of each task's tables other workers keep up to date, as far as there are others.
    pub standbys: u32,
}

/// What one agent uses, in the order of its inputs.
#[derive(Clone, Default)]
#[doc(hidden)]
pub struct Declaration {
    pub(crate) topics: Vec<&'static TopicNode>,
    pub(crate) tables: Vec<&'static TableNode>,
}

impl Declaration {
    pub(crate) fn reads(&mut self, topic: &'static TopicNode) {
        self.topics.push(topic);
    }
    pub(crate) fn keeps(&mut self, table: &'static TableNode) {
        if !self.tables.iter().any(|own| own.index == table.index) {
            self.tables.push(table);
        }
    }
}

/// The whole app: groups in the order of their first topic's name.
pub(crate) struct Topology {
    pub groups: Vec<Group>,
    /// Topics that are only sent to.
    pub sinks: Vec<&'static TopicNode>,
}

/// What the topic of a table's changes needs.
pub(crate) const CHANGELOG_CONFIG: [(&str, &str); 1] = [("cleanup.policy", "compact")];

/// What is used together.
pub(crate) struct Group {
    /// Sorted by name.
    pub topics: Vec<&'static TopicNode>,
    pub tables: Vec<&'static TableNode>,
    pub agents: Vec<&'static AgentNode>,
}

/// Puts together what agents share; every contradiction in the declarations is reported, not only the first.
pub(crate) fn build(topics: &[&'static TopicNode], agents: &[&'static AgentNode]) -> Result<Topology, Vec<TopologyError>> {
    let mut groups: Vec<Group> = Vec::new();
    for agent in agents {
        let mut joined =
            Group { topics: agent.declared.topics.clone(), tables: agent.declared.tables.clone(), agents: vec![*agent] };
        let (shared, apart): (Vec<_>, Vec<_>) = groups.into_iter().partition(|group| group.shares(&joined));
        for group in shared {
            joined.topics.extend(group.topics);
            joined.agents.extend(group.agents);
            joined.tables.extend(group.tables);
        }
        groups = apart;
        groups.push(joined);
    }
    for group in &mut groups {
        group.topics.sort_by_key(|topic| topic.name);
        group.tables.sort_by_key(|table| table.index);
        group.tables.dedup_by_key(|table| table.index);
        group.agents.sort_by_key(|agent| agent.name);
    }
    groups.sort_by_key(|group| group.topics[0].name);

    let problems = second_readers(&groups);
    if !problems.is_empty() {
        return Err(problems);
    }
    let read = |topic: &TopicNode| groups.iter().any(|group| group.topics.iter().any(|own| own.name == topic.name));
    let sinks = topics.iter().copied().filter(|topic| !read(topic)).collect();
    Ok(Topology { groups, sinks })
}

/// A topic has one reading agent so far: an offset is committed when one agent is done with it.
fn second_readers(groups: &[Group]) -> Vec<TopologyError> {
    let mut readers: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for agent in groups.iter().flat_map(|group| &group.agents) {
        for topic in &agent.declared.topics {
            readers.entry(topic.name).or_default().push(agent.name);
        }
    }
    let second = readers.into_iter().filter(|(_, agents)| agents.len() > 1);
    second
        .map(|(topic, agents)| {
            TopologyError::SecondReader(format!(
                "topic `{topic}` is read {} times, by agents {}; this version of faust lets one agent read a topic: do the work of both \
                 in one agent, or send what the other needs to a topic of its own",
                agents.len(),
                agents.iter().map(|agent| format!("`{agent}`")).collect::<Vec<_>>().join(" and "),
            ))
        })
        .collect()
}

impl Group {
    fn shares(&self, other: &Group) -> bool {
        let topic = |own: &&TopicNode| other.topics.iter().any(|theirs| theirs.name == own.name);
        let table = |own: &&TableNode| other.tables.iter().any(|theirs| theirs.index == own.index);
        self.topics.iter().any(topic) || self.tables.iter().any(table)
    }

    /// The group with the partition counts found and no copies yet, or what is wrong with the counts, in a sentence.
    pub fn partitioned(&self, counts: &BTreeMap<String, u32>) -> Result<CoPartitioned, String> {
        let first = self.topics[0];
        let partitions = counts[first.name];
        for topic in &self.topics {
            let found = counts[topic.name];
            let declared = topic.declared_partitions.load(std::sync::atomic::Ordering::Relaxed);
            if declared != 0 && declared != found {
                return Err(format!(
                    "topic `{}` has {found} partitions and is declared with {declared}; change `.partitions({declared})` or the topic",
                    topic.name
                ));
            }
            if found != partitions {
                return Err(format!(
                    "topic `{}` has {partitions} partitions, topic `{}` has {found}; they are used together (agents {}), so the counts \
                     must be equal",
                    first.name,
                    topic.name,
                    self.agents.iter().map(|agent| format!("`{}`", agent.name)).collect::<Vec<_>>().join(", "),
                ));
            }
        }
        let topics = self.topics.iter().map(|topic| topic.name.to_string()).collect();
        Ok(CoPartitioned { topics, partitions, stateful: !self.tables.is_empty(), standbys: 0 })
    }
}
