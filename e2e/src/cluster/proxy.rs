//! HTTP to pods, through the API server: `kubectl proxy`.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use faust_testbed::{Cluster, spawn_bound_to_us};

use crate::pages::Pages;

/// A port on loopback that leads to the API server. Closed when dropped.
pub struct Proxy {
    child: Child,
    address: String,
}

impl Proxy {
    #[track_caller]
    pub fn start(cluster: &Cluster) -> Self {
        let mut command = cluster.kubectl_command(["proxy", "--port=0"]).unwrap_or_else(|error| panic!("{error}"));
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = spawn_bound_to_us(command).unwrap_or_else(|error| panic!("kubectl proxy did not start: {error}"));
        let mut line = String::new();
        let mut said = BufReader::new(child.stdout.take().expect("piped"));
        said.read_line(&mut line).expect("kubectl proxy says where it listens");
        let address = line.trim().strip_prefix("Starting to serve on ").unwrap_or_else(|| panic!("kubectl proxy said {line:?}"));
        Self { child, address: format!("http://{address}") }
    }

    /// The pages of the worker in a pod, whichever pod has that name then.
    pub fn pages(&self, namespace: &str, pod: &str) -> Pages {
        Pages::at(format!("{}/api/v1/namespaces/{namespace}/pods/{pod}:6066/proxy", self.address))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
