//! A producer that is not ours: kcat, which places keys as Kafka's own producer does when told to.

use std::io::{BufWriter, Write};
use std::process::{Child, ChildStdin, Command, Stdio};

use faust_testbed::{Broker, spawn_bound_to_us};

use crate::views::Sink;

const BETWEEN: char = '\t';

/// A running kcat that reads records from us.
pub struct Kcat {
    child: Child,
    records: Option<BufWriter<ChildStdin>>,
}

impl Kcat {
    #[track_caller]
    pub fn to(broker: &Broker, topic: &str) -> Self {
        let mut command = Command::new("kcat");
        command.args(["-P", "-b", &broker.bootstrap(), "-t", topic, "-K", &BETWEEN.to_string()]);
        command.args(["-X", "partitioner=murmur2_random", "-X", "enable.idempotence=true"]);
        command.stdin(Stdio::piped());
        let mut child = spawn_bound_to_us(command).unwrap_or_else(|error| panic!("kcat did not start: {error}"));
        let records = BufWriter::new(child.stdin.take().expect("piped"));
        Self { child, records: Some(records) }
    }
}

impl Sink for Kcat {
    fn send(&mut self, page: &str, view: &str) {
        let records = self.records.as_mut().expect("not finished");
        writeln!(records, "{page}{BETWEEN}{view}").unwrap_or_else(|error| panic!("kcat reads no more: {error}"));
    }

    fn pause(&mut self) {
        self.records.as_mut().expect("not finished").flush().unwrap_or_else(|error| panic!("kcat reads no more: {error}"));
    }

    fn finish(&mut self) {
        drop(self.records.take());
        let status = self.child.wait().expect("kcat's end");
        assert!(status.success(), "kcat ended with {status}: not everything was delivered");
    }
}

impl Drop for Kcat {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
