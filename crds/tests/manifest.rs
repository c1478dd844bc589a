//! The rendered manifests are in the repository, so that `kubectl apply -f` and Helm need no build.

use std::fs;
use std::path::Path;

/// Where the manifest stands: for `kubectl apply`, and for the chart, which can't read outside of itself.
const COPIES: [&str; 2] = ["manifests/faustapps.yaml", "../charts/faust-operator-crds/files/faustapps.yaml"];

#[test]
fn the_rendered_manifests_are_those_of_the_types() {
    let rendered = faust_crds::manifest();
    for copy in COPIES {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(copy);
        if std::env::var_os("FAUST_DEV_BLESS").is_some() {
            fs::create_dir_all(path.parent().expect("in a folder")).unwrap();
            fs::write(&path, &rendered).unwrap();
        }
        let there = fs::read_to_string(&path).unwrap_or_default();
        assert!(there == rendered, "{copy} is not what the types say; FAUST_DEV_BLESS=1 writes it anew");
    }
}
