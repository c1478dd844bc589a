//! What the schema has a place for and this version doesn't do: refused, never ignored in silence.

use faust_crds::{FaustApp, Guarantee, Retention, ScalingMode};

use super::Refused;

pub(super) fn check(faust_app: &FaustApp) -> Result<(), Refused> {
    let spec = &faust_app.spec;
    let annotated = |name: &str| faust_app.metadata.annotations.as_ref().is_some_and(|all| all.contains_key(name));
    let refuse = |applies: bool, what: &str| if applies { Err(Refused::not_supported(what)) } else { Ok(()) };

    refuse(annotated("faust.dev/reset"), "annotation faust.dev/reset: resetting an application")?;
    refuse(spec.scaling.mode == ScalingMode::Auto, "spec.scaling.mode: Auto")?;
    refuse(spec.processing.guarantee == Guarantee::ExactlyOnce, "spec.processing.guarantee: ExactlyOnce")?;
    refuse(spec.kafka.tls.is_some(), "spec.kafka.tls: TLS")?;
    refuse(spec.kafka.sasl.is_some(), "spec.kafka.sasl: SASL")?;
    refuse(!spec.rollout.maintenance_windows.is_empty(), "spec.rollout.maintenanceWindows: rolling in windows only")?;
    refuse(spec.deletion.internal_topics == Retention::Delete, "spec.deletion.internalTopics: Delete")?;
    refuse(spec.deletion.consumer_group == Retention::Delete, "spec.deletion.consumerGroup: Delete")?;
    refuse(spec.monitoring.as_ref().is_some_and(|monitoring| monitoring.pod_monitor), "spec.monitoring.podMonitor: true")?;
    for topic in &spec.topics {
        refuse(topic.deletion_policy == Retention::Delete, &format!("spec.topics[{}].deletionPolicy: Delete", topic.name))?;
    }
    Ok(())
}
