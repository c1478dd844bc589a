//! The only place that writes: the API server, Kafka, and workers that are asked to drain.

use std::collections::BTreeMap;
use std::sync::Arc;

use faust_crds::{FaustApp, FaustAppStatus};
use k8s_openapi::ByteString;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Client, Resource};
use serde_json::{Value, json};

use crate::app::App;
use crate::kafka::Connections;
use crate::model::{Action, Event, NewTopic, Snapshot};
use crate::objects::{self, MANAGER};
use crate::probe::Probe;
use crate::revision::TOKEN_KEY;
use crate::topics::Record;
use crate::{kafka, pods, topics};

/// A write that failed.
#[derive(Debug)]
pub enum Error {
    Kubernetes(Box<kube::Error>),
    Kafka(kafka::Error),
    Worker { pod: String, problem: String },
}

/// Writes for one application.
#[derive(Clone)]
pub struct Applier {
    pub client: Client,
    pub kafka: Arc<Connections>,
    pub probe: Probe,
}

impl Applier {
    /// Writes the status, if it differs from what is there. Returns whether it did.
    pub async fn status(&self, faust_app: &FaustApp, status: &FaustAppStatus) -> Result<bool, Error> {
        if faust_app.status.as_ref() == Some(status) {
            return Ok(false);
        }
        let metadata = faust_app.meta();
        let (namespace, name) = (metadata.namespace.as_deref().unwrap_or_default(), metadata.name.as_deref().unwrap_or_default());
        // With UID and version: neither another FaustApp of the name nor a later word about this one is written over.
        let patch = json!({
            "apiVersion": FaustApp::api_version(&()), "kind": FaustApp::kind(&()),
            "metadata": { "name": name, "uid": metadata.uid, "resourceVersion": metadata.resource_version }, "status": status,
        });
        let api: Api<FaustApp> = Api::namespaced(self.client.clone(), namespace);
        api.patch_status(name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(patch)).await?;
        Ok(true)
    }

    /// Carries out one action. What it made that people should hear of comes back.
    pub async fn act(
        &self,
        app: &App,
        snapshot: &Snapshot,
        record: &BTreeMap<String, String>,
        action: &Action,
    ) -> Result<Vec<Event>, Error> {
        match action {
            Action::CreateTopics(topics) => return self.create_topics(app, record, topics).await,
            Action::ConfigureTopic { topic, set } => self.kafka.configure(&app.spec.kafka.bootstrap_servers, topic, set).await?,
            Action::Apply(object) => self.apply(app, object).await?,
            Action::CreateToken(secret) => self.create_token(app, secret).await?,
            Action::DeleteConfigMap { name, uid } => self.delete::<ConfigMap>(app, name, uid).await?,
            Action::DeletePod { name, uid, .. } => self.delete::<Pod>(app, name, uid).await?,
            Action::Drain { pod, nonce } => self.drain(app, snapshot, pod, nonce).await?,
            Action::RemoveMember { instance_id } => {
                self.kafka.remove_member(&app.spec.kafka.bootstrap_servers, &app.app_id, instance_id).await?;
            }
        }
        Ok(Vec::new())
    }

    /// What was made is recorded before anything else: only then may a deletion policy ever remove it.
    async fn create_topics(&self, app: &App, record: &BTreeMap<String, String>, new: &[NewTopic]) -> Result<Vec<Event>, Error> {
        let creation = self.kafka.create(&app.spec.kafka.bootstrap_servers, new).await;
        let mut record = Record::parse(record);
        let mut events = Vec::new();
        for made in &creation.made {
            if let Some(topic) = new.iter().find(|topic| topic.name == made.name) {
                events.push(topics::made(&mut record, topic, &made.id, made.partitions));
            }
        }
        if !creation.made.is_empty() {
            self.apply(app, &objects::topics_record(app, &record.data())).await?;
        }
        match creation.failed.into_iter().next() {
            Some(failed) => Err(failed.into()),
            None => Ok(events),
        }
    }

    async fn apply(&self, app: &App, object: &Value) -> Result<(), Error> {
        let kind = object["kind"].as_str().unwrap_or_default();
        let resource = match kind {
            "StatefulSet" => ApiResource::erase::<StatefulSet>(&()),
            "Service" => ApiResource::erase::<Service>(&()),
            "PodDisruptionBudget" => ApiResource::erase::<PodDisruptionBudget>(&()),
            _ => ApiResource::erase::<ConfigMap>(&()),
        };
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &app.namespace, &resource);
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        api.patch(name, &PatchParams::apply(MANAGER).force(), &Patch::Apply(object)).await?;
        Ok(())
    }

    /// The token is made here and known to the Secret alone.
    async fn create_token(&self, app: &App, secret: &Value) -> Result<(), Error> {
        let mut secret: Secret = serde_json::from_value(secret.clone()).map_err(kube::Error::SerdeError)?;
        #[expect(clippy::disallowed_methods, reason = "a secret must not be reproducible")]
        let token = format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple());
        secret.data = Some([(TOKEN_KEY.to_string(), ByteString(token.into_bytes()))].into());
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &app.namespace);
        match api.create(&PostParams::default(), &secret).await {
            Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
            other => other.map(drop).map_err(Error::from),
        }
    }

    /// Exactly this object: if another has taken its name, or it is gone, there is nothing to do.
    async fn delete<K>(&self, app: &App, name: &str, uid: &str) -> Result<(), Error>
    where
        K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + std::fmt::Debug
            + serde::de::DeserializeOwned,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), &app.namespace);
        let exactly = DeleteParams::default().preconditions(Preconditions { uid: Some(uid.to_string()), resource_version: None });
        match api.delete(name, &exactly).await {
            Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(()),
            other => other.map(drop).map_err(Error::from),
        }
    }

    async fn drain(&self, app: &App, snapshot: &Snapshot, pod: &str, nonce: &str) -> Result<(), Error> {
        let problem = |problem: String| Error::Worker { pod: pod.to_string(), problem };
        let found = snapshot.cluster.pods.iter().find(|found| found.metadata.name.as_deref() == Some(pod));
        let address = found.and_then(pods::admin_address).ok_or_else(|| problem("it has no address".into()))?;
        let api: Api<Secret> = Api::namespaced(self.client.clone(), &app.namespace);
        let secret = api.get(&objects::token_name(app)).await?;
        let token =
            secret.data.as_ref().and_then(|data| data.get(TOKEN_KEY)).map(|token| String::from_utf8_lossy(&token.0).into_owned());
        let token = token.ok_or_else(|| problem(format!("Secret {} has no key {TOKEN_KEY}", objects::token_name(app))))?;
        self.probe.drain(&address, &token, nonce).await.map_err(problem)
    }
}

impl Error {
    /// Whether the same request will be refused again, until somebody changes something.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Kubernetes(error) => matches!(&**error, kube::Error::Api(status) if matches!(status.code, 400 | 403 | 422)),
            Self::Kafka(_) => true,
            Self::Worker { .. } => false,
        }
    }

    /// Somebody else has written meanwhile: look again.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Kubernetes(error) if matches!(&**error, kube::Error::Api(status) if status.is_conflict()))
    }

    /// One word, for metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Kubernetes(_) => "kubernetes",
            Self::Kafka(_) => "kafka",
            Self::Worker { .. } => "worker",
        }
    }
}

impl From<kube::Error> for Error {
    fn from(error: kube::Error) -> Self {
        Self::Kubernetes(Box::new(error))
    }
}

impl From<kafka::Error> for Error {
    fn from(error: kafka::Error) -> Self {
        Self::Kafka(error)
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Kubernetes(error) => match &**error {
                kube::Error::Api(status) => write!(f, "Kubernetes refuses it: {}", status.message),
                other => write!(f, "Kubernetes: {other}"),
            },
            Self::Kafka(error) => error.fmt(f),
            Self::Worker { pod, problem } => write!(f, "the worker in pod {pod} can't be asked to drain: {problem}"),
        }
    }
}

impl std::error::Error for Error {}
