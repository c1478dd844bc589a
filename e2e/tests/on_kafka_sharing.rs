//! Two workers share the partitions, a third joins, one leaves: nothing is lost or counted twice, and what stays never stops.

use std::collections::BTreeMap;

use faust_e2e::page_views::{GROUP, VIEWS};
use faust_e2e::{Oracle, PageViews, State, Views, wait};

#[test]
fn workers_share_the_partitions_and_what_stays_never_stops_on_kafka() {
    // Nobody dies here, so the session is long enough that a busy machine can't end it, nor a flush that waits a third of it.
    let stage = PageViews::on_kafka(env!("CARGO_BIN_EXE_e2e-page-views"), 12)
        .flag("commit-interval", "100ms")
        .flag("session-timeout", "15s");
    let flow = Views::of_pages(3_000).flow(&stage.kafka, VIEWS, 4_000);

    let anna = stage.workers.start("anna");
    let bert = stage.workers.start("bert");
    stage.until_shared(&[&anna, &bert]);
    let (of_anna, of_bert) = (anna.state(), bert.state());
    assert_eq!((of_anna.partitions().len(), of_bert.partitions().len()), (6, 6));

    let cleo = stage.workers.start("cleo");
    stage.until_shared(&[&anna, &bert, &cleo]);
    assert_eq!([&anna, &bert, &cleo].map(|worker| worker.state().partitions().len()), [4, 4, 4]);
    assert_untouched(&of_anna, &anna.state(), 4);
    assert_untouched(&of_bert, &bert.state(), 4);
    kafkas_tool_shows(&stage, &[&anna.state(), &bert.state(), &cleo.state()]);

    let (of_anna, of_cleo) = (anna.state(), cleo.state());
    assert_eq!(bert.stop(), 0);
    stage.until_shared(&[&anna, &cleo]);
    assert_untouched(&of_anna, &anna.state(), 4);
    assert_untouched(&of_cleo, &cleo.state(), 4);

    flow.finish();
    stage.offsets.until_consumed();
    let views = Oracle::read(&stage.kafka, VIEWS);
    views.assert_exact(&stage.table(&[&anna, &cleo], &views.keys()));
}

/// What the worker had and has is under the same epoch and fetch, and went on.
fn assert_untouched(before: &State, after: &State, at_least: usize) {
    let stayed: Vec<_> = before.active().filter_map(|task| Some((task, after.task(task.partition())?))).collect();
    assert!(stayed.len() >= at_least, "only {} of {:?} stayed", stayed.len(), before.partitions());
    assert!(after.rebalances > before.rebalances);
    for (before, after) in stayed {
        assert_eq!(
            (before.epoch, before.inputs[0].fetches, before.starts_over),
            (after.epoch, after.inputs[0].fetches, after.starts_over)
        );
        assert!(after.inputs[0].records > before.inputs[0].records, "{after:?} stood still");
    }
}

/// Kafka's own tool reads the group: these members with exactly their partitions.
fn kafkas_tool_shows(stage: &PageViews, workers: &[&State]) {
    let expected: BTreeMap<String, Vec<i32>> = workers.iter().map(|state| (state.member.clone(), state.partitions())).collect();
    wait::until("kafka-consumer-groups shows the group", || {
        let output = stage.kafka.tool("ConsumerGroupCommand", ["--describe", "--group", GROUP, "--members", "--verbose"]);
        let text = String::from_utf8_lossy(&output.map_err(|error| error.to_string())?.stdout).into_owned();
        if members(&text) == expected { Ok(()) } else { Err(text) }
    });
}

/// Of each member's line the id and the partitions of our topic.
fn members(text: &str) -> BTreeMap<String, Vec<i32>> {
    let member = |line: &str| {
        let mut words = line.split_whitespace();
        let id = words.nth(1)?;
        let assigned = words.find_map(|word| word.strip_prefix("page_views:")?.split(';').next())?;
        Some((id.to_string(), assigned.split(',').filter_map(|partition| partition.parse().ok()).collect()))
    };
    text.lines().filter(|line| line.starts_with(GROUP)).filter_map(member).collect()
}
