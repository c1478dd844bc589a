//! A broker that runs somewhere, as a client of it sees it: topics and Kafka's own tools.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::admin::Partition;
use crate::{admin, install};

/// The address of a running broker and what can be done from there.
#[derive(Debug)]
pub struct Broker {
    pub(crate) bootstrap: String,
    pub(crate) log: PathBuf,
}

impl Broker {
    /// `127.0.0.1:PORT`, for `bootstrap.servers`; of several brokers with commas between.
    pub fn bootstrap(&self) -> String {
        self.bootstrap.clone()
    }

    /// The file that the broker logs to.
    pub fn logs(&self) -> &Path {
        &self.log
    }

    /// Creates a topic; when this returns, every partition has a leader.
    pub fn create_topic(&self, name: &str, partitions: u32, settings: &[(&str, &str)]) -> io::Result<()> {
        admin::create_topic(&self.bootstrap, name, partitions, settings)
    }

    /// Deletes a topic; when this returns, the broker no longer knows it.
    pub fn delete_topic(&self, name: &str) -> io::Result<()> {
        admin::delete_topic(&self.bootstrap, name)
    }

    /// The partitions of a topic by index, as a broker knows them at the moment; none if there is no such topic.
    pub fn partitions(&self, topic: &str) -> io::Result<Option<Vec<Partition>>> {
        admin::partitions(&self.bootstrap, topic)
    }

    /// Makes brokers the leaders of partitions, which they must have replicas of and be in sync for.
    pub fn move_leaders(&self, topic: &str, leaders: &[(i32, i32)]) -> io::Result<()> {
        admin::move_leaders(&self.bootstrap, topic, leaders)
    }

    /// Runs one of Kafka's command line tools to its end: `tool("ConsumerGroupCommand", ["--describe", …])`. An exit code other
    /// than 0 is an error with what it printed.
    pub fn tool<S: AsRef<str>>(&self, class: &str, arguments: impl IntoIterator<Item = S>) -> io::Result<Output> {
        self.tool_with_input(class, arguments, b"")
    }

    /// The same with something to read, as the console producer wants.
    pub fn tool_with_input<S: AsRef<str>>(
        &self,
        class: &str,
        arguments: impl IntoIterator<Item = S>,
        input: &[u8],
    ) -> io::Result<Output> {
        let mut command = self.tool_command(class, arguments)?;
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let mut stdin = child.stdin.take().expect("piped");
        // A tool that reads nothing may be gone already; its exit code tells.
        let _ = stdin.write_all(input);
        drop(stdin);
        let output = child.wait_with_output()?;
        if output.status.success() {
            return Ok(output);
        }
        let said = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
        Err(io::Error::other(format!("Kafka's {class} on {} ended with {}: {}", self.bootstrap, output.status, said.trim())))
    }

    /// A tool that isn't started yet, for one that runs beside the test. `--bootstrap-server` is given.
    pub fn tool_command<S: AsRef<str>>(&self, class: &str, arguments: impl IntoIterator<Item = S>) -> io::Result<Command> {
        let mut command =
            install::tools()?.java(&["-Xmx256m", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error"]);
        command.arg(full_name(class)).args(["--bootstrap-server", &self.bootstrap]);
        command.args(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        Ok(command)
    }
}

/// Tools by the name that people know; a name with dots is taken as it is.
fn full_name(class: &str) -> String {
    match class {
        _ if class.contains('.') => class.to_owned(),
        "ConfigCommand" => "kafka.admin.ConfigCommand".to_owned(),
        "ConsoleConsumer" => "org.apache.kafka.tools.consumer.ConsoleConsumer".to_owned(),
        "ConsumerGroupCommand" => "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand".to_owned(),
        _ => format!("org.apache.kafka.tools.{class}"),
    }
}
