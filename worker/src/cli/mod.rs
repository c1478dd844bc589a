//! The command line of an app: what it was told to do, and how a process ends.

mod exit;
pub(crate) mod logging;
mod panics;
mod run;
mod signals;
#[cfg(test)]
mod tests;

use std::ffi::OsString;

use clap::{Arg, ArgAction, ArgMatches};

use crate::contract::{self, Configured};
use crate::settings::{PASSTHROUGH, Setting, Settings, TABLE};

pub(crate) use exit::{Exit, ExitReason, Refusal};
pub(crate) use run::main;
pub(crate) use signals::{Signals, Stop};

/// What the command line asks for.
#[derive(Debug)]
pub(crate) enum Command {
    /// Run a worker.
    Worker(Box<Configured>),
    /// Print this, and do nothing else.
    Print(String),
}

const PRINT_CONFIG: &str = "print-config";

/// Reads the arguments, the program's name first, and settles the settings. `version` is the app's own.
pub(crate) fn parse(
    app_id: &str,
    version: &'static str,
    code: &Settings,
    environment: impl IntoIterator<Item = (String, String)>,
    arguments: impl IntoIterator<Item = OsString>,
) -> Result<Command, Exit> {
    let matches = grammar(app_id, version).try_get_matches_from(arguments).map_err(Exit::Said)?;
    let (_, worker) = matches.subcommand().expect("the grammar asks for a command, and has one");
    let configured = contract::configure(app_id, code, environment, &flags(worker))?;
    if worker.get_flag(PRINT_CONFIG) {
        return Ok(Command::Print(configured.settings.listing()));
    }
    Ok(Command::Worker(Box::new(configured)))
}

/// The process's environment. What isn't UTF-8 has replacement characters, which no setting takes.
pub(crate) fn environment() -> impl Iterator<Item = (String, String)> {
    let text = |text: OsString| text.to_string_lossy().into_owned();
    std::env::vars_os().map(move |(name, value)| (text(name), text(value)))
}

fn grammar(app_id: &str, version: &'static str) -> clap::Command {
    let worker = clap::Command::new("worker")
        .about("Run a worker of this app until it is told to stop")
        .after_help(
            "A flag wins over its environment variable, that over the configuration file (--config), and that over the app's code.",
        )
        .next_line_help(true)
        .args(TABLE.iter().map(|setting| setting_flag(setting, app_id)))
        .arg(passthrough_flag())
        .arg(
            Arg::new(PRINT_CONFIG)
                .long(PRINT_CONFIG)
                .action(ArgAction::SetTrue)
                .help("Print every setting with its value and where that came from (flag, env, file, code, default), and end"),
        );
    clap::Command::new("app")
        .display_name(app_id)
        .bin_name(app_id)
        .about(format!("The stream processing app {app_id}"))
        .version(version)
        .subcommand_required(true)
        .arg_required_else_help(true)
        .disable_help_subcommand(true)
        .subcommand(worker)
}

fn setting_flag(setting: &'static Setting, app_id: &str) -> Arg {
    let default = setting.default.replace("<app-id>", app_id);
    let help = format!("{} [env: {}] [default: {default}]", setting.help, setting.variable());
    Arg::new(setting.name).long(setting.name).value_name(setting.placeholder).help(help)
}

fn passthrough_flag() -> Arg {
    let help = format!("{} [env: {}]", PASSTHROUGH.help, PASSTHROUGH.variable());
    Arg::new(PASSTHROUGH.name).long(PASSTHROUGH.name).value_name(PASSTHROUGH.placeholder).help(help).action(ArgAction::Append)
}

fn flags(worker: &ArgMatches) -> Vec<(&'static str, String)> {
    let names = TABLE.iter().map(|setting| setting.name).chain([PASSTHROUGH.name]);
    let texts = |name| worker.get_many::<String>(name).into_iter().flatten().map(move |text| (name, text.clone()));
    names.flat_map(texts).collect()
}
