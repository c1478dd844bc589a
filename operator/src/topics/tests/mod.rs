//! Plans for topics, case by case.

mod properties;

use std::collections::BTreeMap;

use faust_crds::TopicRole;

use super::*;
use crate::golden;
use crate::model::{CodeRole, CodeTopic, Partitions, TopicFacts};

const VIEWS: &str = "page_views";
const CHANGELOG: &str = "page-views-page_counts-changelog";

fn app(spec: &str) -> App {
    let spec = format!("image: worker:1\nkafka: {{bootstrapServers: 'kafka:9092'}}\n{spec}");
    golden::app_of("page-views", serde_yaml::from_str(&spec).unwrap())
}

/// The example of the contract's page: one table counted from one topic.
fn topology() -> Topology {
    let page = include_str!("../../../../docs/reference/contract.md");
    let json = page.split("```json\n").find(|block| block.contains("\"topics\"")).unwrap();
    serde_json::from_str(json.split("```").next().unwrap()).unwrap()
}

fn code(name: &str, role: CodeRole, partitions: Partitions) -> CodeTopic {
    CodeTopic { name: name.into(), role, partitions, config: BTreeMap::new() }
}

fn config(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
    entries.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
}

fn topic(partitions: u32, entries: &[(&str, &str)]) -> TopicFacts {
    TopicFacts { id: format!("id-{partitions}"), partitions, config: config(entries) }
}

fn kafka(topics: &[(&str, TopicFacts)]) -> Kafka {
    let topics = topics.iter().map(|(name, facts)| (name.to_string(), facts.clone())).collect();
    Kafka::Seen(KafkaFacts { topics, members: Vec::new() })
}

fn planned(app: &App, topology: Option<&Topology>, kafka: &Kafka) -> Topics {
    plan(app, topology, kafka, &Record::default())
}

fn message<'a>(topics: &'a Topics, name: &str) -> Option<&'a str> {
    topics.status.as_ref().unwrap().iter().find(|topic| topic.name == name).unwrap().message.as_deref()
}

const DECLARED: &str = "
topics:
- {name: page_views, partitions: 12, replicationFactor: 3, config: {retention.ms: 604800000}}
";

#[test]
fn what_is_declared_is_created_before_the_code_is_known_and_then_a_worker_is_waited_for() {
    let app = app(DECLARED);
    let first = planned(&app, None, &kafka(&[]));
    let Action::CreateTopics(new) = &first.actions[0] else { panic!("{:?}", first.actions) };
    assert_eq!((new[0].partitions, new[0].replication_factor), (Some(12), Some(3)));
    assert_eq!(new[0].config, config(&[("retention.ms", "604800000")]));
    assert!(!first.workers_may_start && first.verdict.reconciling);
    assert_eq!(first.verdict.message, "creating `page_views`");

    let then = planned(&app, None, &kafka(&[(VIEWS, topic(12, &[("retention.ms", "604800000")]))]));
    assert!(then.actions.is_empty() && then.workers_may_start);
    assert_eq!(then.verdict, Verdict::working(Reason::TopicsPending, "waiting for a worker to say what its code needs"));
}

#[test]
fn a_topic_without_a_declared_count_waits_for_the_codes() {
    let app = app("topics: [{name: page_views}]");
    let before = planned(&app, None, &kafka(&[]));
    assert!(before.actions.is_empty() && before.workers_may_start);

    let mut insists = topology();
    insists.topics[0].partitions = Partitions::Exactly(8);
    let Action::CreateTopics(new) = &planned(&app, Some(&insists), &kafka(&[])).actions[0] else { panic!() };
    let counts: Vec<_> = new.iter().map(|topic| (topic.name.as_str(), topic.partitions)).collect();
    assert_eq!(counts, [(CHANGELOG, Some(8)), (VIEWS, Some(8))]);

    // Without an opinion it is the broker's default, and what is counted by it has to wait to see that.
    let Action::CreateTopics(new) = &planned(&app, Some(&topology()), &kafka(&[])).actions[0] else { panic!() };
    assert_eq!(new.iter().map(|topic| (topic.name.as_str(), topic.partitions)).collect::<Vec<_>>(), [(VIEWS, None)]);
}

#[test]
fn a_changelog_has_its_sources_partitions_and_config_in_layers() {
    let app = app("
internalTopics: {replicationFactor: 3, config: {min.insync.replicas: 2, segment.ms: 1000}}
tables: [{name: page_counts, changelog: {config: {segment.ms: 5000}}}]
");
    let plan = planned(&app, Some(&topology()), &kafka(&[(VIEWS, topic(6, &[]))]));
    let Action::CreateTopics(new) = &plan.actions[0] else { panic!("{:?}", plan.actions) };
    let expected = NewTopic {
        name: CHANGELOG.into(),
        role: TopicRole::Changelog,
        partitions: Some(6),
        replication_factor: Some(3),
        config: config(&[("cleanup.policy", "compact"), ("min.insync.replicas", "2"), ("segment.ms", "5000")]),
    };
    assert_eq!((new.as_slice(), plan.partitions), (&[expected][..], Some(6)));
    assert_eq!(wanted_names(&app, Some(&topology())).keys[CHANGELOG], ["cleanup.policy", "min.insync.replicas", "segment.ms"]);
}

#[test]
fn all_there_is_quiet_and_says_how_many() {
    let seen =
        kafka(&[(VIEWS, topic(12, &[("retention.ms", "604800000")])), (CHANGELOG, topic(12, &[("cleanup.policy", "compact")]))]);
    let plan = planned(&app(DECLARED), Some(&topology()), &seen);
    assert!(plan.actions.is_empty() && plan.events.is_empty() && plan.workers_may_start);
    assert_eq!(plan.verdict, Verdict::holds(Reason::AsWanted, "2 topics are as wanted"));
    assert_eq!((plan.partitions, message(&plan, VIEWS), message(&plan, CHANGELOG)), (Some(12), None, None));
}

#[test]
fn drift_of_a_listed_key_is_repaired_and_told() {
    let seen =
        kafka(&[(VIEWS, topic(12, &[("retention.ms", "0604800000")])), (CHANGELOG, topic(12, &[("cleanup.policy", "delete")]))]);
    let plan = planned(&app(DECLARED), Some(&topology()), &seen);
    let repair = Action::ConfigureTopic { topic: CHANGELOG.into(), set: config(&[("cleanup.policy", "compact")]) };
    assert_eq!(plan.actions, [repair]);
    assert_eq!(message(&plan, CHANGELOG), Some("cleanup.policy was delete, set to compact"));
    assert_eq!(plan.events[0].message, format!("topic `{CHANGELOG}`: cleanup.policy was delete, set to compact"));
    assert!(plan.workers_may_start && plan.verdict.holds == Some(true));
}

#[test]
fn a_setting_that_kafka_does_not_know_is_named() {
    let app = app("topics: [{name: page_views, partitions: 1, config: {retention.mss: 5}}]");
    let plan = planned(&app, None, &kafka(&[(VIEWS, topic(1, &[]))]));
    assert_eq!(plan.verdict.reason, Reason::InvalidSpec);
    assert!(plan.verdict.stalled && plan.verdict.message.contains("`retention.mss`"), "{}", plan.verdict.message);
    assert!(plan.verdict.message.ends_with("correct spec.topics[page_views].config"), "{}", plan.verdict.message);
}

#[test]
fn counts_that_differ_are_told_with_both_numbers_and_what_mends_them_and_nothing_is_created() {
    let only_read = || {
        let mut topology = topology();
        topology.groups[0].tables.clear();
        topology
    };
    let insists = || {
        let mut topology = only_read();
        topology.topics[0].partitions = Partitions::Exactly(12);
        topology
    };
    let external = "topics: [{name: page_views, partitions: 12, management: External}]";
    for (spec, topology, found, changelog, sentence) in [
        (
            DECLARED,
            only_read(),
            6,
            None,
            "has 6 partitions, spec.topics[page_views].partitions says 12: grow it with `kafka-topics.sh --bootstrap-server kafka:9092 --alter --topic page_views --partitions 12`, or remove the field",
        ),
        (
            DECLARED,
            topology(),
            6,
            None,
            "says 12: growing it would part keys from what table `page_counts` holds of them; remove the field",
        ),
        (
            DECLARED,
            topology(),
            24,
            None,
            "has 24 partitions, spec.topics[page_views].partitions says 12: Kafka can't take partitions away; set the field to 24",
        ),
        (
            external,
            topology(),
            1,
            None,
            "has 1 partition, spec.topics[page_views].partitions says 12: whoever looks after the topic has to grow it, or remove the field",
        ),
        ("", insists(), 6, None, "has 6 partitions, the code insists on 12: grow it with `kafka-topics.sh"),
        (
            "",
            topology(),
            12,
            Some(6),
            "has 6 partitions, its source `page_views` 12: give the source its former count back (a topic made anew), or delete the topic with `kafka-topics.sh --bootstrap-server kafka:9092 --delete --topic page-views-page_counts-changelog` – its table is then built anew",
        ),
    ] {
        let mut seen = vec![(VIEWS, topic(found, &[("retention.ms", "604800000")]))];
        seen.extend(changelog.map(|partitions| (CHANGELOG, topic(partitions, &[("cleanup.policy", "compact")]))));
        let plan = planned(&app(spec), Some(&topology), &kafka(&seen));
        assert_eq!((plan.verdict.reason, plan.verdict.again), (Reason::PartitionMismatch, MISMATCH), "{sentence}");
        assert!(plan.verdict.message.contains(sentence), "{}", plan.verdict.message);
        assert!(plan.actions.is_empty() && !plan.workers_may_start);
    }
}

#[test]
fn topics_that_are_read_together_have_equally_many_partitions() {
    let mut together = topology();
    together.topics.push(code("clicks", CodeRole::Source, Partitions::Whatever));
    together.groups[0].topics.push("clicks".into());
    let changelog = topic(12, &[("cleanup.policy", "compact")]);
    let seen = kafka(&[(VIEWS, topic(12, &[])), ("clicks", topic(6, &[])), (CHANGELOG, changelog)]);
    let plan = planned(&app(""), Some(&together), &seen);
    assert_eq!(
        plan.verdict.message,
        "topics `page_views` (12 partitions), `clicks` (6 partitions) are read together by `count` and have to have equally many: \
         make `clicks` anew with 12 partitions (growing it would part keys from what tables hold of them)"
    );
    assert_eq!((plan.verdict.reason, plan.partitions), (Reason::PartitionMismatch, Some(12)));

    // Known before they are there: then they aren't made.
    let declared = app("topics: [{name: page_views, partitions: 12}, {name: clicks, partitions: 6}]");
    let plan = planned(&declared, Some(&together), &kafka(&[]));
    assert_eq!((plan.verdict.reason, plan.actions, plan.partitions), (Reason::PartitionMismatch, vec![], None));
}

#[test]
fn a_topic_that_others_make_is_waited_for_and_the_rest_is_created_meanwhile() {
    let mut topology = topology();
    topology.topics.push(code("alerts", CodeRole::Sink, Partitions::Whatever));
    let external = app("topics: [{name: page_views, management: External}, {name: other, partitions: 1}]");
    topology.topics.push(code("other", CodeRole::Sink, Partitions::Whatever));
    let plan = planned(&external, Some(&topology), &kafka(&[]));
    assert_eq!((plan.verdict.reason, plan.verdict.again), (Reason::TopicMissing, MISSING));
    assert_eq!(
        plan.verdict.message,
        "topic `alerts`, which the code writes, does not exist: declare it in spec.topics, or create it. \
         topic `page_views` does not exist, and spec.topics says External: create it, or set management: Managed"
    );
    let Action::CreateTopics(new) = &plan.actions[0] else { panic!("{:?}", plan.actions) };
    assert_eq!(new.iter().map(|topic| topic.name.as_str()).collect::<Vec<_>>(), ["other"]);
    assert!(!plan.workers_may_start && plan.partitions.is_none());
}

#[test]
fn a_declaration_that_the_code_contradicts_is_refused_with_the_nearest_name() {
    let mut insists = topology();
    insists.topics[0].partitions = Partitions::Exactly(8);
    let mut homeless = topology();
    homeless.topics[1].partitions = Partitions::As("source:clicks".into());
    let mut circular = topology();
    circular.topics[0].partitions = Partitions::As(format!("source:{CHANGELOG}"));
    let changelog = format!("topics: [{{name: {CHANGELOG}}}]");
    for (spec, topology, sentence) in [
        (
            "topics: [{name: page_view}]",
            topology(),
            "spec.topics names `page_view`, which the code doesn't have (it has `page_views`)",
        ),
        ("topics: [{name: orders}]", topology(), "spec.topics names `orders`, which the code doesn't have: correct the name"),
        ("tables: [{name: counts}]", topology(), "spec.tables names `counts`, which the code doesn't have: correct"),
        (changelog.as_str(), topology(), "a changelog topic that the framework makes itself: remove the entry"),
        (DECLARED, insists, "spec.topics[page_views].partitions says 12, the code insists on 8: change one of them"),
        (
            "internalTopics: {config: {cleanup.policy: delete}}",
            topology(),
            "spec.internalTopics.config sets cleanup.policy, which the code decides",
        ),
        (
            "tables: [{name: page_counts, changelog: {config: {cleanup.policy: delete}}}]",
            topology(),
            "spec.tables[page_counts].changelog.config sets",
        ),
        ("", Topology { app: "other".into(), ..topology() }, "the image's code has the app id `other`, this FaustApp `page-views`"),
        ("", homeless, "as many partitions as `clicks`, a topic that it doesn't have"),
        ("", circular, "round in a circle"),
    ] {
        let plan = planned(&app(spec), Some(&topology), &kafka(&[]));
        assert_eq!(plan.verdict.reason, Reason::TopologyMismatch, "{sentence}");
        assert!(plan.verdict.message.contains(sentence), "{}", plan.verdict.message);
        assert!(plan.actions.is_empty() && plan.verdict.stalled && !plan.workers_may_start);
    }
}

#[test]
fn a_kafka_that_cannot_be_asked_leaves_everything_as_it_is() {
    for (refused, reason) in [(false, Reason::KafkaUnreachable), (true, Reason::KafkaAuthFailed)] {
        let plan = planned(&app(DECLARED), None, &Kafka::Unknown { refused, message: "a sentence".into() });
        assert_eq!((plan.verdict.holds, plan.verdict.reason, plan.verdict.message.as_str()), (None, reason, "a sentence"));
        assert!(plan.actions.is_empty() && plan.status.is_none() && plan.partitions.is_none() && !plan.workers_may_start);
    }
}

#[test]
fn what_we_made_is_ours_by_its_id_and_another_topic_of_the_name_is_not() {
    let app = app("topics: [{name: page_views, partitions: 12}]");
    let Action::CreateTopics(new) = &planned(&app, None, &kafka(&[])).actions[0] else { panic!() };
    let mut record = Record::default();
    assert_eq!(made(&mut record, &new[0], "id-12", 12).message, "created topic `page_views` with 12 partitions");

    let ours = plan(&app, None, &kafka(&[(VIEWS, topic(12, &[]))]), &record);
    assert!(ours.status.as_ref().unwrap()[0].created && ours.record == record);

    let other = kafka(&[(VIEWS, TopicFacts { id: "id-other".into(), ..topic(12, &[]) })]);
    let taken = plan(&app, None, &other, &record);
    assert!(!taken.status.as_ref().unwrap()[0].created && taken.events[0].warning);
    assert!(message(&taken, VIEWS).unwrap().contains("made anew by somebody else"));
    let quiet = plan(&app, None, &other, &taken.record);
    assert!(quiet.events.is_empty() && quiet.status == taken.status && quiet.record == taken.record);

    let adopted = planned(&app, None, &other);
    assert!(!adopted.record.get(VIEWS).unwrap().created && message(&adopted, VIEWS).is_none());

    let again = made(&mut record, &new[0], "id-new", 12);
    assert!(again.warning && again.message.contains("created it again, empty"), "{}", again.message);
}

#[test]
fn what_a_worker_of_this_version_says_is_planned_whole() {
    let said: Topology = serde_json::from_str(include_str!("../../../../worker/contract/v1/topology.json")).unwrap();
    let app = app("topics: [{name: page_views, partitions: 12}, {name: page_view_counts}]");
    let plan = planned(&app, Some(&said), &kafka(&[]));
    let Action::CreateTopics(new) = &plan.actions[0] else { panic!("{:?}", plan.verdict) };
    let counts: Vec<_> = new.iter().map(|topic| (topic.name.as_str(), topic.role, topic.partitions)).collect();
    let expected = [
        (CHANGELOG, TopicRole::Changelog, Some(12)),
        ("page_view_counts", TopicRole::Declared, Some(4)),
        (VIEWS, TopicRole::Declared, Some(12)),
    ];
    assert_eq!(counts, expected);
    assert_eq!(new[0].config, config(&[("cleanup.policy", "compact")]));
}
