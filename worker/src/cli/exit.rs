//! How a process ends: the reasons, their exit codes, and the channel by which whoever runs it learns the sentence.

use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;

use crate::error::{Error, TopologyError};
use crate::settings::SettingsError;

/// Why a worker ends other than by being told to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum ExitReason {
    /// An agent returned an error, panicked or ended.
    AgentFailed,
    /// A setting doesn't exist, doesn't parse or doesn't fit.
    SettingRefused,
    /// What the app declares contradicts itself or what is there.
    TopologyRefused,
    /// Another process works in the data folder, or it can't be used.
    DatadirInUse,
    /// Another process listens on the port, or it can't be had.
    PortInUse,
    /// Kafka doesn't let us: not authorised, fenced, its producer ended for good.
    KafkaRefuses,
    /// A bug of ours.
    Panicked,
}

impl ExitReason {
    /// What a new image or setting must mend is 78, so that a supervisor can tell it from what a restart may mend.
    pub fn code(self) -> i32 {
        match self {
            Self::AgentFailed => 1,
            Self::KafkaRefuses => 69,
            Self::Panicked => 70,
            Self::SettingRefused | Self::TopologyRefused | Self::DatadirInUse | Self::PortInUse => 78,
        }
    }
}

/// A worker's end with its reason: one sentence, and the setting or name it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub reason: ExitReason,
    pub sentence: String,
    pub field: Option<String>,
}

impl Refusal {
    pub fn new(reason: ExitReason, sentence: impl Into<String>) -> Self {
        Self { reason, sentence: sentence.into(), field: None }
    }

    /// With the setting, topic or table that is to be mended.
    pub fn about(self, field: impl Into<String>) -> Self {
        Self { field: Some(field.into()), ..self }
    }

    /// Says it on stderr and in the pod's termination message; returns the code to exit with.
    pub fn say(&self) -> i32 {
        eprintln!("error: {self}");
        // The sentence stands on stderr already, which Kubernetes falls back to.
        let _ = self.write_termination_message(Path::new("/dev/termination-log"));
        self.reason.code()
    }

    /// One line of JSON, if the file is there: it is where Kubernetes made it, and nowhere else.
    pub(super) fn write_termination_message(&self, path: &Path) -> io::Result<()> {
        match OpenOptions::new().write(true).truncate(true).open(path) {
            Ok(mut file) => file.write_all(self.line().as_bytes()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn line(&self) -> String {
        #[derive(Serialize)]
        struct Line<'a> {
            reason: ExitReason,
            message: &'a str,
            field: Option<&'a str>,
        }
        // Kubernetes cuts at 4096 bytes, and half a JSON is none.
        let field = self.field.as_deref().map(|field| fitting(field, 500));
        let line = Line { reason: self.reason, message: fitting(&self.sentence, 3_000), field };
        serde_json::to_string(&line).expect("strings are JSON") + "\n"
    }
}

/// As much of a text as takes at most so many bytes in JSON, where a quote takes two and a control character six.
fn fitting(text: &str, bytes: usize) -> &str {
    let mut taken = 0;
    let end = text.char_indices().find(|(_, c)| {
        taken += match c {
            '"' | '\\' => 2,
            c if c.is_control() => 6,
            c => c.len_utf8(),
        };
        taken > bytes
    });
    &text[..end.map_or(text.len(), |(at, _)| at)]
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

impl std::error::Error for Refusal {}

impl From<SettingsError> for Refusal {
    fn from(error: SettingsError) -> Self {
        Self::new(ExitReason::SettingRefused, error.to_string()).about(format!("settings.{}", error.setting()))
    }
}

impl From<TopologyError> for Refusal {
    fn from(error: TopologyError) -> Self {
        Self::new(ExitReason::TopologyRefused, error.to_string())
    }
}

/// Any error that reaches the end of a worker. What isn't one of ours comes from an agent.
impl From<&Error> for Refusal {
    fn from(error: &Error) -> Self {
        if let Some(refusal) = error.downcast_ref::<Self>() {
            return refusal.clone();
        }
        if let Some(error) = error.downcast_ref::<SettingsError>() {
            return error.clone().into();
        }
        if let Some(error) = error.downcast_ref::<TopologyError>() {
            return error.clone().into();
        }
        Self::new(ExitReason::AgentFailed, error.to_string())
    }
}

/// A command line that ends the process before anything runs.
#[derive(Debug)]
pub(crate) enum Exit {
    /// Help or version, or a wrong usage.
    Said(clap::Error),
    Refused(Refusal),
}

impl Exit {
    /// Says it where it belongs; returns the code to exit with: 0 for help and version, 2 for a wrong usage.
    pub fn say(&self) -> i32 {
        match self {
            Self::Said(error) => {
                // A closed pipe is no reason to end in another way.
                let _ = error.print();
                error.exit_code()
            }
            Self::Refused(refusal) => refusal.say(),
        }
    }
}

impl From<Refusal> for Exit {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}
