//! `/state`: what the worker is doing, as JSON.

use serde_json::{Map, Value, json};

use super::Facts;
use crate::app::Running;
use crate::contract;
use crate::control::drain::DrainState;
use crate::rt;
use crate::state::Together;
use crate::status::{DropReason, InputMeter, Stage, TableMeter, TaskMeter};

/// Everything that an operator or a person may want to know at night. Numbers that aren't known are null.
pub(super) fn describe(app: &str, running: &Running, facts: &Facts) -> Value {
    let view = running.membership().map(|membership| membership.view()).unwrap_or_default();
    let readiness = running.readiness();
    let (reason, waiting) = readiness.err().map(|unready| (unready.reason, unready.sentence)).unzip();
    let meters = running.status.tasks();
    let tasks: Vec<Value> = meters.iter().filter(|task| task.stage() != Stage::Absent).map(|meter| task(meter)).collect();
    json!({
        "contract": contract::VERSION,
        "app": app,
        "version": env!("CARGO_PKG_VERSION"),
        "topologyHash": facts.topology.hash,
        "features": contract::FEATURES,
        "ignored": facts.ignored,
        "fetchMemory": running.fetch_bound().map(|(partition, all)| json!({"perPartition": partition, "bound": all})),
        "member": view.member,
        "instance": facts.instance,
        "generation": view.generation,
        "leader": view.leader,
        "leaderMember": known_member(&view.leader_member),
        "joined": running.is_joined(),
        "rebalances": view.rebalances,
        "ready": reason.is_none(),
        "reason": reason,
        "waiting": waiting.or_else(|| running.status.idle_because()),
        "caughtUp": running.caught_up(),
        "draining": running.drain.state().map(DrainState::label),
        "handover": running.handover(),
        "lag": running.lag(),
        "restore": running.status.restores(rt::now()).map(restore),
        "tasks": tasks,
    })
}

fn restore(all: Together) -> Value {
    json!({
        "partitions": all.partitions,
        "records": all.records,
        "remaining": all.remaining,
        "recordsPerSecond": all.records_per_second,
        "etaSeconds": all.eta.map(|eta| eta.as_secs()),
    })
}

fn task(task: &TaskMeter) -> Value {
    json!({
        "task": task.id.to_string(),
        "role": task.role().label(),
        "stage": task.stage().label(),
        "problem": task.problem(),
        "copyLag": task.copy_lag(),
        "shard": task.shard,
        "epoch": known(task.epoch.get()),
        "epochs": task.epochs.get(),
        "commits": task.commits.get(),
        "missedCommits": task.missed_commits.get().max(0),
        "startsOver": task.starts_over.get(),
        "inputs": task.inputs.iter().map(|meter| input(meter)).collect::<Vec<_>>(),
        "tables": task.tables.iter().map(|meter| table(meter)).collect::<Vec<_>>(),
    })
}

fn input(input: &InputMeter) -> Value {
    let dropped: Map<String, Value> =
        DropReason::ALL.into_iter().map(|reason| (reason.label().to_string(), input.drops(reason).into())).collect();
    json!({
        "topic": input.partition.topic,
        "partition": input.partition.partition,
        "agent": input.agent,
        "records": input.records.get(),
        "committed": known(input.committed.get()),
        "end": known(input.end.get()),
        "lag": input.lag(),
        "fetches": input.fetches.get(),
        "dropped": dropped,
    })
}

fn table(table: &TableMeter) -> Value {
    let wiped: Map<String, Value> = table.wipes().into_iter().map(|(reason, n)| (reason.to_string(), n.into())).collect();
    let restore = table.restore().and_then(|progress| progress.reading()).map(|reading| {
        let now = rt::now();
        json!({
            "from": reading.from,
            "to": reading.to,
            "position": reading.position,
            "records": reading.records,
            "remaining": reading.remaining(),
            "recordsPerSecond": reading.records_per_second(now),
            "etaSeconds": reading.eta(now).map(|eta| eta.as_secs()),
        })
    });
    json!({
        "table": table.table,
        "partition": table.partition,
        "changed": table.changed.get(),
        "restored": table.restored.get(),
        "followed": table.followed.get(),
        "stored": known(table.stored.get()),
        "flushed": known(table.flushed.get()),
        "wiped": wiped,
        "restore": restore,
    })
}

fn known_member(id: &str) -> Option<&str> {
    (!id.is_empty()).then_some(id)
}

fn known(value: i64) -> Option<i64> {
    (value >= 0).then_some(value)
}
