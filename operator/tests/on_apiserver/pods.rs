//! The StatefulSet controller and the kubelet of one application, played.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use crate::app::App;
use crate::worker::Worker;

#[derive(Clone)]
pub struct Pods {
    sets: Api<StatefulSet>,
    pods: Api<Pod>,
    name: String,
    /// Whose process each ordinal is.
    workers: Arc<[Worker]>,
}

impl Pods {
    pub fn of(app: &App, workers: Arc<[Worker]>) -> Self {
        let (client, namespace) = (&app.stage.client, &app.stage.namespace);
        Self {
            sets: Api::namespaced(client.clone(), namespace),
            pods: Api::namespaced(client.clone(), namespace),
            name: app.name.clone(),
            workers,
        }
    }

    /// How many the StatefulSet asks for.
    pub async fn wanted(&self) -> i32 {
        self.sets.get(&self.name).await.unwrap().spec.unwrap().replicas.unwrap()
    }

    /// Makes the pods that the StatefulSet asks for and that aren't there, ready at once.
    pub async fn play(&self) {
        let Some(set) = self.observe().await else { return };
        let replicas = set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or_default() as usize;
        for (ordinal, worker) in self.workers.iter().enumerate().take(replicas) {
            let name = self.pod_name(ordinal);
            if self.pods.get_opt(&name).await.unwrap().is_none() {
                self.make(&set, &name, worker).await;
            }
        }
    }

    /// The controller has seen the StatefulSet as it is now.
    pub async fn observe(&self) -> Option<StatefulSet> {
        let set = self.sets.get_opt(&self.name).await.unwrap()?;
        let status = json!({ "status": { "observedGeneration": set.metadata.generation, "replicas": self.workers.len() } });
        self.sets.patch_status(&self.name, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
        Some(set)
    }

    /// Somebody else deletes this pod, and its successor is there.
    pub async fn replace(&self, name: &str) {
        self.pods.delete(name, &DeleteParams::default()).await.unwrap();
        self.play().await;
    }

    pub fn pod_name(&self, ordinal: usize) -> String {
        format!("{}-{ordinal}", self.name)
    }

    /// How many there are.
    pub async fn count(&self) -> usize {
        self.pods.list(&ListParams::default()).await.unwrap().items.len()
    }

    /// Something about a pod changes that is nobody's concern: the operator looks again.
    pub async fn stir(&self, ordinal: usize, note: usize) {
        let note = Patch::Merge(json!({ "metadata": { "annotations": { "note": note.to_string() } } }));
        self.pods.patch(&self.pod_name(ordinal), &PatchParams::default(), &note).await.unwrap();
    }

    async fn make(&self, set: &StatefulSet, name: &str, worker: &Worker) {
        let template = serde_json::to_value(&set.spec.as_ref().unwrap().template).unwrap();
        let mut pod = json!({ "metadata": template["metadata"], "spec": template["spec"] });
        pod["metadata"]["name"] = json!(name);
        pod["metadata"]["ownerReferences"] = json!([{
            "apiVersion": "apps/v1", "kind": "StatefulSet", "name": self.name, "uid": set.uid(), "controller": true,
        }]);
        pod["spec"]["volumes"].as_array_mut().unwrap().push(json!({ "name": "data", "emptyDir": {} }));
        for port in pod["spec"]["containers"][0]["ports"].as_array_mut().unwrap() {
            port["containerPort"] = json!(worker.address.port());
        }
        let pod: Pod = serde_json::from_value(pod).unwrap();
        match self.pods.create(&PostParams::default(), &pod).await {
            // Played twice at the same time: the other one makes it.
            Err(kube::Error::Api(status)) if status.is_already_exists() => return,
            made => made.unwrap(),
        };
        let ip = worker.address.ip().to_string();
        let status: Value = json!({ "status": {
            "phase": "Running", "podIP": ip, "podIPs": [{ "ip": ip }], "conditions": [{ "type": "Ready", "status": "True" }],
        } });
        self.pods.patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
    }
}
