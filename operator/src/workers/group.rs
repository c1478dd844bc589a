//! The consumer group seen from outside: who is in it that doesn't belong there, and who was left behind.

use super::View;
use crate::app::App;
use crate::model::{Action, Kafka, Member, Snapshot};

/// Who else has the application's name in Kafka, as a sentence; None when nobody has.
pub fn in_use_by(app: &App, snapshot: &Snapshot) -> Option<String> {
    if let Some(twin) = &snapshot.older_twin {
        return Some(format!("FaustApp {twin} is older and has the app id {} on the same brokers", app.app_id));
    }
    let Kafka::Seen(kafka) = &snapshot.kafka else { return None };
    let foreign = kafka.members.iter().filter(|member| ordinal(app, member).is_none());
    let names: Vec<_> =
        foreign.map(|member| format!("{} on {}", member.instance_id.as_ref().unwrap_or(&member.id), member.host)).collect();
    let named = names.iter().take(3).cloned().collect::<Vec<_>>().join(", ");
    let more = if names.len() > 3 { format!(" and {} more", names.len() - 3) } else { String::new() };
    (!names.is_empty()).then(|| format!("the consumer group {} has members that are not ours: {named}{more}", app.app_id))
}

/// Removes static members whose pods went with a scale-in: their partitions would wait for them until the session ends.
pub fn left_behind(view: &View, members: &[Member], replicas: Option<u32>) -> Vec<Action> {
    let Some(set) = &view.set else { return Vec::new() };
    let kept = set.replicas.max(replicas.unwrap_or(0));
    let gone = |member: &&Member| {
        let ordinal = ordinal(view.app, member);
        ordinal.is_some_and(|ordinal| ordinal >= kept && view.pods.iter().all(|pod| pod.ordinal != ordinal))
    };
    let instances = members.iter().filter(gone).filter_map(|member| member.instance_id.clone());
    instances.map(|instance_id| Action::RemoveMember { instance_id }).collect()
}

/// The ordinal of the pod that the member is; None when it is none of ours.
fn ordinal(app: &App, member: &Member) -> Option<u32> {
    let text = member.instance_id.as_ref()?.strip_prefix(&app.name)?.strip_prefix('-')?;
    let ordinal: u32 = text.parse().ok()?;
    (ordinal.to_string() == text).then_some(ordinal)
}
