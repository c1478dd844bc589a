//! How the workers of one app are started: the program, where its Kafka is, its settings.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use faust_testbed::{Broker, spawn_bound_to_us};
use tempfile::TempDir;

use crate::worker::Worker;

/// A program and what every worker of it is told. Its folder holds the workers' data and logs; it stays when a test fails.
pub struct Deployment {
    program: PathBuf,
    flags: Vec<(String, String)>,
    variables: Vec<(String, String)>,
    folder: TempDir,
}

impl Deployment {
    /// A session of three seconds: less loses members on a busy machine, more makes the tests slow.
    pub fn new(program: &str, broker: &Broker) -> Self {
        let folder = tempfile::Builder::new().prefix("faust-e2e-").tempdir().expect("a folder for the workers");
        let deployment = Self { program: program.into(), flags: Vec::new(), variables: Vec::new(), folder };
        deployment.flag("broker", broker.bootstrap()).flag("web-port", "0").flag("session-timeout", "3s")
    }

    /// A flag of every worker; a later one wins.
    pub fn flag(mut self, name: &str, value: impl Into<String>) -> Self {
        self.flags.retain(|(own, _)| own != name);
        self.flags.push((name.into(), value.into()));
        self
    }

    /// An environment variable of every worker.
    pub fn variable(mut self, name: &str, value: impl Into<String>) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }

    /// Starts a worker; it has a data folder and a log of its name, also when it is started again.
    pub fn start(&self, name: &str) -> Worker {
        self.start_with(name, &[])
    }

    /// The same with flags of its own, which win.
    pub fn start_with(&self, name: &str, flags: &[(&str, &str)]) -> Worker {
        let log = self.folder.path().join(format!("{name}.log"));
        let out = File::options().create(true).append(true).open(&log).expect("a log for the worker");
        let before = out.metadata().expect("a log's size").len();
        let mut command = Command::new(&self.program);
        command.arg("worker").args(["--datadir".as_ref(), self.data_folder(name).as_os_str()]);
        let mut all: Vec<(&str, &str)> = self.flags.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        all.retain(|(name, _)| flags.iter().all(|(own, _)| own != name));
        all.extend(flags);
        for (name, value) in all {
            command.arg(format!("--{name}={value}"));
        }
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(out.try_clone().expect("a second handle")).stderr(out);
        let child = spawn_bound_to_us(command).unwrap_or_else(|error| panic!("{} did not start: {error}", self.program.display()));
        Worker::new(name, child, log, before)
    }

    /// Where the worker of that name keeps its tables.
    pub fn data_folder(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Lets the folder stay, whatever becomes of the test; where it is.
    pub fn keep(&mut self) -> &Path {
        self.folder.disable_cleanup(true);
        self.folder.path()
    }

    /// Makes the worker of that name one that has never run here.
    pub fn delete_data_folder(&self, name: &str) {
        std::fs::remove_dir_all(self.data_folder(name)).expect("a data folder to delete");
    }
}

impl Drop for Deployment {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.folder.disable_cleanup(true);
            eprintln!("the workers' logs and data: {}", self.folder.path().display());
        }
    }
}
