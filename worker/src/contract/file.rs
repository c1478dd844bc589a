//! What an `app.yaml` says. What the user wrote in it is strict; what else it has is the operator's, and what a worker doesn't know
//! of that it must ignore, or a new operator would stop every older image.

use super::declared::{Declared, DeclaredTable, DeclaredTopic};
use super::section::{Section, Source};
use super::{FEATURES, VERSION};
use crate::cli::Refusal;
use crate::settings::FileLayer;

/// A configuration file that fits this worker and this app.
#[derive(Debug, Default)]
pub(super) struct ConfigFile {
    pub settings: FileLayer,
    pub declared: Declared,
    /// Dotted paths of what isn't known here.
    pub ignored: Vec<String>,
}

/// Keys in no section and the settings that they are.
const SETTINGS_AT_THE_ROOT: [(&str, &str); 2] = [("topicManagement", "topic-management"), ("standbyReplicas", "standby-replicas")];

/// Keys beside `settings:` and the settings that they are.
const SETTINGS_BY_SECTION: [(&str, &str, &str); 4] = [
    ("kafka", "bootstrapServers", "broker"),
    ("processing", "commitInterval", "commit-interval"),
    ("storage", "path", "datadir"),
    ("shutdown", "timeout", "shutdown-timeout"),
];

impl ConfigFile {
    /// `name` is the file's path, for sentences.
    pub fn parse(name: &str, text: &str, app_id: &str) -> Result<Self, Refusal> {
        let source = Source { name, text };
        let mut root = Section::root(&source)?;
        let mut file = Self::default();
        file.contract(root.section("contract")?)?;
        file.app(root.section("app")?, app_id)?;
        for name in ["kafka", "processing", "storage", "shutdown"] {
            file.operators(name, root.section(name)?)?;
        }
        for (key, setting) in SETTINGS_AT_THE_ROOT {
            if let Some(text) = root.text(key)? {
                file.settings.set(setting, text, root.place(key))?;
            }
        }
        let mut user = root.section("settings")?;
        for (name, text) in user.texts()? {
            file.settings.set(&name, text, user.place(&name))?;
        }
        for topic in root.list("topics")? {
            file.topic(topic)?;
        }
        for table in root.list("tables")? {
            file.table(table)?;
        }
        file.ignored.extend(root.unknown());
        file.ignored.sort();
        Ok(file)
    }

    fn contract(&mut self, mut contract: Section) -> Result<(), Refusal> {
        match contract.number("version")? {
            Some(VERSION) => {}
            Some(other) => {
                let what = format!(
                    "is {other}, and this worker knows version {VERSION}; use an image with a newer faust, or an operator that still \
                     writes version {VERSION}"
                );
                return Err(contract.refuse("version", &what));
            }
            None => return Err(contract.refuse("version", &format!("is missing; write `contract: {{version: {VERSION}}}`"))),
        }
        if let Some(other) = contract.words("requires")?.iter().find(|required| !FEATURES.contains(&required.as_str())) {
            let what = format!("asks for `{other}`, which this worker doesn't have; use an image with a newer faust");
            return Err(contract.refuse("requires", &what));
        }
        self.ignored.extend(contract.unknown());
        Ok(())
    }

    fn app(&mut self, mut app: Section, app_id: &str) -> Result<(), Refusal> {
        let id = app.required_text("id")?;
        if id != app_id {
            let what = format!(
                "is `{id}`, and the program is the app `{app_id}`: it would go on from another app's offsets and changelogs; use the \
                 image of `{id}`, or say `{app_id}`"
            );
            return Err(app.refuse("id", &what));
        }
        self.ignored.extend(app.unknown());
        Ok(())
    }

    fn operators(&mut self, name: &str, mut section: Section) -> Result<(), Refusal> {
        for (_, key, setting) in SETTINGS_BY_SECTION.into_iter().filter(|(of, ..)| *of == name) {
            if let Some(text) = section.text(key)? {
                self.settings.set(setting, text, section.place(key))?;
            }
        }
        if name == "kafka" {
            let mut properties = section.section("properties")?;
            for (key, value) in properties.texts()? {
                let place = properties.place(&key);
                self.settings.property(key, value, place)?;
            }
        }
        if name == "processing"
            && let Some(other) = section.text("guarantee")?.filter(|guarantee| guarantee != "AtLeastOnce")
        {
            let what = format!("is `{other}`, which this worker can't do; say AtLeastOnce");
            return Err(section.refuse("guarantee", &what));
        }
        self.ignored.extend(section.unknown());
        Ok(())
    }

    fn topic(&mut self, mut topic: Section) -> Result<(), Refusal> {
        let name = topic.required_text("name")?;
        self.declared.topics.push(DeclaredTopic { name, partitions: topic.number("partitions")? });
        self.ignored.extend(topic.unknown());
        Ok(())
    }

    fn table(&mut self, mut table: Section) -> Result<(), Refusal> {
        let name = table.required_text("name")?;
        self.declared.tables.push(DeclaredTable { name, standby_replicas: table.number("standbyReplicas")? });
        self.ignored.extend(table.unknown());
        Ok(())
    }
}
