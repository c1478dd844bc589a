//! The operator: runs FaustApps.
//!
//! Each round for an application has four steps: `observe` reads, `app` and the plans decide – pure functions from what was seen to
//! what is to be done – and `apply` writes. `model` is what they hand to each other.

mod app;
mod apply;
mod cli;
mod controller;
mod differs;
#[cfg(test)]
mod golden;
mod http;
mod kafka;
mod lease;
mod metrics;
mod model;
mod objects;
mod observe;
mod offline;
mod plan;
mod pods;
mod print;
mod probe;
mod quantity;
mod revision;
mod status;
mod storage;
mod topics;
mod workers;

use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use kube::{Client, Config};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::cli::{Arguments, Command, Run};
use crate::lease::Lease;
use crate::metrics::Metrics;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Run(run) => match operate(run).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(sentence) => cli::fail(&sentence),
        },
        Command::Plan { filename } => match offline::plan(&filename) {
            Ok(text) => {
                print!("{text}");
                ExitCode::SUCCESS
            }
            Err(sentence) => cli::fail(&sentence),
        },
        Command::Crd => {
            print!("{}", faust_crds::manifest());
            ExitCode::SUCCESS
        }
    }
}

/// Waits for the lease, works, and gives it back when told to stop. Losing it is an error: the process ends at once.
async fn operate(run: Run) -> Result<(), String> {
    let filter = tracing_subscriber::EnvFilter::try_new(&run.log_level)
        .map_err(|error| format!("--log-level {}: {error}", run.log_level))?;
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours).compact().init();
    let config = Config::infer().await.map_err(|error| format!("no way to the API server: {error}"))?;
    let client = |config: Config| Client::try_from(config).map_err(|error| format!("no way to the API server: {error}"));
    let mut lease_config = config.clone();
    lease_config.default_retry = false;
    let lease_client = client(lease_config)?;
    let client = client(config)?;

    let stopped = stop_signal()?;
    let metrics = Metrics::new();
    let http = http::serve(run.http_address, metrics.clone()).await?;
    let lease = Lease::new(lease_client, &run.namespace, run.name.clone());
    tracing::info!("faust-operator {} waits for the lease", env!("CARGO_PKG_VERSION"));
    tokio::select! {
        biased;
        end = lead(client, metrics, &lease, run.name, stopped) => end,
        () = http => Err("the HTTP server has ended".into()),
    }
}

async fn lead(
    client: Client,
    metrics: Arc<Metrics>,
    lease: &Lease,
    name: String,
    stopped: watch::Receiver<bool>,
) -> Result<(), String> {
    let ours = tokio::select! {
        biased;
        () = until(stopped.clone()) => return Ok(()),
        ours = lease.acquire() => ours,
    };
    tracing::info!("{name} has the lease and works");
    metrics.leads(true);
    let work = controller::run(client, metrics, name, until(stopped));
    tokio::select! {
        biased;
        why = lease.hold(ours) => Err(why),
        () = work => {
            lease.release().await;
            Ok(())
        }
    }
}

/// True once the process was told to stop.
fn stop_signal() -> Result<watch::Receiver<bool>, String> {
    let listen = |kind| signal(kind).map_err(|error| format!("signals can't be listened for: {error}"));
    let (mut terminate, mut interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping: the rounds under way are finished");
        stop.send_replace(true);
        // For as long as the process lives, or the receivers would think that it was told to stop again.
        std::future::pending::<()>().await;
    });
    Ok(stopped)
}

async fn until(mut stopped: watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stopped| *stopped).await;
}
