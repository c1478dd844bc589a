//! The only place that reads: the API server, Kafka, the workers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use faust_crds::FaustApp;
use futures::future::join_all;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ConfigMap, PersistentVolumeClaim, Pod, Secret, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use serde::Serialize;
use serde_json::Value;

use crate::app::{self, App};
use crate::kafka::Connections;
use crate::model::{Cluster, Kafka, Refusal, Snapshot, Topology};
use crate::probe::Probe;
use crate::{objects, plan, pods, topics};

/// Marks the class that claims without one get.
const DEFAULT_CLASS: &str = "storageclass.kubernetes.io/is-default-class";
/// Between two questions to a Kafka that can't be reached.
const KAFKA_AGAIN: Duration = Duration::from_secs(5);
const KAFKA_AGAIN_AT_MOST: Duration = Duration::from_secs(300);

/// What is kept of one application between two looks.
#[derive(Default)]
pub struct Memory {
    topologies: BTreeMap<String, Topology>,
    unreachable: Option<Unreachable>,
    pub refusals: Vec<Refusal>,
    pub bands: crate::status::Bands,
}

/// A Kafka that couldn't be asked isn't asked again at once.
struct Unreachable {
    generation: i64,
    failures: u32,
    next: Timestamp,
    said: Kafka,
}

/// Reads everything that is looked at.
#[derive(Clone)]
pub struct Observer {
    pub client: Client,
    pub kafka: Arc<Connections>,
    pub probe: Probe,
}

impl Observer {
    /// The FaustApp as it is now: what a round decides with must not be older than what the last one wrote.
    pub async fn faust_app(&self, known: &FaustApp) -> Result<Option<FaustApp>, kube::Error> {
        let api = Api::<FaustApp>::namespaced(self.client.clone(), &known.namespace().unwrap_or_default());
        Ok(api.get_opt(&known.name_any()).await?.filter(|found| found.uid() == known.uid()))
    }

    /// Everything about one application. Without an [`App`], its spec being refused, only what its status needs.
    pub async fn observe(
        &self,
        faust_app: &FaustApp,
        app: Option<&App>,
        older_twin: Option<String>,
        memory: &mut Memory,
    ) -> Result<Snapshot, kube::Error> {
        let mut snapshot = Snapshot {
            now: Timestamp::now(),
            status: faust_app.status.clone().unwrap_or_default(),
            cluster: self.cluster(faust_app, app).await?,
            kafka: Kafka::Seen(Default::default()),
            topologies: BTreeMap::new(),
            older_twin,
            refusals: memory.refusals.clone(),
        };
        let Some(app) = app else { return Ok(snapshot) };
        let target = plan::target(app, &snapshot).name;
        self.learn_topology(&target, &snapshot.cluster.pods, memory).await;
        snapshot.topologies.clone_from(&memory.topologies);
        snapshot.kafka = self.ask_kafka(app, snapshot.topologies.get(&target), snapshot.now, memory).await;
        Ok(snapshot)
    }

    async fn cluster(&self, faust_app: &FaustApp, app: Option<&App>) -> Result<Cluster, kube::Error> {
        let (namespace, name) = (faust_app.namespace().unwrap_or_default(), faust_app.name_any());
        let ours = ListParams::default().labels(&app::selector(&name));
        let pods: Vec<Pod> = Api::namespaced(self.client.clone(), &namespace).list(&ours).await?.items;
        let mut cluster = Cluster { workers: self.ask_workers(&pods).await, pods, ..Cluster::default() };
        let Some(app) = app else { return Ok(cluster) };

        cluster.stateful_set = self.find(&namespace, &name, &mut cluster.objects).await?;
        self.find::<Service>(&namespace, &name, &mut cluster.objects).await?;
        self.find::<PodDisruptionBudget>(&namespace, &name, &mut cluster.objects).await?;
        cluster.claims = Api::<PersistentVolumeClaim>::namespaced(self.client.clone(), &namespace).list(&ours).await?.items;
        cluster.config_maps = Api::<ConfigMap>::namespaced(self.client.clone(), &namespace).list(&ours).await?.items;
        for map in &cluster.config_maps {
            remember(map, &mut cluster.objects);
        }
        // Somebody else's has none of our labels.
        let record = objects::topics_record_name(app);
        if !cluster.objects.contains_key(&("ConfigMap".into(), record.clone())) {
            let named = ListParams::default().fields(&format!("metadata.name={record}"));
            for map in Api::<ConfigMap>::namespaced(self.client.clone(), &namespace).list(&named).await? {
                remember(&map, &mut cluster.objects);
            }
        }
        let secrets = Api::<Secret>::namespaced(self.client.clone(), &namespace);
        if let Some(secret) = secrets.get_opt(&objects::token_name(app)).await? {
            cluster.has_token = true;
            // Whose it is, not what it says.
            remember(&Secret { metadata: secret.metadata, ..Secret::default() }, &mut cluster.objects);
        }
        if !cluster.claims.iter().all(|claim| claim.status.as_ref().is_some_and(|status| status.phase.as_deref() == Some("Bound")))
        {
            cluster.storage_class_exists = Some(self.storage_class_exists(app).await?);
        }
        Ok(cluster)
    }

    async fn find<K>(
        &self,
        namespace: &str,
        name: &str,
        objects: &mut BTreeMap<(String, String), Value>,
    ) -> Result<Option<K>, kube::Error>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + Serialize
            + serde::de::DeserializeOwned,
    {
        let found: Option<K> = Api::namespaced(self.client.clone(), namespace).get_opt(name).await?;
        if let Some(found) = &found {
            remember(found, objects);
        }
        Ok(found)
    }

    async fn storage_class_exists(&self, app: &App) -> Result<bool, kube::Error> {
        let classes = Api::<StorageClass>::all(self.client.clone()).list(&ListParams::default()).await?.items;
        let wanted = app.spec.storage.storage_class_name.as_deref();
        let is_default = |class: &StorageClass| class.annotations().get(DEFAULT_CLASS).is_some_and(|value| value == "true");
        Ok(classes.iter().any(|class| wanted.map_or_else(|| is_default(class), |wanted| class.name_any() == wanted)))
    }

    async fn ask_workers(&self, pods: &[Pod]) -> BTreeMap<String, crate::model::WorkerState> {
        let asked = pods.iter().filter_map(|pod| Some((pod.name_any(), pods::web_address(pod)?)));
        let answers = asked.map(|(name, address)| async move { Some((name, self.probe.state(&address).await?)) });
        join_all(answers).await.into_iter().flatten().collect()
    }

    /// What the code of a revision declares doesn't change: one answer of one of its pods is enough.
    async fn learn_topology(&self, target: &str, pods: &[Pod], memory: &mut Memory) {
        memory.topologies.retain(|revision, _| revision == target);
        if memory.topologies.contains_key(target) {
            return;
        }
        for pod in pods.iter().filter(|pod| pods::revision(pod) == Some(target)) {
            let Some(address) = pods::web_address(pod) else { continue };
            if let Some(topology) = self.probe.topology(&address).await {
                memory.topologies.insert(target.to_string(), topology);
                return;
            }
        }
    }

    async fn ask_kafka(&self, app: &App, topology: Option<&Topology>, now: Timestamp, memory: &mut Memory) -> Kafka {
        if let Some(away) = memory.unreachable.as_ref().filter(|away| away.generation == app.generation && now < away.next) {
            return away.said.clone();
        }
        let watched = topics::wanted_names(app, topology);
        let said = self.kafka.observe(&app.spec.kafka.bootstrap_servers, &app.app_id, &watched.topics, &watched.keys).await;
        memory.unreachable = match &said {
            Kafka::Seen(_) => None,
            Kafka::Unknown { .. } => {
                let failures = memory.unreachable.as_ref().map_or(0, |away| away.failures + 1);
                let pause = (KAFKA_AGAIN * 2u32.saturating_pow(failures.min(10))).min(KAFKA_AGAIN_AT_MOST);
                let next = now + SignedDuration::try_from(pause).expect("minutes");
                Some(Unreachable { generation: app.generation, failures, next, said: said.clone() })
            }
        };
        said
    }
}

/// Keeps an object as the API server has it, for comparing it with what it should be.
fn remember<K: kube::Resource<DynamicType = ()> + Serialize>(object: &K, objects: &mut BTreeMap<(String, String), Value>) {
    if let Ok(value) = serde_json::to_value(object) {
        let name = object.meta().name.clone().unwrap_or_default();
        objects.insert((K::kind(&()).into_owned(), name), value);
    }
}
