use bytes::{BufMut, BytesMut};
use kafka_protocol::error::ResponseError;
use kafka_protocol::messages::{ApiKey, HeartbeatRequest};
use tokio::sync::mpsc::unbounded_channel;

use super::*;
use crate::config::{Address, Config};
use crate::connection::Connection;
use crate::fake::{Asked, Peer, TemporaryFile, config, serve};
use crate::security::{Credentials, SecretFile, Security};

const APIS: &[(ApiKey, i16, i16)] =
    &[(ApiKey::ApiVersions, 0, 2), (ApiKey::SaslHandshake, 0, 1), (ApiKey::SaslAuthenticate, 0, 1), (ApiKey::Heartbeat, 0, 3)];

/// Answers a SaslHandshake.
async fn shake(peer: &mut Peer, asked: &Asked, error: i16) {
    assert_eq!(asked.key, ApiKey::SaslHandshake as i16);
    let mut body = BytesMut::new();
    body.put_i16(error);
    body.put_u32(1);
    body.put_u16(5);
    body.put_slice(b"PLAIN");
    peer.answer(asked.id, &body).await;
}

/// Answers a SaslAuthenticate.
async fn authenticate(peer: &mut Peer, asked: &Asked, error: i16, bytes: &[u8], lifetime: i64) {
    assert_eq!(asked.key, ApiKey::SaslAuthenticate as i16);
    let mut body = BytesMut::new();
    body.put_i16(error);
    body.put_i16(-1);
    body.put_u32(bytes.len() as u32);
    body.put_slice(bytes);
    body.put_i64(lifetime);
    peer.answer(asked.id, &body).await;
}

fn plain(address: &Address, password: &TemporaryFile) -> Config {
    let credentials = Credentials { username: "anna".to_string(), password: SecretFile::new(&password.0) };
    Config { security: Security { tls: None, sasl: Some(Sasl::Plain(credentials)) }, ..config(&[address]) }
}

#[tokio::test]
async fn a_session_is_renewed_before_it_ends_and_nobody_speaks_in_between() {
    let (tell, mut told) = unbounded_channel();
    let address = serve(move |mut peer| {
        let tell = tell.clone();
        async move {
            peer.greet(APIS).await;
            for lifetime in [100, 0] {
                let asked = peer.asked().await.unwrap();
                if lifetime == 0 {
                    // Whoever speaks now must wait.
                    tell.send(()).unwrap();
                }
                shake(&mut peer, &asked, 0).await;
                let asked = peer.asked().await.unwrap();
                authenticate(&mut peer, &asked, 0, b"", lifetime).await;
            }
            let asked = peer.asked().await.unwrap();
            peer.answer_heartbeat(asked.id, 0).await;
            peer.asked().await;
        }
    })
    .await;
    let password = TemporaryFile::with("secret\n");
    let connection = Connection::open(&address, &plain(&address, &password)).await.unwrap();
    told.recv().await.unwrap();
    assert_eq!(connection.call(HeartbeatRequest::default()).await.unwrap().error_code, 0);
}

#[tokio::test]
async fn a_session_that_is_not_renewed_ends_the_connection_with_the_reason() {
    let address = serve(|mut peer| async move {
        peer.greet(APIS).await;
        for (error, lifetime) in [(0, 50), (ResponseError::SaslAuthenticationFailed.code(), 0)] {
            let asked = peer.asked().await.unwrap();
            shake(&mut peer, &asked, 0).await;
            let asked = peer.asked().await.unwrap();
            authenticate(&mut peer, &asked, error, b"", lifetime).await;
        }
        peer.asked().await;
    })
    .await;
    let password = TemporaryFile::with("secret");
    let connection = Connection::open(&address, &plain(&address, &password)).await.unwrap();
    while !connection.is_closed() {
        tokio::task::yield_now().await;
    }
    let error = connection.call(HeartbeatRequest::default()).await.unwrap_err();
    assert!(matches!(error, Error::Closed { .. }) && error.to_string().contains("SASL_AUTHENTICATION_FAILED"), "{error}");
}

#[tokio::test]
async fn a_mechanism_that_the_listener_lacks_and_a_wrong_password_are_refusals() {
    let address = serve(|mut peer| async move {
        peer.greet(APIS).await;
        let asked = peer.asked().await.unwrap();
        shake(&mut peer, &asked, ResponseError::UnsupportedSaslMechanism.code()).await;
    })
    .await;
    let password = TemporaryFile::with("hunter2");
    let error = Connection::open(&address, &plain(&address, &password)).await.unwrap_err();
    assert!(error.is_refusal() && error.to_string().contains("has PLAIN"), "{error}");

    let address = serve(|mut peer| async move {
        peer.greet(APIS).await;
        let asked = peer.asked().await.unwrap();
        shake(&mut peer, &asked, 0).await;
        let asked = peer.asked().await.unwrap();
        authenticate(&mut peer, &asked, ResponseError::SaslAuthenticationFailed.code(), b"", 0).await;
    })
    .await;
    let error = Connection::open(&address, &plain(&address, &password)).await.unwrap_err();
    assert!(error.is_refusal() && error.to_string().contains("user `anna` by PLAIN"), "{error}");
    assert!(!format!("{error:?} {error}").contains("hunter2"), "{error:?}");
}

#[test]
fn a_refused_token_is_acknowledged_so_that_the_broker_can_say_why() {
    let token = TemporaryFile::with("header.payload.signature\n");
    let (message, dialogue) = Dialogue::begin(&Sasl::OAuthBearer(SecretFile::new(&token.0))).unwrap();
    assert_eq!(&message[..], b"n,,\x01auth=Bearer header.payload.signature\x01\x01");
    let (message, dialogue) = dialogue.hear(br#"{"status":"invalid_token"}"#).unwrap().unwrap();
    assert_eq!(&message[..], b"\x01");
    assert!(dialogue.hear(b"").err().unwrap().contains("invalid_token"));
}

#[test]
fn a_file_that_holds_more_than_a_token_is_none() {
    for text in ["", "\n", "two words", "a\nb", "ä", "a\u{1}b"] {
        let token = TemporaryFile::with(text);
        assert!(Dialogue::begin(&Sasl::OAuthBearer(SecretFile::new(&token.0))).is_err(), "{text:?}");
    }
}
