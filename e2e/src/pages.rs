//! A worker's HTTP pages, as a client reads them.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use ureq::http::Response;

/// The pages of one worker.
pub struct Pages {
    address: String,
    http: ureq::Agent,
}

/// `/state`, as far as the scenarios read it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    pub member: String,
    pub generation: i32,
    pub joined: bool,
    pub rebalances: u64,
    pub ready: bool,
    /// All its tasks run and its copies lack hardly anything.
    pub caught_up: bool,
    pub reason: Option<String>,
    pub waiting: Option<String>,
    pub draining: Option<String>,
    pub tasks: Vec<TaskState>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskState {
    /// `active` or `standby`.
    pub role: String,
    /// What the copy of a standby lacks.
    pub copy_lag: Option<u64>,
    pub stage: String,
    pub problem: Option<String>,
    pub epoch: Option<i64>,
    pub commits: u64,
    pub missed_commits: u64,
    pub starts_over: u64,
    pub inputs: Vec<InputState>,
    pub tables: Vec<TableState>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct InputState {
    pub partition: i32,
    pub records: u64,
    pub committed: Option<i64>,
    pub lag: Option<i64>,
    pub fetches: u64,
    pub dropped: BTreeMap<String, u64>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct TableState {
    pub partition: i32,
    pub changed: u64,
    pub restored: u64,
    pub followed: u64,
    pub stored: Option<i64>,
    pub flushed: Option<i64>,
    pub wiped: BTreeMap<String, u64>,
    /// The one under way.
    pub restore: Option<RestoreState>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RestoreState {
    pub from: i64,
    pub to: i64,
    pub remaining: u64,
    pub records_per_second: Option<f64>,
}

/// A row as a worker answers for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Row {
    Is(String),
    NoSuchKey,
    NotHere,
    /// Ask again after so many seconds.
    NotYet(u64),
}

impl State {
    /// The partitions that this worker has, in order; not those that it keeps copies of.
    pub fn partitions(&self) -> Vec<i32> {
        self.in_role("active")
    }

    /// Those of which it keeps copies.
    pub fn standbys(&self) -> Vec<i32> {
        self.in_role("standby")
    }

    fn in_role(&self, role: &str) -> Vec<i32> {
        let mut partitions: Vec<i32> = self.tasks.iter().filter(|task| task.role == role).map(TaskState::partition).collect();
        partitions.sort_unstable();
        partitions
    }

    pub fn task(&self, partition: i32) -> Option<&TaskState> {
        self.active().find(|task| task.partition() == partition)
    }

    /// Its own tasks, without those of which it keeps copies.
    pub fn active(&self) -> impl Iterator<Item = &TaskState> {
        self.tasks.iter().filter(|task| task.role == "active")
    }

    /// Sum over all tables.
    pub fn restored(&self) -> u64 {
        self.tasks.iter().flat_map(|task| &task.tables).map(|table| table.restored).sum()
    }

    /// Records per second that are being restored now, of all tables together.
    pub fn restore_rate(&self) -> f64 {
        let tables = self.tasks.iter().flat_map(|task| &task.tables);
        tables.filter_map(|table| table.restore.as_ref()?.records_per_second).sum()
    }

    /// Stores emptied and rebuilt, by reason.
    pub fn wiped(&self) -> BTreeMap<String, u64> {
        let mut sum = BTreeMap::new();
        for (reason, n) in self.tasks.iter().flat_map(|task| &task.tables).flat_map(|table| &table.wiped) {
            *sum.entry(reason.clone()).or_default() += n;
        }
        sum
    }

    /// Records not processed, by reason.
    pub fn dropped(&self) -> BTreeMap<String, u64> {
        let mut sum = BTreeMap::new();
        for (reason, n) in self.tasks.iter().flat_map(|task| &task.inputs).flat_map(|input| &input.dropped) {
            *sum.entry(reason.clone()).or_default() += n;
        }
        sum
    }
}

impl TaskState {
    pub fn partition(&self) -> i32 {
        self.inputs[0].partition
    }
}

impl Pages {
    pub fn at(address: String) -> Self {
        let config = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(Duration::from_secs(10)));
        Self { address, http: config.build().into() }
    }

    /// Status and body of a page.
    pub fn get(&self, path: &str) -> Result<(u16, String), String> {
        let answer = self.call(path)?;
        Ok((answer.status().as_u16(), answer.into_body()))
    }

    fn call(&self, path: &str) -> Result<Response<String>, String> {
        let url = format!("{}{path}", self.address);
        let response = self.http.get(&url).call().map_err(|error| format!("{url}: {error}"))?;
        let (head, mut body) = response.into_parts();
        let text = body.read_to_string().map_err(|error| format!("{url}: {error}"))?;
        Ok(Response::from_parts(head, text))
    }

    /// `POST /drain` on the admin server at an address: status and body.
    pub fn drain(&self, admin: &str, token: &str) -> Result<(u16, String), String> {
        let url = format!("{admin}/drain");
        let request = self.http.post(&url).header("authorization", format!("Bearer {token}"));
        let response = request.send(r#"{"mode": "leave", "nonce": "e2e"}"#).map_err(|error| format!("{url}: {error}"))?;
        let (head, mut body) = response.into_parts();
        Ok((head.status.as_u16(), body.read_to_string().map_err(|error| format!("{url}: {error}"))?))
    }

    pub fn state(&self) -> Result<State, String> {
        let (_, body) = self.get("/state")?;
        serde_json::from_str(&body).map_err(|error| format!("/state of {}: {error}: {body}", self.address))
    }

    /// `/readyz`: ready, or why not. The outer error is one of asking.
    pub fn ready(&self) -> Result<Result<(), String>, String> {
        match self.get("/readyz")? {
            (200, _) => Ok(Ok(())),
            (503, sentence) => Ok(Err(sentence)),
            other => Err(format!("/readyz: {other:?}")),
        }
    }

    /// Any key, whatever its bytes.
    pub fn row(&self, table: &str, key: &[u8]) -> Result<Row, String> {
        let key = URL_SAFE_NO_PAD.encode(key);
        let answer = self.call(&format!("/tables/{table}?key64={key}"))?;
        let retry_after = answer.headers().get("retry-after").and_then(|seconds| seconds.to_str().ok()?.parse().ok());
        match (answer.status().as_u16(), retry_after) {
            (200, _) => Ok(Row::Is(answer.into_body())),
            (404, _) => Ok(Row::NoSuchKey),
            (421, _) => Ok(Row::NotHere),
            (503, Some(seconds)) => Ok(Row::NotYet(seconds)),
            (code, _) => Err(format!("/tables/{table}: {code} {}", answer.into_body())),
        }
    }

    /// The sum of a metric's samples.
    pub fn metric(&self, name: &str) -> Result<f64, String> {
        let (_, text) = self.get("/metrics")?;
        let samples = text.lines().filter_map(|line| line.strip_prefix(name)).filter(|rest| rest.starts_with(['{', ' ']));
        Ok(samples.filter_map(|rest| rest.rsplit(' ').next()?.parse::<f64>().ok()).sum())
    }
}
