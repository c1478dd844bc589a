//! Everything that a worker is told, from all the places where it is told it.

use std::path::Path;

use super::declared::Declared;
use super::file::ConfigFile;
use crate::cli::{ExitReason, Refusal};
use crate::settings::{self, Resolved, Settings};

/// What a worker is to do.
#[derive(Debug)]
pub(crate) struct Configured {
    pub settings: Resolved,
    pub declared: Declared,
    /// Dotted paths of what the configuration file has and this version doesn't know.
    pub ignored: Vec<String>,
}

/// Reads the configuration file, if one is named, and settles the settings.
pub(crate) fn configure(
    app_id: &str,
    code: &Settings,
    environment: impl IntoIterator<Item = (String, String)>,
    flags: &[(&'static str, String)],
) -> Result<Configured, Refusal> {
    let environment: Vec<_> = environment.into_iter().collect();
    let file = match settings::config_file(&environment, flags)? {
        Some(path) => read(&path, app_id)?,
        None => ConfigFile::default(),
    };
    let settings = settings::resolve(app_id, code, &file.settings, environment, flags)?;
    Ok(Configured { settings, declared: file.declared, ignored: file.ignored })
}

fn read(path: &Path, app_id: &str) -> Result<ConfigFile, Refusal> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| {
        let sentence = format!("the configuration file {name} can't be read: {error}; name another with --config or FAUST_CONFIG");
        Refusal::new(ExitReason::SettingRefused, sentence).about("settings.config")
    })?;
    ConfigFile::parse(&name, &text, app_id)
}

/// Settings without a file.
#[cfg(test)]
impl From<Resolved> for Configured {
    fn from(settings: Resolved) -> Self {
        Self { settings, declared: Declared::default(), ignored: Vec::new() }
    }
}
