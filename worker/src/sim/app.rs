//! What simulated workers run: per key, the set of the input offsets that were folded into it.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::time::Duration;

use super::world::cluster;
use crate::app::AppNode;
use crate::prelude::*;

pub(super) const ID: &str = "sim";
pub(super) const INPUT: &str = "in";
pub(super) const OUTPUT: &str = "out";
pub(super) const TABLE: &str = "seen";
pub(super) const CHANGELOG: &str = "sim-seen-changelog";

thread_local! {
    static APPS: RefCell<Vec<&'static AppNode>> = const { RefCell::new(Vec::new()) };
}

/// The app as the `worker`th worker's process has it. Declarations live as long as the process, so they are made once and used in
/// every simulation.
pub(super) fn of_worker(worker: usize) -> &'static AppNode {
    APPS.with_borrow_mut(|apps| {
        while apps.len() <= worker {
            apps.push(declare());
        }
        apps[worker]
    })
}

/// What an agent sends for each event: under which run of an agent, and of which input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Folded {
    pub run: u64,
    pub offset: i64,
}

impl Folded {
    pub fn parse(text: &[u8]) -> Self {
        let text = std::str::from_utf8(text).expect("an output of ours");
        let text: String = serde_json::from_str(text).unwrap_or_else(|_| text.to_string());
        let (run, offset) = text.split_once('@').expect("run@offset");
        Self { run: run.parse().expect("a run"), offset: offset.parse().expect("an offset") }
    }
}

fn declare() -> &'static AppNode {
    let app = App::new(ID);
    let input = app.topic::<String, String>(INPUT);
    let output = app.topic::<String, String>(OUTPUT);
    let seen = app.table::<String, BTreeSet<i64>>(TABLE);
    app.agent("fold", (input, seen), async move |mut stream, seen| {
        let mut run = None;
        while let Some(event) = stream.next().await {
            let offset = event.offset();
            let run = *run.get_or_insert_with(|| cluster().begins(event.partition(), offset));
            wait().await;
            let is_there = cluster().config.careful && seen.get(event.key())?.is_some_and(|offsets| offsets.contains(&offset));
            if !is_there {
                seen.update(event.key(), |offsets| {
                    offsets.insert(offset);
                })?;
            }
            wait().await;
            output.send(event.key(), &format!("{run}@{offset}")).await?;
        }
        Ok(())
    });
    app.node()
}

/// Milliseconds that one event may take.
pub(super) const LONGEST_EVENT: u64 = 2_000;

/// Some events take a while, and a few very long.
async fn wait() {
    let millis = {
        let sim = &cluster().sim;
        match sim.between(0, 999) {
            0 => sim.between(100, LONGEST_EVENT / 2),
            1..20 => sim.between(1, 30),
            _ => return,
        }
    };
    tokio::time::sleep(Duration::from_millis(millis)).await;
}
