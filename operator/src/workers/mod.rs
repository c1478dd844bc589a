//! What becomes of an application's pods: which template and how many of them the StatefulSet gets, and which pod goes next.
//!
//! Deciding is stateless: each round looks at what is there. What can't be seen there, the one pod that is being replaced or drained and
//! how a revision fared, is in `status`, which is written before anything is done; so an operator that dies in between comes to the same end.

mod group;
mod roll;
mod scale;
#[cfg(test)]
pub(crate) mod tests;
mod verdict;

use std::collections::BTreeSet;
use std::time::Duration;

use faust_crds::{Operation, OperationKind, Revision};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::app::App;
use crate::model::{Action, Event, Kafka, Member, Reason, Snapshot, Verdict};
use crate::pods::{self, PodFacts, REVISION_LABEL};

/// What other parts of the plan say to this one.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The revision that the spec asks for.
    pub target: &'a str,
    /// Revisions whose content still exists, so that one can go back to them.
    pub stored: &'a BTreeSet<String>,
    /// Partitions of the widest group of co-partitioned topics: more pods have nothing to do. None: unknown.
    pub cap: Option<u32>,
    /// Whether the topics are such that pods of the target can work.
    pub may_start: bool,
}

/// What is to become of the pods.
#[derive(Clone, Debug, PartialEq)]
pub struct Workers {
    /// The revision whose template the StatefulSet must have. None: there is no StatefulSet, and none is to be made yet.
    pub template: Option<String>,
    /// The replicas that the StatefulSet must have; None with the template.
    pub replicas: Option<u32>,
    pub actions: Vec<Action>,
    pub verdict: Verdict,
    pub scaling: Verdict,
    pub revision: Revision,
    pub operation: Option<Operation>,
    /// Pods wanted, after suspension and the cap.
    pub desired: u32,
    pub events: Vec<Event>,
}

/// What the StatefulSet has.
#[derive(Clone, Debug)]
struct Set {
    template: String,
    replicas: u32,
    /// Whether its controller has seen what we see: until then a pod that dies may come back from the template before.
    observed: bool,
}

/// Why nothing is done to the pods for now.
#[derive(Clone, Debug)]
enum Held {
    Paused,
    GroupInUse(String),
    /// A pod that restarts while Kafka is away doesn't become ready, and whether a pod's partitions have moved can't be told.
    KafkaUnknown(Reason),
}

/// Everything that is looked at.
struct View<'a> {
    app: &'a App,
    now: Timestamp,
    input: Input<'a>,
    set: Option<Set>,
    pods: Vec<PodFacts>,
    /// Of the consumer group, as far as known.
    members: &'a [Member],
    held: Option<Held>,
    desired: u32,
    /// What was last said of the pods.
    told: Option<String>,
}

/// Decides what becomes of the pods.
pub fn plan(app: &App, snapshot: &Snapshot, input: Input) -> Workers {
    let view = View::of(app, snapshot, input);
    let old = &snapshot.status;
    let mut revision = roll::judge(&view, old.revision.as_ref());
    let goal = roll::goal(&revision, input.stored).to_owned();
    let mut draft = Draft { operation: old.operation.clone(), ..Draft::default() };
    match &view.set {
        None => draft.first_start(&view, &goal, &mut revision),
        Some(set) => draft.go_on(&view, set, &goal, &mut revision),
    }
    draft.tell(&view, old.revision.as_ref(), &revision);
    Workers {
        verdict: verdict::workers(&view, &draft, &revision, &goal),
        scaling: verdict::scaling(&view),
        desired: view.desired,
        template: draft.template,
        replicas: draft.replicas,
        actions: draft.actions,
        operation: draft.operation,
        events: draft.events,
        revision,
    }
}

impl<'a> View<'a> {
    fn of(app: &'a App, snapshot: &'a Snapshot, input: Input<'a>) -> Self {
        let set = snapshot.cluster.stateful_set.as_ref().map(Set::of);
        let held = if app.paused {
            Some(Held::Paused)
        } else if let Some(who) = group::in_use_by(app, snapshot) {
            Some(Held::GroupInUse(who))
        } else if let Kafka::Unknown { refused, .. } = snapshot.kafka {
            Some(Held::KafkaUnknown(if refused { Reason::KafkaAuthFailed } else { Reason::KafkaUnreachable }))
        } else {
            None
        };
        let running = set.as_ref().map_or(0, |set| set.replicas);
        let desired = scale::desired(app.wanted(), input.cap, running, snapshot.status.operation.as_ref());
        let told = snapshot.status.conditions.iter().find(|condition| condition.type_ == "WorkersReady");
        let told = told.map(|condition| condition.message.clone());
        let members = match &snapshot.kafka {
            Kafka::Seen(kafka) => &kafka.members[..],
            Kafka::Unknown { .. } => &[],
        };
        Self { app, now: snapshot.now, input, set, pods: pods::of(&app.name, &snapshot.cluster), members, held, desired, told }
    }

    fn is_member(&self, pod: &str) -> bool {
        self.members.iter().any(|member| member.instance_id.as_deref() == Some(pod))
    }

    fn pod(&self, name: &str) -> Option<&PodFacts> {
        self.pods.iter().find(|pod| pod.name == name)
    }

    /// How many ordinals a roll is about: those that exist and are to stay.
    fn rolled(&self) -> u32 {
        self.set.as_ref().map_or(0, |set| set.replicas).min(self.desired)
    }

    fn rolled_names(&self) -> impl Iterator<Item = String> {
        (0..self.rolled()).map(|ordinal| self.app.pod_name(ordinal))
    }

    fn age(&self, time: &Time) -> Duration {
        Duration::try_from(self.now.duration_since(time.0)).unwrap_or_default()
    }
}

impl Set {
    fn of(set: &StatefulSet) -> Self {
        let spec = set.spec.as_ref();
        let labels = spec.and_then(|spec| spec.template.metadata.as_ref()?.labels.as_ref());
        let observed = set.status.as_ref().and_then(|status| status.observed_generation).unwrap_or(0);
        Self {
            template: labels.and_then(|labels| labels.get(REVISION_LABEL)).cloned().unwrap_or_default(),
            replicas: spec.and_then(|spec| spec.replicas).map_or(1, |replicas| replicas.max(0) as u32),
            observed: observed >= set.metadata.generation.unwrap_or(0),
        }
    }
}

/// The decision while it is made.
#[derive(Default)]
struct Draft {
    template: Option<String>,
    replicas: Option<u32>,
    actions: Vec<Action>,
    operation: Option<Operation>,
    events: Vec<Event>,
}

impl Draft {
    fn first_start(&mut self, view: &View, goal: &str, revision: &mut Revision) {
        self.operation = None;
        if view.held.is_none() && view.input.may_start && view.desired > 0 {
            self.template = Some(goal.to_owned());
            self.replicas = Some(view.desired);
            revision.progressed_at = Some(Time(view.now));
        }
    }

    fn go_on(&mut self, view: &View, set: &Set, goal: &str, revision: &mut Revision) {
        self.template = Some(set.template.clone());
        self.replicas = Some(set.replicas);
        if view.desired == 0 && !matches!(view.held, Some(Held::Paused)) {
            // Nobody is left to take partitions over: draining would only take time.
            self.replicas = Some(0);
            self.operation = None;
            return;
        }
        if view.held.is_some() {
            self.hold(view);
            return;
        }
        self.operation = self.operation.take().filter(|operation| match operation.kind {
            OperationKind::Replace => roll::goes_on(view, goal, operation),
            OperationKind::ScaleIn => scale::goes_on(view, operation),
        });
        let scaling_in = self.operation.as_ref().is_some_and(|operation| operation.kind == OperationKind::ScaleIn);
        // Going back needs no leave of the topics: with the stable revision the pods worked.
        let may_roll = view.input.may_start || goal != view.input.target;
        if set.template != goal && may_roll && !scaling_in {
            self.template = Some(goal.to_owned());
            revision.progressed_at = Some(Time(view.now));
        }
        if view.desired > set.replicas && view.input.may_start {
            self.replicas = Some(view.desired);
            if set.replicas == 0 {
                revision.progressed_at = Some(Time(view.now));
            }
        }
        let settled = set.observed && self.template.as_deref() == Some(&set.template) && self.replicas == Some(set.replicas);
        if settled && may_roll && !scaling_in {
            self.replace_next(view, set);
        }
        // A roll that gets nowhere doesn't keep pods that nobody wants.
        let stuck = roll::stuck(view, revision);
        if stuck && set.replicas > view.desired && !scaling_in {
            self.operation = None;
        }
        let free = scaling_in || (self.operation.is_none() && (stuck || !roll::pending(view, &set.template)));
        if settled && free {
            self.scale_in(view, set);
        }
    }

    /// A deadline doesn't pass while nothing may be done.
    fn hold(&mut self, view: &View) {
        if let Some(operation) = &mut self.operation
            && view.age(&operation.started_at) > view.app.drain_timeout
        {
            operation.started_at = Time(view.now);
        }
    }

    fn replace_next(&mut self, view: &View, set: &Set) {
        let Some(pod) = roll::next(view, &set.template, self.operation.as_ref()) else { return };
        if self.operation.as_ref().is_none_or(|operation| operation.uid != pod.uid) {
            self.operation = Some(operation(view, OperationKind::Replace, pod));
            let message = format!("{} is replaced by a pod of revision {}", pod.name, set.template);
            self.events.push(Event { warning: false, reason: Reason::PodReplaced, message });
        }
        let why = format!("replaced by revision {}", set.template);
        self.actions.push(Action::DeletePod { name: pod.name.clone(), uid: pod.uid.clone(), why });
    }

    fn scale_in(&mut self, view: &View, set: &Set) {
        if self.operation.is_none() && set.replicas > view.desired {
            let last = view.app.pod_name(set.replicas - 1);
            match view.pod(&last) {
                Some(pod) => self.operation = Some(operation(view, OperationKind::ScaleIn, pod)),
                // Its place is empty: there is nothing to drain.
                None => self.replicas = Some(set.replicas - 1),
            }
        }
        let Some(operation) = &self.operation else { return };
        match scale::step(view, set, operation) {
            scale::Step::Drain => {
                self.actions.push(Action::Drain { pod: operation.target.clone(), nonce: operation.nonce.clone() });
            }
            scale::Step::Lower => self.replicas = Some(set.replicas - 1),
            scale::Step::Wait => {}
            scale::Step::RemoveMember => self.actions.push(Action::RemoveMember { instance_id: operation.target.clone() }),
        }
    }

    fn tell(&mut self, view: &View, old: Option<&Revision>, new: &Revision) {
        let before = view.set.as_ref().map_or(0, |set| set.replicas);
        let mut event = |warning, reason, message| self.events.push(Event { warning, reason, message });
        if let Some(failed) = new.failed.as_ref().filter(|_| old.is_none_or(|old| old.failed.is_none())) {
            let stable = new.stable.as_deref().unwrap_or_default();
            event(true, Reason::RolloutHalted, format!("revision {failed} did not come up; going back to {stable}"));
        }
        if let Some(stable) = new.stable.as_ref().filter(|stable| old.and_then(|old| old.stable.as_ref()) != Some(stable)) {
            event(false, Reason::RolloutFinished, format!("every pod is of revision {stable}, ready and caught up"));
        }
        if let Some(replicas) = self.replicas.filter(|replicas| *replicas != before) {
            event(false, Reason::Scaled, format!("from {before} to {replicas} pods"));
        }
    }
}

fn operation(view: &View, kind: OperationKind, pod: &PodFacts) -> Operation {
    Operation {
        kind,
        target: pod.name.clone(),
        uid: pod.uid.clone(),
        nonce: format!("{}-{}", pod.uid, view.app.generation),
        started_at: Time(view.now),
    }
}
