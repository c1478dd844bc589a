//! The cluster that the end-to-end tests run on: the one that `make cluster` started, or another that the environment names.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::audit::{self, Request};
use crate::broker::Broker;
use crate::kubectl;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/cluster/cluster");
/// Where images are: `PREFIX/page-views:dev`. Another cluster is used only if this is given, for whoever has a `KUBECONFIG` in
/// the environment doesn't mean tests by it.
const IMAGES: &str = "FAUST_E2E_IMAGES";

/// A running cluster, its Kafka, and where its images come from.
#[derive(Debug)]
pub struct Cluster {
    kubeconfig: PathBuf,
    kafka: Broker,
    kafka_in_pods: String,
    images: String,
    audit_log: Option<PathBuf>,
}

impl Cluster {
    /// The running cluster, or an error that says how to get one.
    pub fn find() -> io::Result<Cluster> {
        let given = std::env::var(IMAGES).is_ok();
        let ours = if given { String::new() } else { ours()? };
        let value = |name: &str| {
            let line = ours.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            if given { std::env::var(name).ok() } else { line.map(str::to_owned) }
        };
        let need = |name: &str| value(name).ok_or_else(|| io::Error::other(format!("{IMAGES} is set, so {name} has to be")));
        Ok(Cluster {
            kubeconfig: need("KUBECONFIG")?.into(),
            kafka: Broker { bootstrap: need("FAUST_E2E_KAFKA")?, log: logs()?.join("kafka.log") },
            kafka_in_pods: need("FAUST_E2E_KAFKA_IN_PODS")?,
            images: need(IMAGES)?,
            audit_log: value("FAUST_E2E_AUDIT_LOG").map(PathBuf::from),
        })
    }

    /// A kubeconfig file of a user who may do everything.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Its Kafka, as programs on this machine reach it.
    pub fn kafka(&self) -> &Broker {
        &self.kafka
    }

    /// The bootstrap server for pods.
    pub fn kafka_in_pods(&self) -> &str {
        &self.kafka_in_pods
    }

    /// An image that `scripts/images.sh` built: `worker`, `page-views`, `operator`, `probe`.
    pub fn image(&self, name: &str) -> String {
        format!("{}/{name}:dev", self.images)
    }

    /// Every request that was answered so far, in the order of the audit log. One is in there a moment after its answer.
    pub fn audit(&self) -> io::Result<Vec<Request>> {
        let none = || io::Error::other("this cluster's audit log is not at hand: FAUST_E2E_AUDIT_LOG is not set");
        audit::requests(self.audit_log.as_ref().ok_or_else(none)?)
    }

    /// Runs kubectl to its end. An exit code other than 0 is an error with what it printed.
    pub fn kubectl<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> io::Result<Output> {
        self.kubectl_with_input(arguments, "")
    }

    /// The same with something to read: `kubectl_with_input(["apply", "-f", "-"], manifest)`.
    pub fn kubectl_with_input<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>, input: &str) -> io::Result<Output> {
        kubectl::run("kubectl", &self.kubeconfig, arguments, input)
    }

    /// Runs helm to its end.
    pub fn helm<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> io::Result<Output> {
        kubectl::run("helm", &self.kubeconfig, arguments, "")
    }

    /// From now on only these addresses may create topics, until the value is dropped; everything else stays open to all. It
    /// concerns everybody on this Kafka: a test that does it runs alone.
    pub fn restrict_create(&self, addresses: &[&str]) -> io::Result<Restricted> {
        let restricted = Restricted(());
        script(&[&["restrict-create"], addresses].concat())?;
        Ok(restricted)
    }
}

/// As long as this lives, only some addresses may create topics.
#[derive(Debug)]
pub struct Restricted(());

impl Drop for Restricted {
    fn drop(&mut self) {
        if let Err(problem) = script(&["allow-create"]) {
            eprintln!("topics can still be created by some only: {problem}");
        }
    }
}

fn script(arguments: &[&str]) -> io::Result<()> {
    let output = Command::new(SCRIPT).args(arguments).stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("cluster {} ended with {}: {}", arguments.join(" "), output.status, said.trim())))
}

/// What the script wrote down about the cluster that it started.
fn ours() -> io::Result<String> {
    fs::read_to_string(folder()?.join("run/env"))
        .map_err(|_| io::Error::other("no cluster runs here: start one with `make cluster`, or run the tests with `make test-e2e`"))
}

fn logs() -> io::Result<PathBuf> {
    Ok(folder()?.join("logs"))
}

fn folder() -> io::Result<PathBuf> {
    Ok(crate::shared::state()?.join("cluster"))
}
