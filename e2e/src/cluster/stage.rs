//! Where a test on the cluster plays: a namespace of its own, the operator beside it, Kafka without the example's topics.

use std::fmt::Display;
use std::io::Write;
use std::time::Instant;

use faust_testbed::{Cluster, unique};
use serde_json::Value;

use super::proxy::Proxy;
use super::{gone, report};

/// Marks the namespaces of tests.
const LABEL: &str = "faust.dev/e2e";

/// The example's topics are fixed, and so is its consumer group: one test at a time has the stage.
pub struct Stage {
    pub cluster: Cluster,
    pub namespace: String,
    pub(super) proxy: Proxy,
}

impl Stage {
    /// Clears away what an earlier test left.
    #[track_caller]
    pub fn set() -> Self {
        let cluster = Cluster::find().unwrap_or_else(|error| panic!("{error}"));
        gone::namespaces(&cluster, LABEL);
        gone::topics(cluster.kafka());
        gone::members(cluster.kafka());
        let proxy = Proxy::start(&cluster);
        let stage = Self { namespace: unique("e2e"), cluster, proxy };
        stage.apply(&format!(
            "{{apiVersion: v1, kind: Namespace, metadata: {{name: {}, labels: {{{LABEL}: 'true', pod-security.kubernetes.io/enforce: restricted}}}}}}",
            stage.namespace
        ));
        stage
    }

    /// What kubectl prints, in the test's namespace. Words are separated by spaces.
    pub fn try_kubectl(&self, words: &str) -> Result<String, String> {
        let output = self.cluster.kubectl(["--namespace", &self.namespace].into_iter().chain(words.split_whitespace()));
        output
            .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
            .map_err(|error| format!("kubectl {words}: {error}"))
    }

    #[track_caller]
    pub fn kubectl(&self, words: &str) -> String {
        self.try_kubectl(words).unwrap_or_else(|error| panic!("{error}"))
    }

    pub fn try_json(&self, words: &str) -> Result<Value, String> {
        let text = self.try_kubectl(&format!("{words} --output json"))?;
        serde_json::from_str(&text).map_err(|error| format!("kubectl {words}: {error}: {text}"))
    }

    /// The items of a list.
    pub fn try_list(&self, words: &str) -> Result<Vec<Value>, String> {
        match self.try_json(words)?["items"].take() {
            Value::Array(items) => Ok(items),
            other => Err(format!("kubectl {words}: no list: {other}")),
        }
    }

    /// The names of all objects in the namespace but those that Kubernetes itself puts into each, and events.
    pub fn try_everything(&self) -> Result<Vec<String>, String> {
        let kinds = self.try_kubectl("api-resources --namespaced --verbs list --output name")?;
        let kinds: Vec<&str> = kinds.lines().filter(|kind| !kind.starts_with("events")).collect();
        let names = self.try_kubectl(&format!("get {} --output name", kinds.join(",")))?;
        let own = ["configmap/kube-root-ca.crt", "serviceaccount/default"];
        Ok(names.lines().filter(|name| !own.contains(name)).map(str::to_owned).collect())
    }

    #[track_caller]
    pub fn apply(&self, manifest: &str) {
        let arguments = ["--namespace", &self.namespace, "apply", "--filename", "-"];
        self.cluster.kubectl_with_input(arguments, manifest).unwrap_or_else(|error| panic!("{error}"));
    }

    /// One step of the story; says how long it took.
    pub fn step<T>(&self, what: impl Display, act: impl FnOnce() -> T) -> T {
        self.say(&what);
        #[expect(clippy::disallowed_methods, reason = "how long a step takes on this machine")]
        let begin = Instant::now();
        let done = act();
        self.say(format_args!("    {:.1} s", begin.elapsed().as_secs_f64()));
        done
    }

    /// For who reads along: also when the test passes, which swallows what is only printed.
    pub fn say(&self, what: impl Display) {
        say(what);
    }

    /// Whether this is the cluster of `make cluster`; else says what is left out.
    pub fn has_testbed_for(&self, what: impl Display) -> bool {
        let has = self.cluster.is_testbed();
        if !has {
            self.say(format_args!("left out, for this is not the cluster of `make cluster`: {what}"));
        }
        has
    }
}

pub(super) fn say(what: impl Display) {
    let _ = writeln!(std::io::stderr(), "    {what}");
}

impl Drop for Stage {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", report::of(self));
        }
        let _ = self.cluster.kubectl(["delete", "namespace", &self.namespace, "--wait=false"]);
    }
}
