//! Topics and tables that the configuration declares: a subset of the program's, with opinions that must not contradict it.

use super::description::{Description, Partitions};
use crate::cli::{ExitReason, Refusal};

/// What the configuration says of the app's topology.
#[derive(Clone, Debug, Default)]
pub(crate) struct Declared {
    pub topics: Vec<DeclaredTopic>,
    pub tables: Vec<DeclaredTable>,
}

/// A topic with the partitions that it is to have, where that is said.
#[derive(Clone, Debug)]
pub(crate) struct DeclaredTopic {
    pub name: String,
    pub partitions: Option<u64>,
}

/// A table with the copies that other workers are to keep of it, where that is said.
#[derive(Clone, Debug)]
pub(crate) struct DeclaredTable {
    pub name: String,
    pub standby_replicas: Option<u64>,
}

impl Declared {
    /// Refuses the first entry that the program doesn't have or contradicts.
    pub fn check(&self, program: &Description) -> Result<(), Refusal> {
        for topic in &self.topics {
            self.check_topic(topic, program)?;
        }
        for DeclaredTable { name, .. } in &self.tables {
            let known = program.tables.iter().map(|table| table.name.as_str());
            if !known.clone().any(|table| table == name) {
                return Err(refuse("table", name, &format!("which the program doesn't have; it has {}", list(known))));
            }
        }
        Ok(())
    }

    /// How many partitions a topic is to have, if the configuration says so.
    pub fn partitions(&self, topic: &str) -> Option<u64> {
        self.topics.iter().find(|declared| declared.name == topic)?.partitions
    }

    /// How many copies other workers are to keep of a table, if the configuration says so of this one.
    pub fn standby_replicas(&self, table: &str) -> Option<u32> {
        let said = self.tables.iter().find(|declared| declared.name == table)?.standby_replicas?;
        Some(said.try_into().unwrap_or(u32::MAX))
    }

    fn check_topic(&self, DeclaredTopic { name, partitions }: &DeclaredTopic, program: &Description) -> Result<(), Refusal> {
        let Some(topic) = program.topics.iter().find(|topic| topic.name == *name) else {
            let known = program.topics.iter().map(|topic| topic.name.as_str());
            return Err(refuse("topic", name, &format!("which the program doesn't have; it has {}", list(known))));
        };
        let Some(declared) = partitions else { return Ok(()) };
        let (wanted, why) = match &topic.partitions {
            Partitions::Any => return Ok(()),
            Partitions::Count(n) => (Some(u64::from(*n)), "the program insists on".to_string()),
            Partitions::AsTopic(source) => (self.partitions_of(source, program), format!("it needs as many as `{source}`,")),
        };
        match wanted {
            Some(wanted) if wanted != *declared => {
                let what = format!("with {declared} partitions, and {why} {wanted}");
                Err(refuse("topic", name, &what))
            }
            _ => Ok(()),
        }
    }

    /// As the program or else the configuration has it.
    fn partitions_of(&self, topic: &str, program: &Description) -> Option<u64> {
        let in_program = program.topics.iter().find(|own| own.name == topic).and_then(|own| match own.partitions {
            Partitions::Count(n) => Some(u64::from(n)),
            _ => None,
        });
        in_program.or_else(|| self.partitions(topic))
    }
}

fn refuse(kind: &str, name: &str, what: &str) -> Refusal {
    let sentence = format!("the configuration declares the {kind} `{name}` {what}; change the declaration or the program");
    Refusal::new(ExitReason::TopologyRefused, sentence).about(format!("{kind}s.{name}"))
}

fn list<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
    if names.is_empty() { "none".into() } else { names.join(", ") }
}
