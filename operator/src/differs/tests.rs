use serde_json::{Value, json};

use super::differs;

fn live(mut object: Value, owned: Value) -> Value {
    object["metadata"]["managedFields"] =
        json!([{ "manager": "us", "operation": "Apply", "fieldsType": "FieldsV1", "fieldsV1": owned }]);
    object
}

#[track_caller]
fn same(desired: Value, has: Value) {
    assert!(!differs(&desired, &live(has.clone(), json!({})), "us"), "{desired} {has}");
}

#[track_caller]
fn other(desired: Value, has: Value) {
    assert!(differs(&desired, &live(has.clone(), json!({})), "us"), "{desired} {has}");
}

#[test]
fn what_the_api_server_adds_or_rewrites_is_no_difference() {
    same(json!({ "a": { "b": 1 } }), json!({ "a": { "b": 1, "default": true }, "status": {} }));
    same(json!({ "limits": { "memory": "1024Mi" } }), json!({ "limits": { "memory": "1Gi" } }));
    same(json!({ "hostNetwork": false, "env": [], "emptyDir": {} }), json!({}));
    same(
        json!({ "ports": [{ "containerPort": 1 }] }),
        json!({ "ports": [{ "containerPort": 1, "protocol": "UDP" }, { "containerPort": 1, "protocol": "TCP" }] }),
    );
    same(json!({ "env": [{ "name": "A", "value": "" }] }), json!({ "env": [{ "name": "B", "value": "1" }, { "name": "A" }] }));
}

#[test]
fn what_was_changed_or_taken_away_is_a_difference() {
    other(json!({ "a": { "b": 1 } }), json!({ "a": { "b": 2 } }));
    other(json!({ "a": { "b": true } }), json!({ "a": {} }));
    other(json!({ "limits": { "memory": "1Gi" } }), json!({ "limits": { "memory": "1G" } }));
    other(json!({ "data": { "x": "1024Mi" } }), json!({ "data": { "x": "1Gi" } }));
    other(json!({ "args": ["worker"] }), json!({ "args": ["worker", "-v"] }));
    other(json!({ "env": [{ "name": "A", "value": "1" }] }), json!({ "env": [{ "name": "B", "value": "1" }] }));
    other(json!({ "selector": { "a": "b" } }), json!({ "selector": { "a": "b", "c": "d" } }));
}

#[test]
fn what_we_applied_and_no_longer_want_is_a_difference() {
    let has = json!({ "spec": { "a": 1, "env": [{ "name": "A", "value": "1" }, { "name": "B" }], "finalizers": ["x"] } });
    let owned = json!({ "f:spec": {
        "f:a": {}, "f:env": { "k:{\"name\":\"A\"}": { ".": {}, "f:name": {}, "f:value": {} } }, "f:finalizers": { "v:\"x\"": {} },
    } });
    let differs = |desired: &Value| differs(desired, &live(has.clone(), owned.clone()), "us");
    let desired = json!({ "spec": { "a": 1, "env": [{ "name": "A", "value": "1" }], "finalizers": ["x"] } });
    assert!(!differs(&desired), "B is another's");
    for pointer in ["/spec/a", "/spec/env/0/value", "/spec/env/0", "/spec/finalizers/0", "/spec/finalizers"] {
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        let mut less = desired.clone();
        match less.pointer_mut(parent).unwrap() {
            Value::Object(fields) => drop(fields.remove(name)),
            Value::Array(items) => drop(items.remove(name.parse().unwrap())),
            _ => unreachable!("{pointer}"),
        }
        assert!(differs(&less), "{pointer}");
    }
}

#[test]
fn an_object_that_we_never_applied_differs() {
    assert!(differs(&json!({ "a": 1 }), &json!({ "a": 1, "metadata": {} }), "us"));
    assert!(differs(&json!({ "a": 1 }), &live(json!({ "a": 1 }), json!({})), "somebody else"));
}
