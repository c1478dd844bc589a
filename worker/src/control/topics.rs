//! Waits until every topic is there with partition counts that fit, and creates the changelogs where that is the worker's business.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::cli::Refusal;
use crate::contract::Declared;
use crate::log::{Log, LogError, NewTopic, TopicFacts};
use crate::readiness::{Reason, Unready};
use crate::settings::{Resolved, TopicManagement};
use crate::status::Status;
use crate::table::TableNode;
use crate::topology::{CHANGELOG_CONFIG, Groups, Topology};

/// Between two looks at what is missing.
const AGAIN: Duration = Duration::from_secs(1);

/// Resolves when the worker can join: all topics exist, and the changelogs too. What is waited for is said in the status.
pub(super) async fn prepare(
    log: &dyn Log,
    topology: &Topology,
    configured: &Declared,
    settings: &Resolved,
    status: &Status,
) -> Result<Groups, Refusal> {
    loop {
        match look(log, topology, configured, settings).await {
            Ok(groups) => {
                status.go_on();
                return Ok(groups);
            }
            Err(Problem::Refused(error)) => return Err(error.into()),
            Err(Problem::Waiting(Unready { reason, sentence })) => status.wait_for(reason, sentence),
        }
        tokio::time::sleep(AGAIN).await;
    }
}

enum Problem {
    Waiting(Unready),
    Refused(LogError),
}

impl From<LogError> for Problem {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Refused(_) | LogError::Config(_) => Self::Refused(error),
            LogError::Unavailable(_) => Self::Waiting(Unready::new(Reason::WaitingForKafka, error.to_string())),
            LogError::UnknownTopic(_) | LogError::OutOfRange { .. } | LogError::Astray { .. } => error.to_string().into(),
        }
    }
}

impl From<String> for Problem {
    fn from(sentence: String) -> Self {
        Self::Waiting(Unready::new(Reason::WaitingForTopics, sentence))
    }
}

async fn look(log: &dyn Log, topology: &Topology, configured: &Declared, settings: &Resolved) -> Result<Groups, Problem> {
    let used = || topology.groups.iter().flat_map(|group| &group.topics).chain(&topology.sinks);
    create_declared_in_memory(log, used(), configured).await?;
    let names: Vec<String> = used().map(|topic| topic.name.to_string()).collect();
    let facts = log.topics(&names).await?;
    let missing: Vec<String> = names.iter().filter(|name| !facts.contains_key(*name)).map(|name| format!("`{name}`")).collect();
    if !missing.is_empty() {
        return Err(format!("topics that don't exist: {}; create them, the worker goes on by itself", missing.join(", ")).into());
    }
    let counts: BTreeMap<String, u32> = facts.iter().map(|(name, facts)| (name.clone(), facts.partitions)).collect();
    for topic in &topology.sinks {
        let (found, declared) = (counts[topic.name], topic.declared_partitions.load(Ordering::Relaxed));
        if declared != 0 && declared != found {
            return Err(format!(
                "topic `{}` has {found} partitions and is declared with {declared}; change `.partitions({declared})` or the topic",
                topic.name
            )
            .into());
        }
    }
    for topic in used() {
        let (found, wanted) = (counts[topic.name], configured.partitions(topic.name));
        if let Some(wanted) = wanted.filter(|wanted| *wanted != u64::from(found)) {
            return Err(format!(
                "topic `{}` has {found} partitions and the configuration declares it with {wanted}; change the topic or its declaration",
                topic.name
            )
            .into());
        }
    }
    let mut groups = topology.groups.iter().map(|group| group.partitioned(&counts)).collect::<Result<Groups, String>>()?;
    for (group, found) in topology.groups.iter().zip(&mut groups) {
        let copies = |table: &&TableNode| configured.standby_replicas(table.name).unwrap_or(settings.standby_replicas);
        found.standbys = group.tables.iter().map(copies).max().unwrap_or(0);
    }
    changelogs(log, topology, &groups, settings.topic_management).await?;
    for topic in used() {
        topic.partitions.store(counts[topic.name], Ordering::Relaxed);
    }
    Ok(groups)
}

/// In memory a topic comes into being when it is first named; one that is declared with a number of partitions gets that number.
async fn create_declared_in_memory<'a>(
    log: &dyn Log,
    topics: impl Iterator<Item = &'a &'static crate::topic::TopicNode>,
    configured: &Declared,
) -> Result<(), LogError> {
    if !log.makes_topics() {
        return Ok(());
    }
    let partitions = |topic: &crate::topic::TopicNode| match topic.declared_partitions.load(Ordering::Relaxed) {
        0 => configured.partitions(topic.name).and_then(|n| n.try_into().ok()).unwrap_or(0),
        declared => declared,
    };
    let declared = topics.map(|topic| (topic.name, partitions(topic)));
    let new: Vec<NewTopic> = declared
        .filter(|(_, partitions)| *partitions > 0)
        .map(|(name, partitions)| NewTopic { name: name.to_string(), partitions, config: Vec::new() })
        .collect();
    log.create(&new).await
}

/// Creates the changelogs that are missing, or waits for who does; one that is there must have its table's number of partitions.
async fn changelogs(log: &dyn Log, topology: &Topology, groups: &Groups, management: TopicManagement) -> Result<(), Problem> {
    let config = CHANGELOG_CONFIG.map(|(key, value)| (key.to_string(), value.to_string()));
    let wanted: Vec<NewTopic> = topology
        .groups
        .iter()
        .zip(groups)
        .flat_map(|(group, counts)| group.tables.iter().map(|table| (table.changelog(), counts.partitions)))
        .map(|(name, partitions)| NewTopic { name, partitions, config: config.to_vec() })
        .collect();
    let names: Vec<String> = wanted.iter().map(|topic| topic.name.clone()).collect();
    let known = if log.makes_topics() { Default::default() } else { log.topics(&names).await? };
    let missing: Vec<NewTopic> = wanted.iter().filter(|topic| !known.contains_key(&topic.name)).cloned().collect();
    if !missing.is_empty() {
        // In memory nobody else could.
        if management == TopicManagement::Operator && !log.makes_topics() {
            let missing: Vec<String> =
                missing.iter().map(|topic| format!("`{}` ({} partitions)", topic.name, topic.partitions)).collect();
            return Err(format!(
                "changelogs that don't exist: {}; `topic-management` says that an operator creates them, the worker goes on by itself",
                missing.join(", ")
            )
            .into());
        }
        log.create(&missing).await?;
    }
    let facts = log.topics(&names).await?;
    for topic in wanted {
        match facts.get(&topic.name) {
            Some(TopicFacts { partitions, .. }) if *partitions == topic.partitions => {}
            Some(TopicFacts { partitions, .. }) => {
                return Err(format!(
                    "changelog `{}` has {partitions} partitions, its table needs {}: the source's number was changed; delete the \
                     changelog to count anew, or restore the number",
                    topic.name, topic.partitions
                )
                .into());
            }
            None => return Err(format!("changelog `{}` was created and is not there yet", topic.name).into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::{DeclaredTable, DeclaredTopic};
    use crate::log::MemoryLog;
    use crate::settings::FileLayer;
    use crate::{App, Settings, Store, Table, Topic};

    fn settings() -> Resolved {
        let code = Settings::new().broker("memory://").store(Store::Memory).standby_replicas(2);
        crate::settings::resolve("counted", &code, &FileLayer::default(), [], &[]).unwrap()
    }

    #[tokio::test]
    async fn a_source_with_another_number_of_partitions_than_is_configured_is_waited_for() {
        let app = App::new("counted");
        let orders: Topic<String, u64> = app.topic("orders");
        app.agent("count", orders, async |mut orders| {
            while orders.next().await.is_some() {}
            Ok(())
        });
        let topology = app.node().topology().unwrap();
        let log = MemoryLog::new(8);
        log.create(&[NewTopic { name: "orders".into(), partitions: 6, config: vec![] }]).await.unwrap();
        let found = async |partitions| {
            let topics = vec![DeclaredTopic { name: "orders".into(), partitions }];
            look(&*log, &topology, &Declared { topics, tables: vec![] }, &settings()).await
        };
        for partitions in [None, Some(6)] {
            assert!(found(partitions).await.is_ok_and(|groups| groups[0].partitions == 6));
        }
        let Err(Problem::Waiting(unready)) = found(Some(12)).await else { panic!("it goes on") };
        assert_eq!(
            unready.sentence,
            "topic `orders` has 6 partitions and the configuration declares it with 12; change the topic or its declaration"
        );
    }

    #[tokio::test]
    async fn tables_that_are_used_together_have_as_many_copies_as_the_one_that_needs_most() {
        let app = App::new("copied");
        let topic = |name: &str| -> Topic<String, u64> { app.topic(name) };
        let table = |name: &str| -> Table<String, u64> { app.table(name) };
        app.agent("none", topic("a"), async |_| Ok(()));
        app.agent("as-set", (topic("b"), table("plain")), async |_, _| Ok(()));
        app.agent("none-wanted", (topic("c"), table("cheap")), async |_, _| Ok(()));
        app.agent("most", (topic("d"), table("cheaper"), table("dear")), async |_, _, _| Ok(()));
        let topology = app.node().topology().unwrap();
        let said = [("cheap", Some(0)), ("cheaper", Some(0)), ("dear", Some(3)), ("plain", None)];
        let tables = said.map(|(name, standby_replicas)| DeclaredTable { name: name.into(), standby_replicas }).to_vec();
        let found = look(&*MemoryLog::new(8), &topology, &Declared { topics: vec![], tables }, &settings()).await;
        let Ok(groups) = found else { panic!("not found") };
        assert_eq!(groups.iter().map(|group| group.standbys).collect::<Vec<_>>(), [0, 2, 0, 3]);
    }
}
