//! A round: an app comes up, everything of the plan is done to it, it comes to rest, and every key is looked at.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use super::gaps::{gaps, longest};
use super::load::Load;
use super::oracle::Evidence;
use super::plan::{Act, Fault, Round};
use super::report::{Measured, Played};
use super::site::{OFFSETS, Site};
use super::stage::{Stage, ended_well};
use super::{NAMES, PARTITIONS, SESSION};
use crate::records::{self, Record};
use crate::wait;
use crate::worker::Worker;

/// Plays it; says what it does as it goes. `program` is the app's worker.
pub fn play(site: &Site, program: &Path, round: &Round) -> Played {
    eprintln!("{round}");
    let played = catch_unwind(AssertUnwindSafe(|| {
        let mut stage = Stage::set(site, program, round.setting);
        let load = Load::start(&site.kafka, &stage.items, round.seed);
        stage.episode("three workers begin", |stage| (0..3).for_each(|index| stage.start(index)));
        for act in &round.acts {
            stage.until_copied();
            wait::pass(act.pause);
            perform(&mut stage, act);
        }
        load.finish();
        judge(stage, round)
    }));
    played.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|text| text.to_string()));
        site.mend_all().unwrap_or_else(|error| panic!("the brokers can't be mended: {error}"));
        let what = text.unwrap_or_else(|| "a panic without words".into());
        Played { round: round.clone(), records: 0, measured: Vec::new(), violations: vec![what] }
    })
}

fn perform(stage: &mut Stage<'_>, act: &Act) {
    let index = stage.pick(act.whom);
    match act.fault {
        Fault::Kill => {
            stage.episode("kill -9, others take over", |stage| kill(stage, index));
            stage.episode("a worker joins", |stage| stage.start(index));
        }
        Fault::KillAndStart => stage.episode("kill -9, started at once", |stage| {
            kill(stage, index);
            stage.start(index);
        }),
        Fault::Sleep => {
            let mut asleep = None;
            stage.episode("SIGSTOP, others take over", |stage| {
                let partitions = stage.running[&index].state().partitions();
                let worker = stage.take(index);
                stage.around(&partitions, || worker.freeze());
                asleep = Some(worker);
            });
            stage.episode("SIGCONT, it joins again", |stage| {
                let worker = asleep.take().expect("it sleeps");
                worker.wake();
                stage.give_back(index, worker);
            });
        }
        Fault::Roll => {
            for index in stage.running.keys().copied().collect::<Vec<_>>() {
                stage.until_copied();
                stage.episode("planned restart", |stage| {
                    stage.stop(index);
                    stage.start(index);
                });
            }
        }
        Fault::LoseState => stage.episode("planned restart without its state", |stage| {
            stage.stop(index);
            stage.workers.delete_data_folder(NAMES[index]);
            stage.start(index);
        }),
        Fault::Cut => {
            let coordinator = wait::until("the coordinator", || stage.offsets.coordinator());
            let (site, mut away) = (stage.site, None);
            stage.episode("cut from the coordinator, others take over", |stage| {
                let partitions = stage.running[&index].state().partitions();
                let worker = stage.take(index);
                stage.around(&partitions, || {
                    site.cut(index, coordinator);
                    // It may go on until its lease ends.
                    wait::pass(SESSION);
                });
                away = Some(worker);
            });
            stage.episode("the cut is mended, it joins again", |stage| {
                site.mend(index, coordinator);
                stage.give_back(index, away.take().expect("it is away"));
            });
        }
        Fault::KillBroker => {
            let id = broker(stage, act.whom);
            of_broker(stage, "broker killed", |site| site.kafka.node(id).kill(), |site| site.kafka.node(id).restart());
        }
        Fault::StopBroker => {
            let id = broker(stage, act.whom);
            of_broker(stage, "broker stopped (SIGSTOP)", |site| site.kafka.node(id).pause(), |site| site.kafka.node(id).resume());
        }
        Fault::MoveLeaders => {
            let (items, changelog) = (stage.items.clone(), stage.changelog.clone());
            let move_all = |site: &Site| site.move_leaders(&items).and_then(|()| site.move_leaders(&changelog));
            of_broker(stage, "leaders moved", move_all, |_| Ok(()));
        }
        Fault::MoveCoordinator => of_broker(stage, "coordinator moved", |site| site.move_leaders(OFFSETS), |_| Ok(())),
        Fault::Scale => {
            stage.episode("scaled from 3 to 5", |stage| (3..5).for_each(|index| stage.start(index)));
            let mut leaving: Vec<usize> = stage.running.keys().copied().collect();
            leaving.rotate_left(act.whom % 5);
            leaving.truncate(3);
            let back = leaving[0];
            stage.episode("scaled from 5 to 2", |stage| leaving.into_iter().for_each(|index| stage.stop(index)));
            stage.episode("a worker joins", |stage| stage.start(back));
        }
    }
}

fn kill(stage: &mut Stage<'_>, index: usize) {
    let partitions = stage.running[&index].state().partitions();
    let worker: Worker = stage.take(index);
    stage.around(&partitions, || worker.kill());
}

/// The coordinator every other time, else any.
fn broker(stage: &Stage<'_>, whom: usize) -> i32 {
    match whom % 2 {
        0 => wait::until("the coordinator", || stage.offsets.coordinator()),
        _ => (whom / 2 % 3) as i32 + 1,
    }
}

/// Something that all workers feel, and after they got over it what ends it.
fn of_broker(
    stage: &mut Stage<'_>,
    what: &'static str,
    begin: impl FnOnce(&Site) -> std::io::Result<()>,
    end: impl FnOnce(&Site) -> std::io::Result<()>,
) {
    let (site, committed) = (stage.site, stage.committed());
    stage.episode(what, |stage| {
        begin(site).unwrap_or_else(|error| panic!("{what}: {error}"));
        stage.provoked.extend(0..NAMES.len());
    });
    end(site).unwrap_or_else(|error| panic!("{what}: {error}"));
    site.until_in_sync(&[&stage.items, &stage.changelog, &stage.told, OFFSETS]);
    let first = stage.windows.len();
    // A worker may lose its membership more than once until Kafka has found itself.
    for _ in 0..stage.felt.max(1) {
        stage.may_be_folded_again(&(0..PARTITIONS).collect::<Vec<_>>(), &committed);
    }
    let last = stage.windows.len();
    stage.episodes.last_mut().expect("just told").windows = first..last;
}

/// When all is committed: what is there, and what is wrong with it.
fn judge(mut stage: Stage<'_>, round: &Round) -> Played {
    stage.until_committed(&stage.ends());
    stage.until_shared();
    let kafka = &stage.site.kafka;
    let inputs = records::read(kafka, &stage.items);
    let keys: BTreeMap<String, i32> = inputs.iter().map(|input| (text(input.key.as_deref()), input.partition)).collect();
    let table = stage.table(&keys);
    let changelog: BTreeMap<String, String> =
        records::read(kafka, &stage.changelog).iter().map(|row| (text(row.key.as_deref()), text(row.value.as_deref()))).collect();
    let outputs = records::read(kafka, &stage.told);
    let commits = stage.commits.all();
    let evidence = Evidence {
        inputs: &inputs,
        outputs: &outputs,
        table: &table,
        changelog: &changelog,
        commits: &commits,
        windows: &stage.windows,
    };
    let mut verdict = evidence.judge();
    if !verdict.violations.is_empty() {
        let kept = stage.workers.keep();
        verdict.violations.push(format!("the workers' logs and data: {}", kept.display()));
    }
    for (_, worker) in std::mem::take(&mut stage.running) {
        let code = worker.stop();
        if !ended_well(&worker) {
            verdict.violations.push(format!("`{}` was told to stop and ended with {code}", worker.name));
        }
    }
    for topic in [&stage.items, &stage.told, &stage.changelog] {
        kafka.delete_topic(topic).unwrap_or_else(|error| panic!("{error}"));
    }

    let gaps: Vec<_> = (0..).zip(&commits).map(|(partition, commits)| gaps(commits, &times(&inputs, partition))).collect();
    let measured = stage.episodes[1..].iter().map(|episode| Measured {
        what: episode.what,
        setting: round.setting,
        gap: longest(&gaps, episode.from, episode.to),
        restored: episode.restored,
        restore_rate: episode.restore_rate as u64,
        again: verdict.again[episode.windows.clone()].iter().sum(),
        bound: stage.windows[episode.windows.clone()].iter().map(|window| window.len()).sum(),
    });
    Played { round: round.clone(), records: inputs.len(), measured: measured.collect(), violations: verdict.violations }
}

/// When each record of a partition was there, by offset.
fn times(inputs: &[Record], partition: i32) -> Vec<i64> {
    let mut own: Vec<_> = inputs.iter().filter(|input| input.partition == partition).collect();
    own.sort_by_key(|input| input.offset);
    own.into_iter().map(|input| input.timestamp).collect()
}

fn text(bytes: Option<&[u8]>) -> String {
    String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned()
}
