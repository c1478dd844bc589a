//! The operator: installed with Helm from the chart, killed, and what it asked the API server for, where the audit log is at hand.

use faust_testbed::Cluster;
use faust_testbed::audit::Request;
use serde_json::{Value, json};

use super::rights;
use super::stage::say;
use crate::wait;

pub const NAMESPACE: &str = "faust-system";
const NAME: &str = "faust-operator";
const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/faust-operator");

/// The release of the chart; uninstalled when dropped, unless the test failed: its log is read then.
pub struct Operator<'a> {
    cluster: &'a Cluster,
}

/// A place in the audit log, to look from later.
#[derive(Clone, Copy)]
pub struct Mark(usize);

impl<'a> Operator<'a> {
    /// Installs it, as new if it was there; waits until its pod is ready and it can own what it makes.
    #[track_caller]
    pub fn install(cluster: &'a Cluster) -> Self {
        let operator = Self { cluster };
        operator.uninstall();
        // Of the one before, which could not give it back when its rights went with it: a new one would wait for its end.
        let arguments = ["--namespace", NAMESPACE, "delete", "lease", NAME, "--ignore-not-found"];
        cluster.kubectl(arguments).unwrap_or_else(|error| panic!("{error}"));
        operator.install_again();
        operator.until_owners_are_known();
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

    /// An API server that checks who may own (OwnerReferencesPermissionEnforcement) hears of a new definition's kind within 10 seconds,
    /// and refuses until then. The operator tries again; here that would look like a right that it hasn't got.
    #[track_caller]
    fn until_owners_are_known(&self) {
        let owned = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": { "name": "owned", "ownerReferences": [{
                "apiVersion": "faust.dev/v1alpha1", "kind": "FaustApp", "name": "owner", "uid": "0", "blockOwnerDeletion": true,
            }] },
        });
        let account = format!("system:serviceaccount:{NAMESPACE}:{NAME}");
        let arguments = ["--namespace", NAMESPACE, "--as", &account, "create", "--dry-run=server", "--filename", "-"];
        wait::until("the operator may own what it makes", || {
            self.cluster.kubectl_with_input(arguments, &owned.to_string()).map_err(|error| error.to_string())
        });
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

    /// How far the audit log is. None, and a sentence, where there is none: what is looked up since a mark is left out then.
    #[track_caller]
    pub fn mark(&self) -> Option<Mark> {
        let requests = self.audit();
        if requests.is_none() {
            say("left out, for there is no audit log (FAUST_E2E_AUDIT_LOG): what the operator asks the API server for");
        }
        requests.map(|requests| Mark(requests.len()))
    }

    /// What it asked for since a mark, its lease aside.
    #[track_caller]
    pub fn requests(&self, Mark(mark): Mark) -> Vec<Request> {
        let user = format!("system:serviceaccount:{NAMESPACE}:{NAME}");
        let requests = self.audit().into_iter().flatten().skip(mark);
        requests.filter(|request| request.user == user && request.resource != "leases").collect()
    }

    /// Waits until it has deleted at least so many pods since a mark: all that it deleted, in that order.
    #[track_caller]
    pub fn until_deleted(&self, mark: Mark, count: usize) -> Vec<String> {
        wait::until(format_args!("{count} deletions of pods are in the audit log"), || {
            let deleted = self.deleted_pods(mark);
            if deleted.len() >= count { Ok(deleted) } else { Err(format!("{deleted:?}")) }
        })
    }

    /// The pods that it deleted since a mark, in that order.
    #[track_caller]
    pub fn deleted_pods(&self, mark: Mark) -> Vec<String> {
        let requests = self.requests(mark).into_iter();
        let deleted = requests.filter(|request| request.verb == "delete" && request.resource == "pods" && request.code < 300);
        deleted.map(|request| request.name).collect()
    }

    /// Since a mark, in which everything that it does has happened: nothing was refused for want of a right, and every right that the
    /// chart gives was used – who takes one away breaks what was seen to work.
    #[track_caller]
    pub fn assert_uses_its_rights(&self, mark: Mark) {
        let requests = self.requests(mark);
        let refused: Vec<_> = requests.iter().filter(|request| request.code == 403).collect();
        assert!(refused.is_empty(), "the chart's rights are too few: {refused:?}");
        let role = self.json(&["get", "clusterrole", NAME]).unwrap_or_else(|error| panic!("{error}"));
        let unused: Vec<String> =
            rights::of(&role).filter(|right| !right.is_used(&requests)).map(|right| right.to_string()).collect();
        assert!(unused.is_empty(), "the chart gives rights that were not used: {unused:?}");
    }

    #[track_caller]
    fn audit(&self) -> Option<Vec<Request>> {
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
