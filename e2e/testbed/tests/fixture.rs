//! The fixture on itself: what the tests of everything else take for granted.

mod on_kafka {
    use std::io::{BufRead, BufReader};
    use std::net::TcpStream;
    use std::path::{Path, PathBuf};
    use std::process::{Command, Stdio};

    use faust_testbed::{Kafka, KafkaCluster, unique};

    #[test]
    fn a_broker_that_was_paused_and_killed_comes_back_on_its_port_with_its_data() {
        let kafka = Kafka::start().unwrap();
        let (topic, address) = (unique("views"), kafka.bootstrap());
        kafka.create_topic(&topic, 3, &[("cleanup.policy", "compact")]).unwrap();
        let keyed = ["--topic", &topic, "--reader-property", "parse.key=true"];

        kafka.pause().unwrap();
        let mut producer = kafka.tool_command("ConsoleProducer", keyed).unwrap();
        let mut producer = producer.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        std::io::Write::write_all(&mut producer.stdin.take().unwrap(), b"a\tone\nb\ttwo\n").unwrap();
        kafka.resume().unwrap();
        assert!(producer.wait().unwrap().success());

        kafka.kill().unwrap();
        assert!(TcpStream::connect(&address).is_err());
        kafka.restart().unwrap();

        assert_eq!(kafka.bootstrap(), address);
        let read = kafka.tool("ConsoleConsumer", ["--topic", &topic, "--from-beginning", "--max-messages", "2"]).unwrap();
        let mut read: Vec<String> = String::from_utf8(read.stdout).unwrap().lines().map(str::to_owned).collect();
        read.sort();
        assert_eq!(read, ["one", "two"]);

        kafka.delete_topic(&topic).unwrap();
        assert!(kafka.delete_topic(&topic).is_err());
        kafka.stop().unwrap();
        assert!(kafka.pause().is_err());
    }

    #[test]
    fn two_of_three_brokers_go_on_when_one_is_killed_and_it_catches_up_when_it_is_back() {
        let kafka = KafkaCluster::start().unwrap();
        let topic = unique("views");
        kafka.create_topic(&topic, 3, &[]).unwrap();
        let leaders = || {
            let partitions = kafka.partitions(&topic).unwrap().unwrap();
            partitions.iter().map(|partition| partition.leader).collect::<Vec<_>>()
        };
        let in_sync = |brokers: usize| {
            let partitions = kafka.partitions(&topic).unwrap().unwrap();
            partitions.iter().all(|partition| partition.in_sync.len() == brokers)
        };
        until("all are in sync", || in_sync(3));
        for to in [1, 3, 2] {
            kafka.move_leaders(&topic, &[(0, to), (1, to), (2, to)]).unwrap();
            assert_eq!(leaders(), [Some(to); 3]);
        }

        kafka.node(2).kill().unwrap();
        kafka.tool_with_input("ConsoleProducer", ["--topic", &topic, "--producer-property", "acks=all"], b"one\ntwo\n").unwrap();
        assert!(leaders().iter().all(|leader| [Some(1), Some(3)].contains(leader)) && in_sync(2));
        kafka.node(2).restart().unwrap();
        until("the third is in sync again", || in_sync(3));
        let read = kafka.tool("ConsoleConsumer", ["--topic", &topic, "--from-beginning", "--max-messages", "2"]).unwrap();
        assert_eq!(String::from_utf8(read.stdout).unwrap().lines().count(), 2);
    }

    #[test]
    fn a_broker_that_can_not_start_says_why() {
        let refused = Kafka::builder().config("num.io.threads", 0).start().unwrap_err().to_string();
        assert!(refused.contains("num.io.threads"), "{refused}");
    }

    /// The test runs itself in a second process, kills that one, and looks for what it leaves.
    #[test]
    fn a_broker_does_not_outlive_a_test_that_is_killed_and_its_folder_is_swept_up() {
        const INNER: &str = "FAUST_TESTBED_INNER";
        if std::env::var_os(INNER).is_some() {
            let kafka = Kafka::start().unwrap();
            println!("\nLOG={}", kafka.logs().display());
            let _ = std::io::stdin().read_line(&mut String::new());
            return;
        }
        let this = "on_kafka::a_broker_does_not_outlive_a_test_that_is_killed_and_its_folder_is_swept_up";
        let mut inner = Command::new(std::env::current_exe().unwrap());
        inner.args(["--exact", this, "--nocapture"]).env(INNER, "1").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut inner = inner.spawn().unwrap();
        let lines = BufReader::new(inner.stdout.take().unwrap()).lines();
        let log = lines.map(Result::unwrap).find_map(|line| line.strip_prefix("LOG=").map(PathBuf::from)).unwrap();
        let folder = log.parent().unwrap();
        assert_eq!(processes_of(folder), 1);

        inner.kill().unwrap();
        inner.wait().unwrap();
        until("the broker ended", || processes_of(folder) == 0);

        let _ = Kafka::builder().config("num.io.threads", 0).start();
        assert!(!folder.exists());
    }

    #[test]
    fn the_shared_broker_comes_up_once_and_down_leaves_nothing() {
        let state = tempfile::tempdir().unwrap();
        let testbed = |arguments: &[&str]| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_faust-testbed"));
            let output =
                command.args(arguments).env("XDG_STATE_HOME", state.path()).env_remove("FAUST_TEST_KAFKA").output().unwrap();
            (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
        };
        assert_eq!(testbed(&["status"]).0, 3);

        let (code, address) = testbed(&["up"]);
        assert_eq!(code, 0);
        assert_eq!(testbed(&["up"]), (0, address.clone()));
        assert_eq!(processes_of(state.path()), 1);
        assert!(testbed(&["status"]).1.starts_with(address.trim()));
        assert_eq!(testbed(&["tool", "TopicCommand", "--create", "--topic", "seen"]).0, 0);
        assert_eq!(testbed(&["tool", "TopicCommand", "--list"]).1, "seen\n");

        assert_eq!(testbed(&["down"]).0, 0);
        assert_eq!(testbed(&["down"]).0, 0);
        assert_eq!(processes_of(state.path()), 0);
        assert!(TcpStream::connect(address.trim()).is_err());
        assert!(!state.path().join("faust-dev/kafka").exists());
    }

    /// How many processes have something below this folder on their command line.
    fn processes_of(folder: &Path) -> usize {
        let folder = folder.to_str().unwrap();
        let lines =
            std::fs::read_dir("/proc").unwrap().filter_map(|entry| std::fs::read(entry.unwrap().path().join("cmdline")).ok());
        lines.filter(|line| String::from_utf8_lossy(line).contains(folder)).count()
    }

    #[expect(clippy::disallowed_methods, reason = "waits for another process's end")]
    fn until(what: &str, holds: impl Fn() -> bool) {
        let start = std::time::Instant::now();
        while !holds() {
            assert!(start.elapsed().as_secs() < 30, "{what}: not within 30 s");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}
