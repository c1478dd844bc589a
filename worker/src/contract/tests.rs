use super::description::Description;
use super::file::ConfigFile;
use super::*;
use crate::cli::{ExitReason, Refusal};
use crate::settings::Settings;
use crate::{App, Table, Topic, millis};

/// What an operator writes, read by the tests of both sides.
#[cfg(feature = "kafka")]
const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../operator/contract/v1/app.yaml");

const HEAD: &str = "contract: {version: 1}\napp: {id: page-views}\n";

fn parse(text: &str) -> Result<ConfigFile, Refusal> {
    ConfigFile::parse("app.yaml", text, "page-views")
}

fn refused(rest: &str) -> Refusal {
    parse(&format!("{HEAD}{rest}")).unwrap_err()
}

/// The app of the golden file.
pub(super) fn page_views() -> App {
    let app = App::with("page-views", Settings::new().broker("memory://").web_port(0).commit_interval(millis(10)));
    let views: Topic<String, String> = app.topic("page_views");
    let _: Topic<String, u64> = app.topic("page_view_counts").partitions(4);
    let counts: Table<String, u64> = app.table("page_counts");
    app.agent("count", (views, counts), async |mut views, counts| {
        while let Some(view) = views.next().await {
            counts.update(view.key(), |n| *n += 1)?;
        }
        Ok(())
    });
    app
}

fn description() -> Description {
    let app = page_views();
    Description::new("page-views", &app.node().topology().unwrap())
}

#[cfg(feature = "kafka")]
#[test]
fn what_an_operator_writes_is_read_without_anything_ignored_and_fits_its_app() {
    let file = parse(&std::fs::read_to_string(GOLDEN).unwrap()).unwrap();
    assert_eq!(file.ignored, Vec::<String>::new());
    file.declared.check(&description()).unwrap();
    assert_eq!(file.declared.standby_replicas("page_counts"), Some(2));
    let code = Settings::new().broker("memory://").store(crate::Store::Memory);
    let settings = crate::settings::resolve("page-views", &code, &file.settings, [], &[]).unwrap().listing();
    for line in [
        "broker = kafka:9092 (file)",
        "commit-interval = 1s (file)",
        "topic-management = operator (file)",
        "standby-replicas = 1 (file)",
        "datadir = /var/lib/faust (file)",
        "shutdown-timeout = 1m30s (file)",
        "log-level = info (file)",
        "kafka = fetch.max.bytes=52428800 (file)",
    ] {
        assert!(settings.lines().any(|listed| listed == line), "{line}: {settings}");
    }
}

#[test]
fn what_a_later_operator_adds_is_left_out_and_listed() {
    let text = "
contract: {version: 1, requires: [drain-leave], issued: today}
app: {id: page-views, team: web}
scaling: {mode: Auto}
processing: {guarantee: AtLeastOnce, batch: 5}
topics: [{name: page_views, partitions: 12, retention: 1d}]
tables: [{name: page_counts, window: {size: 1h}}]
";
    let file = parse(text).unwrap();
    let ignored = ["app.team", "contract.issued", "processing.batch", "scaling", "tables[0].window", "topics[0].retention"];
    assert_eq!(file.ignored, ignored);
}

#[test]
fn a_key_of_the_operators_without_a_value_counts_as_missing() {
    let rest = "topicManagement:\nprocessing: {commitInterval: null, guarantee: ~}\nstandbyReplicas: ~\n\
                topics: [{name: page_views, partitions: }]\n";
    let file = parse(&format!("{HEAD}{rest}")).unwrap();
    assert_eq!(file.declared.topics[0].partitions, None);
    assert!(parse("contract: {version: }\napp: {id: page-views}\n").unwrap_err().sentence.contains("is missing"));
}

#[test]
fn what_a_worker_cannot_do_is_refused_with_the_place_and_what_to_do() {
    let refusal = parse("contract: {version: 2}\napp: {id: page-views}\n").unwrap_err();
    assert_eq!((refusal.reason, refusal.field.as_deref()), (ExitReason::SettingRefused, Some("contract.version")));
    assert_eq!(
        refusal.sentence,
        "`contract.version` in app.yaml, line 1 is 2, and this worker knows version 1; use an image with a newer faust, or an operator \
         that still writes version 1"
    );
    let sentence = |text: &str| parse(text).unwrap_err().sentence;
    assert_eq!(
        sentence("contract:\n  version: 1\n  requires: [drain-leave, time-travel]\napp: {id: page-views}\n"),
        "`contract.requires` in app.yaml, line 3 asks for `time-travel`, which this worker doesn't have; use an image with a newer faust"
    );
    assert!(sentence("contract: {version: 1}\napp: {id: clicks}\n").starts_with("`app.id` in app.yaml, line 2 is `clicks`"));
    assert_eq!(sentence(""), "`contract.version` in app.yaml is missing; write `contract: {version: 1}`");
    assert!(sentence("contract: {version: 1\n").starts_with("app.yaml is not YAML: "));
    assert!(sentence("just words").starts_with("app.yaml is not understood; expected keys with values"));
}

#[test]
fn what_the_user_wrote_is_strict() {
    let refusal = refused("settings:\n  web-port: 0\n  comit-interval: 1s\n");
    assert_eq!(
        refusal.sentence,
        "`settings.comit-interval` in app.yaml, line 5 is no setting; the nearest is `commit-interval`, and `worker --help` lists all"
    );
    assert_eq!((refusal.reason.code(), refusal.field.as_deref()), (78, Some("settings.comit-interval")));
    let twice = refused("topicManagement: operator\nsettings: {topic-management: worker}\n").sentence;
    assert!(
        twice.starts_with("setting `topic-management` is given twice, by `topicManagement` in app.yaml, line 3 and by"),
        "{twice}"
    );
    let twice = refused("kafka: {properties: {linger.ms: 5}}\nsettings: {kafka: linger.ms=6}\n").sentence;
    assert!(
        twice.starts_with("the client's property `linger.ms` is given twice, by `kafka.properties.linger.ms` in app.yaml and by"),
        "{twice}"
    );
    let sentence = |rest: &str| refused(rest).sentence;
    assert!(sentence("settings: {1: x}\n").contains("has a key that is no text"));
    assert!(sentence("settings: {[web-port]: 1}\n").contains("has a key that is no text"));
    assert!(sentence("settings: {web-port: }\n").ends_with("is not understood; expected one value"));
    assert!(sentence("settings: [1]\n").ends_with("is not understood; expected keys with values"));
    assert!(sentence("settings: {web-port: {a: 1}}\n").ends_with("is not understood; expected one value"));
    assert!(sentence("topics: [{name: x, partitions: many}]\n").ends_with("is not understood; expected a whole number"));
    assert!(sentence("processing: {guarantee: ExactlyOnce}\n").ends_with("which this worker can't do; say AtLeastOnce"));
}

#[test]
fn what_is_declared_and_the_program_contradicts_is_refused_by_name() {
    let program = description();
    let check = |rest: &str| parse(&format!("{HEAD}{rest}")).unwrap().declared.check(&program);
    let refused = |rest: &str| check(rest).unwrap_err();
    check("topics: [{name: page_views, partitions: 7}, {name: page-views-page_counts-changelog, partitions: 7}]").unwrap();
    let refusal = refused("topics: [{name: page_visits}]");
    assert_eq!((refusal.reason.code(), refusal.field.as_deref()), (78, Some("topics.page_visits")));
    assert_eq!(
        refusal.sentence,
        "the configuration declares the topic `page_visits` which the program doesn't have; it has `page-views-page_counts-changelog`, \
         `page_view_counts`, `page_views`; change the declaration or the program"
    );
    assert_eq!(
        refused("tables: [{name: counts}]").sentence,
        "the configuration declares the table `counts` which the program doesn't have; it has `page_counts`; change the declaration or \
         the program"
    );
    assert_eq!(
        refused("topics: [{name: page_view_counts, partitions: 8}]").sentence,
        "the configuration declares the topic `page_view_counts` with 8 partitions, and the program insists on 4; change the declaration \
         or the program"
    );
    assert_eq!(
        refused("topics: [{name: page_views, partitions: 7}, {name: page-views-page_counts-changelog, partitions: 8}]").sentence,
        "the configuration declares the topic `page-views-page_counts-changelog` with 8 partitions, and it needs as many as \
         `page_views`, 7; change the declaration or the program"
    );
}

#[test]
fn the_hash_of_a_topology_changes_with_it_and_with_nothing_else() {
    let hash = |topics: &[&str], partitions: u32| {
        let app = App::new("hashed");
        for topic in topics {
            let topic: Topic<String, u64> = app.topic(topic).partitions(partitions);
            let table: Table<String, u64> = app.table(&format!("{}-table", topic.name()));
            app.agent(topic.name(), (topic, table), async |mut stream, _| {
                while stream.next().await.is_some() {}
                Ok(())
            });
        }
        Description::new("hashed", &app.node().topology().unwrap()).hash
    };
    assert_eq!(hash(&["a", "b"], 2), hash(&["b", "a"], 2), "the order of declarations");
    assert_ne!(hash(&["a", "b"], 2), hash(&["a", "b"], 3));
    assert_ne!(hash(&["a", "b"], 2), hash(&["a"], 2));
}

#[test]
fn a_file_that_cannot_be_read_is_refused_by_its_name() {
    let configure = |path: &str| configure("page-views", &Settings::new(), [("FAUST_CONFIG".into(), path.into())], &[]);
    let refusal = configure("/nowhere/app.yaml").unwrap_err();
    assert_eq!((refusal.reason.code(), refusal.field.as_deref()), (78, Some("settings.config")));
    assert!(refusal.sentence.starts_with("the configuration file /nowhere/app.yaml can't be read: No such file"), "{refusal}");
    assert!(refusal.sentence.ends_with("name another with --config or FAUST_CONFIG"), "{refusal}");
}
