//! Puts the parts of the plan together: topics, storage, pods, and the objects that they need. Pure: a snapshot in, a plan out.

use std::collections::{BTreeMap, BTreeSet};

use std::time::Duration;

use faust_crds::TopicStatus;
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::Value;

use crate::app::{App, Refused};
use crate::differs::differs;
use crate::model::{Action, Cluster, Plan, Reason, STEADY, Snapshot, Verdict};
use crate::pods::{self, REVISION_LABEL};
use crate::revision::{self, Revision};
use crate::status::{self, Bands, Parts};
use crate::topics::{self, Record, Topics};
use crate::workers::{self, Workers};
use crate::{objects, storage};

/// Before what was refused is tried again; something may have been mended meanwhile.
pub const AFTER_REFUSAL: Duration = Duration::from_secs(30);

/// A spec that this operator can't carry out: say so, and leave alone what runs.
pub fn refuse(name: &str, generation: i64, refused: &Refused, snapshot: &Snapshot, bands: &mut Bands) -> Plan {
    let pods = pods::of(name, &snapshot.cluster);
    let status = status::compose(Err(refused), &snapshot.status, generation, snapshot.now, &pods, bands);
    Plan { events: status::events(&snapshot.status, &status), status, actions: Vec::new(), record: BTreeMap::new(), again: STEADY }
}

/// What is to be done for an application.
pub fn plan(app: &App, snapshot: &Snapshot, bands: &mut Bands) -> Plan {
    if let Some(taken) = taken(app, &snapshot.cluster) {
        return refuse(&app.name, app.generation, &taken, snapshot, bands);
    }
    let target = target(app, snapshot);
    let topology = snapshot.topologies.get(&target.name);
    let mut topics = topics::plan(app, topology, &snapshot.kafka, &record(app, &snapshot.cluster.config_maps));
    let storage = storage::verdict(app, &snapshot.cluster);
    let stored = stored(&snapshot.cluster.config_maps);
    let names = stored.keys().cloned().collect();
    let cap = topics.partitions.or(snapshot.status.partitions.and_then(|partitions| partitions.try_into().ok()));
    let input = workers::Input { target: &target.name, stored: &names, cap, may_start: topics.workers_may_start };
    let mut workers = workers::plan(app, snapshot, input);
    let halted = workers.revision.failed.as_ref() == Some(&target.name);
    let nobody_to_ask = topics.actions.is_empty() && (halted || workers.replicas.unwrap_or(0) == 0);
    if topology.is_none() && nobody_to_ask && topics.verdict.reason == Reason::TopicsPending {
        // Nothing is under way: it would look every second, and for ever.
        let message = "no pod runs that could say what the code needs";
        topics.verdict = Verdict::waiting(Reason::TopicsPending, message, STEADY);
    }
    say_refusals(snapshot, &mut topics, &mut workers);

    let actions = if app.paused { Vec::new() } else { actions(app, snapshot, &target, &stored, &topics, &workers) };
    let again = topics.verdict.again.min(storage.again).min(workers.verdict.again).min(workers.scaling.again);
    let found = found(&topics, topology.is_some(), &snapshot.status.topics);
    let parts = Parts { workers: &workers, topics: &topics.verdict, storage: &storage, found, partitions: topics.partitions };
    let pods = pods::of(&app.name, &snapshot.cluster);
    let status = status::compose(Ok((app, parts)), &snapshot.status, app.generation, snapshot.now, &pods, bands);

    let mut events = topics.events;
    events.extend(workers.events.clone());
    events.extend(status::events(&snapshot.status, &status));
    Plan { status, actions, record: topics.record.data(), events, again }
}

/// An object of ours whose name somebody else's has: it is neither taken over nor deleted with the application.
fn taken(app: &App, cluster: &Cluster) -> Option<Refused> {
    let names = [
        ("StatefulSet", app.name.clone()),
        ("Service", app.name.clone()),
        ("PodDisruptionBudget", app.name.clone()),
        ("ConfigMap", objects::topics_record_name(app)),
        ("Secret", objects::token_name(app)),
    ];
    let names = names.map(|(kind, name)| (kind.to_string(), name));
    let (kind, name) = names.into_iter().find(|name| cluster.objects.get(name).is_some_and(|live| !objects::is_ours(app, live)))?;
    let message = format!(
        "{kind} {}/{name} exists and is not of this FaustApp: delete or rename it, or give the FaustApp another name",
        app.namespace
    );
    Some(Refused { reason: Reason::NameTaken, message })
}

/// What was refused is a condition, with the words of who refused it.
fn say_refusals(snapshot: &Snapshot, topics: &mut Topics, workers: &mut Workers) {
    let said = |about: fn(&Action) -> bool| {
        let said: Vec<_> =
            snapshot.refusals.iter().filter(|refusal| about(&refusal.action)).map(|refusal| &*refusal.message).collect();
        (!said.is_empty()).then(|| said.join(". "))
    };
    let of_topics = said(|action| matches!(action, Action::CreateTopics(_) | Action::ConfigureTopic { .. }));
    if let Some(message) =
        of_topics.filter(|_| topics.verdict.holds == Some(true) || topics.verdict.reason == Reason::TopicsPending)
    {
        topics.verdict = Verdict::waiting(Reason::TopicRefused, message, AFTER_REFUSAL);
    }
    if let Some(message) = said(|action| matches!(action, Action::Apply(_) | Action::CreateToken(_))) {
        workers.verdict = Verdict::stalled(Reason::InvalidSpec, message);
        // Nothing has begun.
        let old = snapshot.status.revision.clone().unwrap_or_default();
        workers.revision = faust_crds::Revision { target: workers.revision.target.clone(), ..old };
        workers.events.clear();
    }
}

/// What `status.topics` is to be. While the code isn't known, what it needed before is still there.
fn found(topics: &Topics, code_known: bool, before: &[TopicStatus]) -> Vec<TopicStatus> {
    let Some(mut found) = topics.status.clone() else { return before.to_vec() };
    if !code_known {
        let missing = before.iter().filter(|old| found.iter().all(|topic| topic.name != old.name)).cloned().collect::<Vec<_>>();
        found.extend(missing);
        found.sort_by(|a, b| a.name.cmp(&b.name));
    }
    found
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
    topics: &Topics,
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

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;

    use super::*;
    use crate::golden;
    use crate::model::{Kafka, KafkaFacts, Refusal, TopicFacts};

    /// A first look: the declared topic is there, or isn't, and nothing else.
    fn snapshot(topic_exists: bool) -> Snapshot {
        let views = TopicFacts { id: "id".into(), partitions: 12, config: BTreeMap::new() };
        let topics = topic_exists.then(|| ("page_views".to_string(), views));
        Snapshot {
            now: Timestamp::UNIX_EPOCH,
            status: Default::default(),
            cluster: Cluster::default(),
            kafka: Kafka::Seen(KafkaFacts { topics: topics.into_iter().collect(), members: Vec::new() }),
            topologies: BTreeMap::new(),
            older_twin: None,
            refusals: Vec::new(),
        }
    }

    fn planned(snapshot: &Snapshot) -> Plan {
        plan(&golden::app("minimal"), snapshot, &mut Bands::default())
    }

    fn condition(plan: &Plan, kind: &str) -> (String, String, String) {
        let found = plan.status.conditions.iter().find(|condition| condition.type_ == kind).unwrap();
        (found.status.clone(), found.reason.clone(), found.message.clone())
    }

    fn refused(action: &Action, message: &str) -> Refusal {
        Refusal { action: action.clone(), message: message.into(), again: Timestamp::UNIX_EPOCH }
    }

    #[test]
    fn a_topic_is_in_the_record_before_anything_uses_it() {
        let actions: Vec<String> = planned(&snapshot(true)).actions.iter().map(ToString::to_string).collect();
        assert_eq!(actions[0], "apply ConfigMap page-views-topics");
        let pods = actions.iter().position(|action| action == "apply StatefulSet page-views").unwrap();
        assert_eq!(pods + 2, actions.len(), "{actions:?}");
        assert_eq!(planned(&snapshot(false)).actions.len(), 1, "no pods before the topics");
    }

    #[test]
    fn what_somebody_else_has_under_our_name_is_left_alone_and_named() {
        let mut snapshot = snapshot(true);
        let owner = json!({ "controller": true, "uid": "another" });
        let service = json!({ "kind": "Service", "metadata": { "name": "page-views", "ownerReferences": [owner] } });
        snapshot.cluster.objects.insert(("Service".into(), "page-views".into()), service);
        let plan = planned(&snapshot);
        assert!(plan.actions.is_empty());
        let (status, reason, message) = condition(&plan, "Ready");
        assert_eq!((&*status, &*reason), ("False", "NameTaken"));
        assert!(message.starts_with("Service shop/page-views exists and is not of this FaustApp"), "{message}");
    }

    #[test]
    fn a_stateful_set_that_is_refused_stalls_with_the_servers_words_and_is_no_progress() {
        let mut snapshot = snapshot(true);
        let first = planned(&snapshot);
        let set = first.actions.iter().find(|action| action.to_string() == "apply StatefulSet page-views").unwrap();
        snapshot.status = first.status.clone();
        snapshot.refusals = vec![refused(set, "Kubernetes refuses it: spec.template is invalid")];
        snapshot.now += jiff::SignedDuration::from_secs(60);
        let plan = planned(&snapshot);
        let expected =
            ("False".to_string(), "InvalidSpec".to_string(), "Kubernetes refuses it: spec.template is invalid".to_string());
        assert_eq!(condition(&plan, "WorkersReady"), expected);
        assert_eq!(condition(&plan, "Stalled").1, "InvalidSpec");
        assert_eq!(plan.status.revision, first.status.revision, "the deadline runs on");
        snapshot.status = plan.status.clone();
        assert_eq!(planned(&snapshot).status, plan.status, "the same facts write nothing");
    }

    #[test]
    fn nobody_is_waited_for_to_say_what_the_code_needs_when_its_roll_was_halted_or_no_pod_is_wanted() {
        let app = golden::app("minimal");
        let mut snapshot = snapshot(true);
        assert_eq!(condition(&planned(&snapshot), "Reconciling").1, "PodStarting", "a pod is about to tell");
        let set = crate::objects::stateful_set(&app, &target(&app, &snapshot), 2, None);
        snapshot.cluster.stateful_set = serde_json::from_value(set).unwrap();
        let failed = Some(target(&app, &snapshot).name);
        let stable = Some("stable".to_string());
        snapshot.status.revision =
            Some(faust_crds::Revision { target: failed.clone().unwrap(), failed, stable, ..Default::default() });
        let halted = planned(&snapshot);
        assert_eq!(condition(&halted, "TopicsReady").2, "no pod runs that could say what the code needs");

        let mut stopped = app.clone();
        stopped.spec.suspend = true;
        snapshot.status.revision = None;
        let stopped = plan(&stopped, &snapshot, &mut Bands::default());
        assert_eq!(condition(&stopped, "TopicsReady").2, "no pod runs that could say what the code needs");
        assert!(stopped.status.conditions.iter().all(|condition| condition.type_ != "Reconciling") && stopped.again >= STEADY);
    }

    #[test]
    fn a_topic_setting_that_kafka_refuses_is_said_and_the_pods_go_on() {
        let mut snapshot = snapshot(true);
        let action = Action::ConfigureTopic { topic: "page_views".into(), set: BTreeMap::new() };
        snapshot.refusals = vec![refused(&action, "Invalid value abc for configuration retention.ms")];
        let plan = planned(&snapshot);
        assert_eq!(condition(&plan, "TopicsReady").1, "TopicRefused");
        assert!(plan.actions.iter().any(|action| action.to_string() == "apply StatefulSet page-views"));
    }
}
