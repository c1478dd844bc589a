//! `faust-operator plan`: what would be done for a FaustApp that isn't there yet.

use std::io::Read;
use std::path::Path;

use faust_crds::FaustApp;
use jiff::Timestamp;
use serde_json::Value;

use crate::model::{Action, Cluster, Kafka, KafkaFacts, Plan, Snapshot, TopicFacts};
use crate::status::Bands;
use crate::{app, plan};

/// What a plan from a manifest alone can't know.
const NOT_LOOKED_AT: &str = "not looked at: the cluster (it is planned as if nothing of this application was there), Kafka (as if it \
                             had no topics and no group members), and the code in the image (changelogs and topics that only the code names)";

/// The text to print, or what is wrong with the manifest.
pub fn plan(path: &Path) -> Result<String, String> {
    let file = path.display();
    let text = if path.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(path)
    };
    let text = text.map_err(|error| format!("{file} can't be read: {error}"))?;
    let faust_app = read(&text).map_err(|problem| format!("{file}: {problem}"))?;
    let app = app::resolve(&faust_app).map_err(|refused| format!("{file}: {}: {}", refused.reason, refused.message))?;
    let mut snapshot = Snapshot {
        now: Timestamp::now(),
        status: Default::default(),
        cluster: Cluster::default(),
        kafka: Kafka::Seen(Default::default()),
        topologies: Default::default(),
        older_twin: None,
        refusals: Vec::new(),
    };
    let first = plan::plan(&app, &snapshot, &mut Bands::default());
    let mut text = format!("{}/{}, first round:\n{first}", app.namespace, app.name);
    if let Some(facts) = made(&first) {
        snapshot.kafka = Kafka::Seen(facts);
        let then = plan::plan(&app, &snapshot, &mut Bands::default());
        text += &format!("\nonce these topics are there:\n{then}");
    }
    Ok(format!("{text}\n{NOT_LOOKED_AT}\n"))
}

/// Kafka with what the plan creates in it, if it creates anything.
fn made(plan: &Plan) -> Option<KafkaFacts> {
    let created = plan.actions.iter().find_map(|action| match action {
        Action::CreateTopics(topics) => Some(topics),
        _ => None,
    })?;
    let topics = created.iter().map(|topic| {
        // As many partitions as brokers have by default, where nothing is said.
        let facts = TopicFacts { id: String::new(), partitions: topic.partitions.unwrap_or(1), config: topic.config.clone() };
        (topic.name.clone(), facts)
    });
    Some(KafkaFacts { topics: topics.collect(), members: Vec::new() })
}

/// The FaustApp as the API server would have it: with the schema's defaults, and in a namespace. The server would warn of a field that
/// it doesn't know and go on without; here it is refused.
fn read(text: &str) -> Result<FaustApp, String> {
    let mut faust_app: FaustApp = serde_yaml::from_str(text).map_err(|error| format!("not a FaustApp: {error}"))?;
    let given: Value = serde_yaml::from_str(text).map_err(|error| format!("not a FaustApp: {error}"))?;
    let kept = serde_json::to_value(&faust_app).map_err(|error| format!("not a FaustApp: {error}"))?;
    let unknown = lost(&given, &kept, "");
    if !unknown.is_empty() {
        return Err(format!(
            "a FaustApp has no field {}; `kubectl explain faustapp.spec` shows what there is",
            unknown.join(", no ")
        ));
    }
    faust_app.metadata.namespace.get_or_insert_with(|| "default".into());
    faust_app.metadata.generation.get_or_insert(1);
    faust_app.metadata.uid.get_or_insert_with(String::new);
    Ok(faust_app)
}

/// The paths of what was given and isn't kept. Null and what is empty may mean the same as nothing.
fn lost(given: &Value, kept: &Value, path: &str) -> Vec<String> {
    let below = |part: String, given: &Value, kept: Option<&Value>| match kept {
        Some(kept) => lost(given, kept, &part),
        None if is_nothing(given) => Vec::new(),
        None => vec![part],
    };
    match (given, kept) {
        (Value::Object(given), Value::Object(kept)) => {
            let name = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
            given.iter().flat_map(|(key, value)| below(name(key), value, kept.get(key))).collect()
        }
        (Value::Array(given), Value::Array(kept)) => {
            let items = given.iter().enumerate();
            items.flat_map(|(index, value)| below(format!("{path}[{index}]"), value, kept.get(index))).collect()
        }
        _ => Vec::new(),
    }
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plan_of_the_example_is_what_its_first_rounds_do() {
        let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/page_views/faustapp.yaml");
        crate::golden::assert("goldens/page-views.plan", &plan(Path::new(example)).unwrap());
    }

    #[test]
    fn a_manifest_that_is_none_is_named_with_what_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("app.yaml");
        let said = |text: &str| {
            std::fs::write(&file, text).unwrap();
            plan(&file).unwrap_err()
        };
        assert!(plan(&folder.path().join("none.yaml")).unwrap_err().contains("none.yaml can't be read"));
        assert!(said("kind: FaustApp").contains("not a FaustApp"));
        let spec = "apiVersion: faust.dev/v1alpha1\nkind: FaustApp\nmetadata: {name: a}\nspec: {image: a, kafka: {bootstrapServers: 'a:1'}, ";
        assert!(said(&format!("{spec}scaling: {{mode: Auto}}}}")).contains("NotSupported: spec.scaling.mode"));
    }

    #[test]
    fn a_field_that_there_is_not_is_refused_by_its_path_and_one_that_is_empty_is_not() {
        let manifest = |spec: &str| {
            format!(
                "apiVersion: faust.dev/v1alpha1\nkind: FaustApp\nmetadata: {{name: a, labels: {{b: c}}, creationTimestamp: null}}\n\
                 spec: {{image: a, kafka: {{bootstrapServers: 'a:1'}}, {spec}}}"
            )
        };
        let refused =
            read(&manifest("replica: 3, topics: [{name: a}, {name: b, partition: 12}], storage: {sise: 1Gi}")).unwrap_err();
        assert!(
            refused.starts_with("a FaustApp has no field spec.replica, no spec.storage.sise, no spec.topics[1].partition;"),
            "{refused}"
        );
        read(&manifest(
            "tables: [], settings: {anything: 1}, podTemplate: {spec: {nodeSelector: {a: b}, tolerations: []}}, resources: {limits: {cpu: 1}}, \
             rollout: {maxUnavailable: 50%}, serviceAccountName: null, topics: [{name: a, config: {retention.ms: 100000000000}}]",
        ))
        .unwrap();
    }
}
