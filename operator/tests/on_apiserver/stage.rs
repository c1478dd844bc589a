//! What a test stands on: the API server with the chart installed, a namespace of its own, and the operator's account.

use std::path::PathBuf;
use std::sync::OnceLock;

use faust_testbed::ApiServer;
use faust_testbed::audit::Request;
use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard};

/// Where the operator is at home, as the chart installs it.
pub const HOME: &str = "faust-system";
pub const ACCOUNT: &str = "system:serviceaccount:faust-system:faust-operator";
const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/faust-operator");

/// One test at a time has it: an operator looks after all FaustApps of the server.
pub struct Stage {
    pub server: &'static ApiServer,
    /// Of the one who may do everything.
    pub client: Client,
    pub namespace: String,
    /// Of the account that the chart gives the operator.
    pub account: PathBuf,
    begin: usize,
    _turn: MutexGuard<'static, ()>,
}

impl Stage {
    pub async fn set() -> Self {
        static TURN: Mutex<()> = Mutex::const_new(());
        let turn = TURN.lock().await;
        let server = ApiServer::shared();
        static ACCOUNT_FILE: OnceLock<PathBuf> = OnceLock::new();
        let account = ACCOUNT_FILE.get_or_init(|| install(server)).clone();
        let namespace = faust_testbed::unique("operator");
        server.kubectl(["create", "namespace", &namespace]).unwrap();
        server.kubectl(["delete", "lease", "faust-operator", "--namespace", HOME, "--ignore-not-found"]).unwrap();
        let client = client(&server.kubeconfig()).await;
        Self { begin: server.audit().unwrap().len(), server, client, namespace, account, _turn: turn }
    }

    pub async fn account_client(&self) -> Client {
        client(&self.account).await
    }

    pub fn lease(&self) -> Api<Lease> {
        Api::namespaced(self.client.clone(), HOME)
    }

    /// A merge patch of the lease's spec, by somebody who doesn't ask what it was.
    pub async fn overwrite_lease(&self, spec: Value) {
        let patch = Patch::Merge(json!({ "spec": spec }));
        self.lease().patch("faust-operator", &PatchParams::default(), &patch).await.unwrap();
    }

    /// How many requests the audit log has: where to look from later.
    pub fn mark(&self) -> usize {
        self.server.audit().unwrap().len()
    }

    /// What the operator asked for since a mark.
    pub fn requests(&self, mark: usize) -> Vec<Request> {
        self.server.audit().unwrap().into_iter().skip(mark).filter(|request| request.user == ACCOUNT).collect()
    }

    /// What it wrote since a mark, its lease aside.
    pub fn writes(&self, mark: usize) -> Vec<Request> {
        self.requests(mark).into_iter().filter(|request| request.writes() && request.resource != "leases").collect()
    }

    /// The pods that it asked to delete, in that order, and the answers' codes.
    pub fn deletions(&self) -> Vec<(String, u16)> {
        let requests = self.requests(self.begin).into_iter();
        let deletions = requests.filter(|request| request.verb == "delete" && request.resource == "pods");
        deletions.map(|request| (request.name, request.code)).collect()
    }

    /// Once the operator has done what it does: nothing was refused for want of a right.
    pub fn assert_rights_sufficed(&self) {
        let requests = self.requests(self.begin);
        assert!(requests.iter().any(Request::writes), "nothing that the operator did is in the audit log");
        let refused: Vec<_> = requests.iter().filter(|request| request.code == 403).collect();
        assert!(refused.is_empty(), "the chart's rights are too few: {refused:?}");
    }
}

impl Drop for Stage {
    /// The next test's operator has nothing to do with this one's applications.
    fn drop(&mut self) {
        let _ = self.server.kubectl(["delete", "faustapps", "--all", "--namespace", &self.namespace, "--wait=false"]);
    }
}

fn install(server: &ApiServer) -> PathBuf {
    let image = ["--set", "image.repository=localhost/faust/operator"];
    let install = ["install", "faust-operator", CHART, "--namespace", HOME, "--create-namespace"];
    server.helm(install.into_iter().chain(image)).unwrap();
    server.kubectl(["wait", "--for=condition=Established", "crd/faustapps.faust.dev", "--timeout=60s"]).unwrap();
    let class = json!({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "provisioner": "test/none",
        "metadata": { "name": "standard", "annotations": { "storageclass.kubernetes.io/is-default-class": "true" } },
    });
    server.kubectl_with_input(["apply", "-f", "-"], &class.to_string()).unwrap();
    until_owners_are_known(server);
    server.kubeconfig_of(ACCOUNT).unwrap()
}

/// The server checks who may own, hears of a new definition's kind within 10 seconds, and refuses until then.
#[expect(clippy::disallowed_methods, reason = "waits for another process")]
fn until_owners_are_known(server: &ApiServer) {
    let owner =
        json!({ "apiVersion": "faust.dev/v1alpha1", "kind": "FaustApp", "name": "owner", "uid": "0", "blockOwnerDeletion": true });
    let owned = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "owned", "ownerReferences": [owner] } });
    let create = ["--as", ACCOUNT, "--namespace", HOME, "create", "--dry-run=server", "-f", "-"];
    let start = std::time::Instant::now();
    while let Err(refused) = server.kubectl_with_input(create, &owned.to_string()) {
        assert!(start.elapsed().as_secs() < 60, "the operator may not own: {refused}");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

async fn client(kubeconfig: &std::path::Path) -> Client {
    let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    Client::try_from(config).unwrap()
}
