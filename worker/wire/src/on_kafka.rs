//! The client against a real broker.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{GroupId, JoinGroupRequest, MetadataRequest, OffsetCommitRequest, SyncGroupRequest, TopicName};

use crate::*;

fn client() -> Client {
    client_of(faust_testbed::shared())
}

fn client_of(broker: &faust_testbed::Broker) -> Client {
    Client::new(Config::parse(&broker.bootstrap(), "faust-wire-test").unwrap())
}

fn topic(name: &str, partitions: i32) -> NewTopic {
    NewTopic {
        name: name.to_string(),
        partitions,
        replication: -1,
        configs: vec![("cleanup.policy".to_string(), "compact".to_string())],
    }
}

#[tokio::test]
async fn a_topic_is_created_once_and_has_leaders_on_kafka() {
    let client = client();
    let name = faust_testbed::unique("created");
    let first = client.create_topics(&[topic(&name, 3)]).await.unwrap();
    let second = client.create_topics(&[topic(&name, 5)]).await.unwrap();
    assert!(first[0].created && first[0].partitions == 3 && first[0].id != [0; 16]);
    assert_eq!(second, [CreatedTopic { created: false, ..first[0].clone() }]);

    let metadata = client.metadata(Some(std::slice::from_ref(&name))).await.unwrap();
    assert_eq!(metadata.topic(&name).unwrap().id, first[0].id);
    assert!((0..3).all(|partition| metadata.leader(&name, partition).is_ok()));
    assert!(metadata.leader(&name, 3).unwrap_err().is(ResponseError::UnknownTopicOrPartition));

    let configs = client.describe_topic_configs(&name, &["cleanup.policy", "retention.ms", "no.such.setting"]).await.unwrap();
    let policy = configs.iter().find(|config| config.name == "cleanup.policy").unwrap();
    assert_eq!((policy.value.as_deref(), policy.set_on_topic), (Some("compact"), true));
    let retention = configs.iter().find(|config| config.name == "retention.ms").unwrap();
    assert_eq!((retention.value.as_deref(), retention.set_on_topic), (Some("604800000"), false));
    assert_eq!(configs.len(), 2);
}

#[tokio::test]
async fn asking_for_a_topic_does_not_make_it_on_kafka_as_it_ships() {
    let kafka = faust_testbed::Kafka::builder().config("auto.create.topics.enable", true).start().unwrap();
    let client = client_of(&kafka);
    let name = faust_testbed::unique("never");
    for _ in 0..2 {
        let metadata = client.metadata(Some(std::slice::from_ref(&name))).await.unwrap();
        assert_eq!(metadata.topic(&name).unwrap().error, Some(ResponseError::UnknownTopicOrPartition));
        let error = client.list_offsets(&[(&name, 0)], At::Latest).await.unwrap_err();
        assert!(error.is(ResponseError::UnknownTopicOrPartition), "{error}");
    }
    assert!(client.metadata(None).await.unwrap().topic(&name).is_none());
}

#[tokio::test]
async fn what_can_not_be_created_is_refused_with_kafkas_sentence_on_kafka() {
    let error = client().create_topics(&[topic("no spaces, please", 1)]).await.unwrap_err();
    assert!(error.is(ResponseError::InvalidTopicException), "{error}");
    assert!(error.to_string().contains("topic `no spaces, please`"), "{error}");
}

#[tokio::test]
async fn offsets_of_an_empty_topic_and_of_a_group_are_read_on_kafka() {
    let client = client();
    let (a, b) = (faust_testbed::unique("offsets-a"), faust_testbed::unique("offsets-b"));
    client.create_topics(&[topic(&a, 2), topic(&b, 1)]).await.unwrap();
    let partitions = [(&b, 0), (&a, 1), (&a, 0)];
    assert_eq!(client.list_offsets(&partitions, At::Earliest).await.unwrap(), [0, 0, 0]);
    assert_eq!(client.list_offsets(&partitions, At::Latest).await.unwrap(), [0, 0, 0]);

    let group = faust_testbed::unique("group");
    let nothing = client.offset_fetch(&group, Some(&[(&a, 0)]), true).await.unwrap();
    assert_eq!(nothing.into_iter().collect::<Vec<_>>(), [((a.clone(), 0), None)]);
    assert!(client.offset_fetch::<&str>(&group, None, true).await.unwrap().is_empty());

    let partition = OffsetCommitRequestPartition::default().with_partition_index(1).with_committed_offset(7);
    let topics = vec![OffsetCommitRequestTopic::default().with_name(TopicName(text(&a))).with_partitions(vec![partition])];
    let commit = OffsetCommitRequest::default()
        .with_group_id(GroupId(text(&group)))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(topics);
    let connection = client.connect(&client.coordinator(&group).await.unwrap()).await.unwrap();
    let answer = connection.call(commit).await.unwrap();
    assert_eq!(answer.topics[0].partitions[0].error_code, 0);
    let all = client.offset_fetch::<&str>(&group, None, true).await.unwrap();
    assert_eq!(all.into_iter().collect::<Vec<_>>(), [((a.clone(), 1), Some(7))]);
}

#[tokio::test]
async fn a_group_nobody_knows_is_dead_on_kafka() {
    let description = client().describe_group(&faust_testbed::unique("nobody")).await.unwrap();
    assert_eq!((description.state.as_str(), description.members.len()), ("Dead", 0));
}

#[tokio::test]
async fn a_member_of_a_group_is_seen_with_its_bytes_on_kafka() {
    let client = client();
    let group = faust_testbed::unique("member");
    // The first group ever makes the topic of groups, which takes a moment; describing waits for it.
    client.describe_group(&group).await.unwrap();
    let connection = client.connect(&client.coordinator(&group).await.unwrap()).await.unwrap();
    let join = |member: &StrBytes| {
        let protocol = JoinGroupRequestProtocol::default().with_name(text("ours")).with_metadata(Bytes::from_static(b"said"));
        JoinGroupRequest::default()
            .with_group_id(GroupId(text(&group)))
            .with_member_id(member.clone())
            .with_protocol_type(text("consumer"))
            .with_session_timeout_ms(10_000)
            .with_rebalance_timeout_ms(10_000)
            .with_protocols(vec![protocol])
    };
    let invited = connection.call(join(&StrBytes::new())).await.unwrap();
    assert_eq!(invited.error_code, ResponseError::MemberIdRequired.code());
    let joined = connection.call_with_timeout(join(&invited.member_id), Duration::from_secs(20)).await.unwrap();
    assert_eq!((joined.error_code, joined.leader), (0, joined.member_id.clone()));
    let assignment = SyncGroupRequestAssignment::default()
        .with_member_id(joined.member_id.clone())
        .with_assignment(Bytes::from_static(b"given"));
    let sync = SyncGroupRequest::default()
        .with_group_id(GroupId(text(&group)))
        .with_generation_id(joined.generation_id)
        .with_member_id(joined.member_id.clone())
        .with_protocol_type(Some(text("consumer")))
        .with_protocol_name(Some(text("ours")))
        .with_assignments(vec![assignment]);
    assert_eq!(connection.call(sync).await.unwrap().error_code, 0);

    let seen = client.describe_group(&group).await.unwrap();
    assert_eq!((&*seen.state, &*seen.protocol_type, &*seen.protocol), ("Stable", "consumer", "ours"));
    let [member] = &seen.members[..] else { panic!("one member, not {:?}", seen.members) };
    assert_eq!((&member.id[..], &member.client_id[..]), (joined.member_id.as_str(), "faust-wire-test"));
    assert_eq!((&member.metadata[..], &member.assignment[..]), (&b"said"[..], &b"given"[..]));
}

#[tokio::test]
async fn a_client_outlives_its_brokers_crash_and_silence_on_kafka() {
    let kafka = faust_testbed::Kafka::start().unwrap();
    let client = client_of(&kafka);
    client.create_topics(&[topic("survives", 1)]).await.unwrap();

    kafka.kill().unwrap();
    let error = client.metadata(None).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    kafka.restart().unwrap();
    assert_eq!(client.list_offsets(&[("survives", 0)], At::Latest).await.unwrap(), [0]);

    let broker = client.metadata(None).await.unwrap().brokers.into_values().next().unwrap();
    let connection = client.to(&broker).await.unwrap();
    kafka.pause().unwrap();
    let question = MetadataRequest::default().with_allow_auto_topic_creation(false);
    let error = connection.call_with_timeout(question, Duration::from_millis(100)).await.unwrap_err();
    assert!(matches!(error, Error::TimedOut { .. }) && connection.is_closed(), "{error}");
    kafka.resume().unwrap();
    assert!(client.metadata(None).await.unwrap().topic("survives").is_some());
}

#[tokio::test]
async fn topics_are_asked_for_with_the_brokers_defaults_and_each_has_its_own_answer_on_kafka() {
    let client = client();
    let (plain, greedy) = (faust_testbed::unique("plain"), faust_testbed::unique("greedy"));
    let new = [topic(&plain, -1), NewTopic { replication: 9, ..topic(&greedy, 1) }];
    let answers = client.request_topics(&new).await.unwrap();
    let made = answers[0].as_ref().unwrap();
    assert!(made.created && made.partitions > 0 && made.name == plain, "{made:?}");
    let seen = soon(async || {
        let metadata = client.metadata(Some(std::slice::from_ref(&plain))).await.unwrap();
        metadata.topic(&plain).filter(|topic| topic.error.is_none()).cloned()
    });
    assert_eq!(seen.await.id, made.id);
    let error = answers[1].as_ref().unwrap_err();
    assert!(error.is(ResponseError::InvalidReplicationFactor), "{error}");
    assert!(error.to_string().contains(&format!("topic `{greedy}`")) && error.to_string().contains("broker"), "{error}");

    let again = client.request_topics(&new[..1]).await.unwrap();
    assert!(again[0].as_ref().unwrap_err().is(ResponseError::TopicAlreadyExists));
}

/// What the controller has done, brokers answer a moment later.
async fn soon<T>(ask: impl AsyncFn() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), asking).await.expect("Kafka answers what it has done")
}

fn value<'a>(described: &'a BTreeMap<String, Result<Vec<ConfigEntry>, Error>>, topic: &str, key: &str) -> &'a str {
    let entry = described[topic].as_ref().unwrap().iter().find(|entry| entry.name == key).unwrap();
    entry.value.as_deref().unwrap()
}

#[tokio::test]
async fn setting_one_key_leaves_the_others_alone_on_kafka() {
    let client = client();
    let (a, b) = (faust_testbed::unique("set"), faust_testbed::unique("unset"));
    client.create_topics(&[topic(&a, 1), topic(&b, 1)]).await.unwrap();
    let set = |value: &str| [("retention.ms".to_string(), value.to_string())].into();
    client.set_topic_configs(&a, &set("86400000")).await.unwrap();

    let keys: &[&str] = &["cleanup.policy", "retention.ms"];
    let absent = faust_testbed::unique("absent");
    let described = soon(async || {
        let described = client.describe_configs_of_topics(&[(&a, keys), (&b, keys), (&absent, keys)]).await.unwrap();
        (value(&described, &a, "retention.ms") == "86400000").then_some(described)
    });
    let described = described.await;
    assert_eq!(value(&described, &a, "cleanup.policy"), "compact");
    assert_eq!(value(&described, &b, "retention.ms"), "604800000");
    assert!(described[&absent].as_ref().unwrap_err().is(ResponseError::UnknownTopicOrPartition));

    let error = client.set_topic_configs(&a, &set("a while")).await.unwrap_err();
    assert!(error.is(ResponseError::InvalidConfig) && error.to_string().contains("retention.ms"), "{error}");
}

#[tokio::test]
async fn a_static_member_is_removed_in_its_stead_on_kafka() {
    let client = client();
    let group = faust_testbed::unique("static");
    client.describe_group(&group).await.unwrap();
    let connection = client.connect(&client.coordinator(&group).await.unwrap()).await.unwrap();
    let protocol = JoinGroupRequestProtocol::default().with_name(text("ours")).with_metadata(Bytes::from_static(b"said"));
    let join = JoinGroupRequest::default()
        .with_group_id(GroupId(text(&group)))
        .with_group_instance_id(Some(text("app-0")))
        .with_protocol_type(text("consumer"))
        .with_session_timeout_ms(30_000)
        .with_rebalance_timeout_ms(30_000)
        .with_protocols(vec![protocol]);
    let joined = connection.call_with_timeout(join, Duration::from_secs(20)).await.unwrap();
    assert_eq!(joined.error_code, 0);
    let members = client.describe_group(&group).await.unwrap().members;
    assert_eq!(members.iter().map(|member| member.instance_id.as_deref()).collect::<Vec<_>>(), [Some("app-0")]);

    assert_eq!(client.remove_static_member(&group, "app-0", "its pod is gone").await, Ok(true));
    assert_eq!(client.remove_static_member(&group, "app-0", "its pod is gone").await, Ok(false));
    assert!(client.describe_group(&group).await.unwrap().members.is_empty());
    let unknown = faust_testbed::unique("nobody");
    assert_eq!(client.remove_static_member(&unknown, "app-0", "its pod is gone").await, Ok(false));
}

fn secured(kafka: &faust_testbed::Secured, listener: faust_testbed::Listener, properties: &[(&str, &str)]) -> Client {
    let mut config = Config::parse(&kafka.at(listener), "faust-wire-test").unwrap();
    config.security = Security::parse(properties.iter().copied()).unwrap();
    Client::new(config)
}

/// The broker ends connections whose sessions are not renewed.
#[tokio::test]
async fn a_connection_outlives_its_session_on_kafka() {
    let kafka = faust_testbed::Secured::with_sessions_of(1_500).unwrap();
    let (ca, password, token) = (kafka.file("ca.pem"), kafka.file("password"), kafka.file("token"));
    let scram = [
        ("security.protocol", "sasl_ssl"),
        ("ssl.ca.location", ca.to_str().unwrap()),
        ("sasl.mechanism", "SCRAM-SHA-512"),
        ("sasl.username", faust_testbed::Secured::USER),
        ("sasl.password.file", password.to_str().unwrap()),
    ];
    let bearer = [
        ("security.protocol", "sasl_plaintext"),
        ("sasl.mechanism", "OAUTHBEARER"),
        ("sasl.oauthbearer.token.file", token.to_str().unwrap()),
    ];
    let clients = [
        secured(&kafka, faust_testbed::Listener::SaslSsl, &scram),
        secured(&kafka, faust_testbed::Listener::SaslPlaintext, &bearer),
    ];
    let mut connections = Vec::new();
    for client in &clients {
        let broker = client.metadata(None).await.unwrap().brokers.into_values().next().unwrap();
        connections.push(client.connect(&broker).await.unwrap());
    }
    let mut beat = tokio::time::interval(Duration::from_millis(100));
    for _ in 0..40 {
        beat.tick().await;
        for connection in &connections {
            connection.call(MetadataRequest::default().with_allow_auto_topic_creation(false)).await.unwrap();
        }
    }
    assert!(connections.iter().all(|connection| !connection.is_closed()));
}

#[tokio::test]
async fn a_token_that_is_not_taken_is_refused_with_the_brokers_reason_on_kafka() {
    let kafka = faust_testbed::Secured::start().unwrap();
    kafka.write_token(-60).unwrap();
    let token = kafka.file("token");
    let bearer = [
        ("security.protocol", "sasl_plaintext"),
        ("sasl.mechanism", "OAUTHBEARER"),
        ("sasl.oauthbearer.token.file", token.to_str().unwrap()),
    ];
    let error = secured(&kafka, faust_testbed::Listener::SaslPlaintext, &bearer).metadata(None).await.unwrap_err();
    assert!(error.is_refusal() && error.to_string().contains("OAUTHBEARER"), "{error}");
}

/// By TLS 1.3 the handshake is over for the client before the broker looks at what it shows.
#[tokio::test]
async fn who_shows_no_certificate_or_a_strangers_where_one_is_wanted_is_refused_on_kafka() {
    let kafka = faust_testbed::Secured::start().unwrap();
    let (ca, stranger, key) = (kafka.file("ca.pem"), kafka.file("other-ca.pem"), kafka.file("other-ca.key"));
    let nobody = [("security.protocol", "ssl"), ("ssl.ca.location", ca.to_str().unwrap())];
    let other = [("ssl.certificate.location", stranger.to_str().unwrap()), ("ssl.key.location", key.to_str().unwrap())];
    for properties in [&nobody[..], &[nobody, other].concat()] {
        let client = secured(&kafka, faust_testbed::Listener::Mutual, properties);
        let error = client.metadata(None).await.unwrap_err();
        let told = error.to_string();
        assert!(error.is_refusal() && told.contains("alert") && told.contains("`ssl.certificate.location`"), "{error}");
    }
}

#[tokio::test]
async fn an_epoch_ends_where_the_log_does_until_there_is_another_on_kafka() {
    let kafka = faust_testbed::Kafka::start().unwrap();
    let client = client_of(&kafka);
    let name = faust_testbed::unique("epochs");
    client.create_topics(&[topic(&name, 1)]).await.unwrap();
    let ends = client.log_ends(&[(&name, 0)]).await.unwrap();
    assert_eq!(ends, [EpochOffset { epoch: ends[0].epoch, offset: 0 }]);
    assert_eq!(client.epoch_ends(&[(&name, 0, 0)]).await.unwrap(), [EpochOffset { epoch: 0, offset: 0 }]);
    let unknown = client.epoch_ends(&[(&name, 0, 7)]).await.unwrap();
    assert_eq!(unknown, [EpochOffset { epoch: -1, offset: -1 }], "nobody has led under it yet");
    let missing = client.log_ends(&[(&name, 1)]).await.unwrap_err();
    assert!(missing.is(ResponseError::UnknownTopicOrPartition), "{missing}");
}
