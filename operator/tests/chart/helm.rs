//! Helm of the testbed, or the one on the path; with settings of nobody.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

pub const OPERATOR: &str = "faust-operator";
pub const CRDS: &str = "faust-operator-crds";

/// The folder of the charts.
pub fn charts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts")
}

/// Runs Helm in a folder of charts.
pub fn helm(folder: &Path, kubeconfig: Option<&Path>, arguments: &[&str]) -> Output {
    let home = tempfile::tempdir().unwrap();
    Command::new("helm")
        .args(arguments)
        .current_dir(folder)
        .env("PATH", path_with_testbed())
        .env("KUBECONFIG", kubeconfig.unwrap_or(Path::new("/dev/null")))
        .env("HELM_CACHE_HOME", home.path())
        .env("HELM_CONFIG_HOME", home.path())
        .env("HELM_DATA_HOME", home.path())
        .output()
        .unwrap_or_else(|problem| panic!("helm can't be run: {problem}; `make test` and `make cluster` build it"))
}

fn path_with_testbed() -> OsString {
    let cache = env::var_os("XDG_CACHE_HOME").filter(|cache| !cache.is_empty()).map(PathBuf::from);
    let cache = cache.unwrap_or_else(|| PathBuf::from(env::var_os("HOME").unwrap_or_default()).join(".cache"));
    let path = env::var_os("PATH").unwrap_or_default();
    env::join_paths([cache.join("faust-dev/cluster/bin")].into_iter().chain(env::split_paths(&path))).unwrap()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
