//! The world: what StatefulSet controller, kubelet and workers do with what the operator writes, one small step at a time.

use std::collections::{BTreeMap, BTreeSet};

use faust_crds::{FaustAppStatus, OperationKind};
use jiff::Timestamp;
use serde_json::json;

use crate::app::App;
use crate::golden;
use crate::model::{Action, Cluster, Draining, Kafka, KafkaFacts, Member, Snapshot, WorkerState};
use crate::pods::REVISION_LABEL;
use crate::workers::{Input, Workers, plan};

pub const CAP: u32 = 4;
/// In seconds.
const SESSION: i64 = 45;

#[derive(Clone, Debug)]
pub struct World {
    pub app: App,
    pub now: i64,
    pub target: usize,
    pub kafka: bool,
    pub status: FaustAppStatus,
    pub set: Option<Set>,
    pub pods: BTreeMap<u32, SimPod>,
    pub members: BTreeSet<String>,
    /// Members without a pod, and since when: the broker waits for them until their session ends.
    silent: BTreeMap<String, i64>,
    /// Pods whose worker doesn't answer in the next round.
    pub unheard: BTreeSet<u32>,
    made: u32,
    /// What the operator deleted, and in which roll: one begins with each new goal.
    pub roll: u32,
    pub deleted: Vec<(u32, u32)>,
}

#[derive(Clone, Debug)]
pub struct Set {
    pub template: String,
    pub replicas: u32,
    pub generation: i64,
    /// What its controller has seen of it.
    pub seen: (i64, String, u32),
}

#[derive(Clone, Debug)]
pub struct SimPod {
    pub uid: String,
    pub revision: String,
    /// 0 starting, 1 ready, 2 caught up.
    pub stage: u8,
    pub deleting: bool,
    pub draining: Option<Draining>,
}

impl SimPod {
    pub fn available(&self) -> bool {
        self.stage == 2 && !self.deleting && self.draining != Some(Draining::Drained)
    }
}

/// Revisions of odd number never come up.
pub fn revision(number: usize) -> String {
    format!("r{number}{}", if number % 2 == 1 { "-bad" } else { "" })
}

pub fn app() -> App {
    let spec = json!({"image": "app:1", "replicas": 3, "kafka": {"bootstrapServers": "kafka:9092"}});
    golden::app_of("views", serde_json::from_value(spec).unwrap())
}

impl World {
    pub fn new() -> Self {
        Self {
            app: app(),
            now: 1_000_000,
            target: 0,
            kafka: true,
            status: FaustAppStatus::default(),
            set: None,
            pods: BTreeMap::new(),
            members: BTreeSet::new(),
            silent: BTreeMap::new(),
            unheard: BTreeSet::new(),
            made: 0,
            roll: 0,
            deleted: Vec::new(),
        }
    }

    pub fn snapshot(&self) -> Snapshot {
        let pods = self.pods.iter().map(|(ordinal, pod)| {
            let deleting = pod.deleting.then_some("2026-01-01T00:00:00Z");
            let ready = pod.stage > 0 && pod.draining != Some(Draining::Drained);
            let state =
                if broken(pod) { json!({"waiting": {"reason": "ImagePullBackOff", "message": "not found"}}) } else { json!({"running": {}}) };
            let pod = json!({
                "metadata": {"name": self.app.pod_name(*ordinal), "uid": pod.uid, "labels": {REVISION_LABEL: pod.revision}, "deletionTimestamp": deleting},
                "status": {
                    "phase": if broken(pod) { "Pending" } else { "Running" },
                    "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}],
                    "containerStatuses": [{"name": "worker", "image": "app", "imageID": "", "ready": ready, "restartCount": 0, "state": state}],
                },
            });
            serde_json::from_value(pod).unwrap()
        });
        let heard = self.pods.iter().filter(|(ordinal, pod)| !self.unheard.contains(ordinal) && !broken(pod));
        let workers = heard.map(|(ordinal, pod)| (self.app.pod_name(*ordinal), worker(pod))).collect();
        let stateful_set = self.set.as_ref().map(|set| {
            let spec = json!({
                "serviceName": "views", "selector": {}, "replicas": set.replicas,
                "template": {"metadata": {"labels": {REVISION_LABEL: set.template}}},
            });
            let status = json!({"observedGeneration": set.seen.0, "replicas": 0});
            serde_json::from_value(json!({"metadata": {"generation": set.generation}, "spec": spec, "status": status})).unwrap()
        });
        let member = |id: &String| Member { id: format!("{id}-x"), instance_id: Some(id.clone()), host: "10.0.0.1".into() };
        Snapshot {
            now: Timestamp::new(self.now, 0).unwrap(),
            status: self.status.clone(),
            cluster: Cluster { stateful_set, pods: pods.collect(), workers, ..Cluster::default() },
            kafka: if self.kafka {
                Kafka::Seen(KafkaFacts { topics: BTreeMap::new(), members: self.members.iter().map(member).collect() })
            } else {
                Kafka::Unknown { refused: false, message: "no route".into() }
            },
            topologies: BTreeMap::new(),
            older_twin: None,
            refusals: Vec::new(),
        }
    }

    pub fn plan(&self) -> Workers {
        let stored = (0..8).map(revision).collect();
        let target = revision(self.target);
        let cap = self.kafka.then_some(CAP);
        plan(&self.app, &self.snapshot(), Input { target: &target, stored: &stored, cap, may_start: self.kafka })
    }

    /// A round of the operator, which dies after so many writes.
    pub fn round(&mut self, writes: usize) {
        let plan = self.plan();
        let mut writes = 0..writes;
        if writes.next().is_none() {
            return;
        }
        let goal =
            |status: &FaustAppStatus| status.revision.as_ref().map(|revision| (revision.target.clone(), revision.failed.clone()));
        let before = goal(&self.status);
        self.status.revision = Some(plan.revision.clone());
        self.status.operation.clone_from(&plan.operation);
        self.status.desired_replicas = plan.desired as i32;
        if goal(&self.status) != before {
            self.roll += 1;
        }
        if writes.next().is_none() {
            return;
        }
        if let (Some(template), Some(replicas)) = (&plan.template, plan.replicas) {
            self.apply(template, replicas, &plan);
        }
        for action in &plan.actions {
            if writes.next().is_none() {
                return;
            }
            self.act(action);
        }
    }

    fn apply(&mut self, template: &str, replicas: u32, plan: &Workers) {
        let set = self.set.get_or_insert_with(|| Set {
            template: template.into(),
            replicas,
            generation: 1,
            seen: (0, template.into(), 0),
        });
        let changed = set.template != template || set.replicas != replicas;
        if changed {
            assert!(!self.app.paused, "a write while paused");
        }
        if set.template != template {
            let scaling_in = plan.operation.as_ref().is_some_and(|operation| operation.kind == OperationKind::ScaleIn);
            assert!(!scaling_in, "a template written while a pod drains");
        }
        if replicas < set.replicas && replicas > 0 {
            assert_eq!(replicas, set.replicas - 1, "one pod goes at a time");
            let started = plan.operation.as_ref().map(|operation| operation.started_at.0.as_second());
            let late = started.is_some_and(|started| self.now - started > self.app.drain_timeout.as_secs() as i64);
            if let Some(pod) = self.pods.get(&replicas) {
                let drained = pod.draining == Some(Draining::Drained);
                assert!(drained || late || broken(pod) || pod.deleting, "pod {replicas} goes before it has drained");
            }
        }
        (set.template, set.replicas) = (template.into(), replicas);
        set.generation += i64::from(changed);
    }

    fn act(&mut self, action: &Action) {
        assert!(!self.app.paused, "an action while paused");
        match action {
            Action::DeletePod { name, uid, .. } => self.delete(name, uid),
            Action::Drain { pod, .. } => {
                if let Some(pod) = self.pods.get_mut(&ordinal(pod)).filter(|pod| pod.stage > 0 && !pod.deleting) {
                    pod.draining = pod.draining.or(Some(Draining::Draining));
                }
            }
            Action::RemoveMember { instance_id } => {
                assert!(!self.pods.contains_key(&ordinal(instance_id)), "{instance_id} removed while its pod lives");
                self.members.remove(instance_id);
            }
            other => panic!("not for the pod plan: {other:?}"),
        }
    }

    fn delete(&mut self, name: &str, uid: &str) {
        let ordinal = ordinal(name);
        let set = self.set.as_ref().unwrap();
        let Some(pod) = self.pods.get(&ordinal).filter(|pod| pod.uid == uid && !pod.deleting) else { return };
        assert!(self.kafka, "a pod deleted while Kafka is away");
        assert!(pod.revision != set.template || pod.draining.is_some(), "{name} deleted though it is as it should be");
        if pod.draining.is_none() {
            assert!(!self.deleted.contains(&(ordinal, self.roll)), "{name} deleted twice in one roll");
            self.deleted.push((ordinal, self.roll));
        }
        let served = pod.available();
        self.pods.get_mut(&ordinal).unwrap().deleting = true;
        let set = self.set.as_ref().unwrap();
        let wanted = set.replicas.min(self.status.desired_replicas as u32);
        let down =
            |which: &dyn Fn(&SimPod) -> bool| (0..wanted).filter(|ordinal| self.pods.get(ordinal).is_none_or(which)).count() as u32;
        let max = self.app.max_unavailable;
        if served {
            assert!(down(&|pod| !pod.available()) <= max, "{name} deleted while others are down: {self:?}");
        }
        let ours = |pod: &SimPod| pod.deleting || (pod.revision == set.template && pod.draining.is_none() && !pod.available());
        assert!(down(&ours) <= max, "more than {max} pods are down because of us");
    }

    /// The StatefulSet's controller: sees what is written, deletes what is too much, makes what is missing.
    pub fn control(&mut self) {
        let Some(set) = &mut self.set else { return };
        set.seen = (set.generation, set.template.clone(), set.replicas);
        self.make_and_condemn();
    }

    /// The same with what it saw before: its own cache lags.
    pub fn make_and_condemn(&mut self) {
        let Some((_, template, replicas)) = self.set.as_ref().map(|set| set.seen.clone()) else { return };
        for (_, pod) in self.pods.range_mut(replicas..) {
            pod.deleting = true;
        }
        for ordinal in 0..replicas {
            self.pods.entry(ordinal).or_insert_with(|| {
                self.made += 1;
                SimPod { uid: format!("u{}", self.made), revision: template.clone(), stage: 0, deleting: false, draining: None }
            });
        }
    }

    /// Kubelet and worker of one pod get a step further.
    pub fn turn(&mut self, ordinal: u32) {
        let name = self.app.pod_name(ordinal);
        let Some(pod) = self.pods.get_mut(&ordinal) else { return };
        if pod.deleting {
            self.pods.remove(&ordinal);
        } else if pod.draining == Some(Draining::Draining) {
            pod.draining = Some(Draining::Drained);
            self.members.remove(&name);
        } else if !broken(pod) && pod.draining.is_none() && self.kafka && pod.stage < 2 {
            pod.stage += 1;
            self.members.insert(name);
        }
    }

    fn end_sessions(&mut self) {
        let has_pod = |name: &String| self.pods.keys().any(|ordinal| self.app.pod_name(*ordinal) == *name);
        let without: BTreeSet<String> = self.members.iter().filter(|name| !has_pod(name)).cloned().collect();
        self.silent.retain(|name, _| without.contains(name));
        for name in without {
            let since = *self.silent.entry(name.clone()).or_insert(self.now);
            if self.now - since > SESSION {
                self.members.remove(&name);
            }
        }
    }

    /// Everybody does his work, for so many rounds.
    pub fn quiet(&mut self, rounds: usize) {
        for _ in 0..rounds {
            self.round(usize::MAX);
            self.control();
            for ordinal in 0..10 {
                self.turn(ordinal);
            }
            self.end_sessions();
            self.now += 20;
        }
    }
}

fn broken(pod: &SimPod) -> bool {
    pod.revision.ends_with("bad")
}

fn ordinal(pod: &str) -> u32 {
    pod.rsplit_once('-').unwrap().1.parse().unwrap()
}

fn worker(pod: &SimPod) -> WorkerState {
    WorkerState {
        contract: 1,
        version: "0.1.0".into(),
        topology_hash: "h".into(),
        features: vec!["drain-leave".into()],
        leader: false,
        ready: pod.stage > 0,
        reason: None,
        waiting: None,
        caught_up: pod.stage == 2,
        draining: pod.draining,
        lag: Some(0),
        restore: None,
    }
}
