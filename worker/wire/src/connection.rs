//! One connection to a broker: requests are pipelined, answers find their callers by number.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::ApiVersionsRequest;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::{RwLock, mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use crate::config::{Address, Config};
use crate::error::Error;
use crate::frame::{self, Frame};
use crate::request::Request;
use crate::sasl;
use crate::security::Sasl;
use crate::security::tls::{self, Failed};
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
pub struct Connection(Arc<Shared>);

/// What the handles share.
pub(crate) struct Shared {
    line: Line,
    versions: Versions,
    /// Held for reading by every call until it is answered, and for writing by whoever proves anew who we are: a broker takes nothing
    /// else in the middle of that.
    turn: RwLock<()>,
    /// The task that does so before the old proof runs out.
    renewal: OnceLock<AbortHandle>,
}

impl Connection {
    /// Connects, agrees on versions and proves who we are, within the connect timeout.
    pub async fn open(address: &Address, config: &Config) -> Result<Self, Error> {
        let unreachable = |reason| Error::Unreachable { address: address.to_string(), reason };
        let connect = async {
            let socket = transport::dial(address).await.map_err(unreachable)?;
            let stream = transport::secure(socket, address, config).await?;
            let line = Line::start(stream, address, config);
            let versions = negotiate(&line).await?;
            let shared = Arc::new(Shared { line, versions, turn: RwLock::default(), renewal: OnceLock::new() });
            if let Some(sasl) = &config.security.sasl
                && let Some(lifetime) = sasl::authenticate(&shared, sasl).await?
            {
                let renewal = tokio::spawn(renew(Arc::downgrade(&shared), sasl.clone(), lifetime)).abort_handle();
                shared.renewal.get_or_init(|| renewal);
            }
            Ok(Self(shared))
        };
        match timeout(config.connect_timeout, connect).await {
            Ok(Err(Error::Closed { reason, .. })) => Err(unreachable(reason)),
            Ok(result) => result,
            Err(_) => Err(unreachable(format!("no answer within {:?}", config.connect_timeout))),
        }
    }

    /// Makes a request in the highest version that both sides have.
    pub async fn call<R: Request>(&self, request: R) -> Result<R::Response, Error> {
        self.call_with_timeout(request, self.0.line.request_timeout).await
    }

    /// Like [`call`](Self::call), for answers that the broker holds back, such as JoinGroup's.
    pub async fn call_with_timeout<R: Request>(&self, request: R, timeout: Duration) -> Result<R::Response, Error> {
        let version = self.0.version_of::<R>()?;
        let line = &self.0.line;
        let answer = async {
            let _turn = self.0.turn.read().await;
            line.exchange(&request, version).await
        };
        let answer = line.within(timeout, R::NAME, answer).await?;
        frame::decode::<R>(answer, version)
    }

    /// The version that [`call`](Self::call) uses for `R`; `None` if there is none in common.
    pub fn version_of<R: Request>(&self) -> Option<i16> {
        self.0.version_of::<R>().ok()
    }

    /// Whether the connection has ended; every call on it fails from then on.
    pub fn is_closed(&self) -> bool {
        self.0.line.waiting.is_closed()
    }

    /// Where it leads.
    pub fn address(&self) -> &Address {
        self.0.address()
    }
}

impl Shared {
    pub fn address(&self) -> &Address {
        &self.line.address
    }

    /// A request of whoever has the connection for itself.
    pub async fn ask<R: Request>(&self, request: R) -> Result<R::Response, Error> {
        let version = self.version_of::<R>()?;
        let answer = self.line.within(self.line.request_timeout, R::NAME, self.line.exchange(&request, version)).await?;
        frame::decode::<R>(answer, version)
    }

    fn version_of<R: Request>(&self) -> Result<i16, Error> {
        let unsupported = |reason| Error::Unsupported { address: self.address().to_string(), api: R::NAME, reason };
        self.versions.pick::<R>().map_err(unsupported)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(renewal) = self.renewal.get() {
            renewal.abort();
        }
    }
}

async fn negotiate(line: &Line) -> Result<Versions, Error> {
    let mut version = ApiVersionsRequest::known_versions().max;
    loop {
        let question = versions::question(version);
        let answer = line.within(line.request_timeout, ApiVersionsRequest::NAME, line.exchange(&question, version)).await?;
        match versions::judge(answer, version)? {
            Negotiation::Agreed(versions) => return Ok(versions),
            Negotiation::AskAgain(older) => version = older,
        }
    }
}

/// Proves anew who we are, each time before the broker would end the connection (KIP-368). It begins when everything is answered that
/// was asked before, however long that takes: a broker minds only what comes late.
async fn renew(connection: Weak<Shared>, sasl: Sasl, mut lifetime: Duration) {
    loop {
        sleep(lifetime * 17 / 20).await;
        let Some(connection) = connection.upgrade() else { return };
        let _turn = connection.turn.write().await;
        match sasl::authenticate(&connection, &sasl).await {
            Ok(Some(next)) => lifetime = next,
            Ok(None) => return,
            Err(error) => {
                tracing::warn!("{error}");
                return connection.line.close(format!("who we are could not be proven anew: {error}"));
            }
        }
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Connection({}{})", self.address(), if self.is_closed() { ", closed" } else { "" })
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

    /// The bytes of an answer.
    async fn exchange<R: Request>(&self, request: &R, version: i16) -> Result<Bytes, Error> {
        let frame = Frame::encode(request, version, &self.client_id)?;
        let answer = async {
            let place = self.queue.reserve().await.ok()?;
            let (id, answer) = self.waiting.enter()?;
            place.send(frame.numbered(id));
            answer.await.ok()
        };
        let ended = || match (self.waiting.why(), self.address.to_string()) {
            (Failed::Broken(reason), address) => Error::Closed { address, reason },
            (Failed::Untrusted(reason), address) => Error::Untrusted { address, reason },
        };
        answer.await.ok_or_else(ended)
    }

    /// Ends the connection if the answer takes longer.
    async fn within<T>(
        &self,
        limit: Duration,
        api: &'static str,
        answer: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        match timeout(limit, answer).await {
            Ok(answer) => answer,
            Err(_) => {
                self.close(format!("{api} was not answered within {limit:?}"));
                Err(Error::TimedOut { address: self.address.to_string(), api, after: limit })
            }
        }
    }

    fn close(&self, reason: String) {
        self.waiting.close(Failed::Broken(reason));
        self.task.abort();
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
    let why = tokio::select! {
        biased;
        why = receive(BufReader::new(reader), &end.0) => why,
        why = send(writer, &mut outgoing) => why,
    };
    end.0.close(why);
}

async fn send(mut writer: impl AsyncWrite + Unpin, outgoing: &mut mpsc::Receiver<Bytes>) -> Failed {
    while let Some(frame) = outgoing.recv().await {
        if let Err(error) = writer.write_all(&frame).await {
            return tls::lost(&error);
        }
    }
    Failed::Broken("nobody uses it any more".to_string())
}

async fn receive(mut reader: impl AsyncRead + Unpin, waiting: &Waiting) -> Failed {
    loop {
        match frame::read(&mut reader).await {
            Ok((id, answer)) => {
                if !waiting.answer(id, answer) {
                    return Failed::Broken(format!("it answered request {id}, which nobody made"));
                }
            }
            Err(why) => return why,
        }
    }
}

/// The callers that wait for an answer.
struct Waiting(Mutex<State>);

enum State {
    Open { next: i32, callers: BTreeMap<i32, oneshot::Sender<Bytes>> },
    Closed(Failed),
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
            State::Closed(_) => None,
        }
    }

    /// Hands the answer to its caller, who may have gone; false if there never was one.
    fn answer(&self, id: i32, answer: Bytes) -> bool {
        match &mut *self.0.lock().unwrap() {
            State::Open { callers, .. } => callers.remove(&id).map(|caller| caller.send(answer).ok()).is_some(),
            State::Closed(_) => true,
        }
    }

    /// Ends all waiting. The first reason stands.
    fn close(&self, why: Failed) {
        let mut state = self.0.lock().unwrap();
        if let State::Open { .. } = *state {
            *state = State::Closed(why);
        }
    }

    fn is_closed(&self) -> bool {
        matches!(*self.0.lock().unwrap(), State::Closed(_))
    }

    fn why(&self) -> Failed {
        match &*self.0.lock().unwrap() {
            State::Open { .. } => Failed::Broken("it is being closed".to_string()),
            State::Closed(why) => why.clone(),
        }
    }
}

/// Whatever ends the connection's task – also its being aborted, or its runtime going away – ends the waiting.
struct CloseAtEnd(Arc<Waiting>);

impl Drop for CloseAtEnd {
    fn drop(&mut self) {
        self.0.close(Failed::Broken("its task has ended".to_string()));
    }
}

#[cfg(test)]
mod tests;
