//! A broker of a test's own, to be killed, paused and restarted.

use std::fs;
use std::io;
use std::ops::Deref;
use std::path::PathBuf;
use std::process::Child;
use std::sync::Mutex;
use std::time::Duration;

use crate::broker::Broker;
use crate::folder::Folder;
use crate::install::{self, Heap};
use crate::node::{self, Entrance, Node};
use crate::port::Port;
use crate::{process, wait};

/// How long a broker may take to shut down in order before it is killed.
const STOP: Duration = Duration::from_secs(30);

/// A broker with its own ports, data folder and log. Dropped, it is killed and its folder removed; the log of a test that
/// panics stays, and the test's output says where.
#[derive(Debug)]
pub struct Kafka {
    broker: Broker,
    folder: Option<Folder>,
    properties: PathBuf,
    heap: Heap,
    process: Mutex<Option<Child>>,
    _ports: Vec<Port>,
}

/// Settings of a broker that is to be started.
#[derive(Debug, Default)]
pub struct Builder {
    settings: Vec<(String, String)>,
    listeners: Vec<(&'static str, Port)>,
}

impl Builder {
    /// A line of the broker's properties; it wins over the fixture's own.
    pub fn config(mut self, key: &str, value: impl ToString) -> Self {
        self.settings.push((key.to_owned(), value.to_string()));
        self
    }

    /// A further listener; what it speaks is in the settings.
    pub(crate) fn listener(mut self, name: &'static str, port: Port) -> Self {
        self.listeners.push((name, port));
        self
    }

    /// Returns when the broker serves.
    pub fn start(self) -> io::Result<Kafka> {
        let (port, controller) = (Port::any()?, Port::any()?);
        let entrance =
            |(name, port): &(&str, Port)| Entrance { name: (*name).to_owned(), port: port.number(), advertised: port.number() };
        let entrances: Vec<_> = self.listeners.iter().map(entrance).collect();
        let controllers = [controller.number()];
        let place = Place { id: 1, port: port.number(), controllers: &controllers, entrances: &entrances, heap: Heap::ALONE };
        let ports = self.listeners.into_iter().map(|(_, port)| port).chain([port, controller]);
        let kafka = Kafka::at(place, &self.settings, ports.collect())?;
        kafka.launch()?;
        Ok(kafka)
    }
}

/// Where a node stands among others.
pub(crate) struct Place<'a> {
    pub id: usize,
    pub port: u16,
    pub controllers: &'a [u16],
    pub entrances: &'a [Entrance],
    pub heap: Heap,
}

impl Kafka {
    /// A broker with the fixture's settings.
    pub fn start() -> io::Result<Kafka> {
        Self::builder().start()
    }

    pub fn builder() -> Builder {
        Builder::default()
    }

    /// A broker that isn't started yet; it keeps the ports for itself.
    pub(crate) fn at(place: Place<'_>, settings: &[(String, String)], ports: Vec<Port>) -> io::Result<Kafka> {
        let Place { id, port, controllers, entrances, heap } = place;
        let folder = Folder::new()?;
        let (data, properties) = (folder.path().join("data"), folder.path().join("server.properties"));
        install::kafka()?.format(&data, id)?;
        Node { id, port, controllers, entrances, data: &data, settings }.write(&properties)?;
        let broker = Broker { bootstrap: format!("127.0.0.1:{port}"), log: folder.path().join("kafka.log") };
        Ok(Kafka { broker, folder: Some(folder), properties, heap, process: Mutex::new(None), _ports: ports })
    }

    /// SIGKILL; returns when it is gone. What it had not written is lost with it.
    pub fn kill(&self) -> io::Result<()> {
        if let Some(mut child) = self.process.lock().unwrap().take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// SIGSTOP: connections stay open and nobody answers.
    pub fn pause(&self) -> io::Result<()> {
        self.signal(libc::SIGSTOP)
    }

    /// SIGCONT.
    pub fn resume(&self) -> io::Result<()> {
        self.signal(libc::SIGCONT)
    }

    /// SIGTERM; returns when it has shut down in order.
    pub fn stop(&self) -> io::Result<()> {
        if self.process.lock().unwrap().is_none() {
            return Ok(());
        }
        self.signal(libc::SIGTERM)?;
        let mut process = self.process.lock().unwrap();
        if let Some(child) = process.as_mut() {
            if wait::until(STOP, || child.try_wait())?.is_none() {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("Kafka did not stop within {STOP:?}; its log: {}", self.broker.log.display()),
                ));
            }
            *process = None;
        }
        Ok(())
    }

    /// Starts again on the same ports and data, stopping it in order first if it still runs.
    pub fn restart(&self) -> io::Result<()> {
        self.stop()?;
        self.launch()
    }

    fn launch(&self) -> io::Result<()> {
        let before = self.begin()?;
        self.await_started(before)
    }

    /// Starts the process and doesn't wait until it serves; how long its log was before.
    pub(crate) fn begin(&self) -> io::Result<u64> {
        let before = fs::metadata(&self.broker.log).map_or(0, |log| log.len());
        let command = install::kafka()?.broker(&self.properties, &self.broker.log, self.heap)?;
        *self.process.lock().unwrap() = Some(process::spawn_bound_to_us(command)?);
        Ok(before)
    }

    pub(crate) fn await_started(&self, before: u64) -> io::Result<()> {
        let mut process = self.process.lock().unwrap();
        let child = process.as_mut().ok_or_else(|| self.does_not_run())?;
        node::await_started(child, &self.broker.log, before)
    }

    fn does_not_run(&self) -> io::Error {
        io::Error::other(format!("Kafka at {} does not run", self.broker.bootstrap))
    }

    fn signal(&self, signal: libc::c_int) -> io::Result<()> {
        let mut process = self.process.lock().unwrap();
        let running = match process.as_mut() {
            Some(child) => child.try_wait()?.is_none().then_some(child),
            None => None,
        };
        let running = running.ok_or_else(|| self.does_not_run())?;
        // SAFETY: our child, not waited for yet, so the id is its own.
        match unsafe { libc::kill(running.id() as libc::pid_t, signal) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl Deref for Kafka {
    type Target = Broker;

    fn deref(&self) -> &Broker {
        &self.broker
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        let killed = self.kill();
        let Some(folder) = self.folder.take() else { return };
        if std::thread::panicking() || killed.is_err() {
            let folder = folder.keep();
            let _ = fs::remove_dir_all(folder.join("data"));
            eprintln!("Kafka's log: {}", self.broker.log.display());
        }
    }
}
