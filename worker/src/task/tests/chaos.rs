//! Whatever fails, in whatever order: at every moment nothing is committed that a crash would lose, and once all is mended everything
//! has been counted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::membership::ToldGroup;
use super::*;
use crate::group::GroupError;
use crate::status::Stage;

const PARTITIONS: u32 = 2;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// So many records, to all keys in turn.
    Send(u8),
    /// What happens to outputs and to the changelog.
    Outputs(Fate),
    Changelog(Fate),
    ReportHeld,
    /// The tasks that this worker has, by partition.
    Assign([bool; PARTITIONS as usize]),
    Lose,
    CoordinatorAway(bool),
    Lease(bool),
    /// Milliseconds for everybody.
    Run(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let fate = || prop_oneof![3 => Just(Fate::Deliver), 1 => Just(Fate::Hold), 1 => Just(Fate::Full), 1 => Just(Fate::Fail("no"))];
    prop_oneof![
        5 => (1..40u8).prop_map(Step::Send),
        1 => fate().prop_map(Step::Outputs),
        2 => fate().prop_map(Step::Changelog),
        1 => Just(Step::ReportHeld),
        3 => any::<[bool; PARTITIONS as usize]>().prop_map(Step::Assign),
        1 => Just(Step::Lose),
        1 => any::<bool>().prop_map(Step::CoordinatorAway),
        1 => any::<bool>().prop_map(Step::Lease),
        8 => (0..12u8).prop_map(Step::Run),
    ]
}

struct Chaos {
    world: World,
    group: Arc<ToldGroup>,
    input: Topic<String, u64>,
    id: String,
    fates: Arc<std::sync::Mutex<(Fate, Fate)>>,
    sent: u64,
}

impl Chaos {
    async fn start() -> Self {
        static CASES: AtomicU64 = AtomicU64::new(0);
        let id = format!("chaos-{}", CASES.fetch_add(1, Ordering::Relaxed));
        let app = App::new(&id);
        let input = app.topic::<String, u64>("in").partitions(PARTITIONS);
        let output = app.topic::<String, u64>("out").partitions(PARTITIONS);
        let seen = app.table::<String, BTreeSet<u64>>("seen");
        app.agent("see", (input, seen), async move |mut stream, seen| {
            while let Some(event) = stream.next().await {
                output.send(event.key(), &event).await?;
                if *event % 17 == 0 {
                    tokio::time::sleep(millis(1)).await;
                }
                seen.update(event.key(), |ids| ids.insert(*event))?;
            }
            Ok(())
        });
        let group = ToldGroup::of(&id);
        group.assign(&[0, 1]);
        let world = World::start(app, settings().commit_interval(millis(1)).revoke_timeout(millis(8))).await;
        let fates = Arc::new(std::sync::Mutex::new((Fate::Deliver, Fate::Deliver)));
        let told = fates.clone();
        world.log.decide_fates(move |topic, _| match topic {
            "in" => Fate::Deliver,
            "out" => told.lock().unwrap().0,
            _ => told.lock().unwrap().1,
        });
        Self { world, group, input, id, fates, sent: 0 }
    }

    async fn take(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Send(n) => {
                for _ in 0..n {
                    self.input.send(&format!("key {}", self.sent % 7), &self.sent).await.unwrap();
                    self.sent += 1;
                }
            }
            Step::Outputs(fate) => self.fates.lock().unwrap().0 = fate,
            Step::Changelog(fate) => self.fates.lock().unwrap().1 = fate,
            Step::ReportHeld => self.world.log.report_held(),
            Step::Assign(own) => {
                let own: Vec<u32> = (0..PARTITIONS).filter(|&partition| own[partition as usize]).collect();
                self.group.assign(&own);
            }
            Step::Lose => {
                self.group.lose();
                let gone = || {
                    // A task is not given up while rows of it are on their way.
                    self.world.log.report_held();
                    self.world.running().status.tasks().iter().all(|task| task.stage() == Stage::Absent)
                };
                until("all tasks have ended", gone).await;
                let written = self.written();
                self.run(3).await;
                prop_assert_eq!(self.written(), written, "written without a membership");
                self.group.assign(&[0, 1]);
            }
            Step::CoordinatorAway(away) => self.group.refuse(away.then(|| GroupError::Unavailable("no answer".into()))),
            Step::Lease(holds) => match holds {
                true => self.group.lease.renew(1),
                false => self.group.lease.end(),
            },
            Step::Run(time) => self.run(time).await,
        }
        self.is_safe().await
    }

    async fn run(&self, time: u8) {
        for _ in 0..time {
            tokio::time::sleep(millis(1)).await;
        }
    }

    fn changelog(&self) -> String {
        format!("{}-seen-changelog", self.id)
    }

    fn written(&self) -> usize {
        (0..PARTITIONS).map(|partition| self.world.records(&self.changelog(), partition).len()).sum()
    }

    /// The rows as the changelog has them.
    fn rows(&self, partition: u32) -> BTreeMap<String, BTreeSet<u64>> {
        let latest = self.world.latest(&self.changelog(), partition);
        latest.into_iter().map(|(key, ids)| (key, serde_json::from_str(&ids).unwrap())).collect()
    }

    /// A worker that were killed now would lose nothing: what is behind the committed offset is in the changelog and in the outputs.
    async fn is_safe(&self) -> Result<(), TestCaseError> {
        for partition in 0..PARTITIONS {
            let committed = self.world.committed("in", partition).await.unwrap_or(0) as usize;
            // A restore may have the only reader of the changelog just now.
            if self.world.task(partition).stage() == Stage::Restoring {
                continue;
            }
            let (rows, outputs) = (self.rows(partition), self.outputs(partition));
            for (offset, (key, id)) in self.inputs(partition).into_iter().enumerate().take(committed) {
                prop_assert!(
                    rows.get(&key).is_some_and(|ids| ids.contains(&id)),
                    "in[{partition}]@{offset} of {key} is lost: {rows:?}"
                );
                prop_assert!(outputs.contains(&id), "the output of in[{partition}]@{offset} is lost");
            }
        }
        Ok(())
    }

    fn inputs(&self, partition: u32) -> Vec<(String, u64)> {
        let inputs = self.world.records("in", partition).into_iter();
        inputs.map(|(key, id)| (key, id.unwrap().parse().unwrap())).collect()
    }

    fn outputs(&self, partition: u32) -> BTreeSet<u64> {
        self.world.records("out", partition).into_iter().map(|(_, id)| id.unwrap().parse().unwrap()).collect()
    }

    /// Mends everything and waits until all is done.
    async fn mend(&self) -> Result<(), TestCaseError> {
        *self.fates.lock().unwrap() = (Fate::Deliver, Fate::Deliver);
        self.world.log.report_held();
        self.group.refuse(None);
        self.group.lease.renew(1);
        self.group.assign(&[0, 1]);
        for partition in 0..PARTITIONS {
            let inputs = self.inputs(partition);
            until("the task has its meter", || self.world.running().status.tasks().len() == PARTITIONS as usize).await;
            self.world.until_committed("in", partition, inputs.len() as i64).await;
            let mut all = BTreeMap::<String, BTreeSet<u64>>::new();
            inputs.into_iter().for_each(|(key, id)| {
                all.entry(key).or_default().insert(id);
            });
            prop_assert_eq!(self.rows(partition), all);
        }
        self.is_safe().await
    }
}

#[test]
fn nothing_is_lost_whatever_happens() {
    let mut runner =
        proptest::test_runner::TestRunner::new(ProptestConfig { cases: 60, max_shrink_time: 60_000, ..ProptestConfig::default() });
    let result = runner.run(&proptest::collection::vec(step(), 1..40), |steps| {
        let mut outcome = Ok(());
        on_one_thread(async {
            let mut chaos = Chaos::start().await;
            for step in steps {
                outcome = chaos.take(step).await;
                if outcome.is_err() {
                    return;
                }
            }
            outcome = chaos.mend().await;
            chaos.world.stop().await.unwrap();
        });
        outcome
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}
