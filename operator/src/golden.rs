//! What tests of the operator share: applications to start from, and files that a result is compared with.

use std::path::{Path, PathBuf};

use faust_crds::{FaustApp, FaustAppSpec};
use serde_json::{Value, json};

use crate::app::{App, resolve};

fn path(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(file)
}

/// `file` is relative to the operator's folder. `FAUST_DEV_BLESS=1` writes it anew.
pub fn assert(file: &str, is: &str) {
    if std::env::var_os("FAUST_DEV_BLESS").is_some() {
        std::fs::create_dir_all(path(file).parent().expect("a file has a folder")).unwrap();
        std::fs::write(path(file), is).unwrap();
    }
    let was = std::fs::read_to_string(path(file)).unwrap_or_default();
    assert!(was == is, "{file} is not what is made now; to take that over: FAUST_DEV_BLESS=1 cargo test -p faust-operator\n{is}");
}

/// `goldens/minimal.faustapp.yaml` or `full`.
pub fn manifest(name: &str) -> Value {
    let text = std::fs::read_to_string(path(&format!("goldens/{name}.faustapp.yaml"))).unwrap();
    serde_yaml::from_str(&text).unwrap()
}

/// The manifest with `patch` merged into its spec.
pub fn with(name: &str, patch: Value) -> FaustApp {
    let mut manifest = manifest(name);
    merge(&mut manifest, json!({ "spec": patch }));
    serde_json::from_value(manifest).unwrap()
}

pub fn app(name: &str) -> App {
    app_with(name, json!({}))
}

pub fn app_with(name: &str, patch: Value) -> App {
    resolve(&with(name, patch)).unwrap()
}

/// An application in namespace `default` with this spec.
pub fn app_of(name: &str, spec: FaustAppSpec) -> App {
    let mut faust_app = FaustApp::new(name, spec);
    faust_app.metadata.namespace = Some("default".into());
    faust_app.metadata.uid = Some("app".into());
    faust_app.metadata.generation = Some(1);
    resolve(&faust_app).unwrap()
}

fn merge(into: &mut Value, patch: Value) {
    match (into, patch) {
        (Value::Object(into), Value::Object(patch)) => {
            for (name, value) in patch {
                merge(into.entry(name).or_insert(Value::Null), value);
            }
        }
        (into, patch) => *into = patch,
    }
}
