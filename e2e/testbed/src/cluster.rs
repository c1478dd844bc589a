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
    is_testbed: bool,
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
            is_testbed: !given,
        })
    }

    /// Whether it is the one of `make cluster`: containers can be signalled from its node, creating topics in its Kafka restricted, and
    /// its volumes, listeners and users are as the testbed made them. On another cluster a test leaves out what needs that, and says so.
    pub fn is_testbed(&self) -> bool {
        self.is_testbed
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

    /// `page-views` under another name, for an application to be rolled to.
    pub fn next_image(&self) -> String {
        format!("{}/page-views:next", self.images)
    }

    /// Every request that was answered so far, in the order of the audit log. One is in there a moment after its answer. None if the log
    /// is not at hand.
    pub fn audit(&self) -> io::Result<Option<Vec<Request>>> {
        self.audit_log.as_deref().map(audit::requests).transpose()
    }

    /// Runs kubectl to its end. An exit code other than 0 is an error with what it printed.
    pub fn kubectl<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> io::Result<Output> {
        self.kubectl_with_input(arguments, "")
    }

    /// The same with something to read: `kubectl_with_input(["apply", "-f", "-"], manifest)`.
    pub fn kubectl_with_input<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>, input: &str) -> io::Result<Output> {
        kubectl::run("kubectl", &self.kubeconfig, arguments, input)
    }

    /// A kubectl that isn't started yet, for one that runs beside the test.
    pub fn kubectl_command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> io::Result<Command> {
        kubectl::command("kubectl", &self.kubeconfig, arguments)
    }

    /// Sends a signal to a container's first process, from the node: nobody in Kubernetes is asked or told. `id` is what the pod's
    /// status has as `containerID`. On the testbed only.
    pub fn signal_container(&self, id: &str, signal: &str) -> io::Result<()> {
        self.need_testbed("signalling a container from its node")?;
        let id = id.strip_prefix("containerd://").unwrap_or(id);
        script(&["exec", "ctr", "--namespace", "k8s.io", "tasks", "kill", "--signal", signal, id])
    }

    /// Runs helm to its end.
    pub fn helm<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> io::Result<Output> {
        kubectl::run("helm", &self.kubeconfig, arguments, "")
    }

    /// From now on only these addresses may create topics, until the value is dropped; everything else stays open to all. It
    /// concerns everybody on this Kafka: a test that does it runs alone. On the testbed only.
    pub fn restrict_create(&self, addresses: &[&str]) -> io::Result<Restricted> {
        self.need_testbed("restricting who creates topics")?;
        let restricted = Restricted(());
        script(&[&["restrict-create"], addresses].concat())?;
        Ok(restricted)
    }

    fn need_testbed(&self, what: &str) -> io::Result<()> {
        let refused = || io::Error::other(format!("{what} needs the cluster of `make cluster`, and {IMAGES} names another"));
        if self.is_testbed { Ok(()) } else { Err(refused()) }
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
