//! Whether an object has to be applied: an apply that changes nothing is a write as well, and there are to be none at rest.
//!
//! It differs where the live object lacks something of ours, or has something that we applied once and don't want any more. What the
//! API server or others added is none of our business. Quantities are compared by value, lists of maps by their keys.

mod owned;

#[cfg(test)]
mod on_apiserver;
#[cfg(test)]
mod tests;

use serde_json::Value;

use crate::quantity::nanos;

/// `live` comes with its managed fields; `manager` is who applies `desired`.
pub fn differs(desired: &Value, live: &Value, manager: &str) -> bool {
    let Some(fields) = owned::fields(live, manager) else { return true };
    !holds(desired, live, &[]) || owned::has_more(fields, desired)
}

/// Whether everything in `desired` is in `live`.
fn holds<'a>(desired: &'a Value, live: &Value, path: &[&'a str]) -> bool {
    match (desired, live) {
        (Value::Object(_), Value::Object(_)) if is_one_value(path) => desired == live,
        (Value::Object(wanted), Value::Object(has)) => wanted.iter().all(|(name, wanted)| {
            let path = [path, &[name.as_str()]].concat();
            match has.get(name) {
                Some(has) => holds(wanted, has, &path),
                // The API server doesn't write down what is empty.
                None => is_empty(wanted),
            }
        }),
        (Value::Array(wanted), Value::Array(has)) => {
            let name = path.last().copied().unwrap_or_default();
            if let Some(keys) = list_keys(name, wanted) {
                return wanted.iter().all(|item| has.iter().any(|other| same_keys(keys, item, other) && holds(item, other, path)));
            }
            wanted.len() == has.len() && wanted.iter().zip(has).all(|(wanted, has)| holds(wanted, has, path))
        }
        (Value::Null, _) => true,
        (Value::String(wanted), Value::String(has)) => wanted == has || is_quantity(path) && nanos(wanted) == nanos(has),
        _ => desired == live,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(is_empty),
    }
}

/// Maps where a name more changes what all of it means.
fn is_one_value(path: &[&str]) -> bool {
    path.last().is_some_and(|name| ["selector", "matchLabels", "nodeSelector"].contains(name))
}

fn is_quantity(path: &[&str]) -> bool {
    match path {
        [.., "requests" | "limits" | "overhead", _] => true,
        [.., last] => ["sizeLimit", "divisor"].contains(last),
        [] => false,
    }
}

/// What tells the items of a list apart, where the API server merges them one by one; None for a list that is one value.
fn list_keys(name: &str, items: &[Value]) -> Option<&'static [&'static str]> {
    Some(match name {
        "containers"
        | "initContainers"
        | "ephemeralContainers"
        | "env"
        | "volumes"
        | "imagePullSecrets"
        | "resourceClaims"
        | "schedulingGates"
        | "claims" => &["name"],
        "volumeMounts" => &["mountPath"],
        "volumeDevices" => &["devicePath"],
        "ports" if items.iter().any(|item| item.get("containerPort").is_some()) => &["containerPort", "protocol"],
        "ports" => &["port", "protocol"],
        "topologySpreadConstraints" => &["topologyKey", "whenUnsatisfiable"],
        "ownerReferences" => &["uid"],
        "hostAliases" => &["ip"],
        _ => return None,
    })
}

fn same_keys(keys: &[&str], one: &Value, other: &Value) -> bool {
    keys.iter().all(|key| key_of(one, key) == key_of(other, key))
}

/// One key has a default, which a manifest may leave out.
fn key_of(item: &Value, key: &str) -> Option<Value> {
    match item.get(key) {
        None if key == "protocol" => Some("TCP".into()),
        value => value.cloned(),
    }
}
