//! The conditions, in kstatus' words: `Ready`, and `Reconciling` and `Stalled`, which are there only while they are true.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::Parts;
use crate::app::{App, Refused};
use crate::model::{BUSY, Reason, STEADY, Verdict};
use crate::pods::PodFacts;

pub const READY: &str = "Ready";
pub const RECONCILING: &str = "Reconciling";
const STALLED: &str = "Stalled";
const PARTS: [&str; 5] = ["TopicsReady", "WorkersReady", "StorageReady", "ReplicasAsWanted", "StandbysPlaced"];

/// The conditions of a spec that is carried out.
pub fn judged(app: &App, parts: &Parts, pods: &[PodFacts], old: &[Condition], generation: i64, now: Timestamp) -> Vec<Condition> {
    let standbys = standbys(app, pods);
    let of = [parts.topics, &parts.workers.verdict, parts.storage, &parts.workers.scaling, &standbys];
    // The cap and standbys don't keep an application from working.
    let ready = ready(&of[..3]);
    let stalled = worst(of[..3].iter().copied().filter(|verdict| verdict.stalled));
    let reconciling = worst(of.iter().copied().filter(|verdict| verdict.reconciling)).filter(|_| stalled.is_none());
    let write = Writer { old, generation, now };
    let mut conditions = vec![write.condition(READY, ready.holds, ready.reason, &ready.message)];
    conditions.extend(reconciling.map(|verdict| write.condition(RECONCILING, Some(true), verdict.reason, &verdict.message)));
    conditions.extend(stalled.map(|verdict| write.condition(STALLED, Some(true), verdict.reason, &verdict.message)));
    let each = PARTS.iter().zip(of);
    conditions.extend(each.map(|(kind, verdict)| write.condition(kind, verdict.holds, verdict.reason, &verdict.message)));
    conditions
}

/// The conditions of a spec that can't be carried out: nothing is known of the parts that weren't looked at.
pub fn refused(refused: &Refused, old: &[Condition], generation: i64, now: Timestamp) -> Vec<Condition> {
    let write = Writer { old, generation, now };
    let mut conditions = vec![
        write.condition(READY, Some(false), refused.reason, &refused.message),
        write.condition(STALLED, Some(true), refused.reason, &refused.message),
    ];
    let message = "not looked at: the spec can't be carried out, see condition Ready";
    conditions.extend(PARTS.map(|kind| write.condition(kind, None, refused.reason, message)));
    conditions
}

/// The worst of the parts. What can't be told doesn't make an application unready that works as far as is known.
fn ready<'a>(parts: &[&'a Verdict]) -> &'a Verdict {
    let [_, workers, _] = parts else { unreachable!("three parts") };
    if parts.iter().all(|verdict| verdict.holds != Some(false)) {
        return workers;
    }
    worst(parts.iter().copied().filter(|verdict| verdict.holds != Some(true))).unwrap_or(workers)
}

fn worst<'a>(verdicts: impl Iterator<Item = &'a Verdict>) -> Option<&'a Verdict> {
    verdicts.min_by_key(|verdict| rank(verdict.reason))
}

/// Which reason is told when there are several: what was asked for before what went wrong, causes before their consequences.
fn rank(reason: Reason) -> u8 {
    match reason {
        Reason::InvalidSpec | Reason::NameTaken | Reason::NotSupported | Reason::ModeNotSupported => 0,
        Reason::Paused => 1,
        Reason::Suspended => 2,
        Reason::GroupInUse => 3,
        Reason::TopologyMismatch => 4,
        Reason::RolloutHalted => 5,
        Reason::PartitionMismatch | Reason::TopicMissing | Reason::TopicRefused => 6,
        Reason::KafkaAuthFailed => 7,
        Reason::StorageClassNotFound => 8,
        Reason::ImagePullFailed | Reason::WorkerRefused => 9,
        Reason::CrashLooping => 10,
        Reason::KafkaUnreachable => 11,
        // A pod has no place as long as its volume has none.
        Reason::StorageNotReady => 12,
        Reason::Unschedulable => 13,
        Reason::RollingOut => 14,
        Reason::Scaling => 15,
        Reason::Restoring => 16,
        Reason::WorkerNotReady => 17,
        Reason::PodStarting => 18,
        Reason::TopicsPending => 19,
        Reason::CappedByPartitions | Reason::NotEnoughPods | Reason::Warming => 20,
        Reason::PodReplaced
        | Reason::RolloutFinished
        | Reason::Scaled
        | Reason::TopicConfigured
        | Reason::TopicCreated
        | Reason::TopicReplaced => 21,
        Reason::AsWanted => 22,
    }
}

/// `StandbysPlaced`.
fn standbys(app: &App, pods: &[PodFacts]) -> Verdict {
    let copies = app.spec.standby_replicas.max(0);
    if copies == 0 {
        return Verdict::holds(Reason::AsWanted, "no copies are asked for");
    }
    let workers: Vec<_> = pods.iter().filter_map(|pod| pod.worker.as_ref()).collect();
    if workers.is_empty() {
        return Verdict::unknown(Reason::WorkerNotReady, "no worker has told whether it keeps copies", STEADY);
    }
    if workers.iter().any(|worker| !worker.features.iter().any(|feature| feature == "standbys")) {
        let message =
            "the workers' version of the library keeps no warm copies: a table is restored from its changelog when its pod is gone";
        return Verdict::waiting(Reason::NotSupported, message, STEADY);
    }
    if app.wanted() <= 1 {
        return Verdict::waiting(Reason::NotEnoughPods, "a copy needs a second pod: raise spec.replicas", STEADY);
    }
    if pods.iter().all(PodFacts::available) {
        return Verdict::holds(Reason::AsWanted, format!("{copies} copies of each table partition are warm"));
    }
    Verdict::waiting(Reason::Warming, "copies of tables are being built up", BUSY)
}

struct Writer<'a> {
    old: &'a [Condition],
    generation: i64,
    now: Timestamp,
}

impl Writer<'_> {
    fn condition(&self, kind: &str, holds: Option<bool>, reason: Reason, message: &str) -> Condition {
        let status = match holds {
            Some(true) => "True",
            Some(false) => "False",
            None => "Unknown",
        };
        let before = self.old.iter().find(|condition| condition.type_ == kind && condition.status == status);
        Condition {
            type_: kind.into(),
            status: status.into(),
            reason: reason.to_string(),
            message: clipped(message),
            observed_generation: Some(self.generation),
            last_transition_time: before.map_or(Time(self.now), |condition| condition.last_transition_time.clone()),
        }
    }
}

/// The API server refuses longer messages.
fn clipped(message: &str) -> String {
    message.chars().take(8_000).collect()
}
