//! A plan as people read it: in logs, and on the screen of `faust-operator plan`.

use std::fmt;

use crate::model::{Action, NewTopic, Plan};

impl Action {
    /// One word, for metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::CreateTopics(_) => "create_topics",
            Self::ConfigureTopic { .. } => "configure_topic",
            Self::Apply(_) => "apply",
            Self::CreateToken(_) => "create_token",
            Self::DeleteConfigMap { .. } => "delete_config_map",
            Self::DeletePod { .. } => "delete_pod",
            Self::Drain { .. } => "drain",
            Self::RemoveMember { .. } => "remove_member",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = |object: &serde_json::Value| {
            let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_string();
            format!("{} {}", text(&object["kind"]), text(&object["metadata"]["name"]))
        };
        match self {
            Self::CreateTopics(topics) => {
                let topics: Vec<String> = topics.iter().map(NewTopic::to_string).collect();
                write!(f, "create in Kafka: {}", topics.join("; "))
            }
            Self::ConfigureTopic { topic, set } => {
                let set: Vec<String> = set.iter().map(|(key, value)| format!("{key}={value}")).collect();
                write!(f, "configure topic {topic}: {}", set.join(" "))
            }
            Self::Apply(object) => write!(f, "apply {}", named(object)),
            Self::CreateToken(secret) => write!(f, "create {} with a new token", named(secret)),
            Self::DeleteConfigMap { name, .. } => write!(f, "delete ConfigMap {name}, which nothing needs any more"),
            Self::DeletePod { name, why, .. } => write!(f, "delete pod {name}: {why}"),
            Self::Drain { pod, .. } => write!(f, "ask the worker in pod {pod} to give its partitions away"),
            Self::RemoveMember { instance_id } => write!(f, "remove the member {instance_id}, whose pod is gone, from the group"),
        }
    }
}

impl fmt::Display for NewTopic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "topic {}", self.name)?;
        match self.partitions {
            Some(partitions) => write!(f, ", {partitions} partitions")?,
            None => f.write_str(", as many partitions as the broker thinks best")?,
        }
        if let Some(factor) = self.replication_factor {
            write!(f, ", {factor} copies")?;
        }
        self.config.iter().try_for_each(|(key, value)| write!(f, ", {key}={value}"))
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.actions.is_empty() {
            writeln!(f, "nothing to do")?;
        }
        for action in &self.actions {
            writeln!(f, "- {action}")?;
        }
        writeln!(f, "conditions:")?;
        for condition in &self.status.conditions {
            writeln!(f, "- {}={} ({}): {}", condition.type_, condition.status, condition.reason, condition.message)?;
        }
        Ok(())
    }
}
