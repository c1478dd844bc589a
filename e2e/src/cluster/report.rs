//! What to read when a test failed: the state of everything that it looked at.

use std::fmt::Write;

use super::{Group, Stage, operator};

pub fn of(stage: &Stage) -> String {
    let mut report = String::new();
    let mut say = |what: &str, text: Result<String, String>| {
        let _ = writeln!(report, "\n== {what}\n{}", text.unwrap_or_else(|error| error).trim_end());
    };
    say(
        "objects",
        stage.try_kubectl("get faustapps,statefulsets,pods,persistentvolumeclaims,configmaps,poddisruptionbudgets -o wide"),
    );
    let statuses = stage.try_list("get faustapps").map(|apps| {
        let status = |app: &serde_json::Value| format!("{}: {:#}", app["metadata"]["name"], app["status"]);
        apps.iter().map(status).collect::<Vec<_>>().join("\n")
    });
    say("status", statuses);
    say("events", stage.try_kubectl("get events --sort-by=.metadata.creationTimestamp").map(|events| tail(&events, 60)));
    say("the group", Group::on(stage.cluster.kafka()).members().map(|members| format!("{members:?}")));
    for pod in names(stage) {
        say(&format!("log of {pod}"), stage.try_kubectl(&format!("logs {pod} --tail=40")));
        if let Ok(before) = stage.try_kubectl(&format!("logs {pod} --previous --tail=20")) {
            say(&format!("log of {pod} before its restart"), Ok(before));
        }
    }
    say(
        "log of the operator",
        stage.try_kubectl(&format!("--namespace {} logs deployment/faust-operator --tail=60", operator::NAMESPACE)),
    );
    report
}

fn names(stage: &Stage) -> Vec<String> {
    let pods = stage.try_kubectl("get pods --output name").unwrap_or_default();
    pods.lines().map(str::to_owned).collect()
}

fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
