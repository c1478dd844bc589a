//! The API server's audit log, read: who asked for what, and what the answer was.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::Path;

use serde_json::Value;

/// One request that the API server answered, or for a watch: began to answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Who it counts for: the one who was impersonated, if somebody was.
    pub user: String,
    pub agent: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`.
    pub verb: String,
    /// As RBAC writes it: `pods`, `statefulsets/scale`; for what isn't a resource its path.
    pub resource: String,
    pub group: String,
    pub namespace: String,
    pub name: String,
    pub code: u16,
}

impl Request {
    /// Whether it asked for a change, granted or not.
    pub fn writes(&self) -> bool {
        matches!(&*self.verb, "create" | "update" | "patch" | "delete" | "deletecollection")
    }
}

/// The requests in an audit log at level Metadata. A last line that is still being written is left out.
pub fn requests(log: &Path) -> io::Result<Vec<Request>> {
    let text = match fs::read_to_string(log) {
        Err(problem) if problem.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        read => read?,
    };
    let mut seen = HashSet::new();
    let mut requests = Vec::new();
    for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
        let event: Value = serde_json::from_str(line)?;
        // A watch is logged when it begins and again when it ends.
        if seen.insert(event["auditID"].to_string()) {
            requests.push(request(&event));
        }
    }
    Ok(requests)
}

fn request(event: &Value) -> Request {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let object = &event["objectRef"];
    let resource = match (object["resource"].as_str(), object["subresource"].as_str()) {
        (Some(resource), Some(part)) => format!("{resource}/{part}"),
        (Some(resource), None) => resource.to_owned(),
        (None, _) => text(&event["requestURI"]),
    };
    let impersonated = &event["impersonatedUser"]["username"];
    Request {
        user: text(if impersonated.is_string() { impersonated } else { &event["user"]["username"] }),
        agent: text(&event["userAgent"]),
        verb: text(&event["verb"]),
        resource,
        group: text(&object["apiGroup"]),
        namespace: text(&object["namespace"]),
        name: text(&object["name"]),
        code: event["responseStatus"]["code"].as_u64().unwrap_or_default() as u16,
    }
}
