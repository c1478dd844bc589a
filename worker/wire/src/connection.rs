//! One connection to a broker: requests are pipelined, answers find their callers by number.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::ApiVersionsRequest;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::config::{Address, Config};
use crate::error::Error;
use crate::frame::{self, Frame};
use crate::request::Request;
use crate::transport;
use crate::versions::{self, Negotiation, Versions};

/// Requests that wait to be written; more callers than this wait in line.
const QUEUE: usize = 64;

/// A handle on one TCP connection, cheap to clone. Dropping the last one closes it.
///
/// A broker serves the requests of a connection one after the other, so what is sent behind a slow one (a JoinGroup) waits: take
/// another connection for what must not.
///
/// Dropping a call is safe: the request may still be carried out, its late answer is thrown away. A call that *times out* closes the
/// connection, since nothing behind it would be answered either.
#[derive(Clone)]
pub struct Connection {
    line: Arc<Line>,
    versions: Arc<Versions>,
}

impl Connection {
    /// Connects and agrees on versions, within the connect timeout.
    pub async fn open(address: &Address, config: &Config) -> Result<Self, Error> {
        let unreachable = |reason| Error::Unreachable { address: address.to_string(), reason };
        let connect = async {
            let socket = transport::dial(address).await.map_err(unreachable)?;
            let stream = transport::secure(socket, config).await.map_err(unreachable)?;
            Self::negotiate(Line::start(stream, address, config)).await
        };
        match timeout(config.connect_timeout, connect).await {
            Ok(Err(Error::Closed { reason, .. })) => Err(unreachable(reason)),
            Ok(result) => result,
            Err(_) => Err(unreachable(format!("no answer within {:?}", config.connect_timeout))),
        }
    }

    async fn negotiate(line: Line) -> Result<Self, Error> {
        let mut version = ApiVersionsRequest::known_versions().max;
        loop {
            let answer = line.exchange(&versions::question(version), version, line.request_timeout).await?;
            match versions::judge(answer, version)? {
                Negotiation::Agreed(versions) => return Ok(Self { line: Arc::new(line), versions: Arc::new(versions) }),
                Negotiation::AskAgain(older) => version = older,
            }
        }
    }

    /// Makes a request in the highest version that both sides have.
    pub async fn call<R: Request>(&self, request: R) -> Result<R::Response, Error> {
        self.exchange(request, i16::MAX, self.line.request_timeout).await
    }

    /// Like [`call`](Self::call), for answers that the broker holds back, such as JoinGroup's.
    pub async fn call_with_timeout<R: Request>(&self, request: R, timeout: Duration) -> Result<R::Response, Error> {
        self.exchange(request, i16::MAX, timeout).await
    }

    /// Like [`call`](Self::call), in no newer version than `max_version`.
    pub async fn call_at<R: Request>(&self, request: R, max_version: i16) -> Result<R::Response, Error> {
        self.exchange(request, max_version, self.line.request_timeout).await
    }

    /// The version that [`call`](Self::call) uses for `R`; `None` if there is none in common.
    pub fn version_of<R: Request>(&self) -> Option<i16> {
        self.versions.pick::<R>(i16::MAX).ok()
    }

    /// Whether the connection has ended; every call on it fails from then on.
    pub fn is_closed(&self) -> bool {
        self.line.waiting.is_closed()
    }

    /// Where it leads.
    pub fn address(&self) -> &Address {
        &self.line.address
    }

    async fn exchange<R: Request>(&self, request: R, cap: i16, timeout: Duration) -> Result<R::Response, Error> {
        let unsupported = |reason| Error::Unsupported { address: self.line.address.to_string(), api: R::NAME, reason };
        let version = self.versions.pick::<R>(cap).map_err(unsupported)?;
        let answer = self.line.exchange(&request, version, timeout).await?;
        frame::decode::<R>(answer, version)
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Connection({}{})", self.line.address, if self.is_closed() { ", closed" } else { "" })
    }
}

/// The connection below the versions: frames out, frames in. One task works on it, which ends with it.
struct Line {
    address: Address,
    client_id: String,
    request_timeout: Duration,
    queue: mpsc::Sender<Bytes>,
    waiting: Arc<Waiting>,
    task: AbortHandle,
}

impl Line {
    fn start(stream: impl AsyncRead + AsyncWrite + Send + 'static, address: &Address, config: &Config) -> Self {
        let (queue, outgoing) = mpsc::channel(QUEUE);
        let waiting = Arc::new(Waiting::new());
        let task = tokio::spawn(work(stream, outgoing, CloseAtEnd(waiting.clone()))).abort_handle();
        Self {
            address: address.clone(),
            client_id: config.client_id.clone(),
            request_timeout: config.request_timeout,
            queue,
            waiting,
            task,
        }
    }

    async fn exchange<R: Request>(&self, request: &R, version: i16, limit: Duration) -> Result<Bytes, Error> {
        let frame = Frame::encode(request, version, &self.client_id)?;
        let answer = async {
            let place = self.queue.reserve().await.ok()?;
            let (id, answer) = self.waiting.enter()?;
            place.send(frame.numbered(id));
            answer.await.ok()
        };
        match timeout(limit, answer).await {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => Err(Error::Closed { address: self.address.to_string(), reason: self.waiting.reason() }),
            Err(_) => {
                self.waiting.close(format!("{} was not answered within {limit:?}", R::NAME));
                self.task.abort();
                Err(Error::TimedOut { address: self.address.to_string(), api: R::NAME, after: limit })
            }
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Writes and reads until one of the two can't go on.
async fn work(stream: impl AsyncRead + AsyncWrite, mut outgoing: mpsc::Receiver<Bytes>, end: CloseAtEnd) {
    let (reader, writer) = tokio::io::split(stream);
    let reason = tokio::select! {
        biased;
        reason = receive(BufReader::new(reader), &end.0) => reason,
        reason = send(writer, &mut outgoing) => reason,
    };
    end.0.close(reason);
}

async fn send(mut writer: impl AsyncWrite + Unpin, outgoing: &mut mpsc::Receiver<Bytes>) -> String {
    while let Some(frame) = outgoing.recv().await {
        if let Err(error) = writer.write_all(&frame).await {
            return error.to_string();
        }
    }
    "nobody uses it any more".to_string()
}

async fn receive(mut reader: impl AsyncRead + Unpin, waiting: &Waiting) -> String {
    loop {
        match frame::read(&mut reader).await {
            Ok((id, answer)) => {
                if !waiting.answer(id, answer) {
                    return format!("it answered request {id}, which nobody made");
                }
            }
            Err(reason) => return reason,
        }
    }
}

/// The callers that wait for an answer.
struct Waiting(Mutex<State>);

enum State {
    Open { next: i32, callers: BTreeMap<i32, oneshot::Sender<Bytes>> },
    Closed { reason: String },
}

impl Waiting {
    fn new() -> Self {
        Self(Mutex::new(State::Open { next: 0, callers: BTreeMap::new() }))
    }

    /// A number for a new request and where its answer will come; `None` once closed.
    fn enter(&self) -> Option<(i32, oneshot::Receiver<Bytes>)> {
        match &mut *self.0.lock().unwrap() {
            State::Open { next, callers } => {
                let id = *next;
                *next = next.wrapping_add(1);
                let (sender, receiver) = oneshot::channel();
                callers.insert(id, sender);
                Some((id, receiver))
            }
            State::Closed { .. } => None,
        }
    }

    /// Hands the answer to its caller, who may have gone; false if there never was one.
    fn answer(&self, id: i32, answer: Bytes) -> bool {
        match &mut *self.0.lock().unwrap() {
            State::Open { callers, .. } => callers.remove(&id).map(|caller| caller.send(answer).ok()).is_some(),
            State::Closed { .. } => true,
        }
    }

    /// Ends all waiting. The first reason stands.
    fn close(&self, reason: String) {
        let mut state = self.0.lock().unwrap();
        if let State::Open { .. } = *state {
            *state = State::Closed { reason };
        }
    }

    fn is_closed(&self) -> bool {
        matches!(*self.0.lock().unwrap(), State::Closed { .. })
    }

    fn reason(&self) -> String {
        match &*self.0.lock().unwrap() {
            State::Open { .. } => "it is being closed".to_string(),
            State::Closed { reason } => reason.clone(),
        }
    }
}

/// Whatever ends the connection's task – also its being aborted, or its runtime going away – ends the waiting.
struct CloseAtEnd(Arc<Waiting>);

impl Drop for CloseAtEnd {
    fn drop(&mut self) {
        self.0.close("its task has ended".to_string());
    }
}

#[cfg(test)]
mod tests;
