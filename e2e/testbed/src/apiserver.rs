//! An API server of a test's own: etcd and kube-apiserver on loopback, without root, in seconds.
//!
//! It is the real one – defaults, CEL, server-side apply, RBAC and audit are Kubernetes' own – but it is alone: no controller
//! makes a pod of a StatefulSet, nothing collects garbage, no default service accounts appear. Tests play those parts.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use serde_json::json;

use crate::audit::{self, Request};
use crate::folder::Folder;
use crate::port::Port;
use crate::{kubectl, process, wait};

const AUDIT_POLICY: &str = include_str!("../cluster/config/audit-policy.yaml");
/// Far beyond what a start takes on a busy machine: only a server that will never come reaches it.
const START: Duration = Duration::from_secs(120);

/// A running API server with its etcd. Dropped, both are killed and their folder removed; the logs of a test that panics stay,
/// and the test's output says where.
#[derive(Debug)]
pub struct ApiServer {
    url: String,
    token: String,
    processes: Mutex<Vec<Child>>,
    folder: Option<Folder>,
    _ports: [Port; 3],
}

impl ApiServer {
    /// Returns when it is ready.
    pub fn start() -> io::Result<ApiServer> {
        let programs = kubectl::programs()?;
        let folder = Folder::new()?;
        let (port, etcd_port, peer_port) = (Port::any()?, Port::any()?, Port::any()?);
        let server = ApiServer {
            url: format!("https://127.0.0.1:{}", port.number()),
            token: crate::unique("admin"),
            processes: Mutex::default(),
            folder: Some(folder),
            _ports: [port, etcd_port, peer_port],
        };
        server.launch(&programs)?;
        Ok(server)
    }

    /// The one that all tests of a process share, each in namespaces of its own ([`unique`](crate::unique)). It ends with the
    /// process.
    ///
    /// # Panics
    ///
    /// When it doesn't start.
    pub fn shared() -> &'static ApiServer {
        static SHARED: OnceLock<ApiServer> = OnceLock::new();
        extern "C" fn end() {
            if let Some(server) = SHARED.get() {
                server.kill();
                let _ = fs::remove_dir_all(server.folder());
            }
        }
        SHARED.get_or_init(|| {
            let server = ApiServer::start().unwrap_or_else(|problem| panic!("{problem}"));
            // SAFETY: a function of the process's whole life, which doesn't unwind. Statics aren't dropped.
            unsafe { libc::atexit(end) };
            server
        })
    }

    /// `https://127.0.0.1:PORT`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The bearer token of a user who may do everything.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// PEM file of the authority that signed the server's certificate.
    pub fn ca(&self) -> PathBuf {
        self.folder().join("certs/apiserver.crt")
    }

    /// A kubeconfig file of the user who may do everything.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder().join("kubeconfig")
    }

    /// A kubeconfig file of somebody who may do what RBAC allows and nothing else: a user's name, or
    /// `system:serviceaccount:NAMESPACE:NAME`, which need not exist and is in its groups. It impersonates.
    pub fn kubeconfig_of(&self, user: &str) -> io::Result<PathBuf> {
        let path = self.folder().join(format!("kubeconfig-{}", user.replace(['/', ':'], "-")));
        self.write_kubeconfig(&path, json!({ "token": self.token, "as": user }))?;
        Ok(path)
    }

    /// Every request that was answered so far, in the order of the audit log. One is in there a moment after its answer.
    pub fn audit(&self) -> io::Result<Vec<Request>> {
        audit::requests(&self.folder().join("audit.log"))
    }

    /// Runs kubectl to its end, as the user who may do everything. An exit code other than 0 is an error with what it printed.
    pub fn kubectl<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> io::Result<Output> {
        self.kubectl_with_input(arguments, "")
    }

    /// The same with something to read: `kubectl_with_input(["apply", "-f", "-"], manifest)`.
    pub fn kubectl_with_input<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>, input: &str) -> io::Result<Output> {
        kubectl::run("kubectl", &self.kubeconfig(), arguments, input)
    }

    /// Runs helm to its end, as the user who may do everything.
    pub fn helm<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> io::Result<Output> {
        kubectl::run("helm", &self.kubeconfig(), arguments, "")
    }

    fn launch(&self, programs: &Path) -> io::Result<()> {
        let [port, etcd, peer] = self._ports.each_ref().map(Port::number);
        let at = |name: &str| self.folder().join(name).display().to_string();
        let own = |name: &str, text: &str| fs::write(self.folder().join(name), text);
        own("tokens.csv", &format!("{},admin,admin,system:masters\n", self.token))?;
        own("audit-policy.yaml", AUDIT_POLICY)?;
        self.write_kubeconfig(&self.kubeconfig(), json!({ "token": self.token }))?;

        let (etcd, peer) = (format!("http://127.0.0.1:{etcd}"), format!("http://127.0.0.1:{peer}"));
        let mut command = Command::new(programs.join("etcd"));
        command.args(["--data-dir", &at("etcd"), "--unsafe-no-fsync", "--log-level", "warn"]);
        command.args(["--listen-client-urls", &etcd, "--advertise-client-urls", &etcd]);
        command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        command.args(["--initial-cluster", &format!("default={peer}")]);
        self.spawn(command, "etcd.log")?;

        let mut command = Command::new(programs.join("kube-apiserver"));
        command.args(["--etcd-servers", &etcd, "--bind-address", "127.0.0.1", "--secure-port", &port.to_string()]);
        command.args(["--advertise-address", "127.0.0.1", "--endpoint-reconciler-type", "none"]);
        command.args(["--service-cluster-ip-range", "10.0.0.0/24", "--cert-dir", &at("certs")]);
        // The serving key, which it makes at the first start, signs the service accounts' tokens as well.
        command.args(["--service-account-issuer", "https://kubernetes.default.svc"]);
        command.args(["--service-account-signing-key-file", &at("certs/apiserver.key")]);
        command.args(["--service-account-key-file", &at("certs/apiserver.key")]);
        command.args(["--authorization-mode", "RBAC", "--token-auth-file", &at("tokens.csv")]);
        // It would refuse every pod: nobody makes the namespaces' default service accounts.
        command.args(["--disable-admission-plugins", "ServiceAccount"]);
        // As some clusters do: whoever makes an owner wait for its dependents needs a right for it.
        command.args(["--enable-admission-plugins", "OwnerReferencesPermissionEnforcement"]);
        command.args(["--audit-policy-file", &at("audit-policy.yaml"), "--audit-log-path", &at("audit.log")]);
        self.spawn(command, "apiserver.log")?;
        self.await_ready()
    }

    fn spawn(&self, mut command: Command, log: &str) -> io::Result<()> {
        let log = File::create(self.folder().join(log))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.processes.lock().unwrap().push(process::spawn_bound_to_us(command)?);
        Ok(())
    }

    fn await_ready(&self) -> io::Result<()> {
        let ready = wait::until(START, || {
            for (child, log) in self.processes.lock().unwrap().iter_mut().zip(["etcd.log", "apiserver.log"]) {
                if let Some(status) = child.try_wait()? {
                    let said = process::tail(&self.folder().join(log));
                    return Err(io::Error::other(format!("a part of the API server ended with {status}; {said}")));
                }
            }
            Ok((self.ca().exists() && self.kubectl(["get", "--raw", "/readyz"]).is_ok()).then_some(()))
        })?;
        let late =
            || format!("the API server was not ready within {START:?}; {}", process::tail(&self.folder().join("apiserver.log")));
        ready.ok_or_else(|| io::Error::new(io::ErrorKind::TimedOut, late()))
    }

    fn write_kubeconfig(&self, path: &Path, user: serde_json::Value) -> io::Result<()> {
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{ "name": "test", "cluster": { "server": self.url, "certificate-authority": self.ca() } }],
            "users": [{ "name": "test", "user": user }],
            "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "test" } }],
        });
        fs::write(path, config.to_string())
    }

    fn folder(&self) -> &Path {
        self.folder.as_ref().expect("taken by drop only").path()
    }

    fn kill(&self) {
        for mut child in self.processes.lock().unwrap().drain(..) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.kill();
        let Some(folder) = self.folder.take() else { return };
        if std::thread::panicking() {
            let folder = folder.keep();
            let _ = fs::remove_dir_all(folder.join("etcd"));
            eprintln!("the API server's logs: {}", folder.display());
        }
    }
}
