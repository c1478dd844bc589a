//! The operator: installed with Helm from the chart, killed, and what it asked the API server for.

use faust_testbed::Cluster;
use faust_testbed::audit::Request;
use serde_json::Value;

use super::rights;
use crate::wait;

pub const NAMESPACE: &str = "faust-system";
const NAME: &str = "faust-operator";
const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/faust-operator");

/// The release of the chart; uninstalled when dropped, unless the test failed: its log is read then.
pub struct Operator<'a> {
    cluster: &'a Cluster,
}

impl<'a> Operator<'a> {
    /// Installs it, as new if it was there; waits until its pod is ready.
    #[track_caller]
    pub fn install(cluster: &'a Cluster) -> Self {
        let operator = Self { cluster };
        operator.uninstall();
        // Of the one before, which could not give it back when its rights went with it: a new one would wait for its end.
        let arguments = ["--namespace", NAMESPACE, "delete", "lease", NAME, "--ignore-not-found"];
        cluster.kubectl(arguments).unwrap_or_else(|error| panic!("{error}"));
        operator.install_again();
        operator
    }

    #[track_caller]
    pub fn install_again(&self) {
        let image = self.cluster.image("operator");
        let (repository, tag) = image.rsplit_once(':').expect("an image has a tag");
        let (repository, tag) = (format!("image.repository={repository}"), format!("image.tag={tag}"));
        let arguments = ["install", NAME, CHART, "--namespace", NAMESPACE, "--create-namespace", "--wait", "--timeout", "90s"];
        let arguments = arguments.into_iter().chain(["--set", &repository, "--set", &tag]);
        self.cluster.helm(arguments).unwrap_or_else(|error| panic!("helm install: {error}"));
    }

    /// Nothing if it isn't installed.
    #[track_caller]
    pub fn uninstall(&self) {
        let arguments = ["uninstall", NAME, "--namespace", NAMESPACE, "--ignore-not-found", "--wait", "--timeout", "90s"];
        self.cluster.helm(arguments).unwrap_or_else(|error| panic!("helm uninstall: {error}"));
    }

    /// The pod that runs it.
    #[track_caller]
    pub fn pod(&self) -> Value {
        wait::until("the operator has one pod, and that runs", || {
            let pods = self.json(&[
                "get",
                "pods",
                "--selector",
                "app.kubernetes.io/name=faust-operator",
                "--field-selector",
                "status.phase=Running",
            ])?;
            match pods["items"].as_array().map(Vec::as_slice) {
                Some([pod]) => Ok(pod.clone()),
                other => Err(format!("{} pods", other.map_or(0, <[_]>::len))),
            }
        })
    }

    /// Whose the lease is.
    pub fn holder(&self) -> Result<String, String> {
        let lease = self.json(&["get", "lease", NAME])?;
        lease["spec"]["holderIdentity"]
            .as_str()
            .filter(|holder| !holder.is_empty())
            .map(str::to_owned)
            .ok_or_else(|| "nobody".into())
    }

    /// Waits until somebody holds the lease: he works.
    #[track_caller]
    pub fn until_held(&self) -> String {
        wait::until("an operator has the lease", || self.holder())
    }

    /// Kills the pod that holds the lease, so that it can't give it back: it is stopped before Kubernetes hears of it.
    #[track_caller]
    pub fn kill(&self) {
        let pod = self.pod();
        let name = pod["metadata"]["name"].as_str().expect("a name");
        assert_eq!(self.holder().as_deref(), Ok(name), "the pod to kill holds the lease");
        let container = pod["status"]["containerStatuses"][0]["containerID"].as_str().expect("a container that runs");
        let signal = |signal| self.cluster.signal_container(container, signal);
        signal("SIGSTOP").unwrap_or_else(|error| panic!("{error}"));
        let arguments = ["--namespace", NAMESPACE, "delete", "pod", name, "--force", "--grace-period=0", "--wait=false"];
        self.cluster.kubectl(arguments).unwrap_or_else(|error| panic!("{error}"));
        // The kubelet may have been faster.
        let _ = signal("SIGKILL");
    }

    /// How many requests the audit log has: where to look from later.
    #[track_caller]
    pub fn mark(&self) -> usize {
        self.audit().len()
    }

    /// What it asked for since a mark, its lease aside.
    #[track_caller]
    pub fn requests(&self, mark: usize) -> Vec<Request> {
        let user = format!("system:serviceaccount:{NAMESPACE}:{NAME}");
        self.audit().into_iter().skip(mark).filter(|request| request.user == user && request.resource != "leases").collect()
    }

    /// The pods that it deleted since a mark, in that order.
    #[track_caller]
    pub fn deleted_pods(&self, mark: usize) -> Vec<String> {
        let requests = self.requests(mark).into_iter();
        let deleted = requests.filter(|request| request.verb == "delete" && request.resource == "pods" && request.code < 300);
        deleted.map(|request| request.name).collect()
    }

    /// Since a mark, in which everything that it does has happened: nothing was refused for want of a right, and every right that the
    /// chart gives was used – who takes one away breaks what was seen to work.
    #[track_caller]
    pub fn assert_uses_its_rights(&self, mark: usize) {
        let requests = self.requests(mark);
        let refused: Vec<_> = requests.iter().filter(|request| request.code == 403).collect();
        assert!(refused.is_empty(), "the chart's rights are too few: {refused:?}");
        let role = self.json(&["get", "clusterrole", NAME]).unwrap_or_else(|error| panic!("{error}"));
        let unused: Vec<String> =
            rights::of(&role).filter(|right| !right.is_used(&requests)).map(|right| right.to_string()).collect();
        assert!(unused.is_empty(), "the chart gives rights that were not used: {unused:?}");
    }

    #[track_caller]
    fn audit(&self) -> Vec<Request> {
        self.cluster.audit().unwrap_or_else(|error| panic!("the audit log: {error}"))
    }

    fn json(&self, arguments: &[&str]) -> Result<Value, String> {
        let arguments = ["--namespace", NAMESPACE].iter().chain(arguments).chain(&["--output", "json"]);
        let output = self.cluster.kubectl(arguments).map_err(|error| error.to_string())?;
        serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())
    }
}

impl Drop for Operator<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.uninstall();
        }
    }
}
