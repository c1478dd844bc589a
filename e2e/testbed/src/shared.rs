//! The broker that `make kafka` starts: one per user, detached, for trying things out and for every test that doesn't hurt it.
//!
//! Its folder holds its data, its log and its settings. It is running if a process has exactly its command line; no file says
//! so, because files outlive processes and ids come to mean others.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use crate::broker::Broker;
use crate::install::{self, Heap};
use crate::node::{self, Node};
use crate::port::Port;
use crate::process::{self, Pinned};

/// The address of a broker to use instead.
const ADDRESS: &str = "FAUST_TEST_KAFKA";
/// Where Kafka clients look when nothing is said.
const USUAL_PORT: u16 = 9092;
const STOP: Duration = Duration::from_secs(20);

/// Whether the shared broker runs.
#[derive(Debug)]
pub enum State {
    Up { broker: Broker, pid: u32 },
    Down,
}

/// The running shared broker, for tests. They use [`unique`](crate::unique) names.
///
/// # Panics
///
/// When none runs.
pub fn shared() -> &'static Broker {
    static SHARED: OnceLock<Broker> = OnceLock::new();
    SHARED.get_or_init(|| {
        let broker = find().unwrap_or_else(|problem| panic!("{problem}"));
        print_log_on_panic(&broker);
        broker
    })
}

/// The running shared broker, or an error that says how to get one.
pub fn find() -> io::Result<Broker> {
    let folder = folder()?;
    if let Ok(bootstrap) = std::env::var(ADDRESS) {
        return Ok(Broker { bootstrap, log: log(&folder) });
    }
    match look(&folder)? {
        State::Up { broker, .. } => Ok(broker),
        State::Down => {
            Err(io::Error::other("no Kafka runs here: start one with `make kafka`, or run the tests with `make test-kafka`"))
        }
    }
}

/// Starts the shared broker, if none runs.
pub fn up() -> io::Result<Broker> {
    let folder = folder()?;
    let _one_at_a_time = lock(&folder)?;
    if let State::Up { broker, .. } = look(&folder)? {
        return Ok(broker);
    }
    let kafka = install::kafka()?;
    remove(&folder)?;
    let data = folder.join("data");
    kafka.format(&data, 1)?;
    let (port, controller) = (Port::preferred(USUAL_PORT)?, Port::any()?);
    let broker = Broker { bootstrap: format!("127.0.0.1:{}", port.number()), log: log(&folder) };
    let controllers = [controller.number()];
    Node { id: 1, port: port.number(), controllers: &controllers, entrances: &[], data: &data, settings: &[] }
        .write(&properties(&folder))?;
    fs::write(address(&folder), &broker.bootstrap)?;
    let mut child = process::spawn_detached(kafka.broker(&properties(&folder), &broker.log, Heap::ALONE)?)?;
    if let Err(problem) = node::await_started(&mut child, &broker.log, 0) {
        let _ = child.kill();
        let _ = child.wait();
        return Err(problem);
    }
    Ok(broker)
}

/// Stops the shared broker, if it runs, and removes its folder.
pub fn down() -> io::Result<()> {
    let folder = folder()?;
    let _one_at_a_time = lock(&folder)?;
    if let Some(running) = process_of(&folder)? {
        running.signal(libc::SIGTERM)?;
        if !running.ended(STOP) {
            running.signal(libc::SIGKILL)?;
            if !running.ended(STOP) {
                return Err(io::Error::other(format!(
                    "Kafka, process {}, does not end; its log: {}",
                    running.id,
                    log(&folder).display()
                )));
            }
        }
    }
    remove(&folder)
}

/// Whether the shared broker runs, and where.
pub fn status() -> io::Result<State> {
    look(&folder()?)
}

fn print_log_on_panic(broker: &Broker) {
    let said = format!("Kafka's log: {} (broker {})", broker.log.display(), broker.bootstrap);
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        before(panic);
        eprintln!("{said}");
    }));
}

fn look(folder: &Path) -> io::Result<State> {
    let Some(running) = process_of(folder)? else { return Ok(State::Down) };
    let bootstrap = fs::read_to_string(address(folder))?;
    Ok(State::Up { broker: Broker { bootstrap, log: log(folder) }, pid: running.id })
}

fn process_of(folder: &Path) -> io::Result<Option<Pinned>> {
    let arguments = node::arguments(&properties(folder));
    Pinned::by_last_arguments(&arguments.each_ref().map(String::as_str))
}

fn folder() -> io::Result<PathBuf> {
    Ok(state()?.join("kafka"))
}

/// The folder of what runs here: `${XDG_STATE_HOME:-$HOME/.local/state}/faust-dev`.
pub fn state() -> io::Result<PathBuf> {
    let base = match (std::env::var_os("XDG_STATE_HOME"), std::env::var_os("HOME")) {
        (Some(state), _) if !state.is_empty() => PathBuf::from(state),
        (_, Some(home)) => PathBuf::from(home).join(".local/state"),
        _ => return Err(io::Error::other("neither HOME nor XDG_STATE_HOME is set: there is no place for what runs here")),
    };
    Ok(base.join("faust-dev"))
}

/// Held while the broker is started or stopped.
fn lock(folder: &Path) -> io::Result<File> {
    let parent = folder.parent().expect("below the state folder");
    fs::create_dir_all(parent)?;
    let lock = File::create(parent.join("kafka.lock"))?;
    lock.lock()?;
    Ok(lock)
}

fn remove(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

fn properties(folder: &Path) -> PathBuf {
    folder.join("server.properties")
}

fn address(folder: &Path) -> PathBuf {
    folder.join("address")
}

fn log(folder: &Path) -> PathBuf {
    folder.join("kafka.log")
}
