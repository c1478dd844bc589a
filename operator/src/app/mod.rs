//! A FaustApp that was checked: everything that the rest needs, resolved once, so that nobody reads the raw spec twice.

mod pod_template;
mod properties;
mod unsupported;

#[cfg(test)]
mod tests;

use std::time::Duration;

use faust_crds::{FaustApp, FaustAppSpec, parse_duration};
use k8s_openapi::api::core::v1::PodSpec;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::model::Reason;

pub use properties::text;

/// The worker's HTTP server where no setting says otherwise, and the server for orders from us.
pub const WEB_PORT: u16 = 6066;
pub const ADMIN_PORT: u16 = 6067;

/// As in "is not supported by operator 0.1.0".
pub const OPERATOR: &str = concat!("operator ", env!("CARGO_PKG_VERSION"));

/// Longer is a mistake, and what is computed with it stays within what a timestamp can hold.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);

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
    /// Where the workers' HTTP server listens.
    pub web_port: u16,
    /// What `spec.podTemplate.spec` adds to the pods.
    pub pod: PodSpec,
}

/// Why a FaustApp can't be carried out: a word, and a sentence that names the field and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub reason: Reason,
    pub message: String,
}

impl Refused {
    fn invalid(message: impl Into<String>) -> Self {
        Self { reason: Reason::InvalidSpec, message: message.into() }
    }

    fn not_supported(what: impl std::fmt::Display) -> Self {
        Self { reason: Reason::NotSupported, message: format!("{what} is not supported by {OPERATOR}") }
    }
}

/// Checks what the schema can't, and resolves what is left to be resolved. The first thing that is wrong is the one that is told.
pub fn resolve(faust_app: &FaustApp) -> Result<App, Refused> {
    let (metadata, spec) = (&faust_app.metadata, &faust_app.spec);
    let annotation = |name: &str| metadata.annotations.as_ref().and_then(|all| all.get(name));
    unsupported::check(faust_app)?;
    properties::check_kafka(&spec.kafka.properties)?;
    properties::check_settings(&spec.settings)?;
    if let Some(interval) = &spec.processing.commit_interval
        && duration("spec.processing.commitInterval", interval)? < Duration::from_millis(1)
    {
        return Err(Refused::invalid(format!("spec.processing.commitInterval: {interval} is too short; at least 1ms")));
    }
    Ok(App {
        namespace: metadata.namespace.clone().unwrap_or_default(),
        name: metadata.name.clone().unwrap_or_default(),
        uid: metadata.uid.clone().unwrap_or_default(),
        generation: metadata.generation.unwrap_or_default(),
        app_id: faust_app.app_id().to_string(),
        paused: annotation("faust.dev/paused").is_some_and(|value| value == "true"),
        restarted_at: annotation("faust.dev/restartedAt").cloned(),
        drain_timeout: duration("spec.rollout.drainTimeout", &spec.rollout.drain_timeout)?,
        progress_deadline: duration("spec.rollout.progressDeadline", &spec.rollout.progress_deadline)?,
        max_unavailable: max_unavailable(&spec.rollout.max_unavailable, spec.replicas.max(0) as u32)?,
        web_port: properties::web_port(&spec.settings)?,
        pod: pod_template::check(spec.pod_template.as_ref())?,
        spec: spec.clone(),
    })
}

fn duration(field: &str, text: &str) -> Result<Duration, Refused> {
    match parse_duration(text) {
        None => Err(Refused::invalid(format!("{field}: `{text}` is not a duration; write it like 90s, 1m30s or 250ms"))),
        Some(duration) if duration > LONGEST => Err(Refused::invalid(format!("{field}: {text} is too long; at most 720h"))),
        Some(duration) => Ok(duration),
    }
}

/// A percentage is of the replicas asked for, rounded down as Kubernetes does it, but never to nothing: no roll could go on.
fn max_unavailable(given: &IntOrString, replicas: u32) -> Result<u32, Refused> {
    let refuse = |given: &dyn std::fmt::Display| {
        Refused::invalid(format!(
            "spec.rollout.maxUnavailable: `{given}` is neither a number of at least 1 nor a percentage from 1% to 100%"
        ))
    };
    match given {
        IntOrString::Int(number) => u32::try_from(*number).ok().filter(|number| *number > 0).ok_or_else(|| refuse(number)),
        IntOrString::String(text) => {
            let percent = text.strip_suffix('%').and_then(|digits| digits.parse::<u32>().ok());
            let percent = percent.filter(|percent| (1..=100).contains(percent)).ok_or_else(|| refuse(text))?;
            Ok((replicas * percent / 100).max(1))
        }
    }
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
