//! What the operator sees of a real broker, and does there.

use faust_crds::TopicRole;

use super::*;

fn new(name: &str, replication_factor: Option<u16>, config: &[(&str, &str)]) -> NewTopic {
    let config = config.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
    NewTopic { name: name.into(), role: TopicRole::Declared, partitions: Some(3), replication_factor, config }
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

#[tokio::test]
async fn topics_are_made_seen_and_repaired_on_kafka() {
    let (kafka, bootstrap) = (Connections::default(), faust_testbed::shared().bootstrap());
    let (name, greedy, group) =
        (faust_testbed::unique("operator"), faust_testbed::unique("greedy"), faust_testbed::unique("operator-group"));
    let topics = [new(&name, None, &[("cleanup.policy", "compact")]), new(&greedy, Some(9), &[])];
    let keys = BTreeMap::from([(name.clone(), vec!["cleanup.policy".to_string(), "no.such.setting".to_string()])]);
    let names = [name.clone(), greedy.clone()];
    let look = async || match kafka.observe(&bootstrap, &group, &names, &keys).await {
        Kafka::Seen(facts) => facts,
        Kafka::Unknown { message, .. } => panic!("{message}"),
    };
    assert!(look().await.topics.is_empty());

    let creation = kafka.create(&bootstrap, &topics).await;
    let [made] = &creation.made[..] else { panic!("{creation:?}") };
    assert_eq!((made.name.as_str(), made.partitions, made.id.len()), (name.as_str(), 3, 22));
    let [Error::Rejected(sentence)] = &creation.failed[..] else { panic!("{creation:?}") };
    assert!(sentence.contains(&greedy) && sentence.ends_with("lower replicationFactor, or add brokers"), "{sentence}");
    assert_eq!(kafka.create(&bootstrap, &topics[..1]).await, Creation::default());

    let seen = soon(async || Some(look().await).filter(|facts| facts.topics.contains_key(&name))).await;
    let found = &seen.topics[&name];
    assert_eq!((found.id.as_str(), found.partitions, seen.topics.len(), seen.members.len()), (made.id.as_str(), 3, 1, 0));
    assert_eq!(found.config, BTreeMap::from([("cleanup.policy".to_string(), "compact".to_string())]));

    let set = BTreeMap::from([("cleanup.policy".to_string(), "compact, delete".to_string())]);
    kafka.configure(&bootstrap, &name, &set).await.unwrap();
    let repaired = async || Some(look().await).filter(|facts| facts.topics[&name].config["cleanup.policy"] == "compact,delete");
    soon(repaired).await;
    let nonsense = BTreeMap::from([("retention.ms".to_string(), "a while".to_string())]);
    let error = kafka.configure(&bootstrap, &name, &nonsense).await.unwrap_err();
    assert!(matches!(error, Error::Rejected(_)) && error.to_string().contains("retention.ms"), "{error}");
    assert_eq!(kafka.remove_member(&bootstrap, &group, "nobody-0").await, Ok(()));
}

#[tokio::test]
async fn a_kafka_that_is_not_there_is_unknown_with_its_address() {
    let Kafka::Unknown { refused, message } = Connections::default().observe("127.0.0.1:1", "g", &[], &BTreeMap::new()).await
    else {
        panic!("nobody listens there")
    };
    assert!(!refused && message.contains("127.0.0.1:1"), "{message}");
    let Kafka::Unknown { message, .. } = Connections::default().observe("kafka:70000", "g", &[], &BTreeMap::new()).await else {
        panic!("no such port")
    };
    assert!(message.starts_with("spec.kafka.bootstrapServers can't be used") && message.contains("70000"), "{message}");
}
