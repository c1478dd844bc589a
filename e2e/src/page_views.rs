//! The example's app on a broker of its own: its id and the names of its topics are fixed.

use std::collections::BTreeMap;

use faust_testbed::Kafka;

use crate::deployment::Deployment;
use crate::offsets::Offsets;
use crate::oracle::Counts;
use crate::pages::Row;
use crate::worker::Worker;
use crate::{changelog, wait};

pub const VIEWS: &str = "page_views";
pub const COUNTED: &str = "page_view_counts";
pub const CHANGELOG: &str = "page-views-page_counts-changelog";
pub const GROUP: &str = "page-views";
pub const TABLE: &str = "page_counts";

/// The stage: a broker with the app's topics, and how its workers are started.
pub struct PageViews {
    pub workers: Deployment,
    pub offsets: Offsets,
    pub partitions: i32,
    pub kafka: Kafka,
}

impl PageViews {
    /// `program` is the app's worker.
    pub fn on_kafka(program: &str, partitions: i32) -> Self {
        let kafka = Kafka::start().unwrap_or_else(|error| panic!("{error}"));
        for topic in [VIEWS, COUNTED] {
            kafka.create_topic(topic, partitions as u32, &[]).unwrap_or_else(|error| panic!("{error}"));
        }
        let workers = Deployment::new(program, &kafka);
        Self { workers, offsets: Offsets::of(&kafka, GROUP, VIEWS, partitions), partitions, kafka }
    }

    /// The same with a flag for every worker.
    pub fn flag(mut self, name: &str, value: &str) -> Self {
        self.workers = self.workers.flag(name, value);
        self
    }

    /// The table as HTTP shows it: each key asked from one worker after the other until one has it.
    #[track_caller]
    pub fn table(&self, workers: &[&Worker], keys: &[String]) -> Counts {
        let mut rows = Counts::new();
        for key in keys {
            let short: String = key.chars().take(40).collect();
            let row = wait::until(format_args!("somebody has the row {short:?}"), || {
                let mut refused = Vec::new();
                for worker in workers {
                    match worker.row(TABLE, key) {
                        row @ (Row::Is(_) | Row::NoSuchKey) => return Ok(row),
                        other => refused.push(other),
                    }
                }
                Err(format!("{refused:?}"))
            });
            if let Row::Is(count) = row {
                rows.insert(key.clone(), count.parse().expect("a count"));
            }
        }
        rows
    }

    /// The table as the changelog has it.
    #[track_caller]
    pub fn changelog(&self) -> Counts {
        let values: BTreeMap<String, String> = changelog::last_values(&self.kafka, CHANGELOG, self.partitions);
        values.into_iter().map(|(key, value)| (key, value.parse().expect("a count"))).collect()
    }

    /// Waits until these workers have all partitions evenly among them, and all run.
    #[track_caller]
    pub fn until_shared(&self, workers: &[&Worker]) {
        wait::until("the workers share all partitions", || {
            let states: Vec<_> = workers.iter().map(|worker| worker.pages().state()).collect::<Result<_, _>>()?;
            let mut all: Vec<i32> = states.iter().flat_map(|state| state.partitions()).collect();
            all.sort_unstable();
            let shared = all == (0..self.partitions).collect::<Vec<_>>()
                && states.iter().all(|state| state.ready && state.partitions().len() >= all.len() / workers.len());
            let seen = || states.iter().map(|state| (state.partitions(), state.ready, state.waiting.clone())).collect::<Vec<_>>();
            if shared { Ok(()) } else { Err(format!("{:?}", seen())) }
        });
    }
}
