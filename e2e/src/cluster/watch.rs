//! Everything that happened to objects, in its order: `kubectl get --watch`.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io::BufReader;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use faust_testbed::spawn_bound_to_us;
use serde::Deserialize;
use serde_json::Value;

use super::Stage;
use crate::wait;

/// A kind of object in the test's namespace, watched from the start of the value until it is dropped.
pub struct Watch {
    kind: &'static str,
    child: Child,
    changes: Arc<Mutex<Vec<Change>>>,
}

#[derive(Clone, Debug)]
pub struct Change {
    /// `ADDED`, `MODIFIED` or `DELETED`.
    pub what: String,
    pub object: Value,
    /// When we heard of it.
    pub at: Instant,
}

/// As kubectl prints it.
#[derive(Deserialize)]
struct Event {
    #[serde(rename = "type")]
    what: String,
    object: Value,
}

impl Watch {
    #[track_caller]
    pub fn start(stage: &Stage, kind: &'static str) -> Self {
        let arguments = ["--namespace", &stage.namespace, "get", kind, "--watch", "--output-watch-events", "--output", "json"];
        let mut command = stage.cluster.kubectl_command(arguments).unwrap_or_else(|error| panic!("{error}"));
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = spawn_bound_to_us(command).unwrap_or_else(|error| panic!("kubectl get --watch did not start: {error}"));
        let said = child.stdout.take().expect("piped");
        let changes: Arc<Mutex<Vec<Change>>> = Arc::default();
        let seen = changes.clone();
        #[expect(
            clippy::disallowed_methods,
            reason = "a program's output has to be read while it runs, in real time; there is no runtime"
        )]
        std::thread::spawn(move || {
            // Ends with the program, in the middle of an object if it has to.
            let events = serde_json::Deserializer::from_reader(BufReader::new(said)).into_iter::<Event>();
            for Event { what, object } in events.map_while(Result::ok) {
                seen.lock().unwrap().push(Change { what, object, at: Instant::now() });
            }
        });
        Self { kind, child, changes }
    }

    /// Of pods that are there; they have been seen when this returns.
    #[track_caller]
    pub fn of_pods(stage: &Stage, pods: &[String]) -> Self {
        let watch = Self::start(stage, "pods");
        for pod in pods {
            watch.until(format_args!("{pod} is seen"), |change| change.object["metadata"]["name"] == pod.as_str());
        }
        watch
    }

    /// What was seen so far.
    pub fn changes(&self) -> Vec<Change> {
        self.changes.lock().unwrap().clone()
    }

    /// Waits for a change; those that were seen already count.
    #[track_caller]
    pub fn until(&self, what: impl Display, is_it: impl Fn(&Change) -> bool) {
        wait::until(what, || {
            let changes = self.changes.lock().unwrap();
            let last = || changes.last().map(|change| format!("{} {}", change.what, change.object["metadata"]["name"]));
            if changes.iter().any(&is_it) {
                Ok(())
            } else {
                Err(format!("{} changes of {}, the last {:?}", changes.len(), self.kind, last()))
            }
        });
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How many of these pods were not ready at the worst moment, a pod that is on its way out among them; with what was seen up to then.
/// All of them were ready when the watch began.
pub fn most_unready(changes: &[Change], pods: &[String]) -> (usize, Vec<String>) {
    let mut ready: BTreeMap<&str, bool> = pods.iter().map(|pod| (pod.as_str(), true)).collect();
    let (mut most, mut story, mut worst) = (0, Vec::new(), Vec::new());
    for Change { what, object, .. } in changes {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let Some(known) = ready.get_mut(name) else { continue };
        let now = what != "DELETED" && is_ready(object);
        if *known != now {
            *known = now;
            story.push(format!("{name} {}", if now { "ready" } else { "not ready" }));
        }
        let unready = ready.values().filter(|ready| !**ready).count();
        if unready > most {
            (most, worst) = (unready, story.clone());
        }
    }
    (most, worst)
}

/// How long each of these pods took from being made, while it was watched, to being ready; the longest if it was made more than once.
pub fn times_to_ready(changes: &[Change], pods: &[String]) -> BTreeMap<String, Duration> {
    let mut made: BTreeMap<&str, Instant> = BTreeMap::new();
    let mut times = BTreeMap::new();
    for change in changes {
        let name = change.object["metadata"]["name"].as_str().unwrap_or_default();
        if change.what == "ADDED" && !is_ready(&change.object) {
            made.insert(name, change.at);
        } else if is_ready(&change.object)
            && pods.iter().any(|pod| pod == name)
            && let Some(begin) = made.remove(name)
        {
            let time = times.entry(name.to_owned()).or_default();
            *time = (change.at - begin).max(*time);
        }
    }
    times
}

/// Whether a pod serves and is to stay.
pub fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    let ready = conditions.into_iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
    ready && pod["metadata"]["deletionTimestamp"].is_null()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[expect(clippy::disallowed_methods, reason = "a change has a time, which these tests don't look at")]
    fn change(what: &str, name: &str, ready: &str) -> Change {
        let object = json!({ "metadata": { "name": name }, "status": { "conditions": [{ "type": "Ready", "status": ready }] } });
        Change { what: what.into(), object, at: Instant::now() }
    }

    #[test]
    fn two_pods_that_are_down_at_once_are_seen_and_one_after_the_other_is_one() {
        let pods = ["a-0".to_string(), "a-1".to_string()];
        let one = [
            change("DELETED", "a-1", "True"),
            change("ADDED", "a-1", "False"),
            change("MODIFIED", "a-1", "True"),
            change("MODIFIED", "a-0", "False"),
            change("MODIFIED", "b-0", "False"),
            change("MODIFIED", "a-0", "True"),
        ];
        assert_eq!(most_unready(&one, &pods).0, 1);
        let two = [change("DELETED", "a-1", "True"), change("MODIFIED", "a-0", "False"), change("MODIFIED", "a-0", "True")];
        assert_eq!(most_unready(&two, &pods), (2, vec!["a-1 not ready".to_string(), "a-0 not ready".to_string()]));
    }
}
