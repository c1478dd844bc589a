//! The command line: `run` in the cluster, `plan` before anything is applied.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(name = "faust-operator", version, about = "Runs FaustApps on Kubernetes")]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Look after all FaustApps of the cluster until told to stop.
    Run(Run),
    /// Print what would be done for a FaustApp that isn't there yet, from its manifest alone.
    Plan {
        /// A manifest with one FaustApp; `-` reads it from standard input.
        #[arg(short, long, value_name = "FILE")]
        filename: PathBuf,
    },
    /// Print the CustomResourceDefinition.
    Crd,
}

#[derive(Debug, clap::Args)]
pub struct Run {
    /// Where /healthz and /metrics are served.
    #[arg(long, env = "HTTP_ADDRESS", default_value = "0.0.0.0:8080")]
    pub http_address: SocketAddr,
    /// The namespace of the lease: the operator's own. Two operators with different ones both act, on the same FaustApps.
    #[arg(long, env = "POD_NAMESPACE")]
    pub namespace: String,
    /// The name of this operator in the lease and in events: its pod's.
    #[arg(long, env = "POD_NAME", default_value = "faust-operator")]
    pub name: String,
    /// What is logged: error, warn, info, debug or trace, also per target.
    #[arg(long, env = "LOG_LEVEL", default_value = "info,kube_runtime=warn,kube_client=warn")]
    pub log_level: String,
}

/// One sentence on standard error.
pub fn fail(sentence: &str) -> ExitCode {
    eprintln!("error: {sentence}");
    ExitCode::FAILURE
}
