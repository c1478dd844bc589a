//! The operator as a process.

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tempfile::NamedTempFile;

use crate::stage::{HOME, Stage};
use crate::wait::{holds, until};

/// Killed when dropped, and by the kernel should the test's process end before.
pub struct Operator {
    pub name: String,
    child: Child,
    log: NamedTempFile,
    http: SocketAddr,
}

impl Operator {
    /// As the chart's account.
    pub fn start(stage: &Stage, name: &str) -> Self {
        Self::start_with(&stage.account, name)
    }

    pub fn start_with(kubeconfig: &Path, name: &str) -> Self {
        let log = NamedTempFile::new().unwrap();
        let http = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_faust-operator"));
        command.arg("run").env("KUBECONFIG", kubeconfig).env("HTTP_ADDRESS", http.to_string());
        command.env("POD_NAME", name).env("POD_NAMESPACE", HOME).env_remove("LOG_LEVEL");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(log.path()).unwrap());
        let child = faust_testbed::spawn_bound_to_us(command).unwrap();
        Self { name: name.to_owned(), child, log, http }
    }

    /// Everything that it logged.
    pub fn said(&self) -> String {
        std::fs::read_to_string(self.log.path()).unwrap()
    }

    /// What its metrics say of who works; None while it doesn't answer.
    pub async fn leads(&self) -> Option<bool> {
        let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
        let answer = client.get(format!("http://{}/metrics", self.http).parse().unwrap()).await.ok()?;
        let text = String::from_utf8(answer.into_body().collect().await.ok()?.to_bytes().to_vec()).unwrap();
        Some(text.lines().any(|line| line == "faust_operator_leader 1"))
    }

    pub async fn until_it_leads(&self) {
        let leads = async || holds(self.leads().await == Some(true), self.said());
        until(format_args!("{} has the lease and works", self.name), leads).await;
    }

    /// SIGKILL: it can say goodbye to nobody.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM.
    pub fn tell_to_stop(&self) {
        let status = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    pub async fn until_ended(&mut self) -> ExitStatus {
        let name = self.name.clone();
        until(format_args!("{name} has ended"), async || self.child.try_wait().unwrap().ok_or_else(|| "it runs".into())).await
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("what {} said:\n{}", self.name, self.said());
        }
    }
}
