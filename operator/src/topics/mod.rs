//! The operator's topics: what has to be created or repaired, and whether workers find what they need.
//!
//! ```text
//! spec + code ──▶ wants ──┐
//!                         ├──▶ check, topic by topic ──▶ plan
//! Kafka ──────────────────┘
//! ```
//!
//! Nothing here deletes a topic or changes its partitions: that is the user's to do, and the sentences say how.

mod check;
mod nearest;
mod record;
mod same;
mod wants;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use faust_crds::TopicStatus;

use self::check::{Against, Checked, partitions};
use self::wants::{Maker, Wanted, Wants, wants};
use crate::app::App;
use crate::model::{Action, CodeGroup, Event, Kafka, KafkaFacts, NewTopic, Reason, Topology, Verdict};

pub use self::record::Record;

/// How soon Kafka is asked again when it couldn't be; whoever asks lengthens it from one failure to the next.
const UNREACHABLE: Duration = Duration::from_secs(5);
/// How soon it is looked again for what only people can mend.
const MISSING: Duration = Duration::from_secs(30);
const MISMATCH: Duration = Duration::from_secs(60);
/// How many topics a status holds, and how many sentences a condition's message.
const STATUS_TOPICS: usize = 512;
const SENTENCES: usize = 3;

/// What the topics come to.
#[derive(Clone, Debug)]
pub struct Topics {
    pub actions: Vec<Action>,
    /// Condition `TopicsReady`.
    pub verdict: Verdict,
    /// None: Kafka couldn't be asked, what was written stays.
    pub status: Option<Vec<TopicStatus>>,
    /// Of the widest group of co-partitioned topics; None: not known, or nothing is read.
    pub partitions: Option<u32>,
    /// All that workers need is there and right – or, while the code isn't known, all that is declared.
    pub workers_may_start: bool,
    /// As it has to be written, before workers start.
    pub record: Record,
    /// To be told once the actions are done; those about new topics come from [`made`].
    pub events: Vec<Event>,
}

/// What Kafka has to be asked, for [`plan`] to have its answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watched {
    pub topics: Vec<String>,
    /// Keys of configuration, by topic.
    pub keys: BTreeMap<String, Vec<String>>,
}

pub fn wanted_names(app: &App, topology: Option<&Topology>) -> Watched {
    let wants = wants(app, topology).topics;
    let keys = wants.values().filter(|wanted| wanted.maker == Maker::Us && !wanted.config.is_empty());
    Watched {
        keys: keys.map(|wanted| (wanted.name.clone(), wanted.config.keys().cloned().collect())).collect(),
        topics: wants.into_keys().collect(),
    }
}

/// `kafka` is what it said when asked for [`wanted_names`] of the same application and topology.
pub fn plan(app: &App, topology: Option<&Topology>, kafka: &Kafka, record: &Record) -> Topics {
    let facts = match kafka {
        Kafka::Seen(facts) => facts,
        Kafka::Unknown { refused, message } => return unknown(*refused, message, record),
    };
    let wants = wants(app, topology);
    let bootstrap = &app.spec.kafka.bootstrap_servers;
    let against = Against { wants: &wants, facts, bootstrap, code_known: topology.is_some() };
    let groups = topology.map_or(&[][..], |topology| &topology.groups);

    let checked: Vec<(&Wanted, Checked)> = wants.topics.values().map(|wanted| (wanted, against.check(wanted))).collect();
    let mut problems = Problems::of(&wants, &checked);
    problems.0.extend(groups.iter().filter_map(|group| uneven(group, &against)).map(|said| (Reason::PartitionMismatch, said)));

    let mut new_record = record.clone();
    let mut events = Vec::new();
    for (wanted, _) in &checked {
        if let Some(found) = facts.topics.get(&wanted.name)
            && new_record.seen(&wanted.name, &found.id, wanted.role)
        {
            events.push(Event { warning: true, reason: Reason::TopicReplaced, message: replaced(&wanted.name) });
        }
    }
    let status = checked.iter().map(|(wanted, checked)| status(wanted, checked, facts, &new_record)).take(STATUS_TOPICS).collect();

    let creations = if problems.forbid_creation() { Vec::new() } else { creations(&checked) };
    let repairs = if problems.has(Reason::TopologyMismatch) { Vec::new() } else { repairs(&checked) };
    events.extend(repairs.iter().map(|(topic, _, said)| repaired(topic, said)));
    let workers_may_start = problems.0.is_empty() && creations.is_empty();
    let verdict = problems.verdict().unwrap_or_else(|| progress(&creations, topology.is_some(), checked.len()));

    let mut actions = Vec::new();
    if !creations.is_empty() {
        actions.push(Action::CreateTopics(creations));
    }
    actions.extend(repairs.into_iter().map(|(topic, set, _)| Action::ConfigureTopic { topic, set }));
    Topics {
        actions,
        verdict,
        status: Some(status),
        partitions: widest(groups, facts),
        workers_may_start,
        record: new_record,
        events,
    }
}

/// Kafka has just made this topic for us: what to tell. Call it for each, and write the record before anything else is done.
pub fn made(record: &mut Record, topic: &NewTopic, id: &str, count: u32) -> Event {
    let (name, count) = (&topic.name, partitions(count));
    let (warning, message) = match record.get(name) {
        Some(_) => (true, format!("topic `{name}` had been deleted by somebody; created it again, empty, with {count}")),
        None => (false, format!("created topic `{name}` with {count}")),
    };
    record.made(topic, id);
    Event { warning, reason: Reason::TopicCreated, message }
}

fn unknown(refused: bool, message: &str, record: &Record) -> Topics {
    let reason = if refused { Reason::KafkaAuthFailed } else { Reason::KafkaUnreachable };
    Topics {
        actions: Vec::new(),
        verdict: Verdict::unknown(reason, message, UNREACHABLE),
        status: None,
        partitions: None,
        workers_may_start: false,
        record: record.clone(),
        events: Vec::new(),
    }
}

/// What keeps workers from what they need, the reason and the sentence of each.
struct Problems(Vec<(Reason, String)>);

impl Problems {
    fn of(wants: &Wants, checked: &[(&Wanted, Checked)]) -> Self {
        let contradictions = wants.contradictions.iter().map(|said| (Reason::TopologyMismatch, said.clone()));
        Self(contradictions.chain(checked.iter().filter_map(|(_, checked)| checked.problem.clone())).collect())
    }

    fn has(&self, reason: Reason) -> bool {
        self.0.iter().any(|(found, _)| *found == reason)
    }

    /// What is created while numbers contradict each other may have the wrong one for good.
    fn forbid_creation(&self) -> bool {
        self.has(Reason::TopologyMismatch) || self.has(Reason::PartitionMismatch)
    }

    /// The worst of them.
    fn verdict(&self) -> Option<Verdict> {
        let order = [Reason::TopologyMismatch, Reason::PartitionMismatch, Reason::InvalidSpec, Reason::TopicMissing];
        let reason = order.into_iter().find(|reason| self.has(*reason))?;
        let said: Vec<&str> = self.0.iter().filter(|(found, _)| *found == reason).map(|(_, said)| said.as_str()).collect();
        let mut message = said[..said.len().min(SENTENCES)].join(". ");
        if said.len() > SENTENCES {
            message.push_str(&format!(". And {} more like this", said.len() - SENTENCES));
        }
        Some(match reason {
            Reason::TopicMissing => Verdict::waiting(reason, message, MISSING),
            Reason::PartitionMismatch => Verdict { again: MISMATCH, ..Verdict::stalled(reason, message) },
            _ => Verdict::stalled(reason, message),
        })
    }
}

/// Nothing is wrong: how far it is.
fn progress(creations: &[NewTopic], code_known: bool, topics: usize) -> Verdict {
    if !creations.is_empty() {
        let names: Vec<String> = creations.iter().take(SENTENCES).map(|topic| format!("`{}`", topic.name)).collect();
        let more = match creations.len() - names.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        return Verdict::working(Reason::TopicsPending, format!("creating {}{more}", names.join(", ")));
    }
    if !code_known {
        return Verdict::working(Reason::TopicsPending, "waiting for a worker to say what its code needs");
    }
    let noun = if topics == 1 { "topic is" } else { "topics are" };
    Verdict::holds(Reason::AsWanted, format!("{topics} {noun} as wanted"))
}

fn creations(checked: &[(&Wanted, Checked)]) -> Vec<NewTopic> {
    checked.iter().filter_map(|(_, checked)| checked.create.clone()).collect()
}

/// Topic, keys to set, and what to say of it.
fn repairs(checked: &[(&Wanted, Checked)]) -> Vec<(String, BTreeMap<String, String>, String)> {
    let drifted = checked.iter().filter_map(|(wanted, checked)| Some((wanted, checked, checked.repaired.as_ref()?)));
    drifted.map(|(wanted, checked, said)| (wanted.name.clone(), checked.set.clone(), said.clone())).collect()
}

/// Topics that are read together have to have equally many partitions, as far as their numbers are known.
fn uneven(group: &CodeGroup, against: &Against<'_>) -> Option<String> {
    let counts: Vec<(&String, u32)> = group.topics.iter().filter_map(|topic| Some((topic, against.count(topic)?))).collect();
    let distinct: BTreeSet<u32> = counts.iter().map(|(_, count)| *count).collect();
    let most = *distinct.last()?;
    if distinct.len() < 2 {
        return None;
    }
    let listed: Vec<String> = counts.iter().map(|(topic, count)| format!("`{topic}` ({})", partitions(*count))).collect();
    let readers: Vec<String> = group.agents.iter().map(|agent| format!("`{agent}`")).collect();
    let by = if readers.is_empty() { String::new() } else { format!(" by {}", readers.join(", ")) };
    let less = counts.iter().find(|(_, count)| *count < most).map(|(topic, _)| topic.as_str()).unwrap_or_default();
    let mend = match group.tables.is_empty() {
        true => format!("`{}`", against.alter(less, most)),
        false => format!("make `{less}` anew with {} (growing it would part keys from what tables hold of them)", partitions(most)),
    };
    Some(format!("topics {} are read together{by} and have to have equally many: {mend}", listed.join(", ")))
}

fn widest(groups: &[CodeGroup], facts: &KafkaFacts) -> Option<u32> {
    let topics = groups.iter().flat_map(|group| &group.topics);
    let counts: Option<Vec<u32>> = topics.map(|topic| facts.topics.get(topic).map(|found| found.partitions)).collect();
    counts?.into_iter().max()
}

fn status(wanted: &Wanted, checked: &Checked, facts: &KafkaFacts, record: &Record) -> TopicStatus {
    let (found, entry) = (facts.topics.get(&wanted.name), record.get(&wanted.name));
    let mut said: Vec<String> = checked.problem.iter().map(|(_, said)| said.clone()).collect();
    said.extend(checked.repaired.clone());
    match found {
        None if checked.problem.is_none() => said.push("does not exist yet".to_string()),
        Some(_) if entry.is_some_and(|entry| entry.replaced.is_some()) => said.push(replaced(&wanted.name)),
        _ => {}
    }
    TopicStatus {
        name: wanted.name.clone(),
        id: entry.map(|entry| entry.id.clone()).unwrap_or_default(),
        role: wanted.role,
        partitions: found.map_or(0, |found| found.partitions.try_into().unwrap_or(i32::MAX)),
        created: entry.is_some_and(|entry| entry.created),
        message: (!said.is_empty()).then(|| said.join(". ")),
    }
}

fn replaced(topic: &str) -> String {
    format!(
        "the topic `{topic}` that this FaustApp had created was deleted and made anew by somebody else: it is used, but never deleted"
    )
}

fn repaired(topic: &str, said: &str) -> Event {
    Event { warning: false, reason: Reason::TopicConfigured, message: format!("topic `{topic}`: {said}") }
}
