//! Topics created and deleted by speaking to the broker: Kafka's own tool takes a second of CPU per call, this a millisecond.
//!
//! Only the last versions of the requests before Kafka's compact encoding, so that this stays a page long.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::wait;

const METADATA: (i16, i16) = (3, 4);
const CREATE_TOPICS: (i16, i16) = (19, 4);
const DELETE_TOPICS: (i16, i16) = (20, 3);

const UNKNOWN_TOPIC: i16 = 3;
const LIMIT: Duration = Duration::from_secs(30);

/// Creates a topic and waits until every partition has a leader, so that a client that starts now sees it whole.
pub fn create_topic(broker: &str, name: &str, partitions: u32, settings: &[(&str, &str)]) -> io::Result<()> {
    let mut body = Vec::new();
    put_length(&mut body, 1);
    put_text(&mut body, name);
    body.extend((partitions as i32).to_be_bytes());
    body.extend(1i16.to_be_bytes());
    put_length(&mut body, 0); // no placement by hand
    put_length(&mut body, settings.len());
    for (key, value) in settings {
        put_text(&mut body, key);
        put_text(&mut body, value);
    }
    body.extend((LIMIT.as_millis() as i32).to_be_bytes());
    body.push(0); // not only validate

    let answer = call(broker, CREATE_TOPICS, &body)?;
    let mut answer = Reader(&answer[4..]);
    answer.i32()?;
    answer.text()?;
    let error = answer.i16()?;
    if error != 0 {
        let reason = answer.text()?;
        return Err(io::Error::other(format!("topic {name} was not created on {broker}: error {error}, {reason}")));
    }
    await_topic(broker, name, "led by the broker", |topic| *topic == Topic::Led(partitions as usize))
}

/// Deletes a topic and waits until the broker no longer knows it.
pub fn delete_topic(broker: &str, name: &str) -> io::Result<()> {
    let mut body = Vec::new();
    put_length(&mut body, 1);
    put_text(&mut body, name);
    body.extend((LIMIT.as_millis() as i32).to_be_bytes());

    let answer = call(broker, DELETE_TOPICS, &body)?;
    let mut answer = Reader(&answer[4..]);
    answer.i32()?;
    answer.text()?;
    let error = answer.i16()?;
    if error != 0 {
        return Err(io::Error::other(format!("topic {name} was not deleted on {broker}: error {error}")));
    }
    await_topic(broker, name, "forgotten", |topic| *topic == Topic::Unknown)
}

#[derive(Debug, PartialEq)]
enum Topic {
    Unknown,
    Pending,
    Led(usize),
}

fn await_topic(broker: &str, name: &str, what: &str, done: impl Fn(&Topic) -> bool) -> io::Result<()> {
    let reached = wait::until(LIMIT, || Ok(done(&describe_topic(broker, name)?).then_some(())))?;
    reached
        .ok_or_else(|| io::Error::new(io::ErrorKind::TimedOut, format!("topic {name} on {broker} was not {what} within {LIMIT:?}")))
}

fn describe_topic(broker: &str, name: &str) -> io::Result<Topic> {
    let mut body = Vec::new();
    put_length(&mut body, 1);
    put_text(&mut body, name);
    body.push(0); // a question must not create the topic

    let answer = call(broker, METADATA, &body)?;
    let mut answer = Reader(&answer[4..]);
    for _ in 0..answer.i32()? {
        let _ = (answer.i32()?, answer.text()?, answer.i32()?, answer.text()?); // node: id, host, port, rack
    }
    let _ = (answer.text()?, answer.i32()?); // cluster id, controller
    answer.i32()?;
    let error = answer.i16()?;
    let _ = (answer.text()?, answer.take(1)?); // name, internal
    if error == UNKNOWN_TOPIC {
        return Ok(Topic::Unknown);
    }
    let partitions = answer.i32()?;
    let mut led = 0;
    for _ in 0..partitions {
        let (error, _partition, leader) = (answer.i16()?, answer.i32()?, answer.i32()?);
        for _list in ["replicas", "in sync"] {
            let nodes = answer.i32()?;
            answer.take(4 * nodes as usize)?;
        }
        led += i32::from(error == 0 && leader >= 0);
    }
    Ok(if error == 0 && led == partitions { Topic::Led(led as usize) } else { Topic::Pending })
}

/// One request on a connection of its own; the answer's body.
fn call(broker: &str, (key, version): (i16, i16), body: &[u8]) -> io::Result<Vec<u8>> {
    let mut message = Vec::new();
    message.extend(key.to_be_bytes());
    message.extend(version.to_be_bytes());
    message.extend(1i32.to_be_bytes()); // correlation
    put_text(&mut message, "faust-testbed");
    message.extend(body);

    let mut stream = TcpStream::connect(broker)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.write_all(&(message.len() as i32).to_be_bytes())?;
    stream.write_all(&message)?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut answer = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut answer)?;
    // Correlation here, and the throttle time that every answer used above begins with there.
    if answer.len() < 8 { Err(short()) } else { Ok(answer.split_off(4)) }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as i16).to_be_bytes());
    out.extend(text.as_bytes());
}

fn put_length(out: &mut Vec<u8>, length: usize) {
    out.extend((length as i32).to_be_bytes());
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> io::Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or_else(short)?;
        self.0 = rest;
        Ok(taken)
    }

    fn i16(&mut self) -> io::Result<i16> {
        Ok(i16::from_be_bytes(self.take(2)?.try_into().expect("two bytes")))
    }

    fn i32(&mut self) -> io::Result<i32> {
        Ok(i32::from_be_bytes(self.take(4)?.try_into().expect("four bytes")))
    }

    /// A nullable string; null reads as empty.
    fn text(&mut self) -> io::Result<String> {
        let length = self.i16()?;
        Ok(String::from_utf8_lossy(self.take(length.max(0) as usize)?).into_owned())
    }
}

fn short() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the broker's answer is shorter than its format")
}
