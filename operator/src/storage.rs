//! Condition `StorageReady`: volumes bound, and as large as asked for.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use faust_crds::StorageType;

use crate::app::{App, OPERATOR};
use crate::model::{Cluster, Reason, Verdict};
use crate::objects::CLAIM;
use crate::quantity::nanos;

pub fn verdict(app: &App, cluster: &Cluster) -> Verdict {
    let storage = &app.spec.storage;
    if storage.r#type == StorageType::Ephemeral {
        return Verdict::holds(Reason::AsWanted, "tables are kept with the pods and rebuilt from their changelogs");
    }
    let pods = pods(app, cluster);
    let claims: Vec<Claim> =
        cluster.claims.iter().filter_map(|claim| Claim::read(app, claim)).filter(|claim| claim.ordinal < pods).collect();
    if let Some(claim) = claims.iter().find(|claim| claim.is_smaller_than(&storage.size)) {
        return Verdict::stalled(
            Reason::NotSupported,
            format!(
                "spec.storage.size: {} asks for {}, and growing a volume is not supported by {OPERATOR}; set spec.resources.requests.storage \
                 of each claim to {} by hand, if its class allows that, or recreate the FaustApp: topics and offsets stay, tables are rebuilt",
                claim.name, claim.asks_for, storage.size.0
            ),
        );
    }
    if let Some(claim) = claims.iter().find(|claim| claim.phase == "Lost") {
        let name = claim.name;
        return Verdict::stalled(
            Reason::StorageNotReady,
            format!("{name} has lost its volume; delete the claim and its pod: the tables are rebuilt from their changelogs"),
        );
    }
    let bound = claims.iter().filter(|claim| claim.phase == "Bound").count();
    if bound < pods as usize && cluster.storage_class_exists == Some(false) {
        return Verdict::stalled(
            Reason::StorageClassNotFound,
            match &storage.storage_class_name {
                Some(class) => format!("spec.storage.storageClassName: there is no StorageClass {class}; create it"),
                None => "the cluster has no default StorageClass; make one the default, or recreate the FaustApp with \
                         spec.storage.storageClassName or with storage of type Ephemeral"
                    .to_string(),
            },
        );
    }
    if let Some(claim) = claims.iter().find(|claim| claim.phase != "Bound") {
        return Verdict::working(Reason::StorageNotReady, format!("{} has no volume yet ({bound} of {pods} have)", claim.name));
    }
    match bound {
        0 => Verdict::holds(Reason::AsWanted, "no volumes yet; they are made with the pods"),
        1 => Verdict::holds(Reason::AsWanted, "the volume is bound"),
        _ => Verdict::holds(Reason::AsWanted, format!("{bound} volumes are bound")),
    }
}

/// As many as are asked for or still run; a claim beyond them waits for its pod to come back and is nobody's concern.
fn pods(app: &App, cluster: &Cluster) -> u32 {
    let running = cluster.stateful_set.as_ref().and_then(|set| set.spec.as_ref()?.replicas).unwrap_or_default();
    app.wanted().max(u32::try_from(running).unwrap_or_default())
}

struct Claim<'a> {
    name: &'a str,
    ordinal: u32,
    asks_for: &'a str,
    phase: &'a str,
}

impl<'a> Claim<'a> {
    /// None if it is not a claim of the application's pods.
    fn read(app: &App, claim: &'a PersistentVolumeClaim) -> Option<Self> {
        let name = claim.metadata.name.as_deref()?;
        let ordinal =
            name.strip_prefix(CLAIM)?.strip_prefix('-')?.strip_prefix(app.name.as_str())?.strip_prefix('-')?.parse().ok()?;
        let asks_for = claim.spec.as_ref()?.resources.as_ref()?.requests.as_ref()?.get("storage")?.0.as_str();
        let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Pending");
        Some(Self { name, ordinal, asks_for, phase })
    }

    fn is_smaller_than(&self, size: &Quantity) -> bool {
        nanos(self.asks_for) < nanos(&size.0)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::golden::{app, app_with};

    fn claim(ordinal: u32, size: &str, phase: &str) -> PersistentVolumeClaim {
        serde_json::from_value(json!({
            "metadata": { "name": format!("data-page-views-{ordinal}") },
            "spec": { "resources": { "requests": { "storage": size } } },
            "status": { "phase": phase },
        }))
        .unwrap()
    }

    #[track_caller]
    fn told(patch: Value, claims: Vec<PersistentVolumeClaim>, class: Option<bool>, reason: Reason, says: &str) {
        let cluster = Cluster { claims, storage_class_exists: class, ..Cluster::default() };
        let verdict = verdict(&app_with("minimal", patch), &cluster);
        assert_eq!(verdict.reason, reason, "{}", verdict.message);
        assert_eq!(verdict.holds, Some(reason == Reason::AsWanted));
        assert!(verdict.message.contains(says), "{}", verdict.message);
    }

    #[test]
    fn volumes_are_judged() {
        let bound = || vec![claim(0, "10Gi", "Bound"), claim(1, "10240Mi", "Bound")];
        let as_is = || json!({});
        told(json!({ "storage": { "type": "Ephemeral" } }), vec![], Some(false), Reason::AsWanted, "with the pods");
        told(as_is(), vec![], None, Reason::AsWanted, "no volumes yet");
        told(as_is(), bound(), None, Reason::AsWanted, "2 volumes are bound");
        told(as_is(), bound(), Some(false), Reason::AsWanted, "2 volumes are bound");
        told(as_is(), vec![], Some(false), Reason::StorageClassNotFound, "no default StorageClass");
        let class = json!({ "storage": { "storageClassName": "fast" } });
        told(class, vec![claim(0, "10Gi", "Pending")], Some(false), Reason::StorageClassNotFound, "no StorageClass fast");
        let half = vec![claim(0, "10Gi", "Bound"), claim(1, "10Gi", "Pending")];
        told(as_is(), half, Some(true), Reason::StorageNotReady, "data-page-views-1 has no volume yet (1 of 2 have)");
        told(as_is(), vec![claim(0, "10Gi", "Lost")], None, Reason::StorageNotReady, "data-page-views-0 has lost its volume");
        let larger = json!({ "storage": { "size": "20Gi" } });
        told(larger, bound(), None, Reason::NotSupported, "data-page-views-0 asks for 10Gi");
    }

    #[test]
    fn claims_of_pods_that_are_gone_and_of_other_applications_are_nobodys_concern() {
        let mut cluster = Cluster { claims: vec![claim(0, "10Gi", "Bound"), claim(1, "10Gi", "Bound")], ..Cluster::default() };
        cluster.claims.push(claim(2, "10Gi", "Pending"));
        let mut others = claim(0, "1Gi", "Pending");
        others.metadata.name = Some("data-page-views-eu-0".into());
        cluster.claims.push(others);
        assert_eq!(verdict(&app("minimal"), &cluster).holds, Some(true));
    }
}
