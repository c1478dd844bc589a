//! Kafka itself: its jars from Maven, and two things made once from them that take most of a start's time away – a class-data
//! archive and a formatted data folder. All in one folder of the user's cache, made once per version, whoever comes first.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::node::{self, Node};
use crate::port::Port;
use crate::{admin, process};

const POM: &str = include_str!("../kafka/pom.xml");
/// A version to run brokers of, in place of the usual one.
const OTHER_VERSION: &str = "FAUST_TEST_KAFKA_VERSION";
const CLUSTER: &str = "faustTestbedAAAAAAAAAA";

/// What a node may take of memory, as the JVM is told.
#[derive(Clone, Copy, Debug)]
pub struct Heap(&'static str);

impl Heap {
    pub const ALONE: Heap = Heap("-Xmx512m");
    pub const OF_SEVERAL: Heap = Heap("-Xmx320m");
}

/// Kafka in the cache, ready to run.
#[derive(Debug)]
pub struct Installed {
    version: String,
    folder: PathBuf,
    java: PathBuf,
}

/// Kafka as brokers run it, fetched and prepared at the first call ever; later ones only look that it is there.
pub fn kafka() -> io::Result<&'static Installed> {
    static INSTALLED: OnceLock<Installed> = OnceLock::new();
    installed(&INSTALLED, &std::env::var(OTHER_VERSION).unwrap_or_else(|_| usual_version().to_owned()))
}

/// Kafka's command line tools, of the usual version: they speak to brokers of any.
pub fn tools() -> io::Result<&'static Installed> {
    static INSTALLED: OnceLock<Installed> = OnceLock::new();
    installed(&INSTALLED, usual_version())
}

fn installed(slot: &'static OnceLock<Installed>, version: &str) -> io::Result<&'static Installed> {
    if let Some(installed) = slot.get() {
        return Ok(installed);
    }
    let installed = Installed::ensure(version)?;
    Ok(slot.get_or_init(|| installed))
}

/// Where it lies, as shell variables: the cluster runs the same Kafka.
pub fn paths() -> io::Result<String> {
    let kafka = tools()?;
    let paths = [
        ("java", &kafka.java),
        ("classes", &kafka.lib().join("*")),
        ("archive", &kafka.archive()),
        ("formatted", &kafka.formatted()),
    ];
    Ok(paths.map(|(name, path)| format!("{name}='{}'\n", path.display())).concat())
}

impl Installed {
    /// `java` with Kafka's classes; the class to run comes next.
    pub fn java(&self, options: &[&str]) -> Command {
        let mut command = self.bare_java();
        if self.archive().exists() {
            command.arg(format!("-XX:SharedArchiveFile={}", self.archive().display()));
        }
        command.args(options).arg("-cp").arg(self.lib().join("*"));
        command
    }

    /// The command that runs a node. Its last two arguments are what tells this process from any other.
    pub fn broker(&self, properties: &Path, log: &Path, heap: Heap) -> io::Result<Command> {
        let mut command = self.java(&[heap.0]);
        // Lines with their time, and without the settings' 900.
        for setting in ["showDateTime=true", "dateTimeFormat=HH:mm:ss.SSS", "log.org.apache.kafka.common.config=warn"] {
            command.arg(format!("-Dorg.slf4j.simpleLogger.{setting}"));
        }
        let log = File::options().create(true).append(true).open(log)?;
        command.args(node::arguments(properties)).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Ok(command)
    }

    /// A data folder as `StorageTool format` leaves it for the node of this id.
    pub fn format(&self, data: &Path, id: usize) -> io::Result<()> {
        copy_files(&self.formatted(), data)?;
        if id == 1 {
            return Ok(());
        }
        // The cluster is the same one; the node and its folder go by ids of their own.
        let file = data.join("meta.properties");
        let of_first = fs::read_to_string(&file)?;
        let line = |line: &str| match line.split_once('=') {
            Some(("node.id", _)) => format!("node.id={id}\n"),
            Some(("directory.id", _)) => format!("directory.id=faustTestbedNode{id}AAAAA\n"),
            _ => format!("{line}\n"),
        };
        fs::write(&file, of_first.lines().map(line).collect::<String>())
    }

    fn ensure(version: &str) -> io::Result<Installed> {
        let java = find_java()?;
        let cache = cache()?;
        let folder = cache.join(format!("kafka-{version}-{:08x}", sum(&pom(version), &java)?));
        let installed = Installed { version: version.to_owned(), folder, java };
        if installed.archive().exists() {
            return Ok(installed);
        }
        fs::create_dir_all(&cache)?;
        let lock = File::create(cache.join("kafka.lock"))?;
        if lock.try_lock().is_err() {
            eprintln!("faust-testbed: another process is preparing Kafka, waiting for it");
            lock.lock()?;
        }
        if !installed.lib().exists() {
            installed.fetch()?;
        }
        if !installed.formatted().exists() {
            installed.prepare_format()?;
        }
        if !installed.archive().exists() {
            installed.prepare_archive()?;
        }
        Ok(installed)
    }

    fn fetch(&self) -> io::Result<()> {
        eprintln!("faust-testbed: fetching Kafka {} from Maven, 54 MB, once", self.version);
        let work = tempfile::tempdir_in(self.folder.parent().expect("in the cache"))?;
        fs::write(work.path().join("pom.xml"), pom(&self.version))?;
        let mut maven = Command::new("mvn");
        maven.args(["-q", "-B", "dependency:copy-dependencies"]).current_dir(work.path());
        maven.arg(format!("-DoutputDirectory={}", work.path().join("lib").display()));
        run(&mut maven, "Maven (Debian package maven)")?;
        // Older lines bring a logger of their own, and of two one is taken at random.
        for jar in fs::read_dir(work.path().join("lib"))? {
            let jar = jar?;
            if jar.file_name().to_string_lossy().starts_with("slf4j-reload4j") {
                fs::remove_file(jar.path())?;
            }
        }
        fs::create_dir_all(&self.folder)?;
        fs::rename(work.path().join("lib"), self.lib())
    }

    fn prepare_format(&self) -> io::Result<()> {
        let work = tempfile::tempdir_in(&self.folder)?;
        let properties = work.path().join("server.properties");
        let data = work.path().join("data");
        Node { id: 1, port: 1, controllers: &[2], entrances: &[], data: &data, settings: &[] }.write(&properties)?;
        let mut format = self.java(&["-Xmx256m"]);
        format.args(["kafka.tools.StorageTool", "format", "-t", CLUSTER, "-c"]).arg(&properties);
        run(&mut format, "Kafka's StorageTool")?;
        fs::rename(data, self.formatted())
    }

    /// Learns from one life of a broker which classes a start loads. The jars must already stand where they stay: the archive
    /// holds their paths.
    fn prepare_archive(&self) -> io::Result<()> {
        eprintln!("faust-testbed: preparing Kafka {} for quick starts, about 20 s, once", self.version);
        let work = tempfile::tempdir_in(&self.folder)?;
        let (properties, data, log) = (work.path().join("server.properties"), work.path().join("data"), work.path().join("log"));
        let archive = work.path().join("archive");
        let (port, controller) = (Port::any()?, Port::any()?);
        self.format(&data, 1)?;
        let controllers = [controller.number()];
        Node { id: 1, port: port.number(), controllers: &controllers, entrances: &[], data: &data, settings: &[] }
            .write(&properties)?;

        let mut command = self.bare_java();
        command.arg(format!("-XX:ArchiveClassesAtExit={}", archive.display())).args(["-Xmx512m", "-cp"]).arg(self.lib().join("*"));
        let out = File::create(&log)?;
        command.args(node::arguments(&properties)).stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
        let mut child = process::spawn_bound_to_us(command)?;
        node::await_started(&mut child, &log, 0)?;
        admin::create_topic(&format!("127.0.0.1:{}", port.number()), "learn", 1, &[])?;
        // SAFETY: our child, not waited for yet, so the id is its own.
        unsafe { libc::kill(child.id() as libc::pid_t, libc::SIGTERM) };
        child.wait()?;
        fs::rename(archive, self.archive())
            .map_err(|e| io::Error::other(format!("the JVM wrote no class archive ({e}): {}", process::tail(&log))))
    }

    fn bare_java(&self) -> Command {
        let mut command = Command::new(&self.java);
        command.arg("-XX:+UseSerialGC");
        command
    }

    fn lib(&self) -> PathBuf {
        self.folder.join("lib")
    }

    fn formatted(&self) -> PathBuf {
        self.folder.join("formatted")
    }

    fn archive(&self) -> PathBuf {
        self.folder.join("kafka.jsa")
    }
}

/// The cache of this project's tools: `${XDG_CACHE_HOME:-$HOME/.cache}/faust-dev`.
pub fn cache() -> io::Result<PathBuf> {
    let base = match (std::env::var_os("XDG_CACHE_HOME"), std::env::var_os("HOME")) {
        (Some(cache), _) if !cache.is_empty() => PathBuf::from(cache),
        (_, Some(home)) => PathBuf::from(home).join(".cache"),
        _ => {
            return Err(io::Error::other(
                "neither HOME nor XDG_CACHE_HOME is set: there is no place to keep Kafka and Kubernetes in",
            ));
        }
    };
    Ok(base.join("faust-dev"))
}

/// A sum over what the prepared parts depend on: another pom or another JVM means another folder.
fn sum(pom: &str, java: &Path) -> io::Result<u32> {
    let jvm = fs::canonicalize(java)?;
    let mut sum = DefaultHasher::new();
    (pom, &jvm, fs::metadata(&jvm)?.modified()?).hash(&mut sum);
    Ok(sum.finish() as u32)
}

fn pom(version: &str) -> String {
    POM.replace(&format!("<kafka.version>{}<", usual_version()), &format!("<kafka.version>{version}<"))
}

fn usual_version() -> &'static str {
    let after = POM.split("<kafka.version>").nth(1).expect("the pom names Kafka's version");
    after.split('<').next().expect("split has a first part")
}

fn find_java() -> io::Result<PathBuf> {
    let home = std::env::var_os("JAVA_HOME").map(|home| PathBuf::from(home).join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let java = home.into_iter().chain(std::env::split_paths(&path)).map(|folder| folder.join("java")).find(|java| java.is_file());
    java.ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::NotFound,
            "no java on the PATH: install a JRE 17 or later (Debian package openjdk-17-jre-headless)",
        )
    })
}

pub(crate) fn run(command: &mut Command, what: &str) -> io::Result<()> {
    let output =
        command.stdin(Stdio::null()).output().map_err(|e| io::Error::new(e.kind(), format!("{what} can't be run: {e}")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("{what} ended with {}: {}", output.status, said.trim())))
}

fn copy_files(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let (from, to) = {
            let entry = entry?;
            (entry.path(), to.join(entry.file_name()))
        };
        if from.is_dir() { copy_files(&from, &to)? } else { fs::copy(&from, &to).map(drop)? }
    }
    Ok(())
}
