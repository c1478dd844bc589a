//! Why settings are refused.

use std::fmt;

use super::table::Setting;

/// A setting that doesn't exist, doesn't parse or doesn't fit the others. Displays as one sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsError {
    setting: String,
    sentence: String,
}

impl SettingsError {
    pub(super) fn new(setting: impl Into<String>, sentence: impl Into<String>) -> Self {
        Self { setting: setting.into(), sentence: sentence.into() }
    }

    pub(super) fn unparsable(setting: &Setting, text: &str, place: &str) -> Self {
        let Setting { name, expected, .. } = setting;
        Self::new(*name, format!("setting `{name}`: {text:?} ({place}) is not understood; expected {expected}"))
    }

    /// The setting's name, as a flag has it but without the dashes. An unknown one stands as it was given.
    pub fn setting(&self) -> &str {
        &self.setting
    }
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

impl std::error::Error for SettingsError {}
