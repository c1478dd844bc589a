//! Requests and responses as length-prefixed frames.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, HeaderVersion, StrBytes};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::error::Error;
use crate::request::Request;
use crate::security::tls::{self, Failed};

/// Larger frames, in both directions, are a mistake: it is what brokers take by default (`socket.request.max.bytes`). Bytes that are
/// not Kafka's, such as an HTTP or TLS answer, read as a length are always larger.
pub(crate) const MAX_FRAME: usize = 100 * 1024 * 1024;

/// Length, API key and version stand before the correlation id.
const CORRELATION_AT: usize = 8;

/// A request in bytes that lacks only its number.
pub(crate) struct Frame(BytesMut);

impl Frame {
    pub fn encode<R: Request>(request: &R, version: i16, client_id: &str) -> Result<Self, Error> {
        let cant = |why: &dyn std::fmt::Display| Error::Protocol(format!("{} version {version} can't be encoded: {why}", R::NAME));
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY as i16)
            .with_request_api_version(version)
            .with_client_id(Some(StrBytes::from_string(client_id.to_string())));
        let mut bytes = BytesMut::new();
        bytes.put_u32(0);
        kafka_protocol::protocol::encode_request_header_into_buffer(&mut bytes, &header).map_err(|error| cant(&error))?;
        request.encode(&mut bytes, version).map_err(|error| cant(&error))?;
        let length = bytes.len() - size_of::<u32>();
        if length > MAX_FRAME {
            return Err(cant(&format_args!("it has {length} bytes, more than the {MAX_FRAME} that a broker takes")));
        }
        bytes[..size_of::<u32>()].copy_from_slice(&(length as u32).to_be_bytes());
        Ok(Self(bytes))
    }

    /// What goes over the wire as request number `id`.
    pub fn numbered(mut self, id: i32) -> Bytes {
        self.0[CORRELATION_AT..CORRELATION_AT + size_of::<i32>()].copy_from_slice(&id.to_be_bytes());
        self.0.freeze()
    }
}

/// Reads one response: its number, and the whole of it, header included. The error is a reason to close the connection.
pub(crate) async fn read(from: &mut (impl AsyncRead + Unpin)) -> Result<(i32, Bytes), Failed> {
    let lost = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => Failed::Broken("the broker closed it".to_string()),
        _ => tls::lost(&error),
    };
    let odd = |length| format!("it sent a frame of length {length}; is it Kafka, and does this listener speak plain text?");
    let length = from.read_i32().await.map_err(lost)?;
    let length = usize::try_from(length)
        .ok()
        .filter(|length| (size_of::<i32>()..=MAX_FRAME).contains(length))
        .ok_or_else(|| Failed::Broken(odd(length)))?;
    // Grows with what really arrives: a length alone reserves nothing.
    let mut bytes = BytesMut::new();
    let mut rest = from.take(length as u64);
    while bytes.len() < length {
        if rest.read_buf(&mut bytes).await.map_err(lost)? == 0 {
            return Err(Failed::Broken("the broker closed it in the middle of a response".to_string()));
        }
    }
    let bytes = bytes.freeze();
    Ok((bytes.clone().get_i32(), bytes))
}

/// The body of a response that [`read`] returned.
///
/// The codec believes the lengths of arrays before it has read them. Only a broker that keeps to framing and numbers, and answers in
/// another version than asked, could make it reserve too much.
pub(crate) fn decode<R: Request>(mut bytes: Bytes, version: i16) -> Result<R::Response, Error> {
    let cant = |why: &dyn std::fmt::Display| {
        Error::Protocol(format!("the answer to {} version {version} can't be decoded: {why}", R::NAME))
    };
    ResponseHeader::decode(&mut bytes, R::Response::header_version(version)).map_err(|error| cant(&error))?;
    R::Response::decode(&mut bytes, version).map_err(|error| cant(&error))
}
