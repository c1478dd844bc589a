//! Puts the parts of the plan together: topics, storage, pods, and the objects that they need. Pure: a snapshot in, a plan out.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::Value;

use crate::app::{App, Refused};
use crate::differs::differs;
use crate::model::{Action, Plan, STEADY, Snapshot};
use crate::pods::{self, REVISION_LABEL};
use crate::revision::{self, Revision};
use crate::status::{self, Bands, Parts};
use crate::topics::{self, Record};
use crate::workers::{self, Workers};
use crate::{objects, storage};

/// A spec that this operator can't carry out: say so, and leave alone what runs.
pub fn refuse(name: &str, generation: i64, refused: &Refused, snapshot: &Snapshot, bands: &mut Bands) -> Plan {
    let pods = pods::of(name, &snapshot.cluster);
    let status = status::compose(Err(refused), &snapshot.status, generation, snapshot.now, &pods, bands);
    Plan { events: status::events(&snapshot.status, &status), status, actions: Vec::new(), record: BTreeMap::new(), again: STEADY }
}

/// What is to be done for an application.
pub fn plan(app: &App, snapshot: &Snapshot, bands: &mut Bands) -> Plan {
    let target = target(app, snapshot);
    let topics =
        topics::plan(app, snapshot.topologies.get(&target.name), &snapshot.kafka, &record(app, &snapshot.cluster.config_maps));
    let storage = storage::verdict(app, &snapshot.cluster);
    let stored = stored(&snapshot.cluster.config_maps);
    let names = stored.keys().cloned().collect();
    let cap = topics.partitions.or(snapshot.status.partitions.and_then(|partitions| partitions.try_into().ok()));
    let input = workers::Input { target: &target.name, stored: &names, cap, may_start: topics.workers_may_start };
    let workers = workers::plan(app, snapshot, input);

    let actions = if app.paused { Vec::new() } else { actions(app, snapshot, &target, &stored, &topics, &workers) };
    let again = topics.verdict.again.min(storage.again).min(workers.verdict.again).min(workers.scaling.again);
    let found = topics.status.clone().unwrap_or_else(|| snapshot.status.topics.clone());
    let parts = Parts { workers: &workers, topics: &topics.verdict, storage: &storage, found, partitions: topics.partitions };
    let pods = pods::of(&app.name, &snapshot.cluster);
    let status = status::compose(Ok((app, parts)), &snapshot.status, app.generation, snapshot.now, &pods, bands);

    let mut events = topics.events;
    events.extend(workers.events.clone());
    events.extend(status::events(&snapshot.status, &status));
    Plan { status, actions, record: topics.record.data(), events, again }
}

/// The revision that the spec asks for.
pub fn target(app: &App, snapshot: &Snapshot) -> Revision {
    let current = snapshot.status.revision.as_ref().map(|revision| revision.target.as_str());
    revision::target(app, &snapshot.cluster.config_maps, current)
}

/// The record of the app's topics, as it was last written.
fn record(app: &App, config_maps: &[ConfigMap]) -> Record {
    let name = objects::topics_record_name(app);
    let found = config_maps.iter().find(|map| map.metadata.name.as_deref() == Some(&name));
    found.and_then(|map| map.data.as_ref()).map(Record::parse).unwrap_or_default()
}

fn stored(config_maps: &[ConfigMap]) -> BTreeMap<String, Revision> {
    config_maps.iter().filter_map(revision::stored).map(|revision| (revision.name.clone(), revision)).collect()
}

/// In this order: what pods stand on before the pods, and nothing is taken away before what replaces it is there.
fn actions(
    app: &App,
    snapshot: &Snapshot,
    target: &Revision,
    stored: &BTreeMap<String, Revision>,
    topics: &topics::Topics,
    workers: &Workers,
) -> Vec<Action> {
    let cluster = &snapshot.cluster;
    let mut actions = Vec::new();
    let data = topics.record.data();
    let record = (!data.is_empty()).then(|| objects::topics_record(app, &data));
    actions.extend(record.filter(|record| needs_apply(record, &cluster.objects)).map(|record| Action::Apply(Box::new(record))));
    actions.extend(topics.actions.clone());
    let mut apply = |object: Value| {
        if needs_apply(&object, &cluster.objects) {
            actions.push(Action::Apply(Box::new(object)));
        }
    };
    if let (Some(template), Some(replicas)) = (&workers.template, workers.replicas) {
        let revision = if *template == target.name { Some(target) } else { stored.get(template) };
        if let Some(revision) = revision {
            if !stored.contains_key(template) {
                apply(revision.config_map(app));
            }
            apply(objects::service(app));
            apply(objects::disruption_budget(app));
            apply(objects::stateful_set(app, revision, replicas, cluster.stateful_set.as_ref()));
        }
        if !cluster.has_token {
            // The pods mount it: they wait until it is there.
            actions.push(Action::CreateToken(Box::new(objects::token_secret(app))));
        }
    }
    actions.extend(workers.actions.clone());
    actions.extend(unreferenced(snapshot, target, workers));
    actions
}

fn needs_apply(object: &Value, live: &BTreeMap<(String, String), Value>) -> bool {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
    let key = (text(&object["kind"]), text(&object["metadata"]["name"]));
    live.get(&key).is_none_or(|live| differs(object, live, objects::MANAGER))
}

/// Revisions that no pod, no template and no way back needs any more.
fn unreferenced(snapshot: &Snapshot, target: &Revision, workers: &Workers) -> Vec<Action> {
    let label = |labels: Option<&BTreeMap<String, String>>| labels.and_then(|labels| labels.get(REVISION_LABEL)).cloned();
    let template = snapshot.cluster.stateful_set.as_ref().and_then(|set| set.spec.as_ref()?.template.metadata.as_ref());
    let mut needed: BTreeSet<String> = snapshot.cluster.pods.iter().filter_map(|pod| label(pod.metadata.labels.as_ref())).collect();
    needed.extend(template.and_then(|metadata| label(metadata.labels.as_ref())));
    needed.extend(workers.template.clone());
    needed.extend(workers.revision.stable.clone());
    needed.insert(target.name.clone());
    let revisions = snapshot.cluster.config_maps.iter().filter_map(|map| Some((revision::stored(map)?.name, &map.metadata)));
    revisions
        .filter(|(revision, _)| !needed.contains(revision))
        .filter_map(|(_, metadata)| Some(Action::DeleteConfigMap { name: metadata.name.clone()?, uid: metadata.uid.clone()? }))
        .collect()
}
