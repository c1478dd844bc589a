//! What the API server has down as applied by us (`metadata.managedFields`, format `FieldsV1`).

use serde_json::Value;

use super::key_of;

/// Our entry of an object; None if we never applied it.
pub(super) fn fields<'a>(live: &'a Value, manager: &str) -> Option<&'a Value> {
    let entries = live.pointer("/metadata/managedFields")?.as_array()?;
    let ours = |entry: &&Value| entry["manager"] == manager && entry["operation"] == "Apply" && entry.get("subresource").is_none();
    entries.iter().find(ours)?.get("fieldsV1")
}

/// Whether there is something in `fields` that `desired` lacks.
///
/// In `FieldsV1` a name tells what it is: `f:` a field, `k:` an item of a list by its keys in JSON, `v:` an item by its value, `i:` an
/// item by its place, `.` the thing itself. No fields below: the whole of it.
pub(super) fn has_more(fields: &Value, desired: &Value) -> bool {
    fields.as_object().into_iter().flatten().any(|(name, below)| match name.split_once(':') {
        Some((kind, what)) => item(kind, what, desired).is_none_or(|item| has_more(below, item)),
        None => false,
    })
}

fn item<'a>(kind: &str, what: &str, of: &'a Value) -> Option<&'a Value> {
    match kind {
        "f" => of.get(what),
        "k" => {
            let keys: Value = serde_json::from_str(what).ok()?;
            let keys = keys.as_object()?;
            of.as_array()?.iter().find(|item| keys.iter().all(|(key, value)| key_of(item, key).as_ref() == Some(value)))
        }
        "v" => {
            let value: Value = serde_json::from_str(what).ok()?;
            of.as_array()?.iter().find(|item| **item == value)
        }
        "i" => of.get(what.parse::<usize>().ok()?),
        _ => None,
    }
}
