//! The story of the example on a cluster: installed, applied, counting, hurt, scaled, rolled, deleted.

use std::collections::BTreeMap;
use std::time::Duration;

use faust_e2e::cluster::{App, Commits, Group, Kcat, Operator, Pod, Stage, Watch};
use faust_e2e::offsets::record_counts;
use faust_e2e::oracle::{Counts, assert_same};
use faust_e2e::page_views::{CHANGELOG, COUNTED, GROUP, VIEWS};
use faust_e2e::{Flow, Offsets, Oracle, State, TaskState, Views, Window, wait};
use serde_json::{Value, json};

const PARTITIONS: i32 = 12;
const VIEWED: usize = 200_000;
const PAGES: usize = 1_000;
/// Enough for every partition to get some all the time.
const PER_SECOND: u32 = 600;
const LONGEST_GAP: Duration = Duration::from_secs(5);
/// What a copy may lack that has caught up, in records of a changelog. Their tables are small here: by default one that begins with
/// nothing would do.
const RECOVERY_LAG: i64 = 200;
/// Of a changelog, to tell its tail from all of it.
const LONG: i64 = 5 * RECOVERY_LAG;
/// Of constant load, in which nothing may be written.
const QUIET: Duration = Duration::from_secs(60);

#[test]
fn an_application_lives_on_cluster() {
    let stage = Stage::set();
    let operator = stage.step("helm install", || Operator::install(&stage.cluster));
    let begin = operator.mark();
    let app = stage.step("kubectl apply: not ready with a reason, then ready", || is_applied_and_becomes_ready(&stage));
    let play =
        Play { offsets: Offsets::of(stage.cluster.kafka(), GROUP, VIEWS, PARTITIONS), stage: &stage, operator: &operator, app };

    let views = stage.step("200,000 views are counted exactly", || play.counts_exactly());
    let (views, twice) = stage.step("one worker is killed and one pod deleted while records flow", || play.loses_workers(views));
    let (views, twice) =
        stage.step("a pod loses its volume while records flow, and copies go on", || play.loses_a_volume(views, twice));
    let flow = stage.step("scaled to 3 and back to 2 while records flow", || play.scales(views));
    stage.step("nothing is written under constant load", || play.is_quiet());
    let views = flow.finish();
    stage.step("nothing was counted twice by that", || play.has_counted(&twice));
    let flow = views.flow_to(play.kcat(), PER_SECOND);
    stage.step("an image that doesn't exist halts the roll, and the application goes on", || play.halts());
    flow.finish();
    stage.step("nothing was counted twice by that", || play.has_counted(&twice));
    stage.step("a spec that can't be carried out, and a Kafka that isn't there, leave the pods alone", || play.is_left_alone());
    stage.step("the operator is killed in the middle of a roll, and its successor finishes it", || play.loses_its_operator());
    stage.step("the changelog has exactly the operator's configuration", || play.has_configured_the_changelog());
    stage.step("kubectl delete leaves nothing but topics", || play.is_deleted());
    if let Some(begin) = begin {
        stage.step("the operator was refused nothing and used all that it may do", || operator.assert_uses_its_rights(begin));
    }
}

fn is_applied_and_becomes_ready(stage: &Stage) -> App<'_> {
    let watch = Watch::start(stage, "faustapps");
    let settings = json!({ "recovery-lag": RECOVERY_LAG });
    let app = App::apply(stage, json!({ "spec": { "standbyReplicas": 1, "settings": settings } }));
    app.wait_ready();
    let told: Vec<String> = watch.changes().iter().filter_map(|change| ready_of(&change.object)).collect();
    stage.say(format_args!("    Ready was {told:?}"));
    assert!(
        told.first().is_some_and(|first| first.starts_with("False ") && first.len() > "False ".len()),
        "Ready begins as {told:?}"
    );
    app.until_condition("StandbysPlaced", "True", "AsWanted");
    app
}

/// Status and reason.
fn ready_of(app: &Value) -> Option<String> {
    let ready = app["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == "Ready")?;
    Some(format!("{} {}", ready["status"].as_str()?, ready["reason"].as_str()?))
}

/// What was counted twice: the workers that were lost had not committed it.
struct Twice {
    /// What may have been.
    windows: Vec<Window>,
    /// What was, by key.
    counts: Counts,
}

/// The application while it is played with.
struct Play<'a> {
    stage: &'a Stage,
    operator: &'a Operator<'a>,
    app: App<'a>,
    offsets: Offsets,
}

impl Play<'_> {
    fn kcat(&self) -> Kcat {
        Kcat::to(self.stage.cluster.kafka(), VIEWS)
    }

    /// What the topic holds, and what the table says of it once all of it is counted.
    fn counted(&self) -> (Oracle, Counts) {
        self.offsets.until_consumed();
        let oracle = Oracle::read(self.stage.cluster.kafka(), VIEWS);
        let table = self.app.table(2, &oracle.keys());
        (oracle, table)
    }

    fn counts_exactly(&self) -> Views {
        let mut views = Views::of_pages(PAGES);
        views.produce_to(self.kcat(), VIEWED);
        let (oracle, table) = self.counted();
        assert_eq!(oracle.total(), VIEWED as u64);
        oracle.assert_exact(&table);
        views
    }

    fn loses_workers(&self, views: Views) -> (Views, Twice) {
        let shared = self.app.until_shared(2, PARTITIONS);
        let flow = views.flow_to(self.kcat(), 5 * PER_SECOND);
        let (first, second) = (self.app.pod(0), self.app.pod(1));

        let mut windows = Vec::new();
        if self.stage.has_testbed_for("a worker that is killed from its node") {
            let container = first.container.as_deref().expect("a container that runs");
            let kill = || self.stage.cluster.signal_container(container, "SIGKILL").unwrap_or_else(|error| panic!("{error}"));
            windows.push(self.offsets.around(&shared[0], kill));
            self.until_back("the killed worker's container was started again", |pods| {
                pods[0].uid == first.uid && pods[0].restarts == first.restarts + 1
            });
        }

        let shared = self.app.until_shared(2, PARTITIONS);
        let delete = || drop(self.stage.kubectl(&format!("delete pod {} --timeout=60s", second.name)));
        windows.push(self.offsets.around(&shared[1], delete));
        self.until_back("the deleted pod is there again", |pods| pods[1].uid != second.uid);

        (flow.finish(), self.has_counted_twice(windows))
    }

    fn has_counted_twice(&self, windows: Vec<Window>) -> Twice {
        let (oracle, table) = self.counted();
        oracle.assert_at_least_once(&table, &windows);
        let (allowed, counts) = (oracle.in_windows(&windows).values().sum::<u64>(), excess(&oracle, &table));
        let twice: u64 = counts.values().sum();
        self.stage.say(format_args!("    {twice} of {} were counted twice, {allowed} at most", oracle.total()));
        Twice { windows, counts }
    }

    /// The first pod's claim goes with it, so that it comes back with nothing.
    fn loses_a_volume(&self, views: Views, Twice { mut windows, .. }: Twice) -> (Views, Twice) {
        let (_, before) = self.counted();
        let shared = self.app.until_shared(2, PARTITIONS);
        self.app.until_copied(2, PARTITIONS);
        let flow = views.flow_to(self.kcat(), 5 * PER_SECOND);
        wait::until("changelogs that are much longer than a tail", || {
            let ends = self.changelogs();
            if ends.iter().all(|end| *end >= LONG) { Ok(()) } else { Err(format!("{ends:?}")) }
        });
        let commits = Commits::watch(&self.stage.cluster, PARTITIONS);
        let (pod, claim) = (self.app.pod(0), self.app.claim(0).unwrap_or_else(|error| panic!("{error}")));
        let (lost, survivor) = (&shared[0], self.app.pages(1));
        let was = survivor.state().unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(&was.standbys(), lost, "it has copies of all that the other one has");
        windows.push(self.offsets.around(lost, || {
            // It goes when the pod has gone that uses it, and the next pod waits for that.
            self.stage.kubectl(&format!("delete persistentvolumeclaim {} --wait=false", claim.name));
            self.stage.kubectl(&format!("delete pod {} --timeout=60s", pod.name));
        }));

        // As long as nobody has its partitions the copies answer, each time at once; then somebody does.
        let mut moved = Vec::new();
        for (key, count) in before {
            match self.app.row_or_copy(1, &key) {
                Ok(now) => assert!(now >= Some(count), "{now:?} of {count} that were counted before records flowed, key {key:?}"),
                Err(refused) => {
                    let now = survivor.state().unwrap_or_else(|error| panic!("{error}"));
                    assert!(now.generation > was.generation, "a row whose partition nobody has: {refused}");
                    moved.push(key);
                }
            }
        }
        assert_eq!(self.app.table(2, &moved).len(), moved.len(), "rows of partitions that moved meanwhile");
        let is = wait::until("the survivor has gone on with all that was lost", || {
            let is = survivor.state()?;
            let goes_on = |partition: &i32| commits_of(&is, *partition) > commits_of(&was, *partition);
            if lost.iter().all(goes_on) { Ok(is) } else { Err(format!("{:?}", is.partitions())) }
        });
        self.has_restored_tails(lost, &was, &is);

        self.until_back("the pod is there again", |pods| pods[0].uid != pod.uid);
        let new = self.app.claim(0).unwrap_or_else(|error| panic!("{error}"));
        assert!(new.uid != claim.uid && new.volume != claim.volume, "its volume is a new one: {new:?} after {claim:?}");
        self.app.until_shared(2, PARTITIONS);
        let gaps = commits.longest_gaps();
        let of = |partitions: &[i32]| partitions.iter().map(|partition| gaps[*partition as usize]).max().expect("partitions");
        let (on_lost, on_kept) = (of(lost), of(&shared[1]));
        self.stage.say(format_args!(
            "    the longest time without a commit on a partition: {:.1} s where the volume was lost, {:.1} s elsewhere",
            on_lost.as_secs_f64(),
            on_kept.as_secs_f64()
        ));
        assert!(on_kept < LONGEST_GAP, "a partition of the survivor's stood still for {on_kept:?}: {gaps:?}");

        let views = flow.finish();
        let twice = self.has_counted_twice(windows);
        self.app.until_copied(2, PARTITIONS);
        self.app.until_condition("StandbysPlaced", "True", "AsWanted");
        let anew = self.app.pages(0).state().unwrap_or_else(|error| panic!("{error}")).restored();
        assert!(anew > 0, "there was nothing on the new volume");
        (views, twice)
    }

    fn changelogs(&self) -> Vec<i64> {
        record_counts(self.stage.cluster.kafka(), CHANGELOG, PARTITIONS)
    }

    /// Between two of its states a worker has gone on with copies that it had: it has read no more than they lacked.
    fn has_restored_tails(&self, partitions: &[i32], was: &State, is: &State) {
        assert_eq!(is.wiped(), was.wiped(), "the copies were good");
        let ends = self.changelogs();
        let of_partition = |partition: &i32| {
            let end = ends[*partition as usize];
            let table = |state| task(state, *partition).expect("a task of both states").tables[0].clone();
            let (was, is) = (table(was), table(is));
            let (restored, lacked) = (is.restored - was.restored, (end - was.stored.expect("a copy")) as u64);
            assert!(restored <= lacked, "partition {partition}: {restored} records restored, {lacked} were lacking");
            assert!(10 * restored < end as u64, "partition {partition}: {restored} of {end} records restored");
            (restored, end)
        };
        let each: Vec<(u64, i64)> = partitions.iter().map(of_partition).collect();
        self.stage.say(format_args!("    restored, of records in the changelog: {each:?}"));
    }

    /// What is drained or told to stop commits first.
    fn has_counted(&self, twice: &Twice) {
        let (oracle, table) = self.counted();
        let expected = oracle.counts().into_iter().map(|(key, count)| (key.clone(), count + twice.counts.get(&key).unwrap_or(&0)));
        assert_same("counts", &expected.collect(), &table);
    }

    fn until_back(&self, what: &str, is_back: impl Fn(&[Pod]) -> bool) {
        wait::until(what, || {
            let pods = self.app.try_pods()?;
            let back = pods.len() == 2 && pods.iter().all(|pod| pod.ready) && is_back(&pods);
            if back { Ok(()) } else { Err(format!("{pods:?}")) }
        });
    }

    fn scales(&self, views: Views) -> Flow {
        let group = Group::on(self.stage.cluster.kafka());
        let flow = views.flow_to(self.kcat(), PER_SECOND);
        wait::until("a first commit of the new records", || {
            let (committed, ends) = (self.offsets.committed(), self.offsets.ends());
            if committed.iter().all(Option::is_some) { Ok(()) } else { Err(format!("{committed:?} of {ends:?}")) }
        });
        let commits = Commits::watch(&self.stage.cluster, PARTITIONS);

        self.stage.kubectl("scale faustapp/page-views --replicas=3");
        self.app.until_rolled();
        let shared = self.app.until_shared(3, PARTITIONS);
        group.until_of(&self.app.pod_names(3));
        self.stage.kubectl("scale faustapp/page-views --replicas=2");
        self.app.until_rolled();
        self.app.until_shared(2, PARTITIONS);
        group.until_of(&self.app.pod_names(2));

        let gaps = commits.longest_gaps();
        let longest = gaps.iter().max().expect("partitions");
        self.stage.say(format_args!(
            "    {shared:?} with three; the longest time without a commit on a partition: {:.1} s",
            longest.as_secs_f64()
        ));
        assert!(*longest < LONGEST_GAP, "a partition stood still for {longest:?}: {gaps:?}");
        flow
    }

    fn is_quiet(&self) {
        // Its band is told once the lag has stayed in it.
        wait::within(2 * wait::LIMIT, "the lag of the load is told", || {
            let app = self.app.object()?;
            let lag = &app["status"]["summary"]["lag"];
            if lag == "<1k" { Ok(()) } else { Err(lag.to_string()) }
        });
        let Some(mark) = self.operator.mark() else { return };
        let before = self.offsets.committed();
        wait::pass(QUIET);
        let requests = self.operator.requests(mark);
        let writes: Vec<_> = requests.iter().filter(|request| request.writes()).collect();
        assert_ne!(self.offsets.committed(), before, "records flow");
        assert!(!requests.is_empty(), "the operator looks");
        let status = self.app.object().map(|app| app["status"].to_string());
        assert!(
            writes.is_empty(),
            "{} writes in {QUIET:?}, such as {:?}; {status:?}",
            writes.len(),
            &writes[..writes.len().min(3)]
        );
        self.stage.say(format_args!("    {} requests in {QUIET:?}, none of them a write", requests.len()));
    }

    fn halts(&self) {
        let before = self.app.pods();
        let good = self.stage.cluster.image("page-views");
        let missing = good.replace(":dev", ":missing");
        self.app.patch(&json!({ "spec": { "image": missing, "rollout": { "progressDeadline": "15s" } } }));
        let halted = self.app.until_condition("Stalled", "True", "RolloutHalted");
        self.stage.say(format_args!("    {}", halted.message));
        let ready = self.app.until_condition("Ready", "False", "RolloutHalted");
        assert!(ready.message.contains(&missing) || ready.message.contains("mage"), "the message names the cause: {ready}");
        self.until_back("both pods are ready, the one with the bad image replaced", |pods| pods[0].uid == before[0].uid);
        wait::until("the halt is told as an event", || {
            let events = self.stage.try_list("get events.events.k8s.io")?;
            let halts = events.iter().filter(|event| event["reason"] == "RolloutHalted" && event["type"] == "Warning").count();
            if halts > 0 { Ok(()) } else { Err(format!("none among {}", events.len())) }
        });
        let committed = self.offsets.committed();
        wait::until("the application goes on counting", || {
            let now = self.offsets.committed();
            if now.iter().zip(&committed).all(|(now, before)| now > before) { Ok(()) } else { Err(format!("{now:?}")) }
        });

        self.app.patch(&json!({ "spec": { "image": self.stage.cluster.next_image(), "rollout": null } }));
        self.app.until_rolled();
        self.app.wait_ready();
    }

    fn is_left_alone(&self) {
        let before = self.app.pods();
        let kafka = self.stage.cluster.kafka_in_pods();
        for (mistake, right, condition, status, reason) in [
            (
                json!({ "processing": { "guarantee": "ExactlyOnce" } }),
                json!({ "processing": null }),
                "Ready",
                "False",
                "NotSupported",
            ),
            (
                json!({ "kafka": { "bootstrapServers": "kafka.nowhere.svc:9092" } }),
                json!({ "kafka": { "bootstrapServers": kafka } }),
                "TopicsReady",
                "Unknown",
                "KafkaUnreachable",
            ),
        ] {
            self.app.patch(&json!({ "spec": mistake }));
            self.app.until_condition(condition, status, reason);
            assert_eq!(self.app.pods(), before, "{reason}");
            self.app.patch(&json!({ "spec": right }));
            self.app.until_rolled();
        }
        assert_eq!(self.app.pods(), before, "and there was nothing to mend");
    }

    fn loses_its_operator(&self) {
        if !self.stage.has_testbed_for("an operator that is killed from its node") {
            return;
        }
        let holder = self.operator.until_held();
        let (mark, before) = (self.operator.mark(), self.app.pods());
        let watch = Watch::of_pods(self.stage, &self.app.pod_names(2));
        self.stage.kubectl("annotate faustapp/page-views --overwrite faust.dev/restartedAt=now");
        watch.until("the first pod is on its way out", |change| !change.object["metadata"]["deletionTimestamp"].is_null());
        self.operator.kill();
        let first = mark.map(|mark| self.operator.until_deleted(mark, 1));
        assert!(first.as_ref().is_none_or(|first| first.len() == 1), "the operator was killed in the middle: {first:?}");
        self.app.until_rolled();

        assert_ne!(self.operator.until_held(), holder, "another one has the lease");
        if let Some(mark) = mark {
            let mut deleted = self.operator.until_deleted(mark, 2);
            deleted.sort();
            assert_eq!(deleted, self.app.pod_names(2), "each pod was deleted exactly once");
        }
        let now = self.app.pods();
        assert!(now.iter().zip(&before).all(|(now, before)| now.uid != before.uid), "{now:?} after {before:?}");
    }

    fn has_configured_the_changelog(&self) {
        let (_, topology) = self.app.pages(0).get("/topology").unwrap_or_else(|error| panic!("{error}"));
        let topology: Value = serde_json::from_str(&topology).expect("/topology is JSON");
        let declared = topology["topics"].as_array().into_iter().flatten().find(|topic| topic["name"] == CHANGELOG);
        let declared =
            declared.and_then(|topic| topic["config"].as_object()).unwrap_or_else(|| panic!("no changelog in {topology}"));
        let declared: BTreeMap<String, String> =
            declared.iter().map(|(key, value)| (key.clone(), value.as_str().expect("text").to_owned())).collect();
        assert_eq!(declared.get("cleanup.policy").map(String::as_str), Some("compact"));

        let arguments = ["--entity-type", "topics", "--entity-name", CHANGELOG, "--describe"];
        let output = self.stage.cluster.kafka().tool("ConfigCommand", arguments).unwrap_or_else(|error| panic!("{error}"));
        let text = String::from_utf8_lossy(&output.stdout);
        let lines = text.lines().filter_map(|line| line.trim().split_once(" sensitive=")?.0.split_once('='));
        let set: BTreeMap<String, String> = lines.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        assert_eq!(set, declared, "Kafka's own tool said: {text}");
    }

    fn is_deleted(&self) {
        self.stage.kubectl("delete faustapp page-views --timeout=60s");
        wait::until("nothing of ours is left", || {
            let left = self.stage.try_everything()?;
            if left.is_empty() { Ok(()) } else { Err(left.join(" ")) }
        });
        let listed = self.stage.cluster.kafka().tool("TopicCommand", ["--list"]).unwrap_or_else(|error| panic!("{error}"));
        let listed = String::from_utf8_lossy(&listed.stdout);
        for topic in [VIEWS, COUNTED, CHANGELOG] {
            assert!(listed.lines().any(|line| line == topic), "topic {topic} is gone: {listed}");
        }
    }
}

/// In whichever role.
fn task(state: &State, partition: i32) -> Option<&TaskState> {
    state.tasks.iter().find(|task| task.partition() == partition)
}

fn commits_of(state: &State, partition: i32) -> u64 {
    task(state, partition).map_or(0, |task| task.commits)
}

/// By how much keys were counted more often than they were there.
fn excess(oracle: &Oracle, table: &Counts) -> Counts {
    let expected = oracle.counts();
    let more = table.iter().map(|(key, counted)| (key.clone(), counted - expected[key]));
    more.filter(|(_, more)| *more > 0).collect()
}
