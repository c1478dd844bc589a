//! `faust-operator plan`: what would be done for a FaustApp that isn't there yet.

use std::io::Read;
use std::path::Path;

use faust_crds::FaustApp;
use jiff::Timestamp;

use crate::model::{Cluster, Kafka, Snapshot};
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
    let snapshot = Snapshot {
        now: Timestamp::now(),
        status: Default::default(),
        cluster: Cluster::default(),
        kafka: Kafka::Seen(Default::default()),
        topologies: Default::default(),
        older_twin: None,
    };
    let plan = plan::plan(&app, &snapshot, &mut Bands::default());
    Ok(format!("{}/{}, first round:\n{plan}{NOT_LOOKED_AT}\n", app.namespace, app.name))
}

/// The FaustApp as the API server would have it: with the schema's defaults, and in a namespace.
fn read(text: &str) -> Result<FaustApp, String> {
    let mut faust_app: FaustApp = serde_yaml::from_str(text).map_err(|error| format!("not a FaustApp: {error}"))?;
    faust_app.metadata.namespace.get_or_insert_with(|| "default".into());
    faust_app.metadata.generation.get_or_insert(1);
    faust_app.metadata.uid.get_or_insert_with(String::new);
    Ok(faust_app)
}
