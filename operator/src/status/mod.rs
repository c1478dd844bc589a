//! What is written to `status`: the same text for the same facts, so that nothing is written while nothing happens.

mod bands;
mod conditions;
#[cfg(test)]
mod tests;

use faust_crds::{FaustAppStatus, Summary, TopicStatus, WorkerFacts};
use jiff::Timestamp;
use serde_json::Value;

pub use bands::{Bands, percent};

use crate::app::{App, Refused};
use crate::model::{Event, Reason, Verdict};
use crate::pods::PodFacts;
use crate::workers::Workers;

/// What the parts of the plan come to.
#[derive(Clone, Debug)]
pub struct Parts<'a> {
    pub workers: &'a Workers,
    pub topics: &'a Verdict,
    pub storage: &'a Verdict,
    /// What `status.topics` is to be.
    pub found: Vec<TopicStatus>,
    /// Partitions of the widest group of co-partitioned topics, when known.
    pub partitions: Option<u32>,
}

/// The status after a round. A refused spec leaves what runs alone; its pods are still counted, for scalers read the numbers.
pub fn compose(
    judged: Result<(&App, Parts), &Refused>,
    old: &FaustAppStatus,
    generation: i64,
    now: Timestamp,
    pods: &[PodFacts],
    bands: &mut Bands,
) -> FaustAppStatus {
    let restoring = pods.iter().filter_map(|pod| pod.worker.as_ref()?.restore.as_ref());
    let mut new = FaustAppStatus {
        observed_generation: Some(generation),
        replicas: pods.len() as i32,
        ready_replicas: pods.iter().filter(|pod| pod.serves()).count() as i32,
        worker: worker_facts(pods, old.worker.as_ref()),
        restore: bands.restore(restoring, old.restore.as_ref(), now),
        ..old.clone()
    };
    match &judged {
        Ok((app, parts)) => {
            let target = &parts.workers.revision.target;
            new.desired_replicas = parts.workers.desired as i32;
            new.updated_replicas = pods.iter().filter(|pod| pod.revision == *target).count() as i32;
            new.label_selector = Some(app.selector());
            new.partitions = parts.partitions.map(|partitions| partitions as i32).or(old.partitions);
            new.revision = Some(parts.workers.revision.clone());
            new.operation = parts.workers.operation.clone();
            new.topics.clone_from(&parts.found);
            new.conditions = conditions::judged(app, parts, pods, &old.conditions, generation, now);
        }
        Err(refused) => new.conditions = conditions::refused(refused, &old.conditions, generation, now),
    }
    let shown = old.summary.as_ref().map_or("", |summary| summary.lag.as_str());
    new.summary =
        Some(Summary { pods: format!("{}/{}", new.ready_replicas, new.desired_replicas), lag: bands.lag(lag(pods), shown, now) });
    new
}

/// What is told once: that the application became ready, and each new cause of its not being so.
pub fn events(old: &FaustAppStatus, new: &FaustAppStatus) -> Vec<Event> {
    let ready = |status: &FaustAppStatus| {
        let condition = status.conditions.iter().find(|condition| condition.type_ == conditions::READY)?;
        Some((condition.status.clone(), condition.reason.clone(), condition.message.clone()))
    };
    let before = ready(old).map(|(status, reason, _)| (status, reason));
    let Some((status, reason, message)) = ready(new).filter(|(status, reason, _)| before != Some((status.clone(), reason.clone())))
    else {
        return Vec::new();
    };
    let works = |condition: &&k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition| condition.type_ == conditions::RECONCILING;
    let warning = status != "True" && !new.conditions.iter().any(|condition| works(&condition));
    let reason = serde_json::from_value::<Reason>(Value::String(reason));
    reason.map(|reason| Event { warning, reason, message }).into_iter().collect()
}

/// Records not processed yet, over all pods that know; None when none knows.
fn lag(pods: &[PodFacts]) -> Option<u64> {
    pods.iter().filter_map(|pod| pod.worker.as_ref()?.lag).reduce(u64::saturating_add)
}

/// What the leader says of itself, or else the first pod that answers; what was known stays while nobody answers.
fn worker_facts(pods: &[PodFacts], old: Option<&WorkerFacts>) -> Option<WorkerFacts> {
    let told = || pods.iter().filter_map(|pod| Some((pod, pod.worker.as_ref()?)));
    let leader = told().find(|(_, worker)| worker.leader);
    let Some((_, worker)) = leader.or_else(|| told().next()) else { return old.cloned() };
    let before = old.and_then(|old| old.leader.clone()).filter(|name| pods.iter().any(|pod| pod.name == *name));
    Some(WorkerFacts {
        version: worker.version.clone(),
        contract: worker.contract.to_string(),
        topology_hash: worker.topology_hash.clone(),
        leader: leader.map(|(pod, _)| pod.name.clone()).or(before),
    })
}
