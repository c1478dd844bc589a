//! Pieces of schema that a derive can't know. Everything is bounded: CEL's cost is computed from the bounds.

use schemars::{Schema, SchemaGenerator, json_schema};

/// Any object, kept as it is.
pub fn open_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true })
}

/// A string in Go's duration syntax.
pub fn duration(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "maxLength": 32, "pattern": "^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$" })
}

/// A Kubernetes quantity: string or integer, as in core types.
pub fn quantity(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "x-kubernetes-int-or-string": true, "maxLength": 32,
        "pattern": "^(\\+|-)?(([0-9]+(\\.[0-9]*)?)|(\\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\\+|-)?(([0-9]+(\\.[0-9]*)?)|(\\.[0-9]+))))?$"
    })
}

/// Values by name. An integer may be longer than 32 bits (`retention.ms`), which core's int-or-string type can't hold.
pub fn properties(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object", "maxProperties": 64,
        "additionalProperties": { "x-kubernetes-int-or-string": true, "maxLength": 4096 }
    })
}

/// Labels or annotations.
pub fn string_map(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "maxProperties": 64, "additionalProperties": { "type": "string", "maxLength": 4096 } })
}
