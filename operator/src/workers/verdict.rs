//! What is said of the pods. Sentences name what is wrong and what mends it, and hold no number that moves under load.

use std::time::Duration;

use faust_crds::{OperationKind, Revision};

use super::{Draft, Held, View, roll};
use crate::model::{BUSY, Reason, STEADY, Verdict};
use crate::pods::PodFacts;

/// `WorkersReady`.
pub fn workers(view: &View, draft: &Draft, revision: &Revision, goal: &str) -> Verdict {
    let desired = view.desired;
    let ready = view.pods.iter().filter(|pod| pod.ordinal < desired && pod.serves()).count() as u32;
    let count = format!("{ready} of {desired} pods are ready");
    match &view.held {
        Some(Held::Paused) => {
            let message = format!("{count}; nothing is changed as long as annotation faust.dev/paused is true");
            return Verdict::waiting(Reason::Paused, message, STEADY);
        }
        Some(Held::GroupInUse(who)) if desired > 0 => {
            let message =
                format!("{who}. Stop them, or create a FaustApp with another spec.appId; {count}, none is started or replaced");
            return Verdict::waiting(Reason::GroupInUse, message, Duration::from_secs(60));
        }
        _ => {}
    }
    if desired == 0 {
        return stopped(view);
    }
    if goal != revision.target {
        return halted(view, revision, goal);
    }
    let Some(template) = &draft.template else { return not_started(view) };
    let stuck = roll::stuck(view, revision) && view.held.is_none();
    if let Some((pod, reason, message)) = trouble(view, template) {
        let message = format!("{pod}: {message}");
        return if stuck { Verdict::stalled(reason, message) } else { Verdict::working(reason, message) };
    }
    if let Some(going) = draft.operation.as_ref().filter(|operation| operation.kind == OperationKind::ScaleIn) {
        return Verdict::working(Reason::Scaling, format!("{} gives its partitions to the others and goes; {count}", going.target));
    }
    let updated = roll::up_to_date(view, goal);
    if template != goal || roll::pending(view, goal) || draft.operation.is_some() {
        let message = format!("{updated} of {desired} pods are of revision {goal}, ready and caught up");
        return match &view.held {
            Some(Held::KafkaUnknown(reason)) => {
                Verdict::waiting(*reason, format!("{message}; the roll goes on when Kafka can be reached"), STEADY)
            }
            _ if !view.input.may_start => Verdict::waiting(
                Reason::TopicsPending,
                format!("{message}; the roll goes on when the topics are as it needs them"),
                STEADY,
            ),
            _ => Verdict::working(Reason::RollingOut, message),
        };
    }
    let running = view.set.as_ref().map_or(0, |set| set.replicas);
    if running > desired || view.pods.iter().any(|pod| pod.ordinal >= desired) {
        return Verdict::working(Reason::Scaling, format!("pods beyond the {desired} wanted are going; {count}"));
    }
    if ready == desired {
        return Verdict { again: if updated == desired { STEADY } else { BUSY }, ..Verdict::holds(Reason::AsWanted, count) };
    }
    let (reason, why) = unready(view);
    let message = format!("{count}: {why}");
    if stuck { Verdict::stalled(reason, message) } else { Verdict::working(reason, message) }
}

/// `ReplicasAsWanted`.
pub fn scaling(view: &View) -> Verdict {
    let (wanted, desired) = (view.app.wanted(), view.desired);
    match (view.input.cap, &view.held) {
        (Some(cap), _) if desired < wanted => {
            let message = format!(
                "{wanted} pods are asked for and {desired} run: the widest group of topics has {cap} partitions, and more pods would have \
                 nothing to do. Add partitions or lower spec.replicas"
            );
            Verdict::waiting(Reason::CappedByPartitions, message, STEADY)
        }
        (None, Some(Held::KafkaUnknown(reason))) if wanted > 0 => Verdict::unknown(
            *reason,
            "how many partitions there are can't be told without Kafka: running pods stay as they are",
            STEADY,
        ),
        (None, _) if wanted > 0 => {
            Verdict::unknown(Reason::TopicsPending, "how many partitions there are is known once the topics exist", STEADY)
        }
        _ => Verdict::holds(Reason::AsWanted, format!("{wanted} pods are wanted")),
    }
}

/// A stopped application isn't ready: who waits for it to be ready wants it to serve.
fn stopped(view: &View) -> Verdict {
    if !view.pods.is_empty() {
        return Verdict::working(Reason::Scaling, "pods are stopping");
    }
    let message = if view.app.spec.suspend {
        "stopped by spec.suspend: topics, offsets and volumes are kept"
    } else {
        "stopped by spec.replicas: 0; topics, offsets and volumes are kept"
    };
    Verdict::waiting(Reason::Suspended, message, STEADY)
}

fn halted(view: &View, revision: &Revision, goal: &str) -> Verdict {
    let begin = format!("revision {} made no progress", revision.target);
    let again = if roll::up_to_date(view, goal) < view.desired { BUSY } else { STEADY };
    // The pods that showed the cause are soon gone: what was said of it then still holds.
    if let Some(told) = view.told.as_ref().filter(|told| told.starts_with(&begin)) {
        return Verdict { again, ..Verdict::stalled(Reason::RolloutHalted, told.clone()) };
    }
    let troubled =
        trouble(view, &revision.target).filter(|(pod, ..)| view.pod(pod).is_some_and(|pod| pod.revision == revision.target));
    let cause = troubled.map_or_else(|| unready(view).1, |(pod, _, message)| format!("{pod}: {message}"));
    let message = format!(
        "{begin} for {} seconds ({cause}): the pods go on with revision {goal}. It is tried again when the spec changes",
        view.app.progress_deadline.as_secs(),
    );
    Verdict { again, ..Verdict::stalled(Reason::RolloutHalted, message) }
}

fn not_started(view: &View) -> Verdict {
    match &view.held {
        Some(Held::KafkaUnknown(reason)) => Verdict::waiting(*reason, "no pod is started before Kafka can be reached", STEADY),
        _ => {
            Verdict::waiting(Reason::TopicsPending, "no pod is started before the topics are as the application needs them", STEADY)
        }
    }
}

/// The trouble to tell: that of a pod of the template's revision before all others, for it shows what the spec leads to.
fn trouble<'a>(view: &'a View, template: &str) -> Option<(&'a str, Reason, &'a str)> {
    let pods = view.pods.iter().filter(|pod| pod.ordinal < view.desired && !pod.deleting);
    let troubled = pods.filter_map(|pod| Some((pod, pod.trouble.as_ref()?)));
    let (pod, trouble) = troubled.min_by_key(|(pod, _)| (pod.revision != template, pod.ordinal))?;
    Some((&pod.name, trouble.reason, &trouble.message))
}

/// A pod that nobody makes: quota, admission or a missing account are told to the StatefulSet and not to us.
fn missing(view: &View) -> Option<String> {
    let set = view.set.as_ref().filter(|set| set.observed)?;
    let name =
        (0..view.desired.min(set.replicas)).map(|ordinal| view.app.pod_name(ordinal)).find(|name| view.pod(name).is_none())?;
    Some(format!("{name} is not made yet; `kubectl describe statefulset {}` says what is in the way", view.app.name))
}

/// Why pods without trouble aren't ready.
fn unready(view: &View) -> (Reason, String) {
    let waits: Vec<_> = view.pods.iter().filter(|pod| pod.ordinal < view.desired && !pod.serves()).collect();
    let told = |word: &'static str| {
        let told = move |pod: &&&PodFacts| pod.worker.as_ref().is_some_and(|worker| worker.reason.as_deref() == Some(word));
        waits.iter().find(told)
    };
    if let Some(pod) = told("Restoring") {
        return (Reason::Restoring, format!("{} restores its tables", pod.name));
    }
    for word in ["WaitingForTopics", "WaitingForKafka"] {
        if let Some(pod) = told(word) {
            let what = pod.worker.as_ref().and_then(|worker| worker.waiting.as_deref()).unwrap_or(word);
            return (Reason::WorkerNotReady, format!("{}: {what}", pod.name));
        }
    }
    let worker = waits.iter().find_map(|pod| Some((&pod.name, pod.worker.as_ref()?.reason.as_deref()?)));
    match worker {
        Some((pod, word)) => (Reason::WorkerNotReady, format!("the worker of {pod} says {word}")),
        None => (Reason::PodStarting, missing(view).unwrap_or_else(|| "the others are starting".into())),
    }
}
