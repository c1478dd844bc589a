//! `make demo`: the app of this example on the log in memory, with a generator as the producer and a screen that shows what it counts.

use std::io::{IsTerminal, stdout};
use std::process::exit;
use std::time::Duration;

use faust::{Settings, Store};
use page_views::{PageView, PageViews};

mod generator;
mod screen;

use generator::{Generator, PAGES};
use screen::Screen;

/// Views made in each tick.
const BURST: usize = 1_000;
const TICK: Duration = Duration::from_millis(50);
/// How long the last views may take to be counted.
const PATIENCE: Duration = Duration::from_secs(10);

#[tokio::main(flavor = "current_thread")]
async fn main() -> faust::Result<()> {
    let (app, handles) = page_views::app();
    app.configure(Settings::new().broker("memory://").store(Store::Memory).web_port(0).commit_interval(Duration::from_millis(200)));
    let worker = app.start().await?;
    worker.ready().await?;
    let mut screen = Screen::new(stdout().is_terminal(), worker.web());

    let produced = tokio::select! {
        biased;
        () = asked_to_stop() => None,
        produced = produce(handles, &mut screen) => Some(produced?),
    };
    let produced = produced.unwrap_or(screen.produced);
    let counted = counted(handles, produced).await?;
    worker.stop().await?;
    screen.close();
    println!("produced {produced}, counted {counted}");
    if produced != counted {
        eprintln!("the two differ: this is a bug");
        exit(1);
    }
    Ok(())
}

/// Produces for ever, and draws once a second.
async fn produce(handles: PageViews, screen: &mut Screen) -> faust::Result<u64> {
    let mut generator = Generator::new();
    let mut ticks = tokio::time::interval(TICK);
    let mut redraw = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            biased;
            _ = redraw.tick() => {
                let counts = counts(handles).await?;
                screen.draw(counts);
            }
            _ = ticks.tick() => {
                for _ in 0..BURST {
                    let (page, user) = generator.view();
                    handles.views.send(page, &PageView { user }).await?;
                    screen.produced += 1;
                }
            }
        }
    }
}

/// What the table says of every page.
async fn counts(handles: PageViews) -> faust::Result<Vec<(&'static str, u64)>> {
    let mut counts = Vec::new();
    for page in PAGES {
        counts.push((page, handles.counts.query(page).await?.unwrap_or(0)));
    }
    Ok(counts)
}

/// The sum over all pages, once it has arrived at what was produced or nothing more comes.
async fn counted(handles: PageViews, produced: u64) -> faust::Result<u64> {
    let mut total = 0;
    let all = async {
        loop {
            total = counts(handles).await?.iter().map(|(_, count)| count).sum();
            if total >= produced {
                return Ok::<(), faust::Error>(());
            }
            tokio::time::sleep(TICK).await;
        }
    };
    match tokio::time::timeout(PATIENCE, all).await {
        Ok(result) => result?,
        Err(_) => eprintln!("not everything was counted within {} s", PATIENCE.as_secs()),
    }
    Ok(total)
}

/// Ctrl-C, SIGTERM, or the end of `DEMO_SECONDS`.
async fn asked_to_stop() {
    use tokio::signal::unix::{SignalKind, signal};
    let seconds = std::env::var("DEMO_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    let limit = async {
        match seconds {
            Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
            None => std::future::pending().await,
        }
    };
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate())) else {
        return limit.await;
    };
    tokio::select! {
        biased;
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        () = limit => {}
    }
}
