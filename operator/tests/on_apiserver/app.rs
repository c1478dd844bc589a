//! The example as a FaustApp, with names of its own in Kafka and in the namespace.

use std::sync::Arc;

use faust_crds::{FaustApp, FaustAppStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::pods::Pods;
use crate::stage::Stage;
use crate::wait::{holds, until};
use crate::worker::Worker;

const EXAMPLE: &str = include_str!("../../../examples/page_views/faustapp.yaml");
pub const PARTITIONS: usize = 4;
pub const REPLICAS: usize = 2;

pub struct App<'a> {
    pub stage: &'a Stage,
    pub api: Api<FaustApp>,
    pub name: String,
    pub uid: String,
    pub views: String,
    pub counts: String,
}

impl<'a> App<'a> {
    /// The example, changed.
    pub async fn apply(stage: &'a Stage, change: impl FnOnce(&mut Value)) -> Self {
        let (name, views, counts) = (faust_testbed::unique("app"), faust_testbed::unique("views"), faust_testbed::unique("counts"));
        let mut manifest: Value = serde_yaml::from_str(EXAMPLE).unwrap();
        manifest["metadata"]["name"] = json!(name);
        let spec = &mut manifest["spec"];
        spec["kafka"]["bootstrapServers"] = json!(faust_testbed::shared().bootstrap());
        spec["replicas"] = json!(REPLICAS);
        spec["topics"] = json!([
            { "name": views, "partitions": PARTITIONS, "config": { "retention.ms": "3600000" } },
            { "name": counts, "partitions": PARTITIONS },
        ]);
        change(spec);
        let api: Api<FaustApp> = Api::namespaced(stage.client.clone(), &stage.namespace);
        let made = api.create(&PostParams::default(), &serde_json::from_value(manifest).unwrap()).await.unwrap();
        Self { stage, api, uid: made.uid().unwrap(), name, views, counts }
    }

    /// Its pods, each with a worker that is ready.
    pub async fn pods(&self) -> (Pods, Arc<[Worker]>) {
        let mut workers = Vec::new();
        for _ in 0..REPLICAS {
            workers.push(Worker::start(&self.name, &self.views, &self.counts).await);
        }
        let workers: Arc<[Worker]> = workers.into();
        (Pods::of(self, workers.clone()), workers)
    }

    pub fn changelog(&self) -> String {
        format!("{}-page_counts-changelog", self.name)
    }

    pub async fn status(&self) -> FaustAppStatus {
        self.api.get(&self.name).await.unwrap().status.unwrap_or_default()
    }

    pub async fn annotate(&self, annotation: &str, value: &str) {
        self.patch(json!({ "metadata": { "annotations": { annotation: value } } })).await;
    }

    /// A merge patch.
    pub async fn patch(&self, change: Value) {
        self.api.patch(&self.name, &PatchParams::default(), &Patch::Merge(change)).await.unwrap();
    }

    pub async fn condition(&self, kind: &str) -> Option<Condition> {
        self.status().await.conditions.into_iter().find(|condition| condition.type_ == kind)
    }

    /// Waits for a condition with this status and reason; its sentence.
    pub async fn until_condition(&self, kind: &str, status: &str, reason: &str) -> String {
        until(format_args!("condition {kind} is {status} with reason {reason}"), async || {
            let condition = self.condition(kind).await.ok_or_else(|| format!("no condition {kind}"))?;
            let is_it = (condition.status.as_str(), condition.reason.as_str()) == (status, reason);
            holds(is_it, format_args!("{condition:?}")).map(|()| condition.message)
        })
        .await
    }

    /// Plays its pods until it is ready and every pod is of the revision that the spec asks for.
    pub async fn until_settled(&self, pods: &Pods) {
        until("the application is ready, every pod as asked for", async || {
            pods.play().await;
            let status = self.status().await;
            let ready = status
                .conditions
                .iter()
                .any(|condition| condition.type_ == "Ready" && condition.status == "True" && condition.reason == "AsWanted");
            let revision = status.revision.as_ref();
            let stable = revision.is_some_and(|revision| revision.stable.as_deref() == Some(&revision.target));
            let all = status.updated_replicas == REPLICAS as i32 && status.operation.is_none();
            holds(ready && stable && all, format_args!("{status:?}"))
        })
        .await;
    }
}
