//! `spec.settings` and `spec.kafka.properties`: the worker judges them; what another field or the operator sets is refused here.

use faust_crds::Properties;
use serde_json::Value;

use super::{ADMIN_PORT, Refused, WEB_PORT};

/// As the worker and its Kafka client take them: in text.
pub fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

pub(super) fn check_settings(settings: &Properties) -> Result<(), Refused> {
    for name in settings.keys() {
        let instead = match name.as_str() {
            "broker" => "use spec.kafka.bootstrapServers",
            "kafka" => "use spec.kafka.properties",
            "commit-interval" => "use spec.processing.commitInterval",
            "standby-replicas" => "use spec.standbyReplicas",
            "shutdown-timeout" => "use spec.rollout.drainTimeout",
            "datadir" => "it is where the volume of spec.storage is mounted",
            "topic-management" => "the operator manages the topics",
            "instance-id" => "it is the pod's name",
            "advertised-address" => "it is the pod's name in the Service",
            "node" => "it is the node that the pod runs on",
            "web-host" => "probes and other workers have to reach it; it is 0.0.0.0",
            "pod-labels-file" | "config" => "the operator mounts that file",
            name if name.starts_with("admin-") => "that server is for the operator",
            _ => continue,
        };
        return Err(Refused::invalid(format!("spec.settings.{name}: remove it: {instead}")));
    }
    Ok(())
}

pub(super) fn web_port(settings: &Properties) -> Result<u16, Refused> {
    let Some(value) = settings.get("web-port") else { return Ok(WEB_PORT) };
    let port = text(value).parse().ok().filter(|port| *port != 0 && *port != ADMIN_PORT);
    port.ok_or_else(|| {
        let value = text(value);
        Refused::invalid(format!("spec.settings.web-port: `{value}` is no port from 1 to 65535 other than {ADMIN_PORT}"))
    })
}

pub(super) fn check_kafka(properties: &Properties) -> Result<(), Refused> {
    for name in properties.keys() {
        let lower = name.to_lowercase();
        if lower == "security.protocol" || lower.starts_with("ssl.") || lower.starts_with("sasl.") {
            return Err(Refused::not_supported(format!("spec.kafka.properties.{name}: TLS or SASL")));
        }
        if let Some(instead) = owned(&lower) {
            return Err(Refused::invalid(format!("spec.kafka.properties.{name}: remove it: {instead}")));
        }
    }
    Ok(())
}

/// What the worker sets in its client and would refuse to be told, as it does by `--kafka`: told here, no pod has to start for it.
fn owned(name: &str) -> Option<&'static str> {
    Some(match name {
        "bootstrap.servers" | "metadata.broker.list" => "use spec.kafka.bootstrapServers",
        "group.id" => "use spec.appId",
        "session.timeout.ms" | "heartbeat.interval.ms" | "message.timeout.ms" | "delivery.timeout.ms" => {
            "use spec.settings.session-timeout, of which it is a part"
        }
        "queued.max.messages.kbytes" | "queued.min.messages" | "fetch.message.max.bytes" | "max.partition.fetch.bytes" => {
            "use spec.settings.fetch-memory, which is shared out over the partitions"
        }
        "client.id" => "the worker sets it for each client",
        "enable.auto.commit" | "auto.commit.enable" | "enable.auto.offset.store" => "the worker commits what it has processed",
        "auto.offset.reset" => "the worker decides where a partition starts",
        "enable.partition.eof" => "the worker knows the ends of partitions by itself",
        "enable.idempotence" => "without it an old row could win over a newer one",
        "isolation.level" => "uncommitted records must not be read",
        "group.instance.id" | "group.protocol" | "partition.assignment.strategy" => "the worker is the member of the group itself",
        "transactional.id" => "the worker makes the transactions",
        "partitioner" => "rows are found by Kafka's murmur2",
        "allow.auto.create.topics" => "topics are never made by asking for them",
        _ => return None,
    })
}
