//! What the operator tells Prometheus of itself.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use faust_crds::FaustAppStatus;
use prometheus::{Encoder, Histogram, HistogramOpts, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder};
use tokio::time::Instant;

use crate::model::Action;

/// How a round ended.
#[derive(Clone, Copy, Debug)]
pub enum Outcome {
    Changed,
    Unchanged,
    Failed(&'static str),
}

pub struct Metrics {
    registry: Registry,
    rounds: IntCounterVec,
    seconds: Histogram,
    running: IntGauge,
    writes: IntCounterVec,
    ready: IntGaugeVec,
    leader: IntGauge,
    /// The series of `ready` that exist, so that those of deleted applications go.
    shown: std::sync::Mutex<BTreeSet<String>>,
}

/// A round that is under way.
pub struct Round {
    metrics: Arc<Metrics>,
    began: Instant,
}

impl Metrics {
    pub fn new() -> Arc<Self> {
        let counter =
            |name: &str, help: &str, labels: &[&str]| IntCounterVec::new(Opts::new(name, help), labels).expect("is valid");
        let gauge = |name: &str, help: &str| IntGauge::new(name, help).expect("is valid");
        let seconds = HistogramOpts::new("faust_operator_reconcile_duration_seconds", "How long rounds took");
        let metrics = Self {
            registry: Registry::new(),
            rounds: counter("faust_operator_reconciles_total", "Rounds, by how they ended", &["outcome", "error"]),
            seconds: Histogram::with_opts(seconds).expect("is valid"),
            running: gauge("faust_operator_reconciles_running", "Rounds under way"),
            writes: counter("faust_operator_actions_total", "Writes to Kubernetes, Kafka and workers, by kind", &["action"]),
            ready: IntGaugeVec::new(
                Opts::new("faust_operator_app_ready", "1 for an application that is ready, 0 for one that isn't"),
                &["app"],
            )
            .expect("is valid"),
            leader: gauge("faust_operator_leader", "1 for the operator that works, 0 for one that waits"),
            shown: Default::default(),
        };
        let info =
            IntGaugeVec::new(Opts::new("faust_operator_build_info", "Version of the operator"), &["version"]).expect("is valid");
        info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let all: [Box<dyn prometheus::core::Collector>; 7] = [
            Box::new(metrics.rounds.clone()),
            Box::new(metrics.seconds.clone()),
            Box::new(metrics.running.clone()),
            Box::new(metrics.writes.clone()),
            Box::new(metrics.ready.clone()),
            Box::new(metrics.leader.clone()),
            Box::new(info),
        ];
        for collector in all {
            metrics.registry.register(collector).expect("each name once");
        }
        Arc::new(metrics)
    }

    pub fn begin(self: &Arc<Self>) -> Round {
        self.running.inc();
        Round { metrics: self.clone(), began: now() }
    }

    pub fn wrote(&self, action: &Action) {
        self.writes.with_label_values(&[action.kind()]).inc();
    }

    pub fn leads(&self, leads: bool) {
        self.leader.set(leads.into());
    }

    pub fn ready(&self, app: &str, status: &FaustAppStatus) {
        let ready = status.conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True");
        self.ready.with_label_values(&[app]).set(ready.into());
        self.shown.lock().unwrap().insert(app.to_string());
    }

    /// Forgets applications that are gone.
    pub fn keep_only(&self, apps: &BTreeSet<String>) {
        self.shown.lock().unwrap().retain(|app| {
            let stays = apps.contains(app);
            if !stays {
                let _ = self.ready.remove_label_values(&[app]);
            }
            stays
        });
    }

    /// In Prometheus' text format.
    pub fn render(&self) -> Vec<u8> {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text).expect("memory takes it");
        text
    }
}

impl Round {
    pub fn end(self, outcome: Outcome) {
        let labels = match outcome {
            Outcome::Changed => ["changed", ""],
            Outcome::Unchanged => ["unchanged", ""],
            Outcome::Failed(kind) => ["failed", kind],
        };
        self.metrics.rounds.with_label_values(&labels).inc();
        self.metrics.seconds.observe(self.began.elapsed().max(Duration::ZERO).as_secs_f64());
    }
}

impl Drop for Round {
    fn drop(&mut self) {
        self.metrics.running.dec();
    }
}

#[expect(clippy::disallowed_methods, reason = "the operator has no simulated time")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn promtool_has_nothing_to_say_about_the_metrics() {
        let metrics = Metrics::new();
        metrics.begin().end(Outcome::Failed("kafka"));
        metrics.wrote(&Action::RemoveMember { instance_id: "views-2".into() });
        metrics.ready("shop/views", &FaustAppStatus::default());
        let mut promtool = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("promtool, which `scripts/setup.sh test` brings");
        promtool.stdin.take().expect("piped").write_all(&metrics.render()).unwrap();
        let said = promtool.wait_with_output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
        assert!(said.status.success() && out.is_empty() && err.is_empty(), "{}: {out}{err}", said.status);
    }
}
