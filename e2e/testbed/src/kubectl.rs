//! kubectl and helm, as the cluster's script builds them, and their errors as ours.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::install;

/// Runs a program with this kubeconfig to its end. An exit code other than 0 is an error with what it printed.
pub fn run<S: AsRef<OsStr>>(
    program: &str,
    kubeconfig: &Path,
    arguments: impl IntoIterator<Item = S>,
    input: &str,
) -> io::Result<Output> {
    let mut command = Command::new(programs()?.join(program));
    command.args(arguments).env("KUBECONFIG", kubeconfig).env("KUBECACHEDIR", kubeconfig.with_extension("cache"));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    // One that reads nothing may be gone already; its exit code tells.
    let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
    let output = child.wait_with_output()?;
    if output.status.success() {
        return Ok(output);
    }
    let said = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    Err(io::Error::other(format!("{program} ended with {}: {}", output.status, said.trim())))
}

/// The folder of Kubernetes' programs.
pub fn programs() -> io::Result<PathBuf> {
    let programs = install::cache()?.join("cluster/bin");
    if programs.join("kube-apiserver").exists() {
        return Ok(programs);
    }
    Err(io::Error::new(
        io::ErrorKind::NotFound,
        format!(
            "there is no kube-apiserver in {}: `make setup-apiserver` builds it (with Go, ten minutes, once); `make test` does so too",
            programs.display()
        ),
    ))
}
