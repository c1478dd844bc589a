//! The consumer group seen from outside: who is in it that doesn't belong there.

use crate::app::App;
use crate::model::{Kafka, Member, Snapshot};

/// Who else has the application's name in Kafka, as a sentence; None when nobody has.
pub fn in_use_by(app: &App, snapshot: &Snapshot) -> Option<String> {
    if let Some(twin) = &snapshot.older_twin {
        return Some(format!("FaustApp {twin} is older and has the app id {} on the same brokers", app.app_id));
    }
    let Kafka::Seen(kafka) = &snapshot.kafka else { return None };
    // An application of the same name elsewhere has members of the same names: before there is a pod of ours, none of them is ours.
    let started = snapshot.cluster.stateful_set.is_some();
    let foreign = kafka.members.iter().filter(|member| !started || !is_ours(app, member));
    let names: Vec<_> =
        foreign.map(|member| format!("{} on {}", member.instance_id.as_ref().unwrap_or(&member.id), member.host)).collect();
    let named = names.iter().take(3).cloned().collect::<Vec<_>>().join(", ");
    let more = if names.len() > 3 { format!(" and {} more", names.len() - 3) } else { String::new() };
    let whose = if started { "that are not ours" } else { "already (those of an application just deleted go with their session)" };
    (!names.is_empty()).then(|| format!("the consumer group {} has members {whose}: {named}{more}", app.app_id))
}

/// Whether a member has the name of a pod of ours.
fn is_ours(app: &App, member: &Member) -> bool {
    let ordinal = member.instance_id.as_ref().and_then(|name| name.strip_prefix(&app.name)?.strip_prefix('-'));
    ordinal.is_some_and(|text| text.parse::<u32>().is_ok_and(|ordinal| ordinal.to_string() == text))
}
