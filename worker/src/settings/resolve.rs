//! The layers of settings – flag over environment over code over default – become one.

use std::collections::BTreeMap;

use super::check::{self, Features};
use super::error::SettingsError;
use super::file::FileLayer;
use super::nearest::nearest;
use super::properties;
use super::table::{PASSTHROUGH, Resolved, Setting, TABLE, variable};
use super::{Choice, Kind, Settings, Store};

/// Where the value of a setting came from. A later one wins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Default,
    Code,
    /// With the words for where it stands.
    File(String),
    Environment,
    Flag,
}

/// The text of a setting and its origin.
pub(super) struct Given {
    pub text: String,
    pub origin: Origin,
}

/// Variables with these beginnings belong to tests and development.
const NOT_SETTINGS: [&str; 2] = ["FAUST_TEST_", "FAUST_DEV_"];

/// All settings of a worker. `flags` are names of settings with their texts; only `kafka` may repeat.
pub(crate) fn resolve(
    app_id: &str,
    code: &Settings,
    file: &FileLayer,
    environment: impl IntoIterator<Item = (String, String)>,
    flags: &[(&'static str, String)],
) -> Result<Resolved, SettingsError> {
    resolve_for(Features::COMPILED, app_id, code, file, environment, flags)
}

pub(super) fn resolve_for(
    features: Features,
    app_id: &str,
    code: &Settings,
    file: &FileLayer,
    environment: impl IntoIterator<Item = (String, String)>,
    flags: &[(&'static str, String)],
) -> Result<Resolved, SettingsError> {
    let environment = our_variables(environment)?;
    let given = |setting: &'static Setting| {
        let flag = flags.iter().find(|(name, _)| *name == setting.name).map(|(_, text)| text);
        let variable = environment.get(&setting.variable());
        let in_code = code.texts.iter().find(|(name, _)| *name == setting.name).map(|(_, text)| text);
        let layers = [
            flag.map(|text| (text, Origin::Flag)),
            variable.map(|text| (text, Origin::Environment)),
            file.given(setting.name).map(|(text, place)| (text, Origin::File(place.clone()))),
            in_code.map(|text| (text, Origin::Code)),
        ];
        match layers.into_iter().flatten().next() {
            Some((text, origin)) => Given { text: text.clone(), origin },
            None => Given { text: default(setting, app_id, features), origin: Origin::Default },
        }
    };
    let resolved = Resolved::parse(given, client_properties(code, file, &environment, flags)?)?;
    check::all(&resolved, features)?;
    Ok(resolved)
}

impl Origin {
    /// In a sentence: `flag --web-port`.
    pub fn of(&self, setting: &str) -> String {
        match self {
            Self::Default => "the default".into(),
            Self::Code => "given in code".into(),
            Self::File(place) => place.clone(),
            Self::Environment => format!("environment variable {}", variable(setting)),
            Self::Flag => format!("flag --{setting}"),
        }
    }

    /// In one word.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Code => "code",
            Self::File(_) => "file",
            Self::Environment => "env",
            Self::Flag => "flag",
        }
    }
}

fn default(setting: &Setting, app_id: &str, features: Features) -> String {
    match setting.name {
        "store" if !features.rocksdb => Choice::<Store>::show(&Store::Memory),
        _ => setting.default.replace("<app-id>", app_id),
    }
}

/// The environment's variables that are settings. One that only looks like it is refused: it would be ignored in silence.
pub(super) fn our_variables(
    environment: impl IntoIterator<Item = (String, String)>,
) -> Result<BTreeMap<String, String>, SettingsError> {
    let known: Vec<String> = TABLE.iter().map(Setting::variable).chain([PASSTHROUGH.variable()]).collect();
    let mut ours = BTreeMap::new();
    for (name, text) in environment {
        let foreign = !name.starts_with("FAUST_") || NOT_SETTINGS.iter().any(|prefix| name.starts_with(prefix));
        if foreign || is_service_link(&name, &text) {
            continue;
        }
        if !known.contains(&name) {
            let near = nearest(&name, known.iter().map(String::as_str)).unwrap_or_default();
            let sentence =
                format!("environment variable {name} is no setting; the nearest is {near}, and `worker --help` lists all");
            return Err(SettingsError::new(name, sentence));
        }
        ours.insert(name, text);
    }
    Ok(ours)
}

/// Kubernetes tells every pod about a service `faust-web` by `FAUST_WEB_SERVICE_HOST`, `FAUST_WEB_PORT=tcp://…` and more. They are
/// no settings, and whoever named a service so meant none.
fn is_service_link(name: &str, text: &str) -> bool {
    let port_of_protocol = ["_TCP", "_UDP", "_SCTP"].iter().any(|protocol| {
        let name = ["_PROTO", "_PORT", "_ADDR"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        name.strip_suffix(protocol).is_some_and(|rest| rest.contains("_PORT_"))
    });
    let url = ["tcp://", "udp://", "sctp://"].iter().any(|scheme| text.starts_with(scheme));
    name.ends_with("_SERVICE_HOST") || name.contains("_SERVICE_PORT") || port_of_protocol || (name.ends_with("_PORT") && url)
}

/// A client property's value and where it came from.
pub(super) type Property = (String, Origin);

/// Layered by property, so that a flag replaces one and leaves the others.
fn client_properties(
    code: &Settings,
    file: &FileLayer,
    environment: &BTreeMap<String, String>,
    flags: &[(&'static str, String)],
) -> Result<BTreeMap<String, Property>, SettingsError> {
    let lines = environment.get(&PASSTHROUGH.variable()).map_or("", String::as_str).lines();
    let in_environment = lines.filter(|line| !line.trim().is_empty()).map(|line| property(line, Origin::Environment));
    let in_flags = flags.iter().filter(|(name, _)| *name == PASSTHROUGH.name).map(|(_, text)| property(text, Origin::Flag));
    let in_code = code.properties.iter().map(|(key, value)| (key.to_string(), (value.to_string(), Origin::Code)));
    let in_file = file.properties.iter().map(|(key, value, place)| (key.clone(), (value.clone(), Origin::File(place.clone()))));
    let mut all: BTreeMap<String, Property> = in_code.chain(in_file).collect();
    for property in in_environment.chain(in_flags) {
        all.extend([property?]);
    }
    for (key, (_, origin)) in &all {
        if let Some(instead) = properties::reserved(key) {
            let place = origin.of(PASSTHROUGH.name);
            let sentence = format!("setting `kafka`: the client's property `{key}` ({place}) can't be set: {instead}");
            return Err(SettingsError::new(PASSTHROUGH.name, sentence));
        }
    }
    Ok(all)
}

fn property(text: &str, origin: Origin) -> Result<(String, Property), SettingsError> {
    let (key, value) = properties::parse(text).ok_or_else(|| properties::unparsable(text, &origin.of(PASSTHROUGH.name)))?;
    Ok((key, (value, origin)))
}
