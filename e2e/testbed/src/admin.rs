//! Topics created, looked at and deleted, and leaders moved, by speaking to the broker: Kafka's own tool takes a second of CPU per
//! call, this a millisecond.
//!
//! Only the last versions of the requests before Kafka's compact encoding, where there are such, so that this stays short.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::wait;

const METADATA: (i16, i16) = (3, 4);
const CREATE_TOPICS: (i16, i16) = (19, 4);
const DELETE_TOPICS: (i16, i16) = (20, 3);
const ELECT_LEADERS: (i16, i16) = (43, 1);
/// The compact encoding is all it has.
const REASSIGN: (i16, i16) = (45, 0);

const UNKNOWN_TOPIC: i16 = 3;
const ELECTION_NOT_NEEDED: i16 = 84;
const LIMIT: Duration = Duration::from_secs(30);

/// Creates a topic and waits until every partition has a leader, so that a client that starts now sees it whole.
pub fn create_topic(broker: &str, name: &str, partitions: u32, settings: &[(&str, &str)]) -> io::Result<()> {
    let mut body = Vec::new();
    put_length(&mut body, 1);
    put_text(&mut body, name);
    body.extend((partitions as i32).to_be_bytes());
    body.extend((-1i16).to_be_bytes()); // as many replicas as the broker makes by itself
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
    let led = |known: &[Partition]| known.len() == partitions as usize && known.iter().all(|partition| partition.leader.is_some());
    await_topic(broker, name, "led", |topic| topic.is_some_and(led))
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
    await_topic(broker, name, "forgotten", |topic| topic.is_none())
}

/// Who has a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    pub leader: Option<i32>,
    /// The one that leads by preference first.
    pub replicas: Vec<i32>,
    pub in_sync: Vec<i32>,
}

fn await_topic(broker: &str, name: &str, what: &str, done: impl Fn(Option<&[Partition]>) -> bool) -> io::Result<()> {
    let reached = wait::until(LIMIT, || Ok(done(partitions(broker, name)?.as_deref()).then_some(())))?;
    reached
        .ok_or_else(|| io::Error::new(io::ErrorKind::TimedOut, format!("topic {name} on {broker} was not {what} within {LIMIT:?}")))
}

/// The partitions of a topic by index, or none if there is no such topic.
pub fn partitions(broker: &str, name: &str) -> io::Result<Option<Vec<Partition>>> {
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
        return Ok(None);
    }
    let mut partitions = Vec::new();
    for _ in 0..answer.i32()? {
        let (error, index, leader) = (answer.i16()?, answer.i32()?, answer.i32()?);
        let (replicas, in_sync) = (answer.numbers()?, answer.numbers()?);
        partitions.push((index, Partition { leader: (error == 0 && leader >= 0).then_some(leader), replicas, in_sync }));
    }
    partitions.sort_by_key(|(index, _)| *index);
    Ok(Some(partitions.into_iter().map(|(_, partition)| partition).collect()))
}

/// Makes brokers the leaders of partitions and waits until they are: puts each first among the replicas, then has leaders elected.
pub fn move_leaders(broker: &str, topic: &str, leaders: &[(i32, i32)]) -> io::Result<()> {
    let known = partitions(broker, topic)?.ok_or_else(|| io::Error::other(format!("topic {topic} is not known to {broker}")))?;
    reassign(broker, topic, &known, leaders)?;

    let mut body = vec![0]; // the preferred
    put_length(&mut body, 1);
    put_text(&mut body, topic);
    put_length(&mut body, leaders.len());
    for (partition, _) in leaders {
        body.extend(partition.to_be_bytes());
    }
    body.extend((LIMIT.as_millis() as i32).to_be_bytes());
    let answer = call(broker, ELECT_LEADERS, &body)?;
    let mut answer = Reader(&answer[4..]);
    check(answer.i16()?, topic, "leaders elected")?;
    for _ in 0..answer.i32()? {
        answer.text()?;
        for _ in 0..answer.i32()? {
            let (_partition, error, _reason) = (answer.i32()?, answer.i16()?, answer.text()?);
            check(if error == ELECTION_NOT_NEEDED { 0 } else { error }, topic, "leaders elected")?;
        }
    }
    let moved = |known: &[Partition]| leaders.iter().all(|(partition, to)| known[*partition as usize].leader == Some(*to));
    await_topic(broker, topic, "led as told", |topic| topic.is_some_and(moved))
}

/// The same replicas with another one first.
fn reassign(broker: &str, topic: &str, known: &[Partition], leaders: &[(i32, i32)]) -> io::Result<()> {
    let mut body = vec![0]; // no tags in the header
    body.extend((LIMIT.as_millis() as i32).to_be_bytes());
    put_compact(&mut body, 1);
    put_compact(&mut body, topic.len());
    body.extend(topic.as_bytes());
    put_compact(&mut body, leaders.len());
    for (partition, to) in leaders {
        body.extend(partition.to_be_bytes());
        let mut replicas = known[*partition as usize].replicas.clone();
        replicas.sort_by_key(|replica| replica != to);
        put_compact(&mut body, replicas.len());
        body.extend(replicas.iter().flat_map(|replica| replica.to_be_bytes()));
        body.push(0);
    }
    body.extend([0, 0]); // no tags of the topic, none of the whole
    let answer = call(broker, REASSIGN, &body)?;
    let mut answer = Reader(&answer[5..]);
    check(answer.i16()?, topic, "partitions reassigned")
}

fn check(error: i16, topic: &str, what: &str) -> io::Result<()> {
    if error == 0 { Ok(()) } else { Err(io::Error::other(format!("topic {topic}: no {what}, error {error}"))) }
}

/// One request on a connection of its own; the answer's body.
fn call(broker: &str, (key, version): (i16, i16), body: &[u8]) -> io::Result<Vec<u8>> {
    let mut message = Vec::new();
    message.extend(key.to_be_bytes());
    message.extend(version.to_be_bytes());
    message.extend(1i32.to_be_bytes()); // correlation
    put_text(&mut message, "faust-testbed");
    message.extend(body);

    let mut stream = connect(broker)?;
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

/// To the first broker of a list that there is.
fn connect(brokers: &str) -> io::Result<TcpStream> {
    let mut refused = io::Error::other("no broker's address");
    for address in brokers.split(',') {
        match TcpStream::connect(address) {
            Ok(stream) => return Ok(stream),
            Err(error) => refused = error,
        }
    }
    Err(refused)
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as i16).to_be_bytes());
    out.extend(text.as_bytes());
}

fn put_length(out: &mut Vec<u8>, length: usize) {
    out.extend((length as i32).to_be_bytes());
}

/// A length that fits into one byte of the compact encoding.
fn put_compact(out: &mut Vec<u8>, length: usize) {
    out.push(u8::try_from(length + 1).ok().filter(|byte| *byte < 0x80).expect("short"));
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

    fn numbers(&mut self) -> io::Result<Vec<i32>> {
        (0..self.i32()?).map(|_| self.i32()).collect()
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
