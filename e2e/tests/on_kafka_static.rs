//! Workers with an instance id: one that comes back in time has its partitions without a rebalance, one that comes back without its
//! stores asks for exactly one, a twin ends the older process, and one that drains gives everything away and leaves.
#![allow(clippy::disallowed_methods, reason = "how long a partition stands still is measured in real time")]

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use faust_e2e::page_views::{GROUP, VIEWS};
use faust_e2e::{Oracle, PageViews, State, Views, Worker, wait};

const PARTITIONS: i32 = 12;
/// How long a partition may stand still when it moves.
const STANDSTILL: Duration = Duration::from_secs(5);
const TOKEN: &str = "let-me";
/// What `sysexits.h` calls EX_UNAVAILABLE.
const REFUSED_BY_KAFKA: i32 = 69;

/// Nobody may be taken for dead only because the machine is busy.
fn stage() -> PageViews {
    PageViews::on_kafka(env!("CARGO_BIN_EXE_e2e-page-views"), PARTITIONS)
        .flag("commit-interval", "100ms")
        .flag("session-timeout", "20s")
        .flag("standby-replicas", "0")
}

/// At an address that stays the same, as a pod's does: that another port is listened on each time would be news to the group.
fn start(stage: &PageViews, name: &str) -> Worker {
    stage.workers.start_with(name, &[("instance-id", name), ("advertised-address", &format!("{name}:6066"))])
}

#[test]
fn a_worker_that_comes_back_in_time_has_its_partitions_without_a_rebalance_on_kafka() {
    let stage = stage();
    let flow = Views::of_pages(1_000).flow(&stage.kafka, VIEWS, 2_000);
    let (anna, bert) = (start(&stage, "anna"), start(&stage, "bert"));
    stage.until_shared(&[&anna, &bert]);
    until_all_commit(&stage);
    let (of_anna, of_bert) = (anna.state(), bert.state());

    // Stopped and started again, whether it leads or not: nobody notices.
    let bert = {
        assert_eq!(anna.stop(), 0);
        let anna = start(&stage, "anna");
        let back = anna.until_ready();
        assert_eq!((back.generation, back.partitions(), back.restored()), (of_anna.generation, of_anna.partitions(), 0));
        assert_ne!(back.member, of_anna.member);
        assert_untouched(&of_bert, &bert.state());
        assert_eq!(bert.stop(), 0);
        let bert = start(&stage, "bert");
        assert_eq!(bert.until_ready().generation, of_bert.generation);
        assert_untouched(&back, &anna.state());

        // Without its stores: exactly one rebalance, and nothing moves.
        let rested = bert.state();
        assert_eq!(anna.stop(), 0);
        stage.workers.delete_data_folder("anna");
        let anna = start(&stage, "anna");
        let next = |state: &State| state.ready && state.generation == of_anna.generation + 1;
        assert_eq!(anna.until("is cold and in the next generation", next).partitions(), of_anna.partitions());
        let after = bert.until("is in the next generation", next);
        assert_same_epochs(&rested, &after);
        flow.finish();
        stage.offsets.until_consumed();
        assert_eq!((anna.state().generation, bert.state().generation), (after.generation, after.generation));
        let views = Oracle::read(&stage.kafka, VIEWS);
        views.assert_exact(&stage.table(&[&anna, &bert], &views.keys()));

        // Another process by the name of one that runs.
        let twin = stage.workers.start_with("twin", &[("instance-id", "anna")]);
        assert_eq!(anna.until_ended(), REFUSED_BY_KAFKA);
        assert!(anna.log().contains("instance id `anna`"), "{}", anna.log());
        stage.until_shared(&[&twin, &bert]);
        views.assert_exact(&stage.table(&[&twin, &bert], &views.keys()));
        bert
    };
    assert_eq!(bert.stop(), 0);
}

#[test]
fn a_worker_that_drains_gives_its_partitions_away_and_leaves_on_kafka() {
    let folder = tempfile::tempdir().unwrap();
    let stage = with_admin_server(stage(), folder.path());
    let flow = Views::of_pages(1_000).flow(&stage.kafka, VIEWS, 4_000);
    let (anna, bert) = (start(&stage, "anna"), start(&stage, "bert"));
    stage.until_shared(&[&anna, &bert]);
    until_all_commit(&stage);
    let of_bert = bert.state();

    let mut pulse = Pulse::of(&stage);
    wait::until("anna has drained", || {
        pulse.feel(&stage);
        let drained = anna.drain(TOKEN)?;
        if drained { Ok(()) } else { Err("draining".into()) }
    });
    wait::until("bert has committed on all partitions since", || {
        pulse.feel(&stage);
        if pulse.since_start() { Ok(()) } else { Err(format!("{pulse:?}")) }
    });
    pulse.feel(&stage);
    eprintln!("the longest standstill of a partition: {:?}", pulse.longest);
    assert!(pulse.longest < STANDSTILL, "{pulse:?}");

    assert_eq!(instances(&stage), BTreeSet::from(["bert".to_string()]));
    let gone = anna.state();
    assert_eq!((gone.draining.as_deref(), gone.joined, gone.tasks.len()), (Some("drained"), false, 0));
    assert_same_epochs(&of_bert, &bert.until_ready());
    stage.until_shared(&[&bert]);
    flow.finish();
    stage.offsets.until_consumed();
    let views = Oracle::read(&stage.kafka, VIEWS);
    views.assert_exact(&stage.table(&[&bert], &views.keys()));
    assert_eq!(anna.stop(), 0);

    // There is nobody to take anything any more.
    wait::until("bert has drained", || if bert.drain(TOKEN)? { Ok(()) } else { Err("draining".into()) });
    assert_eq!(instances(&stage), BTreeSet::new());
    assert_eq!(bert.stop(), 0);
}

/// Its place in the group would keep the partitions from all others for a session.
#[test]
fn a_worker_that_drains_before_it_has_joined_gives_up_the_place_of_its_predecessor_on_kafka() {
    let folder = tempfile::tempdir().unwrap();
    let stage = with_admin_server(stage(), folder.path());
    let anna = start(&stage, "anna");
    anna.until_ready();
    assert_eq!(anna.stop(), 0);
    assert_eq!(instances(&stage), BTreeSet::from(["anna".to_string()]));

    let config = folder.path().join("app.yaml");
    let declared =
        format!("contract: {{version: 1}}\napp: {{id: {GROUP}}}\ntopics: [{{name: {VIEWS}, partitions: {}}}]\n", PARTITIONS + 1);
    std::fs::write(&config, declared).unwrap();
    let anna = stage.workers.start_with("anna", &[("instance-id", "anna"), ("config", config.to_str().unwrap())]);
    anna.until_unready(&["has 12 partitions and the configuration declares it with 13"]);
    wait::until("anna has drained", || if anna.drain(TOKEN)? { Ok(()) } else { Err("draining".into()) });
    assert_eq!(instances(&stage), BTreeSet::new());
    assert_eq!(anna.stop(), 0);
}

/// `folder` holds the token.
fn with_admin_server(stage: PageViews, folder: &Path) -> PageViews {
    let token = folder.join("token");
    std::fs::write(&token, TOKEN).unwrap();
    stage.flag("admin-token-file", token.to_str().unwrap()).flag("admin-port", "0").flag("admin-host", "127.0.0.1")
}

/// What it had runs under the same epochs and fetches, in the same generation.
fn assert_untouched(before: &State, after: &State) {
    assert_eq!(
        (before.generation, before.rebalances, before.partitions()),
        (after.generation, after.rebalances, after.partitions())
    );
    assert_same_epochs(before, after);
}

fn assert_same_epochs(before: &State, after: &State) {
    for task in before.active() {
        let now = after.task(task.partition()).expect("it has what it had");
        assert_eq!((task.epoch, task.inputs[0].fetches, task.starts_over), (now.epoch, now.inputs[0].fetches, now.starts_over));
    }
}

/// Waits until every partition has been committed beyond its first offset.
fn until_all_commit(stage: &PageViews) {
    wait::until("all partitions are committed", || {
        let committed = stage.offsets.committed();
        if committed.iter().all(|offset| offset.is_some_and(|offset| offset > 0)) { Ok(()) } else { Err(format!("{committed:?}")) }
    });
}

/// The instance ids in the group, as Kafka's own tool shows them.
fn instances(stage: &PageViews) -> BTreeSet<String> {
    let output = stage.kafka.tool("ConsumerGroupCommand", ["--describe", "--group", GROUP, "--members"]).unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let words = text.lines().filter(|line| line.starts_with(GROUP)).flat_map(str::split_whitespace);
    words.filter(|word| ["anna", "bert"].contains(word)).map(str::to_string).collect()
}

/// When each partition's committed offset last moved, while records come for all of them.
#[derive(Debug)]
struct Pulse {
    first: Vec<Option<i64>>,
    last: Vec<(Option<i64>, Instant)>,
    longest: Duration,
}

impl Pulse {
    fn of(stage: &PageViews) -> Self {
        let first = stage.offsets.committed();
        let last = first.iter().map(|offset| (*offset, Instant::now())).collect();
        Self { first, last, longest: Duration::ZERO }
    }

    fn feel(&mut self, stage: &PageViews) {
        let committed = stage.offsets.committed();
        let now = Instant::now();
        for ((offset, since), committed) in self.last.iter_mut().zip(committed) {
            self.longest = self.longest.max(now - *since);
            if committed != *offset {
                (*offset, *since) = (committed, now);
            }
        }
    }

    fn since_start(&self) -> bool {
        self.last.iter().zip(&self.first).all(|((last, _), first)| last > first)
    }
}
