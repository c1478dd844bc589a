//! The fixture on itself: what tests of everything else take for granted.

mod on_kafka {
    use faust_testbed::{Kafka, unique};

    fn consume(kafka: &Kafka, topic: &str, count: usize) -> String {
        let arguments = ["--topic", topic, "--from-beginning", "--timeout-ms", "20000", "--max-messages", &count.to_string()];
        String::from_utf8(kafka.tool("ConsoleConsumer", arguments).unwrap().stdout).unwrap()
    }

    #[test]
    fn a_killed_broker_comes_back_on_its_port_with_its_data() {
        let kafka = Kafka::start().unwrap();
        let (topic, address) = (unique("views"), kafka.bootstrap());
        kafka.create_topic(&topic, 3, &[("cleanup.policy", "compact")]).unwrap();
        kafka
            .tool_with_input("ConsoleProducer", ["--topic", &topic, "--reader-property", "parse.key=true"], b"a\tone\nb\ttwo\n")
            .unwrap();

        kafka.kill().unwrap();
        kafka.restart().unwrap();

        assert_eq!(kafka.bootstrap(), address);
        let mut read: Vec<String> = consume(&kafka, &topic, 2).lines().map(str::to_owned).collect();
        read.sort();
        assert_eq!(read, ["one", "two"]);
    }
}
