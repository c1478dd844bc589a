//! SASL over Kafka's own requests: which mechanism, then messages until both sides are content.

mod scram;

use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::{SaslAuthenticateRequest, SaslHandshakeRequest};
use openssl::base64;

use self::scram::{Proving, Scram};
use crate::connection::Shared;
use crate::error::Error;
use crate::request::Request;
use crate::security::{Sasl, Secret, Unreadable};
use crate::text;

/// Proves who we are, on a connection that nobody else uses meanwhile. Returns how long that counts; `None` is until it ends.
pub(crate) async fn authenticate(connection: &Shared, sasl: &Sasl) -> Result<Option<Duration>, Error> {
    let address = connection.address().to_string();
    let unreadable = |why: Unreadable| Error::Unreachable { address: address.clone(), reason: why.to_string() };
    let mut dialogue = Dialogue::begin(sasl).map_err(unreadable)?;
    let about = format!("{} by {}", sasl.who(), sasl.mechanism());

    let handshake = SaslHandshakeRequest::default().with_mechanism(text(sasl.mechanism()));
    let offered = connection.ask(handshake).await?;
    let mechanisms: Vec<&str> = offered.mechanisms.iter().map(|mechanism| mechanism.as_str()).collect();
    let why = format!("{address} has {}", mechanisms.join(", "));
    Error::check(SaslHandshakeRequest::NAME, offered.error_code, &about, Some(&why))?;

    loop {
        let (message, next) = dialogue;
        let answer = connection.ask(SaslAuthenticateRequest::default().with_auth_bytes(message)).await?;
        Error::check(SaslAuthenticateRequest::NAME, answer.error_code, &about, answer.error_message.as_deref())?;
        let untrusted = |reason| Error::Untrusted { address: address.clone(), reason };
        match next.hear(&answer.auth_bytes).map_err(untrusted)? {
            Some(more) => dialogue = more,
            None => {
                let lifetime = u64::try_from(answer.session_lifetime_ms).ok().filter(|millis| *millis > 0);
                return Ok(lifetime.map(Duration::from_millis));
            }
        }
    }
}

/// A message, and what an answer to it leads to.
type Said = (Bytes, Dialogue);

/// What has been said so far.
enum Dialogue {
    /// Everything; an answer ends it.
    Plain,
    Scram(Scram),
    ScramProof(Proving),
    Token,
    /// That we have heard why the token is refused; the broker ends it with an error.
    RefusedToken(String),
}

impl Dialogue {
    fn begin(sasl: &Sasl) -> Result<Said, Unreadable> {
        Ok(match sasl {
            Sasl::Plain(credentials) => {
                let password = credentials.password.read()?;
                (format!("\0{}\0{}", credentials.username, password.expose()).into(), Self::Plain)
            }
            Sasl::Scram(hash, credentials) => {
                let scram = Scram::new(*hash, &credentials.username, credentials.password.read()?, nonce()?);
                (scram.first().into(), Self::Scram(scram))
            }
            Sasl::OAuthBearer(token) => (bearer(&token.read_token()?), Self::Token),
        })
    }

    /// `None` when both sides are content.
    fn hear(self, answer: &[u8]) -> Result<Option<Said>, String> {
        match self {
            Self::Plain => Ok(None),
            Self::Scram(scram) => {
                let (message, proving) = scram.answer(answer)?;
                Ok(Some((message.into(), Self::ScramProof(proving))))
            }
            Self::ScramProof(proving) => proving.check(answer).map(|()| None),
            Self::Token if answer.is_empty() => Ok(None),
            Self::Token => {
                let why = String::from_utf8_lossy(answer).into_owned();
                Ok(Some((Bytes::from_static(b"\x01"), Self::RefusedToken(why))))
            }
            Self::RefusedToken(why) => Err(format!("the token is refused: {why}")),
        }
    }
}

/// RFC 7628.
fn bearer(token: &Secret) -> Bytes {
    format!("n,,\u{1}auth=Bearer {}\u{1}\u{1}", token.expose()).into()
}

/// Characters that were never used before.
fn nonce() -> Result<String, Unreadable> {
    let mut random = [0; 18];
    openssl::rand::rand_bytes(&mut random).map_err(|error| Unreadable::new(format!("OpenSSL has no random bytes: {error}")))?;
    Ok(base64::encode_block(&random))
}

#[cfg(test)]
mod tests;
