use std::path::PathBuf;
use std::time::Duration;

use super::check::Features;
use super::resolve::Origin;
use super::resolve::resolve_for;
use super::*;
use crate::{millis, mins, secs};

const EVERYTHING: Features = Features { kafka: true, rocksdb: true };

fn resolved(code: Settings, environment: &[(&str, &str)], flags: &[(&'static str, &str)]) -> Result<Resolved, String> {
    with_features(EVERYTHING, code, environment, flags)
}

fn with_features(
    features: Features,
    code: Settings,
    environment: &[(&str, &str)],
    flags: &[(&'static str, &str)],
) -> Result<Resolved, String> {
    let environment = environment.iter().map(|(name, text)| (name.to_string(), text.to_string()));
    let flags: Vec<_> = flags.iter().map(|(name, text)| (*name, text.to_string())).collect();
    resolve_for(features, "shop", &code, &FileLayer::default(), environment, &flags).map_err(|error| error.to_string())
}

#[test]
fn every_default_of_the_table_parses_and_shows_itself() {
    let defaults = resolved(Settings::new(), &[], &[]).unwrap();
    for setting in TABLE {
        let (shown, _) = setting.shown(&defaults);
        assert_eq!(shown, setting.default.replace("<app-id>", "shop"));
        let reparsed = resolved(Settings::new().with(setting.name, &shown), &[], &[]).unwrap();
        assert_eq!(setting.shown(&reparsed), (shown, Origin::Code), "{}", setting.name);
    }
    assert_eq!(defaults.broker, Broker::Kafka("localhost:9092".into()));
    assert_eq!(defaults.datadir, PathBuf::from("./shop-data"));
    assert_eq!((defaults.commit_interval, defaults.event_timeout), (secs(1), mins(5)));
    assert_eq!((defaults.fetch_memory, defaults.restore_rate), (256 << 20, None));
}

#[test]
fn a_flag_wins_over_the_environment_and_that_over_the_code() {
    let code = || Settings::new().web_port(1).commit_interval(millis(10)).store(Store::Memory);
    let environment = [("FAUST_WEB_PORT", "2"), ("FAUST_COMMIT_INTERVAL", "20ms"), ("PATH", "/bin")];
    let all = resolved(code(), &environment, &[("web-port", "3")]).unwrap();
    assert_eq!((all.web_port, all.commit_interval, all.store), (3, millis(20), Store::Memory));
    let origin = |name| Setting::named(name).shown(&all).1;
    assert_eq!(
        ["web-port", "commit-interval", "store", "broker"].map(origin),
        [Origin::Flag, Origin::Environment, Origin::Code, Origin::Default]
    );
}

#[test]
fn a_file_wins_over_the_code_and_loses_to_the_environment() {
    let mut file = FileLayer::default();
    file.set("web-port", "2".into(), "`settings.web-port` in app.yaml, line 3".into()).unwrap();
    file.set("commit-interval", "2s".into(), "`processing.commitInterval` in app.yaml, line 4".into()).unwrap();
    file.set("kafka", "a=file\nb=file".into(), "`settings.kafka` in app.yaml, line 5".into()).unwrap();
    let code = Settings::new().web_port(1).commit_interval(secs(1)).log_level("warn").kafka("a", "code");
    let environment = [("FAUST_COMMIT_INTERVAL", "3s"), ("FAUST_KAFKA", "b=env")].map(|(name, text)| (name.into(), text.into()));
    let flags = [("node", "n1".to_string()), ("kafka", "plugin.secret=hunter2".to_string())];
    let all = resolve_for(EVERYTHING, "shop", &code, &file, environment, &flags).unwrap();
    let listing = all.listing();
    for line in [
        "web-port = 2 (file)",
        "commit-interval = 3s (env)",
        "log-level = warn (code)",
        "node = n1 (flag)",
        "datadir = ./shop-data (default)",
        "kafka = a=file (file)",
        "kafka = b=env (env)",
        "kafka = plugin.secret=*** (flag)",
    ] {
        assert!(listing.lines().any(|listed| listed == line), "{line}: {listing}");
    }
    assert_eq!(listing.lines().count(), TABLE.len() + 3);
}

#[test]
fn what_a_file_cannot_set_is_refused_with_its_place() {
    let refused = |name: &str, text: &str| {
        let mut file = FileLayer::default();
        let place = format!("`settings.{name}` in app.yaml, line 3");
        let set = file.set(name, text.into(), place);
        let resolve = |()| resolve_for(EVERYTHING, "shop", &Settings::new(), &file, [], &[]);
        set.and_then(resolve).unwrap_err().to_string()
    };
    assert_eq!(
        refused("log-levle", "info"),
        "`settings.log-levle` in app.yaml, line 3 is no setting; the nearest is `log-level`, and `worker --help` lists all"
    );
    assert_eq!(
        refused("web-port", "many"),
        "setting `web-port`: \"many\" (`settings.web-port` in app.yaml, line 3) is not understood; expected a port from 0 to 65535"
    );
    assert!(refused("config", "other.yaml").contains("can't name another one"));
    assert!(refused("kafka", "group.id=x").contains("`settings.kafka` in app.yaml, line 3"));
    let mut file = FileLayer::default();
    file.set("broker", "a:1".into(), "`kafka.bootstrapServers`".into()).unwrap();
    let twice = file.set("broker", "a:1".into(), "`settings.broker`".into()).unwrap_err();
    assert_eq!(
        twice.to_string(),
        "setting `broker` is given twice, by `kafka.bootstrapServers` and by `settings.broker`; leave one of them out"
    );
}

#[test]
fn every_method_of_settings_sets_a_setting_of_the_table() {
    let code = Settings::new()
        .broker("memory://")
        .store(Store::Memory)
        .datadir("/data")
        .web_host("::")
        .web_port(0)
        .log_level("warn,faust=debug")
        .commit_interval(millis(1_500))
        .commit_records(50_000)
        .commit_bytes(8 << 20)
        .session_timeout(secs(6))
        .rebalance_timeout(secs(7))
        .revoke_timeout(secs(3))
        .shutdown_timeout(secs(4))
        .event_timeout(Duration::from_nanos(1))
        .on_event_timeout(OnEventTimeout::Exit)
        .on_decode_error(OnDecodeError::Skip)
        .fetch_memory(1)
        .cache_memory(1 << 20)
        .store_memory(3 << 20)
        .flush_records(2_000)
        .flush_interval(mins(90))
        .restore_rate(5)
        .standby_replicas(0)
        .recovery_lag(100)
        .max_warmups(3)
        .topics_interval(secs(20))
        .topic_management(TopicManagement::Operator)
        .instance_id("shop-0")
        .advertised_address("shop-0.shop.default.svc:6066")
        .node("node-1")
        .pod_labels_file("/pod/labels")
        .admin_host("0.0.0.0")
        .admin_port(0)
        .admin_token_file("/token");
    let all = resolved(code, &[], &[]).unwrap();
    let in_code = TABLE.iter().filter(|setting| setting.name != "config");
    let shown: Vec<_> = in_code.map(|setting| setting.shown(&all)).collect();
    assert!(shown.iter().all(|(_, origin)| *origin == Origin::Code));
    let texts: Vec<_> = shown.iter().map(|(text, _)| text.as_str()).collect();
    assert_eq!(
        texts,
        [
            "memory://",
            "memory",
            "/data",
            "::",
            "0",
            "warn,faust=debug",
            "1s500ms",
            "50000",
            "8MiB",
            "6s",
            "7s",
            "3s",
            "4s",
            "1ns",
            "exit",
            "skip",
            "1",
            "1MiB",
            "3MiB",
            "2000",
            "1h30m",
            "5",
            "0",
            "100",
            "3",
            "20s",
            "operator",
            "shop-0",
            "shop-0.shop.default.svc:6066",
            "node-1",
            "/pod/labels",
            "0.0.0.0",
            "0",
            "/token"
        ]
    );
}

#[test]
fn what_does_not_parse_is_refused_with_its_origin_and_what_is_expected() {
    let refused = |name: &'static str, text| resolved(Settings::new(), &[], &[(name, text)]).unwrap_err();
    assert_eq!(
        resolved(Settings::new(), &[("FAUST_COMMIT_INTERVAL", "1 second")], &[]).unwrap_err(),
        "setting `commit-interval`: \"1 second\" (environment variable FAUST_COMMIT_INTERVAL) is not understood; expected a duration \
         above zero such as 250ms, 1.5s or 1h30m"
    );
    assert_eq!(
        refused("store", "rocksbd"),
        "setting `store`: \"rocksbd\" (flag --store) is not understood; expected rocksdb or memory"
    );
    let wrong = [
        ("broker", "kafka"),
        ("broker", "kafka:0"),
        ("broker", "a:1,"),
        ("broker", "kafka://a:1"),
        ("broker", ""),
        ("commit-interval", "0"),
        ("web-host", "localhost"),
        ("web-port", "65536"),
        ("log-level", "inof"),
        ("log-level", "info,=debug"),
        ("log-level", "faust=loud"),
        ("log-level", "3"),
        ("datadir", "bad\u{fffd}name"),
        ("flush-records", "0"),
        ("fetch-memory", "lots"),
        ("restore-rate", "0"),
        ("instance-id", "a/b"),
        ("instance-id", ""),
        ("advertised-address", "a:1,b:2"),
        ("node", "two words"),
        ("topic-management", "nobody"),
    ];
    for (name, text) in wrong {
        let sentence = refused(name, text);
        assert!(sentence.starts_with(&format!("setting `{name}`: {text:?} (flag --{name})")), "{sentence}");
    }
}

#[test]
fn a_variable_that_is_no_setting_is_refused_with_the_nearest_one() {
    assert_eq!(
        resolved(Settings::new(), &[("FAUST_COMIT_INTERVAL", "1s")], &[]).unwrap_err(),
        "environment variable FAUST_COMIT_INTERVAL is no setting; the nearest is FAUST_COMMIT_INTERVAL, and `worker --help` lists all"
    );
    let foreign = [
        ("FAUST_TEST_BROKER", "x"),
        ("FAUST_DEV_BLESS", "1"),
        ("FAUSTUS", "x"),
        ("FAUST_WEB_SERVICE_HOST", "10.0.0.1"),
        ("FAUST_WEB_SERVICE_PORT_HTTP", "80"),
        ("FAUST_WEB_PORT", "tcp://10.0.0.1:80"),
        ("FAUST_WEB_PORT_80_TCP", "tcp://10.0.0.1:80"),
        ("FAUST_WEB_PORT_80_TCP_ADDR", "10.0.0.1"),
    ];
    assert_eq!(resolved(Settings::new(), &foreign, &[]).unwrap().web_port, 6066);
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    let refused = |code| resolved(code, &[], &[]).unwrap_err();
    assert_eq!(
        refused(Settings::new().session_timeout(millis(499))),
        "setting `session-timeout`: 499ms (given in code) is too short: with less than 500ms a busy worker is taken for a dead one"
    );
    assert_eq!(
        refused(Settings::new().rebalance_timeout(secs(10))),
        "setting `revoke-timeout`: 10s (the default) must be shorter than `rebalance-timeout`, or the group goes on without this worker"
    );
    assert_eq!(
        refused(Settings::new().session_timeout(secs(61))),
        "setting `rebalance-timeout`: 1m (the default) must not be shorter than `session-timeout`, or a worker that stood still could \
         write over its heir"
    );
    assert!(refused(Settings::new().commit_interval(Duration::from_micros(5))).contains("too short"));
    assert!(refused(Settings::new().session_timeout(mins(60 * 24 * 30))).contains("longer than Kafka's protocol"));
}

#[cfg(feature = "kafka")]
#[test]
fn a_recovery_lag_that_workers_could_not_tell_each_other_is_refused_with_the_range() {
    let with = |records| resolved(Settings::new().recovery_lag(records), &[], &[]);
    let most = crate::group::Lag::MOST;
    assert_eq!(with(most).unwrap().recovery_lag, most);
    assert_eq!(
        with(most + 1).unwrap_err(),
        "setting `recovery-lag`: 15032385537 (given in code) is more than workers can tell each other: from 1 to 15032385536"
    );
    assert!(Setting::named("recovery-lag").help.contains(&most.to_string()));
}

#[test]
fn a_build_names_the_feature_that_it_lacks_and_defaults_to_what_it_has() {
    let bare = Features { kafka: false, rocksdb: false };
    assert_eq!(
        with_features(bare, Settings::new(), &[], &[]).unwrap_err(),
        "setting `broker`: localhost:9092 (the default) needs Kafka, which this build lacks; build it with the cargo feature `kafka`, \
         or say memory://"
    );
    let memory = || Settings::new().broker("memory://");
    assert_eq!(with_features(bare, memory(), &[], &[]).unwrap().store, Store::Memory);
    assert_eq!(
        with_features(bare, memory(), &[], &[("store", "rocksdb")]).unwrap_err(),
        "setting `store`: rocksdb (flag --store) is not in this build; build it with the cargo feature `rocksdb`, or say memory"
    );
}

#[test]
fn client_properties_are_layered_one_by_one() {
    let code = Settings::new().kafka("a", "code").kafka("b", "code").kafka("c", "code");
    let environment = [("FAUST_KAFKA", "b=environment\n\n c = with = signs \n")];
    let all = resolved(code, &environment, &[("kafka", "a=flag"), ("kafka", "d=flag")]).unwrap();
    let properties: Vec<_> = all.kafka.iter().collect();
    assert_eq!(properties, [("a", "flag"), ("b", "environment"), ("c", "with = signs"), ("d", "flag")]);
}

#[test]
fn client_properties_that_the_worker_depends_on_are_refused() {
    assert_eq!(
        resolved(Settings::new().kafka("bootstrap.servers", "x:1"), &[], &[]).unwrap_err(),
        "setting `kafka`: the client's property `bootstrap.servers` (given in code) can't be set: use the setting `broker`"
    );
    assert_eq!(
        resolved(Settings::new(), &[], &[("kafka", "linger.ms")]).unwrap_err(),
        "setting `kafka`: a text without `=`, which is not shown (flag --kafka), is not understood; expected key=value such as linger.ms=20"
    );
}

#[test]
fn secrets_are_never_shown() {
    let code = Settings::new().kafka("plugin.secret", "hunter2").kafka("plugin.secret.file", "/run/it").kafka("Key.Pem", "hunter2");
    let shown = format!("{code:?} {:?}", resolved(code.clone(), &[], &[]).unwrap());
    let seen = shown.contains("plugin.secret.file=/run/it") && shown.contains("plugin.secret=***");
    assert!(seen && !shown.contains("hunter2"), "{shown}");
    let mut file = FileLayer::default();
    file.property("plugin.secret".into(), "hunter2".into(), "line 1".into()).unwrap();
    assert!(format!("{file:?}").contains("plugin.secret=***"), "{file:?}");
    for key in ["ssl.key.passphrase", "ssl.private.key", "ssl_key", "sasl.oauthbearer.assertion.private.key"] {
        let shown = format!("{:?}", Settings::new().kafka(key, "hunter2"));
        assert!(!shown.contains("hunter2"), "{shown}");
    }
    for line in ["sasl.password:hunter2", "hunter2", "a b=hunter2", "=hunter2"] {
        let refused = resolved(Settings::new(), &[], &[("kafka", line)]).unwrap_err();
        assert!(!refused.contains("hunter2"), "{refused}");
    }
}

#[cfg(feature = "kafka")]
#[test]
fn security_that_is_not_understood_is_refused_with_its_place_and_without_the_secret() {
    let scram = || Settings::new().kafka("security.protocol", "sasl_ssl").kafka("sasl.mechanism", "SCRAM-SHA-256");
    assert_eq!(
        resolved(
            scram().kafka("sasl.username", "anna").kafka("sasl.password.file", "/p"),
            &[],
            &[("kafka", "sasl.password=hunter2")]
        )
        .unwrap_err(),
        "setting `kafka`: the client's property `sasl.password` would be seen by whoever sees the settings: write it into a file and \
         give its path as `sasl.password.file` (flag --kafka)"
    );
    assert_eq!(
        resolved(scram(), &[], &[]).unwrap_err(),
        "setting `kafka`: the client's property `sasl.username` is missing: the mechanism has a user and a password"
    );
    assert!(resolved(scram().kafka("sasl.username", "anna").kafka("sasl.password.file", "/p"), &[], &[]).is_ok());
}

#[cfg(feature = "kafka")]
#[test]
fn deliveries_fit_into_a_session() {
    let with = |timeout| resolved(Settings::new().session_timeout(timeout), &[], &[]).unwrap();
    assert_eq!((with(secs(45)).message_timeout(), with(secs(3)).message_timeout()), (secs(15), secs(1)));
}
