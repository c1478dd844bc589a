//! One needed topic against what Kafka has: what is missing, what differs, and what would mend it.

use std::collections::BTreeMap;

use faust_crds::TopicRole;

use super::same::same_value;
use super::wants::{Maker, Wanted, Wants, source_of};
use crate::model::{CodeRole, KafkaFacts, NewTopic, Partitions, Reason, TopicFacts};

/// What one topic comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Checked {
    pub create: Option<NewTopic>,
    /// Keys that have drifted, and what they are to be.
    pub set: BTreeMap<String, String>,
    /// What was repaired.
    pub repaired: Option<String>,
    pub problem: Option<(Reason, String)>,
}

/// What all topics are checked against.
pub(super) struct Against<'a> {
    pub wants: &'a Wants,
    pub facts: &'a KafkaFacts,
    /// Where Kafka's own tools have to be pointed at.
    pub bootstrap: &'a str,
    /// Whether the code has been heard: only then is its opinion known.
    pub code_known: bool,
}

impl Against<'_> {
    pub fn check(&self, wanted: &Wanted) -> Checked {
        match self.facts.topics.get(&wanted.name) {
            None => self.missing(wanted),
            Some(found) => self.existing(wanted, found),
        }
    }

    /// How many partitions a topic has, or will have when it is made; None: the broker's default, or nobody makes it.
    pub fn count(&self, name: &str) -> Option<u32> {
        let mut name = name;
        // A topic's count may be another's; the code's chains of that were checked to end.
        for _ in 0..=self.wants.topics.len() {
            if let Some(found) = self.facts.topics.get(name) {
                return Some(found.partitions);
            }
            let wanted = self.wants.topics.get(name)?;
            match source_of(&wanted.code) {
                Some(source) => name = source,
                None => return own_count(wanted),
            }
        }
        None
    }

    /// How many partitions it ought to have, by code and declaration; None: whatever is there.
    fn expected(&self, wanted: &Wanted) -> Option<u32> {
        match source_of(&wanted.code) {
            Some(source) => self.count(source),
            None => own_count(wanted),
        }
    }

    fn missing(&self, wanted: &Wanted) -> Checked {
        if wanted.maker != Maker::Us {
            return Checked { problem: Some((Reason::TopicMissing, absent(wanted))), ..Checked::default() };
        }
        let partitions = self.expected(wanted);
        // Kafka can't take partitions back, so a number that the code may have an opinion on, or that is copied, is waited for.
        let open = partitions.is_none() && (!self.code_known || source_of(&wanted.code).is_some());
        if open {
            return Checked::default();
        }
        let topic = NewTopic {
            name: wanted.name.clone(),
            role: wanted.role,
            partitions,
            replication_factor: wanted.replication_factor,
            config: wanted.config.clone(),
        };
        Checked { create: Some(topic), ..Checked::default() }
    }

    fn existing(&self, wanted: &Wanted, found: &TopicFacts) -> Checked {
        let mut checked = Checked::default();
        match self.expected(wanted) {
            Some(expected) if expected != found.partitions => {
                checked.problem = Some((Reason::PartitionMismatch, self.mismatch(wanted, found.partitions, expected)));
            }
            _ => {}
        }
        if wanted.maker != Maker::Us {
            return checked;
        }
        let mut said = Vec::new();
        for (key, value) in &wanted.config {
            match found.config.get(key) {
                None => {
                    let unknown = (Reason::InvalidSpec, unknown_key(wanted, key));
                    checked.problem = checked.problem.or(Some(unknown));
                }
                Some(now) if !same_value(now, value) => {
                    said.push(format!("{key} was {}, set to {value}", if now.is_empty() { "empty" } else { now }));
                    checked.set.insert(key.clone(), value.clone());
                }
                Some(_) => {}
            }
        }
        checked.repaired = (!said.is_empty()).then(|| said.join("; "));
        checked
    }

    fn mismatch(&self, wanted: &Wanted, found: u32, expected: u32) -> String {
        let Wanted { name, role, .. } = wanted;
        let has = format!("topic `{name}` has {}", partitions(found));
        if *role != TopicRole::Declared {
            return self.internal_mismatch(wanted, &has, expected);
        }
        if wanted.declared == Some(expected) {
            let field = format!("spec.topics[{name}].partitions");
            let says = format!("{has}, {field} says {expected}");
            return match (wanted.maker, found < expected) {
                (_, false) => format!("{says}: Kafka can't take partitions away; set the field to {found}"),
                (Maker::Others, true) => format!("{says}: whoever looks after the topic has to grow it, or remove the field"),
                (_, true) if wanted.tables.is_empty() => {
                    format!("{says}: grow it with `{}`, or remove the field", self.alter(name, expected))
                }
                (_, true) => format!("{says}: {}; remove the field", keys_move(wanted)),
            };
        }
        let why = match source_of(&wanted.code) {
            Some(source) => format!("{has}, but the code wants as many as `{source}` has, {expected}"),
            None => format!("{has}, the code insists on {expected}"),
        };
        match found < expected {
            true if wanted.tables.is_empty() => format!("{why}: grow it with `{}`", self.alter(name, expected)),
            true => format!("{why}: {}; make the topic anew, or change the code", keys_move(wanted)),
            false => format!("{why}: Kafka can't take partitions away; make the topic anew, or change the code"),
        }
    }

    fn internal_mismatch(&self, wanted: &Wanted, has: &str, expected: u32) -> String {
        let delete = format!("kafka-topics.sh --bootstrap-server {} --delete --topic {}", self.bootstrap, wanted.name);
        let loses = match wanted.role {
            TopicRole::Changelog => "its table is then built anew, from the records that are still to come",
            _ => "what is in it and was not processed is then lost",
        };
        let why = match source_of(&wanted.code) {
            Some(source) => {
                format!("{has}, its source `{source}` {expected}: give the source its former count back (a topic made anew)")
            }
            None => format!("{has}, the code insists on {expected}: go back to the former image"),
        };
        format!("{why}, or delete the topic with `{delete}` – {loses}")
    }

    /// The command that gives a topic more partitions.
    pub fn alter(&self, topic: &str, partitions: u32) -> String {
        format!("kafka-topics.sh --bootstrap-server {} --alter --topic {topic} --partitions {partitions}", self.bootstrap)
    }
}

pub(super) fn partitions(count: u32) -> String {
    if count == 1 { "1 partition".to_string() } else { format!("{count} partitions") }
}

fn own_count(wanted: &Wanted) -> Option<u32> {
    match wanted.code {
        Partitions::Exactly(insisted) => Some(insisted),
        Partitions::As(_) | Partitions::Whatever => wanted.declared,
    }
}

fn keys_move(wanted: &Wanted) -> String {
    let tables: Vec<String> = wanted.tables.iter().map(|table| format!("`{table}`")).collect();
    let (noun, verb) = if tables.len() == 1 { ("table", "holds") } else { ("tables", "hold") };
    format!("growing it would part keys from what {noun} {} {verb} of them", tables.join(", "))
}

fn absent(wanted: &Wanted) -> String {
    let name = &wanted.name;
    if wanted.maker == Maker::Others {
        return format!("topic `{name}` does not exist, and spec.topics says External: create it, or set management: Managed");
    }
    let used = match wanted.used_as {
        Some(CodeRole::Sink) => "writes",
        _ => "reads",
    };
    let with = match wanted.code {
        Partitions::Exactly(insisted) => format!(" with {}", partitions(insisted)),
        Partitions::As(_) | Partitions::Whatever => String::new(),
    };
    format!("topic `{name}`, which the code {used}, does not exist: declare it in spec.topics, or create it{with}")
}

fn unknown_key(wanted: &Wanted, key: &str) -> String {
    let field = match wanted.role {
        TopicRole::Declared => format!("spec.topics[{}].config", wanted.name),
        TopicRole::Changelog => "spec.internalTopics.config or spec.tables[].changelog.config".to_string(),
        _ => "spec.internalTopics.config".to_string(),
    };
    format!("Kafka knows no topic setting `{key}`, wanted for `{}`: correct {field}", wanted.name)
}
