//! A broker for tests, on loopback: each connection follows a script. It speaks bytes, not the codec, so that it can say anything.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::ApiKey;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::config::{Address, Config};

/// One connection, from the broker's side.
pub struct Peer(TcpStream);

/// A request as it came in.
#[derive(Debug)]
pub struct Asked {
    pub key: i16,
    pub version: i16,
    pub id: i32,
}

/// What the broker has: Heartbeat, in versions of which an answer is four bytes of throttling and two of error.
pub const HEARTBEATS: &[(ApiKey, i16, i16)] = &[(ApiKey::ApiVersions, 0, 2), (ApiKey::Heartbeat, 0, 3)];

/// Listens; every connection is served by `script`, until the test's runtime ends.
pub async fn serve<F: Future<Output = ()> + Send + 'static>(script: impl Fn(Peer) -> F + Send + 'static) -> Address {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(script(Peer(socket)));
        }
    });
    Address { host: "127.0.0.1".to_string(), port }
}

/// An address on which nobody listens, for as long as the socket is held.
pub fn nobody() -> (TcpSocket, Address) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = socket.local_addr().unwrap().port();
    (socket, Address { host: "127.0.0.1".to_string(), port })
}

pub fn config(addresses: &[&Address]) -> Config {
    let list: Vec<String> = addresses.iter().map(|address| address.to_string()).collect();
    Config::parse(&list.join(","), "test").unwrap()
}

/// A file that goes with the value.
pub struct TemporaryFile(pub std::path::PathBuf);

impl TemporaryFile {
    pub fn with(text: &str) -> Self {
        let path = std::env::temp_dir().join(faust_testbed::unique("faust-wire"));
        std::fs::write(&path, text).unwrap();
        Self(path)
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Peer {
    /// Where this broker listens.
    pub fn address(&self) -> Address {
        Address { host: "127.0.0.1".to_string(), port: self.0.local_addr().unwrap().port() }
    }

    /// The next request; `None` when the client has closed.
    pub async fn asked(&mut self) -> Option<Asked> {
        let length = self.0.read_u32().await.ok()?;
        let mut bytes = vec![0; length as usize];
        self.0.read_exact(&mut bytes).await.ok()?;
        let mut bytes = Bytes::from(bytes);
        Some(Asked { key: bytes.get_i16(), version: bytes.get_i16(), id: bytes.get_i32() })
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    pub async fn answer(&mut self, id: i32, body: &[u8]) {
        let mut frame = BytesMut::new();
        frame.put_u32(body.len() as u32 + 4);
        frame.put_i32(id);
        frame.put_slice(body);
        self.send(&frame).await;
    }

    /// Answers a Heartbeat with an error code.
    pub async fn answer_heartbeat(&mut self, id: i32, error: i16) {
        let mut body = vec![0; 4];
        body.put_i16(error);
        self.answer(id, &body).await;
    }

    /// Answers ApiVersions as one does who has it only in these versions; true once that is agreed on.
    pub async fn answer_versions(&mut self, asked: &Asked, apis: &[(ApiKey, i16, i16)]) -> bool {
        let newest = apis.iter().find(|(key, ..)| *key == ApiKey::ApiVersions).map_or(0, |(_, _, max)| *max);
        let agreed = asked.version <= newest;
        let mut body = BytesMut::new();
        body.put_i16(if agreed { 0 } else { 35 });
        body.put_u32(apis.len() as u32);
        for (key, min, max) in apis {
            body.put_i16(*key as i16);
            body.put_i16(*min);
            body.put_i16(*max);
        }
        if agreed && asked.version > 0 {
            body.put_u32(0);
        }
        self.answer(asked.id, &body).await;
        agreed
    }

    /// Goes through the negotiation.
    pub async fn greet(&mut self, apis: &[(ApiKey, i16, i16)]) {
        while let Some(asked) = self.asked().await {
            assert_eq!(asked.key, ApiKey::ApiVersions as i16);
            if self.answer_versions(&asked, apis).await {
                return;
            }
        }
    }
}
