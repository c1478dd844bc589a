use bytes::{BufMut, BytesMut};
use kafka_protocol::messages::ApiKey;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::*;
use crate::config::Address;
use crate::fake::{Peer, config, serve};

const APIS: &[(ApiKey, i16, i16)] = &[(ApiKey::Metadata, 4, 10), (ApiKey::ListOffsets, 1, 1), (ApiKey::FindCoordinator, 1, 1)];

fn string(body: &mut BytesMut, text: &str) {
    body.put_u16(text.len() as u16);
    body.put_slice(text.as_bytes());
}

fn broker(body: &mut BytesMut, id: i32, address: &Address) {
    body.put_i32(id);
    string(body, &address.host);
    body.put_u32(address.port.into());
}

/// Metadata version 10: these brokers, numbered from 0, of which `leader` leads the one partition of `orders`.
fn metadata(brokers: &[Address], leader: i32) -> BytesMut {
    const NO_TAGS: u8 = 0;
    const NONE: u8 = 0;
    // In the compact encoding lengths are one more than they are, and no length here takes two bytes.
    let length = |length: usize| length as u8 + 1;
    let mut body = BytesMut::new();
    body.put_u8(NO_TAGS); // of the header
    body.put_u32(0);
    body.put_u8(length(brokers.len()));
    for (id, address) in brokers.iter().enumerate() {
        body.put_i32(id as i32);
        body.put_u8(length(address.host.len()));
        body.put_slice(address.host.as_bytes());
        body.put_u32(address.port.into());
        body.put_u8(NONE); // rack
        body.put_u8(NO_TAGS);
    }
    body.put_u8(NONE); // cluster id
    body.put_i32(0);
    body.put_u8(length(1));
    body.put_i16(0);
    body.put_u8(length(6));
    body.put_slice(b"orders");
    body.put_bytes(0, 16);
    body.put_u8(0);
    body.put_u8(length(1));
    body.put_i16(0);
    body.put_i32(0);
    body.put_i32(leader);
    body.put_i32(0);
    body.put_bytes(length(0), 3); // replicas: all, in sync, offline
    body.put_u8(NO_TAGS);
    body.put_i32(0);
    body.put_u8(NO_TAGS);
    body.put_i32(0);
    body.put_u8(NO_TAGS);
    body
}

/// ListOffsets version 1: the offset, or that somebody else leads the partition.
fn offset(offset: Option<i64>) -> BytesMut {
    let mut body = BytesMut::new();
    body.put_u32(1);
    string(&mut body, "orders");
    body.put_u32(1);
    body.put_i32(0);
    body.put_i16(if offset.is_some() { 0 } else { ResponseError::NotLeaderOrFollower.code() });
    body.put_i64(-1);
    body.put_i64(offset.unwrap_or(-1));
    body
}

/// Leads nothing any more, and has heard at the second question who does.
async fn former_leader(mut peer: Peer, next: Address, tell: UnboundedSender<&'static str>) {
    let us = peer.address();
    peer.greet(APIS).await;
    let mut leader = 0;
    while let Some(asked) = peer.asked().await {
        if asked.key == ApiKey::Metadata as i16 {
            peer.answer(asked.id, &metadata(&[us.clone(), next.clone()], leader)).await;
            leader = 1;
        } else {
            tell.send("former leader").unwrap();
            peer.answer(asked.id, &offset(None)).await;
        }
    }
}

#[tokio::test]
async fn offsets_are_asked_of_the_new_leader_when_the_old_one_says_it_is_none() {
    let (tell, mut told) = unbounded_channel();
    let leader = {
        let tell = tell.clone();
        serve(move |mut peer| {
            let tell = tell.clone();
            async move {
                peer.greet(APIS).await;
                while let Some(asked) = peer.asked().await {
                    tell.send("leader").unwrap();
                    peer.answer(asked.id, &offset(Some(42))).await;
                }
            }
        })
        .await
    };
    let former = serve(move |peer| former_leader(peer, leader.clone(), tell.clone())).await;
    let client = Client::new(config(&[&former]));
    assert_eq!(client.list_offsets(&[("orders", 0), ("orders", 0)], At::Latest).await.unwrap(), [42, 42]);
    assert_eq!((told.recv().await, told.recv().await), (Some("former leader"), Some("leader")));
    let end = EpochOffset { epoch: -1, offset: 42 };
    assert_eq!(client.log_ends(&[("orders", 0)]).await.unwrap(), [end]);
    assert_eq!(told.recv().await, Some("leader"), "it is known by now");
}

#[tokio::test]
async fn an_old_broker_says_in_its_own_way_who_coordinates() {
    let address = serve(|mut peer| async move {
        let us = peer.address();
        peer.greet(APIS).await;
        for error in [0, ResponseError::GroupAuthorizationFailed.code()] {
            let asked = peer.asked().await.unwrap();
            let mut body = BytesMut::new();
            body.put_u32(0);
            body.put_i16(error);
            string(&mut body, "no entry");
            broker(&mut body, 7, &us);
            peer.answer(asked.id, &body).await;
        }
    })
    .await;
    let client = Client::new(config(&[&address]));
    assert_eq!(client.coordinator("counters").await, Ok(Broker { id: 7, address }));
    let error = client.coordinator("counters").await.unwrap_err();
    assert!(error.is_refusal() && error.to_string().ends_with("GROUP_AUTHORIZATION_FAILED (30): no entry"), "{error}");
}
