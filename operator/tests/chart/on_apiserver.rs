//! The charts on a real API server: what an upgrade and an uninstall do to the definition, and what the roles allow.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use faust_testbed::ApiServer;
use serde_json::json;
use serde_yaml::Value;

use crate::helm::{CRDS, OPERATOR, charts, helm, text};

const NAMESPACE: &str = "faust-system";
const RELEASE: [&str; 2] = ["faust-operator", OPERATOR];
const VALUES: [&str; 4] = ["--namespace", NAMESPACE, "--set", "image.repository=localhost/faust/operator"];

/// One story in one server: the release's objects are the cluster's, so two tests would meet.
#[test]
fn a_release_is_installed_upgraded_with_its_definition_and_removed_without_it() {
    let server = ApiServer::start().unwrap();
    let kubectl = |arguments: &str| text(&server.kubectl(arguments.split(' ')).unwrap().stdout);
    let run = |folder: &Path, command: &[&str]| {
        let output = helm(folder, Some(&server.kubeconfig()), command);
        assert!(output.status.success(), "helm {command:?}: {}", text(&output.stderr));
        text(&output.stdout) + &text(&output.stderr)
    };
    kubectl(&format!("create namespace {NAMESPACE}"));
    kubectl(&format!("label namespace {NAMESPACE} pod-security.kubernetes.io/warn=restricted"));

    let said = run(&charts(), &[&["install"], &RELEASE[..], &VALUES].concat());
    assert!(!said.contains("PodSecurity"), "the pods keep to the restricted standard: {said}");
    kubectl("wait --for=condition=Established crd/faustapps.faust.dev --timeout=60s");
    server.kubectl_with_input(["apply", "-f", "-"], include_str!("../../../examples/page_views/faustapp.yaml")).unwrap();
    the_operator_may_do_what_it_does_and_no_more(&server);
    to_own_takes_the_rule_for_it(&server);

    let second = helm(&charts(), Some(&server.kubeconfig()), &[&["install", "second", OPERATOR], &VALUES[..]].concat());
    assert!(!second.status.success(), "one installation serves a cluster");

    let next = tempfile::tempdir().unwrap();
    next_version(next.path());
    run(next.path(), &[&["upgrade"], &RELEASE[..], &VALUES].concat());
    assert!(
        kubectl("get crd faustapps.faust.dev -o yaml").contains("ofTheNextVersion:"),
        "the definition is upgraded with the release"
    );

    run(&charts(), &["uninstall", RELEASE[0], "--namespace", NAMESPACE]);
    assert_eq!(kubectl(&format!("get deployments -n {NAMESPACE} -o name")), "");
    assert_eq!(kubectl("get faustapps -o name"), "faustapp.faust.dev/page-views\n");

    run(&charts(), &[&["install"], &RELEASE[..], &VALUES].concat());
    assert_eq!(kubectl("get faustapps -o name"), "faustapp.faust.dev/page-views\n");
}

fn the_operator_may_do_what_it_does_and_no_more(server: &ApiServer) {
    let account = format!("system:serviceaccount:{NAMESPACE}:faust-operator");
    let may = |question: &str, namespace: &str| {
        let arguments = ["auth", "can-i", "--as", &account, "--namespace", namespace];
        server.kubectl(arguments.into_iter().chain(question.split(' '))).is_ok()
    };
    for (question, elsewhere, at_home) in [
        ("get secrets", true, true),
        ("list secrets", false, false),
        ("watch secrets", false, false),
        ("delete pods", true, true),
        ("create pods", false, false),
        ("patch faustapps.faust.dev --subresource=status", true, true),
        ("patch faustapps.faust.dev", false, false),
        ("create leases.coordination.k8s.io", false, true),
        ("update leases.coordination.k8s.io/faust-operator", false, true),
        ("update leases.coordination.k8s.io/another", false, false),
    ] {
        assert_eq!((may(question, "default"), may(question, NAMESPACE)), (elsewhere, at_home), "{question}, elsewhere and at home");
    }
}

/// Where the API server checks who makes an owner wait for what it owns.
fn to_own_takes_the_rule_for_it(server: &ApiServer) {
    let json = |arguments: &str| -> serde_json::Value {
        serde_json::from_slice(&server.kubectl(arguments.split(' ')).unwrap().stdout).unwrap()
    };
    let mut role = json("get clusterrole faust-operator -o json");
    role["metadata"] = json!({ "name": "without-finalizers" });
    let rules = role["rules"].as_array_mut().unwrap();
    let before = rules.len();
    rules.retain(|rule| rule["resources"] != json!(["faustapps/finalizers"]));
    assert_eq!(rules.len(), before - 1);
    server.kubectl_with_input(["create", "-f", "-"], &role.to_string()).unwrap();
    let bind = "create clusterrolebinding without-finalizers --clusterrole=without-finalizers --user=somebody";
    server.kubectl(bind.split(' ')).unwrap();

    let app = json("get faustapp page-views -o json");
    let owned = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": "owned", "ownerReferences": [{
            "apiVersion": app["apiVersion"], "kind": app["kind"], "name": "page-views", "uid": app["metadata"]["uid"],
            "controller": true, "blockOwnerDeletion": true,
        }] },
    });
    let create_as = |user: &str| {
        let arguments = ["--as", user, "create", "--validate=false", "--dry-run=server", "-f", "-"];
        server.kubectl_with_input(arguments, &owned.to_string()).map_err(|error| error.to_string())
    };
    // The server hears of new kinds and of new rules a little later.
    let account = format!("system:serviceaccount:{NAMESPACE}:faust-operator");
    until("the operator may own", || create_as(&account).map(drop));
    until("who lacks the rule is refused for it", || match create_as("somebody") {
        Err(refused) if refused.contains("refers to a resource you can't set finalizers on") => Ok(()),
        other => Err(format!("{other:?}")),
    });
}

#[expect(clippy::disallowed_methods, reason = "waits for another process")]
fn until(what: &str, look: impl Fn() -> Result<(), String>) {
    let start = Instant::now();
    while let Err(seen) = look() {
        assert!(start.elapsed() < Duration::from_secs(60), "{what}: not within a minute; seen last: {seen}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The charts with one more field in the definition.
fn next_version(folder: &Path) {
    let copied = std::process::Command::new("cp").arg("-RL").arg(charts().join(OPERATOR)).arg(folder).status().unwrap();
    assert!(copied.success());
    let file = folder.join(OPERATOR).join("charts").join(CRDS).join("files/faustapps.yaml");
    let mut definition: Value = serde_yaml::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    let schema = &mut definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    schema["properties"]["spec"]["properties"]["ofTheNextVersion"] = serde_yaml::from_str("{type: string}").unwrap();
    fs::write(&file, serde_yaml::to_string(&definition).unwrap()).unwrap();
}
