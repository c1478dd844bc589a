//! Scaling: how many pods are wanted, and how the last one goes without its partitions standing still.

use faust_crds::{Operation, OperationKind};

use super::{Set, View};
use crate::model::Draining;
use crate::pods::PodFacts;

/// What is done next for the pod that goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Asked to give its partitions away; asked again each round, which is how one waits for it.
    Drain,
    /// Its partitions have moved, or it doesn't hold any, or waiting has an end.
    Lower,
    /// It is on its way out.
    Wait,
    /// It is gone, and its place in the group would keep its partitions until the session ends.
    RemoveMember,
}

/// Pods wanted. With an unknown number of partitions what runs stays, except that nobody keeps more than was asked for.
pub fn desired(wanted: u32, cap: Option<u32>, running: u32, operation: Option<&Operation>) -> u32 {
    let going = operation.filter(|operation| operation.kind == OperationKind::ScaleIn);
    match (cap, going.and_then(ordinal)) {
        (Some(cap), _) => wanted.min(cap.max(1)),
        (None, Some(ordinal)) => wanted.min(ordinal),
        (None, None) if running > 0 => wanted.min(running),
        (None, None) => wanted,
    }
}

/// Whether the pod is still to go, and still the same; or gone, with its place in the group left behind.
pub fn goes_on(view: &View, operation: &Operation) -> bool {
    let unwanted = ordinal(operation).is_some_and(|ordinal| ordinal >= view.desired);
    let same = |pod: &PodFacts| pod.uid == operation.uid;
    unwanted && view.pod(&operation.target).map_or_else(|| view.is_member(&operation.target), same)
}

fn ordinal(operation: &Operation) -> Option<u32> {
    operation.target.rsplit_once('-')?.1.parse().ok()
}

/// The next step for the pod that goes. The API server not reaching its worker once is no reason to cut it short; the deadline is.
pub fn step(view: &View, set: &Set, operation: &Operation) -> Step {
    let Some(pod) = view.pod(&operation.target) else {
        let lowered = ordinal(operation).is_some_and(|ordinal| ordinal >= set.replicas);
        return if lowered { Step::RemoveMember } else { Step::Lower };
    };
    if pod.ordinal >= set.replicas {
        return Step::Wait;
    }
    let drained = pod.draining() == Some(Draining::Drained);
    let late = view.age(&operation.started_at) > view.app.drain_timeout;
    let works = pod.running && !pod.deleting && pod.trouble.is_none();
    let able = pod.worker.as_ref().is_none_or(|worker| worker.features.iter().any(|feature| feature == "drain-leave"));
    if drained || late || !works || !able { Step::Lower } else { Step::Drain }
}
