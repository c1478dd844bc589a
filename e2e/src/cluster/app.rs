//! The example as a FaustApp: applied, changed, looked at.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use faust_testbed::Cluster;
use serde_json::{Value, json};

use super::Stage;
use super::watch::is_ready;
use crate::oracle::Counts;
use crate::page_views::TABLE;
use crate::pages::{Pages, Row, State};
use crate::wait;

const EXAMPLE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/page_views/faustapp.yaml"));

/// examples/page_views/faustapp.yaml, with this cluster's image and Kafka, and changes as a merge patch.
pub fn manifest(cluster: &Cluster, change: Value) -> Value {
    let mut manifest: Value = serde_yaml::from_str(EXAMPLE).expect("the example is YAML");
    manifest["spec"]["image"] = json!(cluster.image("page-views"));
    manifest["spec"]["kafka"]["bootstrapServers"] = json!(cluster.kafka_in_pods());
    merge(&mut manifest, change);
    manifest
}

/// RFC 7386: null removes.
fn merge(target: &mut Value, change: Value) {
    let Value::Object(change) = change else {
        *target = change;
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in change {
        match value {
            Value::Null => drop(target.as_object_mut().expect("just made one").remove(&key)),
            value => merge(&mut target[key.as_str()], value),
        }
    }
}

/// A FaustApp in the test's namespace.
pub struct App<'a> {
    stage: &'a Stage,
    pub name: String,
}

/// A condition that is about the spec as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    pub status: String,
    pub reason: String,
    pub message: String,
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.status, self.reason, self.message)
    }
}

/// A claim of a pod's volume, and the volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    pub name: String,
    pub uid: String,
    pub volume: String,
}

/// A pod as Kubernetes has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    pub name: String,
    pub uid: String,
    pub restarts: u64,
    pub ready: bool,
    pub container: Option<String>,
}

impl<'a> App<'a> {
    /// `kubectl apply` of the example, changed.
    #[track_caller]
    pub fn apply(stage: &'a Stage, change: Value) -> Self {
        let manifest = manifest(&stage.cluster, change);
        let name = manifest["metadata"]["name"].as_str().expect("a name").to_owned();
        stage.apply(&manifest.to_string());
        Self { stage, name }
    }

    /// A merge patch.
    #[track_caller]
    pub fn patch(&self, change: &Value) {
        let arguments = ["--namespace", &self.stage.namespace, "patch", "faustapp", &self.name, "--type=merge", "--patch"];
        let change = change.to_string();
        let arguments = arguments.into_iter().chain([change.as_str()]);
        self.stage.cluster.kubectl(arguments).unwrap_or_else(|error| panic!("{error}"));
    }

    /// `kubectl wait`, as a person would.
    #[track_caller]
    pub fn wait_ready(&self) {
        self.stage.kubectl(&format!("wait --for=condition=Ready faustapp/{} --timeout=60s", self.name));
    }

    pub fn object(&self) -> Result<Value, String> {
        self.stage.try_json(&format!("get faustapp {}", self.name))
    }

    /// None when it isn't there or is about an older spec.
    pub fn condition(&self, kind: &str) -> Result<Option<Condition>, String> {
        let app = self.object()?;
        let conditions = app["status"]["conditions"].as_array().into_iter().flatten();
        let found = conditions
            .into_iter()
            .find(|condition| condition["type"] == kind && condition["observedGeneration"] == app["metadata"]["generation"]);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Ok(found.map(|found| Condition {
            status: text(&found["status"]),
            reason: text(&found["reason"]),
            message: text(&found["message"]),
        }))
    }

    /// Waits for a condition with this status and reason, about the spec as it is now.
    #[track_caller]
    pub fn until_condition(&self, kind: &str, status: &str, reason: &str) -> Condition {
        wait::until(format_args!("{}: condition {kind} is {status} with reason {reason}", self.name), || {
            let condition = self.condition(kind)?.ok_or_else(|| format!("no condition {kind} of this generation"))?;
            if (condition.status.as_str(), condition.reason.as_str()) == (status, reason) {
                Ok(condition)
            } else {
                Err(condition.to_string())
            }
        })
    }

    /// Waits until a roll has ended well: every pod is of the target revision, and nothing is under way.
    #[track_caller]
    pub fn until_rolled(&self) {
        wait::within(
            2 * wait::LIMIT,
            format_args!("{} is ready, every pod of the revision that the spec asks for", self.name),
            || {
                let app = self.object()?;
                let (status, wanted) = (&app["status"], &app["spec"]["replicas"]);
                let ready = self.condition("Ready")?.is_some_and(|ready| ready.status == "True" && ready.reason == "AsWanted");
                let done = ready
                    && status["revision"]["target"] == status["revision"]["stable"]
                    && status["updatedReplicas"] == *wanted
                    && status["readyReplicas"] == *wanted
                    && status["operation"].is_null();
                if done { Ok(()) } else { Err(status.to_string()) }
            },
        );
    }

    /// By name.
    pub fn try_pods(&self) -> Result<Vec<Pod>, String> {
        let pods = self.stage.try_list(&format!("get pods --selector app.kubernetes.io/instance={}", self.name))?;
        Ok(pods.iter().map(Pod::of).collect())
    }

    #[track_caller]
    pub fn pods(&self) -> Vec<Pod> {
        self.try_pods().unwrap_or_else(|error| panic!("{error}"))
    }

    #[track_caller]
    pub fn pod(&self, ordinal: usize) -> Pod {
        let name = self.pod_name(ordinal);
        self.pods().into_iter().find(|pod| pod.name == name).unwrap_or_else(|| panic!("there is no pod {name}"))
    }

    pub fn pod_name(&self, ordinal: usize) -> String {
        format!("{}-{ordinal}", self.name)
    }

    pub fn pod_names(&self, count: usize) -> Vec<String> {
        (0..count).map(|ordinal| self.pod_name(ordinal)).collect()
    }

    /// Of a pod's volume, which outlives the pod.
    pub fn claim(&self, ordinal: usize) -> Result<Claim, String> {
        let claim = self.stage.try_json(&format!("get persistentvolumeclaim data-{}", self.pod_name(ordinal)))?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (metadata, spec) = (&claim["metadata"], &claim["spec"]);
        Ok(Claim { name: text(&metadata["name"]), uid: text(&metadata["uid"]), volume: text(&spec["volumeName"]) })
    }

    pub fn pages(&self, ordinal: usize) -> Pages {
        self.stage.proxy.pages(&self.stage.namespace, &self.pod_name(ordinal))
    }

    /// Waits until this many pods have all partitions evenly among them; the partitions of each.
    #[track_caller]
    pub fn until_shared(&self, pods: usize, partitions: i32) -> Vec<Vec<i32>> {
        wait::until(format_args!("{pods} pods of {} share {partitions} partitions", self.name), || {
            let states = self.states(pods)?;
            let each: Vec<Vec<i32>> = states.iter().map(State::partitions).collect();
            let mut all = each.concat();
            all.sort_unstable();
            let shared = all == (0..partitions).collect::<Vec<_>>()
                && states.iter().all(|state| state.ready && state.partitions().len() >= all.len() / states.len());
            if shared {
                Ok(each)
            } else {
                Err(format!("{:?}", states.iter().map(|state| (state.ready, state.partitions())).collect::<Vec<_>>()))
            }
        })
    }

    /// Waits until a copy of each partition's table is kept by another pod than has the partition, and no copy lacks anything. That is for
    /// a time in which no records flow.
    #[track_caller]
    pub fn until_copied(&self, pods: usize, partitions: i32) {
        wait::until(format_args!("each of {partitions} partitions of {} has a copy that lacks nothing", self.name), || {
            let states = self.states(pods)?;
            let mut copied: Vec<i32> = states.iter().flat_map(State::standbys).collect();
            copied.sort_unstable();
            let tasks = || states.iter().flat_map(|state| &state.tasks);
            let done = copied == (0..partitions).collect::<Vec<_>>()
                && states.iter().all(|state| state.caught_up)
                && tasks().all(|task| task.copy_lag == Some(0));
            let seen = || tasks().map(|task| (task.partition(), &task.role, &task.stage, task.copy_lag)).collect::<Vec<_>>();
            if done { Ok(()) } else { Err(format!("{:?}", seen())) }
        });
    }

    fn states(&self, pods: usize) -> Result<Vec<State>, String> {
        (0..pods).map(|ordinal| self.pages(ordinal).state()).collect()
    }

    /// The table as HTTP shows it: each key asked from one pod after the other until one has it.
    #[track_caller]
    pub fn table(&self, pods: usize, keys: &[String]) -> Counts {
        let pages: Vec<Pages> = (0..pods).map(|ordinal| self.pages(ordinal)).collect();
        let row = |key: &String| {
            let short: String = key.chars().take(40).collect();
            wait::until(format_args!("some pod has the row {short:?}"), || {
                let mut refused = Vec::new();
                for pages in &pages {
                    match pages.row(TABLE, key.as_bytes())? {
                        row @ (Row::Is(_) | Row::NoSuchKey) => return Ok(row),
                        other => refused.push(other),
                    }
                }
                Err(format!("{refused:?}"))
            })
        };
        let rows: BTreeMap<String, Row> = keys.iter().map(|key| (key.clone(), row(key))).collect();
        let counts = rows.into_iter().filter_map(|(key, row)| match row {
            Row::Is(count) => Some((key, count.parse().expect("a count"))),
            _ => None,
        });
        counts.collect()
    }

    /// A row as one pod tells it, from a copy if it doesn't have it, or not yet, which may be older; or why it doesn't tell it now.
    pub fn row_or_copy(&self, ordinal: usize, key: &str) -> Result<Option<u64>, String> {
        let key = URL_SAFE_NO_PAD.encode(key);
        match self.pages(ordinal).get(&format!("/tables/{TABLE}?key64={key}&stale=true"))? {
            (200, count) => Ok(Some(count.parse().expect("a count"))),
            (404, _) => Ok(None),
            refused => Err(format!("{refused:?}")),
        }
    }
}

impl Pod {
    fn of(pod: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let container = &pod["status"]["containerStatuses"][0];
        Self {
            name: text(&pod["metadata"]["name"]),
            uid: text(&pod["metadata"]["uid"]),
            restarts: container["restartCount"].as_u64().unwrap_or_default(),
            ready: is_ready(pod),
            container: container["containerID"].as_str().map(str::to_owned),
        }
    }
}
