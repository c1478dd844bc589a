//! A FaustApp that was checked: everything that the rest needs, resolved once, so that nobody reads the raw spec twice.

use std::time::Duration;

use faust_crds::{FaustApp, FaustAppSpec};

use crate::model::Reason;

/// A FaustApp whose spec this operator can carry out.
#[derive(Clone, Debug)]
pub struct App {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub generation: i64,
    /// Name in Kafka: the consumer group, and the prefix of changelogs.
    pub app_id: String,
    pub spec: FaustAppSpec,
    /// Annotation `faust.dev/paused`: look and report, change nothing.
    pub paused: bool,
    /// Annotation `faust.dev/restartedAt`: any new value rolls the pods once.
    pub restarted_at: Option<String>,
    pub drain_timeout: Duration,
    pub progress_deadline: Duration,
    /// Pods that may be down at a time because of us; at least 1.
    pub max_unavailable: u32,
}

/// Why a FaustApp can't be carried out: a word, and a sentence that names the field and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub reason: Reason,
    pub message: String,
}

impl App {
    /// The name that everything belonging to the app has or begins with.
    pub fn labels(&self) -> [(&'static str, &str); 3] {
        [
            ("app.kubernetes.io/name", "faustapp"),
            ("app.kubernetes.io/instance", &self.name),
            ("app.kubernetes.io/managed-by", "faust-operator"),
        ]
    }

    /// What selects the pods; it can't change, since the StatefulSet's can't.
    pub fn selector(&self) -> String {
        format!("app.kubernetes.io/name=faustapp,app.kubernetes.io/instance={}", self.name)
    }

    /// How many pods are asked for, before the cap by partitions.
    pub fn wanted(&self) -> u32 {
        if self.spec.suspend { 0 } else { self.spec.replicas.max(0) as u32 }
    }

    pub fn pod_name(&self, ordinal: u32) -> String {
        format!("{}-{ordinal}", self.name)
    }
}
