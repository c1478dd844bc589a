//! The loop: something happened to an application, or it is time to look: observe, plan, apply.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use faust_crds::FaustApp;
use futures::{FutureExt, StreamExt};
use jiff::SignedDuration;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::controller::{Action as Next, Config, Controller};
use kube::runtime::events::{Event as KubeEvent, EventType, Recorder, Reporter};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher;
use kube::{Api, Client, Resource, ResourceExt};

use crate::app;
use crate::apply::{Applier, Error};
use crate::kafka::Connections;
use crate::metrics::{Metrics, Outcome};
use crate::model::{Action, BUSY, Event, Reason, Refusal, STEADY};
use crate::observe::{Memory, Observer};
use crate::plan;
use crate::probe::Probe;

/// Applications that are looked at at the same time.
const CONCURRENCY: u16 = 8;
/// After a write that failed.
const AFTER_FAILURE: Duration = Duration::from_secs(5);

/// What every round needs.
struct Operator {
    observer: Observer,
    applier: Applier,
    recorder: Recorder,
    apps: Store<FaustApp>,
    /// By UID; an application's round takes its own out and puts it back.
    memories: Mutex<HashMap<String, Memory>>,
    metrics: Arc<Metrics>,
}

/// Runs until `stop` resolves; the rounds under way are finished.
pub async fn run(client: Client, metrics: Arc<Metrics>, instance: String, stop: impl Future<Output = ()> + Send + Sync + 'static) {
    let stop = stop.shared();
    let config = Config::default().concurrency(CONCURRENCY);
    let ours = watcher::Config::default().labels("app.kubernetes.io/managed-by=faust-operator");
    let controller = Controller::new(Api::<FaustApp>::all(client.clone()), watcher::Config::default())
        .with_config(config)
        .owns(Api::<StatefulSet>::all(client.clone()), ours.clone())
        .watches(Api::<Pod>::all(client.clone()), ours, owner)
        .graceful_shutdown_on(stop.clone());
    let apps = controller.store();
    let (kafka, probe) = (Arc::new(Connections::default()), Probe::new());
    let operator = Operator {
        observer: Observer { client: client.clone(), kafka: kafka.clone(), probe: probe.clone() },
        applier: Applier { client: client.clone(), kafka, probe },
        recorder: Recorder::new(client, Reporter { controller: "faust-operator".into(), instance: Some(instance) }),
        apps: apps.clone(),
        memories: Mutex::default(),
        metrics,
    };
    let rounds = controller.run(reconcile, after_failure, Arc::new(operator)).for_each(async |round| {
        if let Err(error) = round {
            tracing::debug!("{error}");
        }
    });
    // The controller waits for its first list even when it is told to stop; without a round there is nothing to finish.
    let stopped_before_the_first = async {
        tokio::select! {
            biased;
            _ = apps.wait_until_ready() => std::future::pending().await,
            () = stop => {}
        }
    };
    tokio::select! {
        biased;
        () = stopped_before_the_first => {}
        () = rounds => {}
    }
}

/// The application that a pod belongs to.
fn owner(pod: Pod) -> Option<ObjectRef<FaustApp>> {
    let name = pod.labels().get("app.kubernetes.io/instance")?;
    Some(ObjectRef::new(name).within(pod.namespace().as_deref()?))
}

async fn reconcile(faust_app: Arc<FaustApp>, operator: Arc<Operator>) -> Result<Next, Error> {
    let uid = faust_app.uid().unwrap_or_default();
    if faust_app.meta().deletion_timestamp.is_some() {
        // Everything of ours belongs to it and goes with it.
        operator.forget(&uid);
        return Ok(Next::await_change());
    }
    let round = operator.metrics.begin();
    let mut memory = operator.memories.lock().unwrap().remove(&uid).unwrap_or_default();
    let done = operator.round(&faust_app, &mut memory).await;
    operator.memories.lock().unwrap().insert(uid, memory);
    operator.keep_only_known();
    round.end(match &done {
        Ok((_, true)) => Outcome::Changed,
        Ok((_, false)) => Outcome::Unchanged,
        Err(error) => Outcome::Failed(error.kind()),
    });
    done.map(|(again, _)| Next::requeue(again))
}

fn after_failure(faust_app: Arc<FaustApp>, error: &Error, _: Arc<Operator>) -> Next {
    if error.is_conflict() {
        return Next::requeue(BUSY);
    }
    tracing::warn!("{}: {error}", path(&faust_app));
    Next::requeue(AFTER_FAILURE)
}

impl Operator {
    /// One round. When to look again, and whether anything was written.
    async fn round(&self, known: &FaustApp, memory: &mut Memory) -> Result<(Duration, bool), Error> {
        let Some(faust_app) = &self.observer.faust_app(known).await? else { return Ok((STEADY, false)) };
        let judged = app::resolve(faust_app);
        let app = judged.as_ref().ok();
        let twin = self.older_twin(faust_app);
        let snapshot = self.observer.observe(faust_app, app, twin, memory).await?;
        let plan = match &judged {
            Ok(app) => plan::plan(app, &snapshot, &mut memory.bands),
            Err(refused) => {
                let generation = faust_app.meta().generation.unwrap_or_default();
                plan::refuse(&faust_app.name_any(), generation, refused, &snapshot, &mut memory.bands)
            }
        };
        // First: an operation is written down before its step is taken.
        let mut wrote = self.applier.status(faust_app, &plan.status).await?;
        self.metrics.ready(&path(faust_app), &plan.status);
        let (later, now) = plan.events.iter().cloned().partition::<Vec<_>, _>(|event| event.reason == Reason::TopicConfigured);
        self.tell(faust_app, &now).await;
        let Some(app) = app else { return Ok((plan.again, wrote)) };
        let mut again = plan.again;
        let before = std::mem::take(&mut memory.refusals);
        for action in &plan.actions {
            if let Some(refusal) = before.iter().find(|refusal| refusal.action == *action && snapshot.now < refusal.again) {
                memory.refusals.push(refusal.clone());
                continue;
            }
            tracing::info!("{}: {action}", path(faust_app));
            let made = self.applier.act(app, &snapshot, &plan.record, action).await;
            self.metrics.wrote(action);
            wrote = true;
            match made {
                Ok(events) => self.tell(faust_app, &events).await,
                // A worker that can't be asked has its deadline; the rest goes on.
                Err(error @ Error::Worker { .. }) => tracing::warn!("{}: {error}", path(faust_app)),
                Err(error) if error.is_refusal() => {
                    tracing::warn!("{}: {error}", path(faust_app));
                    let next = snapshot.now + SignedDuration::try_from(plan::AFTER_REFUSAL).expect("seconds");
                    memory.refusals.push(Refusal { action: action.clone(), message: error.to_string(), again: next });
                    again = BUSY;
                }
                Err(error) => return Err(error),
            }
            // What was just made is looked at soon.
            if matches!(action, Action::CreateTopics(_) | Action::Apply(_)) {
                again = BUSY;
            }
        }
        if memory.refusals.is_empty() {
            self.tell(faust_app, &later).await;
        }
        Ok((again, wrote))
    }

    /// Nobody has to hear of everything: an event that can't be written is no failure.
    async fn tell(&self, faust_app: &FaustApp, events: &[Event]) {
        for event in events {
            let kind = if event.warning { EventType::Warning } else { EventType::Normal };
            let event = KubeEvent {
                type_: kind,
                reason: event.reason.to_string(),
                note: Some(event.message.chars().take(1000).collect()),
                // Events of one reason and action are counted together, and only the first one's note is kept.
                action: event.message.chars().take(128).collect(),
                secondary: None,
            };
            if let Err(error) = self.recorder.publish(&event, &faust_app.object_ref(&())).await {
                tracing::warn!("{}: the event {} can't be written: {error}", path(faust_app), event.reason);
            }
        }
    }

    /// Two applications with one id would share a consumer group: the older one has it.
    fn older_twin(&self, faust_app: &FaustApp) -> Option<String> {
        let age = |app: &FaustApp| (app.creation_timestamp().map(|time| time.0), app.uid());
        let same = |other: &FaustApp| {
            other.uid() != faust_app.uid()
                && other.app_id() == faust_app.app_id()
                && other.spec.kafka.bootstrap_servers == faust_app.spec.kafka.bootstrap_servers
        };
        let apps = self.apps.state();
        let oldest = apps.iter().filter(|other| same(other)).min_by_key(|other| age(other))?;
        (age(oldest) < age(faust_app)).then(|| path(oldest))
    }

    fn forget(&self, uid: &str) {
        self.memories.lock().unwrap().remove(uid);
    }

    fn keep_only_known(&self) {
        let known: std::collections::HashSet<String> = self.apps.state().iter().filter_map(|app| app.uid()).collect();
        self.memories.lock().unwrap().retain(|uid, _| known.contains(uid));
        self.metrics.keep_only(&self.apps.state().iter().map(|app| path(app)).collect());
    }
}

/// `namespace/name`.
fn path(faust_app: &FaustApp) -> String {
    format!("{}/{}", faust_app.namespace().unwrap_or_default(), faust_app.name_any())
}
