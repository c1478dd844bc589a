//! An application and its operator: topics that only the operator may create, and life without it.

use faust_e2e::cluster::{App, Kcat, Operator, Pod, Stage};
use faust_e2e::page_views::{GROUP, VIEWS};
use faust_e2e::{Offsets, Oracle, Views, wait};
use serde_json::json;

const PARTITIONS: i32 = 12;
const VIEWED: usize = 20_000;

#[test]
fn an_application_needs_its_operator_for_topics_and_not_to_go_on_on_cluster() {
    let stage = Stage::set();
    let operator = stage.step("helm install", || Operator::install(&stage.cluster));
    operator.until_held();
    let address = operator.pod()["status"]["podIP"].as_str().expect("a pod that runs has an address").to_owned();
    let may_restrict = stage.has_testbed_for("that only the operator may create topics");
    let restricted = may_restrict.then(|| stage.cluster.restrict_create(&[&address]).unwrap_or_else(|error| panic!("{error}")));
    let app = stage.step("only the operator may create topics, and brokers would create any that is asked for", || {
        if restricted.is_some() {
            let refused = stage.cluster.kafka().create_topic("e2e-refused", 1, &[]);
            let refused = refused.expect_err("others may create no topic").to_string();
            assert!(refused.contains("uthoriz"), "{refused}");
        }
        let app = App::apply(&stage, json!({ "spec": { "storage": { "retention": { "whenDeleted": "Retain" } } } }));
        app.wait_ready();
        app
    });
    let offsets = Offsets::of(stage.cluster.kafka(), GROUP, VIEWS, PARTITIONS);
    let mut views = Views::of_pages(300);
    stage.step("the counts are right", || {
        views.produce_to(Kcat::to(stage.cluster.kafka(), VIEWS), VIEWED);
        offsets.until_consumed();
        let oracle = Oracle::read(stage.cluster.kafka(), VIEWS);
        oracle.assert_exact(&app.table(2, &oracle.keys()));
    });
    drop(restricted);

    let before = identities(app.pods());
    stage.step("helm uninstall: the application counts on", || {
        operator.uninstall();
        views.produce_to(Kcat::to(stage.cluster.kafka(), VIEWS), VIEWED);
        offsets.until_consumed();
        assert_eq!(identities(app.pods()), before);
    });
    stage.step("helm install: it is adopted as it is", || {
        let mark = operator.mark();
        operator.install_again();
        operator.until_held();
        // Seen and acted upon: a new spec, and nothing else to do about it than to say so.
        app.patch(&json!({ "spec": { "rollout": { "progressDeadline": "11m" } } }));
        app.until_condition("Ready", "True", "AsWanted");
        if let Some(mark) = mark {
            assert_eq!(operator.deleted_pods(mark), Vec::<String>::new());
        }
        assert_eq!(identities(app.pods()), before);
        let oracle = Oracle::read(stage.cluster.kafka(), VIEWS);
        oracle.assert_exact(&app.table(2, &oracle.keys()));
    });
    stage.step("kubectl delete, volumes retained: exactly the claims stay", || {
        stage.kubectl("delete faustapp page-views --timeout=60s");
        wait::until("only the claims are left", || {
            let left = stage.try_everything()?;
            let claims: Vec<String> = (0..2).map(|ordinal| format!("persistentvolumeclaim/data-page-views-{ordinal}")).collect();
            if left == claims { Ok(()) } else { Err(left.join(" ")) }
        });
    });
}

/// Which pods these are, and how often they began again.
fn identities(pods: Vec<Pod>) -> Vec<(String, String, u64)> {
    pods.into_iter().map(|pod| (pod.name, pod.uid, pod.restarts)).collect()
}
