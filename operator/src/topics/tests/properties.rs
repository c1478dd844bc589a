//! Whatever is declared, coded and found: a plan only adds, and once carried out it is quiet.

use proptest::prelude::*;

use super::*;

const NAMES: [&str; 4] = ["a", "b", "c", "d"];
const KEYS: [&str; 2] = ["cleanup.policy", "retention.ms"];

fn declared() -> impl Strategy<Value = String> {
    let entry = (proptest::option::of(1..4u32), any::<bool>(), proptest::option::of(1..3u32));
    proptest::collection::btree_map(0..NAMES.len(), entry, 0..4).prop_map(|topics| {
        let topics = topics.into_iter().map(|(name, (partitions, managed, retention))| {
            let partitions = partitions.map(|count| format!(", partitions: {count}")).unwrap_or_default();
            let config = retention.filter(|_| managed).map(|ms| format!(", config: {{retention.ms: {ms}}}")).unwrap_or_default();
            let management = if managed { "Managed" } else { "External" };
            format!("{{name: {}, management: {management}{partitions}{config}}}", NAMES[name])
        });
        format!("topics: [{}]", topics.collect::<Vec<_>>().join(", "))
    })
}

fn coded() -> impl Strategy<Value = Option<Topology>> {
    let role = prop_oneof![Just(CodeRole::Source), Just(CodeRole::Sink), Just(CodeRole::Changelog), Just(CodeRole::Repartition)];
    let partitions = prop_oneof![
        3 => Just(Partitions::Whatever),
        1 => (1..4u32).prop_map(Partitions::Exactly),
        2 => proptest::sample::select(&NAMES[..]).prop_map(|name| Partitions::As(format!("source:{name}"))),
    ];
    let topics = proptest::collection::vec((role, partitions), NAMES.len());
    let topology = (topics, proptest::sample::subsequence(&NAMES[..], 1..=2)).prop_map(|(topics, group)| {
        let topics = NAMES.iter().zip(topics).map(|(name, (role, partitions))| {
            let policy = if role == CodeRole::Changelog { config(&[("cleanup.policy", "compact")]) } else { BTreeMap::new() };
            CodeTopic { config: policy, ..code(name, role, partitions) }
        });
        let topics = topics.collect();
        let group = CodeGroup { topics: group.into_iter().map(str::to_string).collect(), tables: Vec::new(), agents: Vec::new() };
        Topology { topics, groups: vec![group], ..super::topology() }
    });
    proptest::option::weighted(0.8, topology.prop_map(|topology| Topology { tables: Vec::new(), ..topology }))
}

fn found() -> impl Strategy<Value = BTreeMap<String, TopicFacts>> {
    let facts = (1..4u32, any::<bool>(), 1..3u32).prop_map(|(partitions, compact, ms)| {
        let policy = if compact { "compact" } else { "delete" };
        topic(partitions, &[("cleanup.policy", policy), ("retention.ms", &ms.to_string())])
    });
    proptest::collection::btree_map(proptest::sample::select(&NAMES[..]).prop_map(str::to_string), facts, 0..4)
}

/// A Kafka that does what it is asked, with 2 partitions where none are asked for.
fn carry_out(topics: &Topics, facts: &mut BTreeMap<String, TopicFacts>, record: &mut Record) {
    *record = topics.record.clone();
    for action in &topics.actions {
        match action {
            Action::CreateTopics(new) => {
                for new in new {
                    let mut topic = topic(new.partitions.unwrap_or(2), &[("cleanup.policy", "delete"), ("retention.ms", "7")]);
                    topic.config.extend(new.config.clone());
                    made(record, new, &topic.id, topic.partitions);
                    assert!(facts.insert(new.name.clone(), topic).is_none(), "`{}` is there already", new.name);
                }
            }
            Action::ConfigureTopic { topic, set } => {
                assert!(set.keys().all(|key| KEYS.contains(&key.as_str())));
                facts.get_mut(topic).unwrap().config.extend(set.clone());
            }
            other => panic!("no business of topics: {other:?}"),
        }
    }
}

proptest! {
    #[test]
    fn a_plan_only_adds_and_once_carried_out_it_is_quiet(spec in declared(), topology in coded(), mut facts in found()) {
        let app = app(&spec);
        let before = facts.clone();
        let mut record = Record::default();
        let look = |facts: &BTreeMap<String, TopicFacts>| Kafka::Seen(KafkaFacts { topics: facts.clone(), members: Vec::new() });
        // What is counted by a topic with the broker's default, by way of each other, needs as many rounds as there are topics.
        for _ in 0..NAMES.len() {
            let topics = plan(&app, topology.as_ref(), &look(&facts), &record);
            let mismatch = matches!(topics.verdict.reason, Reason::PartitionMismatch | Reason::TopologyMismatch);
            prop_assert!(!mismatch || !topics.actions.iter().any(|action| matches!(action, Action::CreateTopics(_))));
            carry_out(&topics, &mut facts, &mut record);
        }
        let last = plan(&app, topology.as_ref(), &look(&facts), &record);
        prop_assert!(last.actions.is_empty() && last.events.is_empty(), "{:?}", last);
        prop_assert_eq!(&last.record, &record);
        prop_assert_eq!(last.workers_may_start, matches!(last.verdict.reason, Reason::AsWanted) || topology.is_none() && last.verdict.reconciling);
        prop_assert!(!last.verdict.message.is_empty());
        for (name, topic) in &before {
            prop_assert_eq!(topic.partitions, facts[name].partitions);
            prop_assert!(!record.get(name).is_some_and(|entry| entry.created));
        }
    }
}
