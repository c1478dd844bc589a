//! Rolling: how the target revision fares, which template the pods should have, and which pod is replaced next.

use std::collections::BTreeSet;
use std::time::Duration;

use faust_crds::{Operation, Revision};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::View;
use crate::pods::PodFacts;

/// So long what was written may not be seen yet: a deletion that was decided stays the only one.
const UNSEEN: Duration = Duration::from_secs(10);

/// How the revisions fare: what is stable, whether the target gets further, whether it failed.
pub fn judge(view: &View, old: Option<&Revision>) -> Revision {
    let target = view.input.target;
    let fresh = || Revision {
        stable: old.and_then(|old| old.stable.clone()),
        target: target.to_owned(),
        failed: None,
        progressed_at: Some(Time(view.now)),
        progress: 0,
    };
    let mut revision = old.filter(|old| old.target == target).cloned().unwrap_or_else(fresh);
    let since = revision.progressed_at.as_ref().map_or(Duration::ZERO, |time| view.age(time));
    let Some(set) = view.set.as_ref().filter(|set| set.template == target && view.desired > 0) else { return revision };
    let progress = progress(view);
    // Restored percents move many times a second; pods don't.
    if progress / 100 > revision.progress / 100 || (progress > revision.progress && since >= Duration::from_secs(10)) {
        revision.progress = progress;
        revision.progressed_at = Some(Time(view.now));
        return settled(view, set.replicas, revision);
    }
    let revision = settled(view, set.replicas, revision);
    if revision.stable.as_deref() == Some(target) || revision.failed.is_some() || since <= view.app.progress_deadline {
        return revision;
    }
    if view.held.is_some() {
        // Time doesn't count against a revision while nothing may be done for it.
        return Revision { progressed_at: Some(Time(view.now)), ..revision };
    }
    let way_back = revision.stable.as_ref().is_some_and(|stable| view.input.stored.contains(stable));
    Revision { failed: way_back.then(|| target.to_owned()), ..revision }
}

/// The revision whose template the StatefulSet should have.
pub fn goal<'a>(revision: &'a Revision, stored: &BTreeSet<String>) -> &'a str {
    let failed = revision.failed.as_ref() == Some(&revision.target);
    revision.stable.as_ref().filter(|stable| failed && stored.contains(*stable)).unwrap_or(&revision.target)
}

/// The pod to delete now, so that it comes back from the template.
pub fn next<'a>(view: &'a View, template: &str, operation: Option<&Operation>) -> Option<&'a PodFacts> {
    let replicas = view.rolled();
    let max = view.app.max_unavailable;
    let there: Vec<_> = view.pods.iter().filter(|pod| pod.ordinal < replicas).collect();
    let missing = replicas - there.len() as u32;
    // Down because of this roll; and down at all.
    let ours = missing + count(&there, |pod| pod.deleting || (!outdated(pod, template) && !pod.available()));
    let down = missing + count(&there, |pod| !pod.available());
    let mut candidates: Vec<_> = there.into_iter().filter(|pod| !pod.deleting && outdated(pod, template)).collect();
    if let Some(operation) = operation
        && candidates.iter().any(|pod| pod.uid == operation.uid)
        && view.age(&operation.started_at) < UNSEEN
    {
        candidates.retain(|pod| pod.uid == operation.uid);
    }
    // What doesn't serve costs nothing; then the highest ordinal, as a StatefulSet does.
    candidates.sort_by_key(|pod| (pod.serves(), std::cmp::Reverse(pod.ordinal)));
    candidates.into_iter().find(|pod| ours < max && (!pod.serves() || down + u32::from(pod.available()) <= max))
}

/// Whether any pod still has to be replaced.
pub fn pending(view: &View, template: &str) -> bool {
    view.pods.iter().any(|pod| pod.ordinal < view.rolled() && outdated(pod, template))
}

/// Whether a replacement is still under way.
pub fn goes_on(view: &View, goal: &str, operation: &Operation) -> bool {
    let Some(pod) = view.pod(&operation.target) else { return view.rolled_names().any(|name| name == operation.target) };
    if pod.ordinal >= view.rolled() {
        return false;
    }
    if pod.uid == operation.uid {
        return pod.deleting || (outdated(pod, goal) && view.age(&operation.started_at) < UNSEEN);
    }
    !outdated(pod, goal) && !pod.available()
}

/// Whether the target doesn't get further and there is nothing to go back to.
pub fn stuck(view: &View, revision: &Revision) -> bool {
    let late = revision.progressed_at.as_ref().is_some_and(|time| view.age(time) > view.app.progress_deadline);
    late && revision.stable.as_ref().is_none_or(|stable| *stable != revision.target && !view.input.stored.contains(stable))
}

/// Pods that are of a revision, ready and caught up.
pub fn up_to_date(view: &View, revision: &str) -> u32 {
    let pods: Vec<_> = view.pods.iter().filter(|pod| pod.ordinal < view.desired).collect();
    count(&pods, |pod| pod.revision == revision && pod.available())
}

/// Whether a pod has to be made anew. One that was told to drain and is wanted again, too: its worker joins no more.
fn outdated(pod: &PodFacts, template: &str) -> bool {
    pod.revision != template || pod.draining().is_some()
}

fn settled(view: &View, replicas: u32, revision: Revision) -> Revision {
    let done = replicas >= view.desired && up_to_date(view, &revision.target) == view.desired;
    if done { Revision { stable: Some(revision.target.clone()), failed: None, ..revision } } else { revision }
}

fn progress(view: &View) -> i32 {
    let of_target = || view.pods.iter().filter(|pod| pod.revision == view.input.target && !pod.deleting);
    let restoring = of_target().filter(|pod| !pod.available()).filter_map(|pod| pod.worker.as_ref()?.restore.as_ref());
    let percent = crate::status::percent(restoring).unwrap_or(0);
    of_target().filter(|pod| pod.available()).count() as i32 * 100 + percent.min(95)
}

fn count(pods: &[&PodFacts], which: impl Fn(&PodFacts) -> bool) -> u32 {
    pods.iter().filter(|pod| which(pod)).count() as u32
}
