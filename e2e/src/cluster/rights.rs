//! What a ClusterRole allows, one verb on one resource at a time, beside what was asked for.

use std::fmt;

use faust_testbed::audit::Request;
use serde_json::Value;

/// One verb on one kind of resource.
pub struct Right {
    group: String,
    resource: String,
    verb: String,
}

/// All that a ClusterRole allows.
pub fn of(role: &Value) -> impl Iterator<Item = Right> {
    fn texts<'a>(rule: &'a Value, key: &str) -> impl Iterator<Item = String> + Clone + 'a {
        rule[key].as_array().map(Vec::as_slice).unwrap_or_default().iter().filter_map(|text| text.as_str().map(str::to_owned))
    }
    let rules = role["rules"].as_array().into_iter().flatten();
    rules.flat_map(|rule| {
        let resources =
            texts(rule, "apiGroups").flat_map(|group| texts(rule, "resources").map(move |resource| (group.clone(), resource)));
        resources.flat_map(|(group, resource)| {
            texts(rule, "verbs").map(move |verb| Right { group: group.clone(), resource: resource.clone(), verb })
        })
    })
}

impl Right {
    /// Whether a request that succeeded needed it.
    pub fn is_used(&self, requests: &[Request]) -> bool {
        let asked = |verb: &str, code: Option<u16>| {
            requests.iter().any(|request| {
                let same = request.group == self.group && request.resource == self.resource && request.verb == verb;
                same && code.map_or(request.code < 400, |code| request.code == code)
            })
        };
        match &*self.verb {
            // Server-side apply of what isn't there yet is a patch that also needs the right to create.
            "create" => asked("create", None) || asked("patch", Some(201)),
            // No request of its own: it is looked for when something is owned with blockOwnerDeletion. The operator's tests of its chart
            // show that this is refused without.
            "update" if self.resource == "faustapps/finalizers" => true,
            verb => asked(verb, None),
        }
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        if self.group.is_empty() { Ok(()) } else { write!(f, ".{}", self.group) }
    }
}
