//! Everything that happened to objects, in its order: `kubectl get --watch`.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};

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

#[derive(Clone, Debug, Deserialize)]
pub struct Change {
    /// `ADDED`, `MODIFIED` or `DELETED`.
    #[serde(rename = "type")]
    pub what: String,
    pub object: Value,
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
        #[expect(clippy::disallowed_methods, reason = "a program's output has to be read while it runs; there is no runtime")]
        std::thread::spawn(move || {
            // Ends with the program, in the middle of an object if it has to.
            for change in serde_json::Deserializer::from_reader(said).into_iter::<Change>().map_while(Result::ok) {
                seen.lock().unwrap().push(change);
            }
        });
        Self { kind, child, changes }
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
    for Change { what, object } in changes {
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

    fn change(what: &str, name: &str, ready: &str) -> Change {
        let object = json!({ "metadata": { "name": name }, "status": { "conditions": [{ "type": "Ready", "status": ready }] } });
        Change { what: what.into(), object }
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
