//! What a manifest can have wrong, what is said about it, and that nothing is done that can't be undone.

use faust_e2e::cluster::{App, Condition, Operator, Stage};
use serde_json::{Value, json};

/// One mistake.
struct Case {
    name: &'static str,
    change: Value,
    condition: &'static str,
    status: &'static str,
    reason: &'static str,
    /// What the sentence names.
    says: Vec<String>,
    /// Whether a pod is started before it can be seen.
    pods: Pods,
}

#[derive(PartialEq)]
enum Pods {
    None,
    Started,
}

fn case(
    name: &'static str,
    change: Value,
    condition: &'static str,
    status: &'static str,
    reason: &'static str,
    says: &[&str],
    pods: Pods,
) -> Case {
    Case { name, change, condition, status, reason, says: says.iter().map(ToString::to_string).collect(), pods }
}

/// `kafka` is a bootstrap server's name, `missing` that of an image.
fn cases(kafka: &str, missing: &str) -> Vec<Case> {
    vec![
        case(
            "missing",
            json!({ "topics": [{ "name": "e2e-missing", "management": "External" }] }),
            "TopicsReady",
            "False",
            "TopicMissing",
            &["e2e-missing", "create it"],
            Pods::None,
        ),
        case(
            "too-few",
            json!({ "topics": [{ "name": "e2e-too-few", "partitions": 12 }] }),
            "TopicsReady",
            "False",
            "PartitionMismatch",
            &["e2e-too-few", "3 partitions", "12", "kafka-topics.sh"],
            Pods::None,
        ),
        case(
            "setting",
            json!({ "appId": "page-views", "settings": { "commit-intervall": "2s" } }),
            "WorkersReady",
            "False",
            "WorkerRefused",
            &["commit-intervall", "`commit-interval`"],
            Pods::Started,
        ),
        case(
            "table",
            json!({
                "appId": "page-views",
                "tables": [{ "name": "page_count" }],
                // The same Kafka, said otherwise: of two applications with one id that would be told instead.
                "kafka": { "bootstrapServers": format!("{kafka},{kafka}") },
            }),
            "WorkersReady",
            "False",
            "TopologyMismatch",
            &["`page_count`", "`page_counts`"],
            Pods::Started,
        ),
        case("id", json!({}), "WorkersReady", "False", "WorkerRefused", &["page-views", "`id`"], Pods::Started),
        case("image", json!({ "image": missing }), "WorkersReady", "False", "ImagePullFailed", &[missing], Pods::Started),
        case(
            "class",
            json!({ "storage": { "storageClassName": "e2e-none" } }),
            "StorageReady",
            "False",
            "StorageClassNotFound",
            &["e2e-none"],
            Pods::Started,
        ),
        case(
            "away",
            json!({ "kafka": { "bootstrapServers": "kafka.nowhere.svc:9092" } }),
            "TopicsReady",
            "Unknown",
            "KafkaUnreachable",
            &["kafka.nowhere.svc:9092"],
            Pods::None,
        ),
        case(
            "later",
            json!({ "processing": { "guarantee": "ExactlyOnce" } }),
            "Ready",
            "False",
            "NotSupported",
            &["spec.processing.guarantee"],
            Pods::None,
        ),
    ]
}

#[test]
fn what_a_manifest_has_wrong_is_said_and_starts_nothing_on_cluster() {
    let stage = Stage::set();
    let operator = stage.step("helm install", || Operator::install(&stage.cluster));
    let mark = operator.mark();
    let kafka = stage.cluster.kafka();
    // An earlier run may have left it.
    let _ = kafka.delete_topic("e2e-too-few");
    kafka.create_topic("e2e-too-few", 3, &[]).unwrap_or_else(|error| panic!("{error}"));
    let applied: Vec<(App, Case)> = stage.step("all of them are applied", || {
        let missing = stage.cluster.image("page-views").replace(":dev", ":missing");
        cases(stage.cluster.kafka_in_pods(), &missing).into_iter().map(|case| (apply(&stage, &case), case)).collect()
    });
    for (app, case) in &applied {
        stage.step(format_args!("{}: {}", case.name, case.reason), || is_said(&stage, case, app));
    }
    // Later than the others: the older one has the id, and ages are told in seconds.
    let twin = case("twin", json!({ "appId": "missing" }), "Ready", "False", "GroupInUse", &["/missing", "spec.appId"], Pods::None);
    stage.step("twin: GroupInUse", || is_said(&stage, &twin, &apply(&stage, &twin)));
    if let Some(mark) = mark {
        assert_eq!(operator.deleted_pods(mark), Vec::<String>::new(), "a pod that can't become well isn't made anew");
    }
    let topics = kafka.tool("TopicCommand", ["--list"]).unwrap_or_else(|error| panic!("{error}"));
    let topics = String::from_utf8_lossy(&topics.stdout);
    assert!(topics.lines().all(|topic| topic != "e2e-missing"), "a topic of others was created: {topics}");
    kafka.delete_topic("e2e-too-few").unwrap_or_else(|error| panic!("{error}"));
}

fn apply<'a>(stage: &'a Stage, case: &Case) -> App<'a> {
    App::apply(stage, json!({ "metadata": { "name": case.name }, "spec": case.change.clone() }))
}

fn is_said(stage: &Stage, case: &Case, app: &App) {
    let Condition { message, .. } = app.until_condition(case.condition, case.status, case.reason);
    stage.say(format_args!("    {message}"));
    for word in &case.says {
        assert!(message.contains(word), "the message names {word}: {message}");
    }
    let ready = app.condition("Ready").unwrap_or_else(|error| panic!("{error}")).expect("it is of this generation");
    assert_ne!(ready.status, "True", "{}: {ready}", case.name);
    if case.pods == Pods::None {
        assert_eq!(app.pods(), Vec::new(), "{}", case.name);
    }
}
