//! The layer of settings that a configuration file gives.

use std::fmt;
use std::path::PathBuf;

use super::error::SettingsError;
use super::kind::{Kind, Optional, Path};
use super::nearest::nearest;
use super::properties;
use super::resolve::our_variables;
use super::table::{PASSTHROUGH, Setting, TABLE};

/// The setting that names the file, and that can't stand in it.
const CONFIG: &str = "config";

/// Texts of settings, each with the words for where it stands.
#[derive(Clone, Default)]
pub(crate) struct FileLayer {
    pub(super) texts: Vec<(&'static str, String, String)>,
    pub(super) properties: Vec<(String, String, String)>,
}

impl FileLayer {
    /// A setting by its name, which must exist and may be given once. `place` says where, to go on after "in" or a name.
    pub fn set(&mut self, name: &str, text: String, place: String) -> Result<(), SettingsError> {
        if name == PASSTHROUGH.name {
            for line in text.lines().filter(|line| !line.trim().is_empty()) {
                let (key, value) = properties::parse(line).ok_or_else(|| properties::unparsable(line, &place))?;
                self.property(key, value, place.clone())?;
            }
            return Ok(());
        }
        let Some(setting) = TABLE.iter().find(|setting| setting.name == name && name != CONFIG) else {
            return Err(unknown(name, &place));
        };
        if let Some((_, _, other)) = self.texts.iter().find(|(known, ..)| *known == name) {
            let sentence = format!("setting `{name}` is given twice, by {other} and by {place}; leave one of them out");
            return Err(SettingsError::new(name, sentence));
        }
        self.texts.push((setting.name, text, place));
        Ok(())
    }

    /// A property of the Kafka client, which may be given once.
    pub fn property(&mut self, key: String, value: String, place: String) -> Result<(), SettingsError> {
        if let Some((_, _, other)) = self.properties.iter().find(|(known, ..)| *known == key) {
            let sentence =
                format!("the client's property `{key}` is given twice, by {other} and by {place}; leave one of them out");
            return Err(SettingsError::new(PASSTHROUGH.name, sentence));
        }
        self.properties.push((key, value, place));
        Ok(())
    }

    pub(super) fn given(&self, name: &str) -> Option<(&String, &String)> {
        self.texts.iter().find(|(known, ..)| *known == name).map(|(_, text, place)| (text, place))
    }
}

impl fmt::Debug for FileLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |(key, value, place): &(String, String, String)| (properties::shown(key, value), place.clone());
        let properties: Vec<_> = self.properties.iter().map(shown).collect();
        f.debug_struct("FileLayer").field("texts", &self.texts).field("properties", &properties).finish()
    }
}

fn unknown(name: &str, place: &str) -> SettingsError {
    let sentence = if name == CONFIG {
        format!("{place}: a file can't name another one; use the flag --config or the environment variable FAUST_CONFIG")
    } else {
        let known = TABLE.iter().map(|setting| setting.name).filter(|known| *known != CONFIG).chain([PASSTHROUGH.name]);
        let near = nearest(name, known).unwrap_or_default();
        format!("{place} is no setting; the nearest is `{near}`, and `worker --help` lists all")
    };
    SettingsError::new(name, sentence)
}

/// The configuration file that a flag or else the environment names.
pub(crate) fn config_file(
    environment: &[(String, String)],
    flags: &[(&'static str, String)],
) -> Result<Option<PathBuf>, SettingsError> {
    let setting = Setting::named(CONFIG);
    let flag = flags.iter().find(|(name, _)| *name == CONFIG).map(|(_, text)| (text.clone(), format!("flag --{CONFIG}")));
    let variable = || our_variables(environment.iter().cloned()).map(|mut ours| ours.remove(&setting.variable()));
    let given = match flag {
        Some(flag) => Some(flag),
        None => variable()?.map(|text| (text, format!("environment variable {}", setting.variable()))),
    };
    let Some((text, place)) = given else { return Ok(None) };
    Optional::<Path>::parse(&text).ok_or_else(|| SettingsError::unparsable(setting, &text, &place))
}
