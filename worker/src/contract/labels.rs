//! The labels of the worker's pod, from the file that Kubernetes' downward API writes.

use crate::cli::{ExitReason, Refusal};
use crate::settings::Resolved;

const ZONE: &str = "topology.kubernetes.io/zone";

/// The zone that the worker runs in, where the cluster puts it on pods.
pub(crate) fn zone(settings: &Resolved) -> Result<Option<String>, Refusal> {
    let Some(path) = &settings.pod_labels_file else { return Ok(None) };
    let labels = std::fs::read_to_string(path).map_err(|error| {
        let sentence =
            format!("setting `pod-labels-file`: {} can't be read: {error}; mount the pod's labels there", path.display());
        Refusal::new(ExitReason::SettingRefused, sentence).about("settings.pod-labels-file")
    })?;
    Ok(label(&labels, ZONE))
}

/// A label's value in lines of `key="value"`, where values are quoted as in Go; an empty one counts as none.
fn label(lines: &str, key: &str) -> Option<String> {
    let quoted = lines.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
    // A label's value has nothing in it that Go and JSON quote differently.
    serde_json::from_str(quoted).ok().filter(|value: &String| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_found_in_what_the_downward_api_writes() {
        let labels = "app.kubernetes.io/name=\"page-views\"\ntopology.kubernetes.io/zone=\"eu-1a\"\nempty=\"\"\n";
        assert_eq!(label(labels, ZONE).as_deref(), Some("eu-1a"));
        assert_eq!((label(labels, "topology.kubernetes.io"), label(labels, "empty"), label("", ZONE)), (None, None, None));
    }
}
