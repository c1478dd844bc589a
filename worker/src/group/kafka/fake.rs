//! A coordinator for tests that answers what a real one can't be asked to, when it is told to.

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use faust_wire::messages::ApiKey;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::group::userdata::Assignment;

/// Only what never comes reaches it.
const LIMIT: Duration = Duration::from_secs(60);
/// In these versions answers are easily written by hand.
const VERSIONS: &[(ApiKey, i16, i16)] = &[
    (ApiKey::ApiVersions, 0, 0),
    (ApiKey::FindCoordinator, 0, 2),
    (ApiKey::JoinGroup, 0, 5),
    (ApiKey::SyncGroup, 0, 3),
    (ApiKey::Heartbeat, 0, 3),
    (ApiKey::OffsetCommit, 2, 7),
    (ApiKey::LeaveGroup, 0, 3),
];

pub struct Coordinator {
    pub port: u16,
    asked: mpsc::UnboundedReceiver<Asked>,
    /// Asked before it was waited for.
    early: Vec<Asked>,
}

pub struct Asked {
    key: i16,
    /// Of Heartbeat, SyncGroup, OffsetCommit.
    pub generation: i32,
    answer: oneshot::Sender<Bytes>,
}

impl Coordinator {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (ask, asked) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(socket, port, ask.clone()));
            }
        });
        Self { port, asked, early: Vec::new() }
    }

    /// Waits for a request of this kind; others wait until they are asked for.
    pub async fn asked(&mut self, key: ApiKey) -> Asked {
        timeout(LIMIT, self.next(key as i16)).await.unwrap_or_else(|_| panic!("{key:?} never came"))
    }

    async fn next(&mut self, key: i16) -> Asked {
        if let Some(place) = self.early.iter().position(|asked| asked.key == key) {
            return self.early.remove(place);
        }
        loop {
            let asked = self.asked.recv().await.expect("the listener lives");
            if asked.key == key {
                return asked;
            }
            self.early.push(asked);
        }
    }
}

impl Asked {
    pub fn joined(self, generation: i32) {
        let mut body = no_error();
        body.put_i32(generation);
        for text in ["faust", "leader", "member"] {
            put_text(&mut body, text);
        }
        body.put_i32(0);
        self.answer(body);
    }

    pub fn join_refused(self, code: i16) {
        let mut body = BytesMut::new();
        body.put_i32(0);
        body.put_i16(code);
        body.put_i32(-1);
        for text in ["", "", "member"] {
            put_text(&mut body, text);
        }
        body.put_i32(0);
        self.answer(body);
    }

    pub fn synced(self, told: &Assignment) {
        let mut body = no_error();
        let assignment = super::consumer::assignment(told, &[], &Vec::new());
        body.put_i32(assignment.len() as i32);
        body.put_slice(&assignment);
        self.answer(body);
    }

    pub fn heartbeat(self, code: i16) {
        let mut body = BytesMut::new();
        body.put_i32(0);
        body.put_i16(code);
        self.answer(body);
    }

    /// For the group, and for its one member.
    pub fn left(self, of_group: i16, of_member: i16) {
        let mut body = BytesMut::new();
        body.put_i32(0);
        body.put_i16(of_group);
        body.put_i32(1);
        put_text(&mut body, "member");
        body.put_i16(-1);
        body.put_i16(of_member);
        self.answer(body);
    }

    /// For the one partition 0 of `views`.
    pub fn committed(self, code: i16) {
        self.committed_each(&[code]);
    }

    /// For the partitions of `views`, from 0 on.
    pub fn committed_each(self, codes: &[i16]) {
        let mut body = BytesMut::new();
        body.put_i32(0);
        body.put_i32(1);
        put_text(&mut body, "views");
        body.put_i32(codes.len() as i32);
        for (partition, code) in codes.iter().enumerate() {
            body.put_i32(partition as i32);
            body.put_i16(*code);
        }
        self.answer(body);
    }

    fn answer(self, body: BytesMut) {
        let _ = self.answer.send(body.freeze());
    }
}

/// Throttle time and error code.
fn no_error() -> BytesMut {
    BytesMut::from(&[0; 6][..])
}

fn put_text(body: &mut BytesMut, text: &str) {
    body.put_i16(text.len() as i16);
    body.put_slice(text.as_bytes());
}

/// One connection: what finds the way is answered at once, the rest as the test says, one after the other.
async fn serve(mut socket: TcpStream, port: u16, ask: mpsc::UnboundedSender<Asked>) {
    while let Ok(length) = socket.read_u32().await {
        let mut request = BytesMut::zeroed(length as usize);
        let Ok(_) = socket.read_exact(&mut request).await else { return };
        let (key, version, id) = (request.get_i16(), request.get_i16(), request.get_i32());
        let mut body = BytesMut::new();
        if key == ApiKey::ApiVersions as i16 {
            body.put_i16(if version == 0 { 0 } else { 35 });
            body.put_i32(VERSIONS.len() as i32);
            for (key, min, max) in VERSIONS {
                body.put_i16(*key as i16);
                body.put_i16(*min);
                body.put_i16(*max);
            }
        } else if key == ApiKey::FindCoordinator as i16 {
            body = no_error();
            body.put_i16(-1);
            body.put_i32(1);
            put_text(&mut body, "127.0.0.1");
            body.put_i32(i32::from(port));
        } else {
            for _client_then_group in 0..2 {
                let length = request.get_i16() as usize;
                request.advance(length);
            }
            let (answer, answered) = oneshot::channel();
            let asked = Asked { key, generation: request.try_get_i32().unwrap_or(-1), answer };
            let Ok(()) = ask.send(asked) else { return };
            let Ok(answer) = answered.await else { return };
            body.put_slice(&answer);
        }
        let mut frame = BytesMut::new();
        frame.put_u32(body.len() as u32 + 4);
        frame.put_i32(id);
        frame.put_slice(&body);
        if socket.write_all(&frame).await.is_err() {
            return;
        }
    }
}
