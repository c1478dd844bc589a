//! The manifest, rendered from the types.

use kube::CustomResourceExt;

use crate::FaustApp;

/// The CustomResourceDefinition as YAML, as it stands in `crds/manifests` and in the chart.
pub fn manifest() -> String {
    serde_yaml::to_string(&FaustApp::crd()).expect("a definition is YAML")
}
