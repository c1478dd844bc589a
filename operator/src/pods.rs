//! One pod as the roller sees it: which one it is, whether it serves, and what is wrong with it in the words of who knows.

use k8s_openapi::api::core::v1::{ContainerState, ContainerStateTerminated, ContainerStatus, Pod};
use serde::Deserialize;

use crate::model::{Cluster, Draining, Reason, WorkerState};

/// The label in which a pod, and the template that it was made from, carry their revision.
pub const REVISION_LABEL: &str = "faust.dev/revision";

/// One pod of an application.
#[derive(Clone, Debug, PartialEq)]
pub struct PodFacts {
    pub name: String,
    pub ordinal: u32,
    pub uid: String,
    /// Empty when it carries none: then it is nobody's idea of up to date.
    pub revision: String,
    pub deleting: bool,
    /// The kubelet's word.
    pub ready: bool,
    pub running: bool,
    /// What its worker told; None when it didn't answer.
    pub worker: Option<WorkerState>,
    pub trouble: Option<Trouble>,
}

/// What keeps a pod from working, and what is known of the cause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    pub reason: Reason,
    pub message: String,
}

/// The pods that the StatefulSet of an application made, by ordinal.
pub fn of(app: &str, cluster: &Cluster) -> Vec<PodFacts> {
    let facts = |pod: &Pod| {
        let worker = cluster.workers.get(pod.metadata.name.as_deref()?);
        PodFacts::of(pod, worker).filter(|facts| facts.name == format!("{app}-{}", facts.ordinal))
    };
    let mut pods: Vec<_> = cluster.pods.iter().filter_map(facts).collect();
    pods.sort_by_key(|pod| pod.ordinal);
    pods
}

/// The revision that a pod was made from.
pub fn revision(pod: &Pod) -> Option<&str> {
    pod.metadata.labels.as_ref()?.get(REVISION_LABEL).map(String::as_str)
}

/// Where a pod's worker answers, once the pod has an address.
pub fn web_address(pod: &Pod) -> Option<String> {
    address(pod, "web")
}

/// Where it takes orders.
pub fn admin_address(pod: &Pod) -> Option<String> {
    address(pod, "admin")
}

fn address(pod: &Pod, port: &str) -> Option<String> {
    let ip = pod.status.as_ref()?.pod_ip.as_deref().filter(|ip| !ip.is_empty())?;
    let mut ports = pod.spec.as_ref()?.containers.iter().flat_map(|container| container.ports.iter().flatten());
    let number = ports.find(|found| found.name.as_deref() == Some(port))?.container_port;
    Some(if ip.contains(':') { format!("[{ip}]:{number}") } else { format!("{ip}:{number}") })
}

impl PodFacts {
    /// None when the pod's name doesn't end in an ordinal: then no StatefulSet made it.
    pub fn of(pod: &Pod, worker: Option<&WorkerState>) -> Option<Self> {
        let name = pod.metadata.name.clone()?;
        let ordinal = name.rsplit_once('-')?.1.parse().ok()?;
        let status = pod.status.as_ref();
        let condition = |kind: &str| status?.conditions.as_ref()?.iter().find(|condition| condition.type_ == kind);
        let ready = condition("Ready").is_some_and(|condition| condition.status == "True");
        let trouble = if ready {
            None
        } else if let Some(refused) = condition("PodScheduled").filter(|condition| condition.status == "False") {
            Some(Trouble::new(Reason::Unschedulable, refused.message.clone().unwrap_or_default()))
        } else {
            let containers = status.map(|status| [&status.init_container_statuses, &status.container_statuses]);
            let mut containers = containers.into_iter().flatten().flatten().flatten();
            containers.find_map(|container| of_container(container, worker.is_some()))
        };
        Some(Self {
            ordinal,
            uid: pod.metadata.uid.clone().unwrap_or_default(),
            revision: revision(pod).unwrap_or_default().to_string(),
            deleting: pod.metadata.deletion_timestamp.is_some(),
            ready,
            running: status.and_then(|status| status.phase.as_deref()) == Some("Running"),
            worker: worker.cloned(),
            trouble,
            name,
        })
    }

    /// Whether it may be counted on while another pod goes down.
    pub fn available(&self) -> bool {
        self.serves() && self.worker.as_ref().is_some_and(|worker| worker.caught_up)
    }

    /// Whether it serves, as far as the kubelet can tell.
    pub fn serves(&self) -> bool {
        self.ready && !self.deleting
    }

    /// Whether its worker was told to give its partitions away; such a worker joins no more.
    pub fn draining(&self) -> Option<Draining> {
        self.worker.as_ref().and_then(|worker| worker.draining)
    }
}

impl Trouble {
    fn new(reason: Reason, message: String) -> Self {
        Self { reason, message }
    }
}

fn of_container(container: &ContainerStatus, answers: bool) -> Option<Trouble> {
    let empty = ContainerState::default();
    let state = container.state.as_ref().unwrap_or(&empty);
    let ended = container.last_state.as_ref().and_then(|state| state.terminated.as_ref());
    if let Some(waiting) = &state.waiting {
        let message = waiting.message.clone().unwrap_or_default();
        return match waiting.reason.as_deref().unwrap_or_default() {
            "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull" | "RegistryUnavailable" => {
                Some(Trouble::new(Reason::ImagePullFailed, pull_failure(&container.image, &message)))
            }
            "CrashLoopBackOff" => Some(ended.map_or_else(|| Trouble::new(Reason::CrashLooping, message), of_end)),
            "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" | "StartError" => {
                Some(Trouble::new(Reason::PodStarting, message))
            }
            _ => None,
        };
    }
    let ended = match &state.terminated {
        Some(ended) => Some(ended),
        // Between two crashes the container runs for a moment. That alone is no recovery; a worker that answers is.
        None if !answers => ended,
        None => None,
    };
    ended.filter(|ended| ended.exit_code != 0).map(of_end)
}

/// The kubelet's two sentences for one failure, "… failed to pull" and "Back-off pulling image …: ErrImagePull: … failed to pull", take
/// turns with each attempt; what they share is kept, so that status doesn't change with them.
fn pull_failure(image: &str, message: &str) -> String {
    let cause = message.split_once("ErrImagePull: ").map_or(message, |(_, cause)| cause);
    format!("image {image} can't be pulled: {cause}")
}

/// What a worker that gives up writes as one line to its termination log.
#[derive(Deserialize)]
struct LastWords {
    reason: String,
    message: String,
    field: Option<String>,
}

fn of_end(ended: &ContainerStateTerminated) -> Trouble {
    let text = ended.message.as_deref().unwrap_or_default().trim();
    // Kubernetes hands out the last lines of the log when nothing was written to the termination log.
    let last = text.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    let Ok(words) = serde_json::from_str::<LastWords>(last) else {
        let why = ended.reason.as_deref().filter(|reason| *reason != "Error").map(|reason| format!(" ({reason})"));
        let tail: String = last.chars().take(400).collect();
        let sentence = format!("the worker ended with exit code {}{}", ended.exit_code, why.unwrap_or_default());
        return Trouble::new(Reason::CrashLooping, if tail.is_empty() { sentence } else { format!("{sentence}: {tail}") });
    };
    let reason = match words.reason.as_str() {
        "TopologyRefused" => Reason::TopologyMismatch,
        _ => Reason::WorkerRefused,
    };
    let field = words.field.filter(|field| !field.is_empty() && !words.message.contains(field.as_str()));
    Trouble::new(reason, field.map_or(words.message.clone(), |field| format!("{field}: {}", words.message)))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(status: Value) -> PodFacts {
        let pod = json!({"metadata": {"name": "page-views-2", "uid": "u", "labels": {REVISION_LABEL: "r1"}}, "status": status});
        PodFacts::of(&serde_json::from_value(pod).unwrap(), None).unwrap()
    }

    fn container(state: Value, last: Value) -> Value {
        let status = json!({"name": "worker", "image": "app:2", "imageID": "", "ready": false, "restartCount": 1, "state": state, "lastState": last});
        json!({"phase": "Running", "containerStatuses": [status]})
    }

    #[test]
    fn the_same_pull_failure_reads_the_same_whichever_way_the_kubelet_puts_it() {
        let first = json!({"waiting": {"reason": "ErrImagePull", "message": "not found"}});
        let later = json!({"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image \"app:2\": ErrImagePull: not found"}});
        let (first, later) = (pod(container(first, json!({}))), pod(container(later, json!({}))));
        assert_eq!(first.trouble, later.trouble);
        assert_eq!(first.trouble, Some(Trouble::new(Reason::ImagePullFailed, "image app:2 can't be pulled: not found".into())));
    }

    #[test]
    fn the_last_words_of_a_worker_are_passed_on() {
        let backoff = json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}});
        let ended = |code: i32, message: &str| {
            pod(container(backoff.clone(), json!({"terminated": {"exitCode": code, "message": message}})))
        };
        let refused = ended(
            78,
            "{\"reason\": \"SettingRefused\", \"message\": \"there is no setting 'brokr'; broker?\", \"field\": \"settings.brokr\"}\n",
        );
        let refused = refused.trouble.unwrap();
        assert_eq!(refused.reason, Reason::WorkerRefused);
        assert_eq!(refused.message, "settings.brokr: there is no setting 'brokr'; broker?");
        let mismatch = ended(78, "log line\n{\"reason\": \"TopologyRefused\", \"message\": \"no table 'x'\", \"field\": null}");
        assert_eq!(mismatch.trouble.unwrap().reason, Reason::TopologyMismatch);
        let crashed = ended(139, "").trouble.unwrap();
        assert_eq!((crashed.reason, crashed.message.as_str()), (Reason::CrashLooping, "the worker ended with exit code 139"));
    }

    #[test]
    fn a_pod_between_two_crashes_is_still_in_trouble_and_a_ready_one_is_not() {
        let last = json!({"terminated": {"exitCode": 1, "message": "boom"}});
        let mut status = container(json!({"running": {}}), last);
        assert_eq!(pod(status.clone()).trouble.map(|trouble| trouble.reason), Some(Reason::CrashLooping));
        status["conditions"] = json!([{"type": "Ready", "status": "True"}]);
        assert_eq!(pod(status).trouble, None);
    }

    #[test]
    fn a_pod_without_a_place_says_why() {
        let status =
            json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "message": "0/1 nodes: cpu"}]});
        assert_eq!(pod(status).trouble, Some(Trouble::new(Reason::Unschedulable, "0/1 nodes: cpu".into())));
    }
}
