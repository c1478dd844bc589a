use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    ApiKey, HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, LeaveGroupRequest, SyncGroupRequest,
};
use tokio::sync::mpsc::unbounded_channel;

use super::*;
use crate::fake::{HEARTBEATS, config, nobody, serve};

/// A broker that takes large requests beside heartbeats.
const SYNC_GROUPS: &[(ApiKey, i16, i16)] = &[(ApiKey::Heartbeat, 0, 3), (ApiKey::SyncGroup, 0, 3)];

fn sync_group(bytes: usize) -> SyncGroupRequest {
    let assignment = SyncGroupRequestAssignment::default().with_assignment(Bytes::from(vec![0; bytes]));
    SyncGroupRequest::default().with_assignments(vec![assignment])
}

async fn open(address: &Address) -> Connection {
    Connection::open(address, &config(&[address])).await.unwrap()
}

async fn heartbeat(connection: &Connection) -> Result<i16, Error> {
    connection.call(HeartbeatRequest::default()).await.map(|response: HeartbeatResponse| response.error_code)
}

#[tokio::test]
async fn each_request_goes_out_in_the_newest_version_that_both_sides_have_and_too_old_a_broker_is_refused() {
    let (tell, mut told) = unbounded_channel();
    let address = serve(move |mut peer| {
        let tell = tell.clone();
        async move {
            peer.greet(&[(ApiKey::Heartbeat, 1, 3), (ApiKey::LeaveGroup, 90, 99), (ApiKey::JoinGroup, 0, 4)]).await;
            while let Some(asked) = peer.asked().await {
                peer.answer_heartbeat(asked.id, 0).await;
                tell.send(asked.version).unwrap();
            }
        }
    })
    .await;
    let connection = open(&address).await;
    heartbeat(&connection).await.unwrap();
    assert_eq!(told.recv().await, Some(3));
    assert_eq!(connection.version_of::<HeartbeatRequest>(), Some(3));

    assert_eq!(connection.version_of::<SyncGroupRequest>(), None);
    let error = connection.call(SyncGroupRequest::default()).await.unwrap_err();
    assert!(
        error.to_string().ends_with(
            "no version of SyncGroup that this program speaks: the broker doesn't have it; Kafka 2.8 or later is needed"
        ),
        "{error}"
    );
    let error = connection.call(LeaveGroupRequest::default()).await.unwrap_err();
    assert!(error.to_string().ends_with("the broker has 90..99, this program 3..5"), "{error}");
    let error = connection.call(JoinGroupRequest::default()).await.unwrap_err();
    assert!(error.to_string().ends_with("the broker has 0..4, this program 5..9; Kafka 2.8 or later is needed"), "{error}");
    assert!(!error.is_retriable());
}

#[tokio::test]
async fn a_broker_older_than_the_question_is_asked_in_a_version_it_names() {
    for (apis, versions) in [(HEARTBEATS, vec![4, 2]), (&HEARTBEATS[1..], vec![4, 0])] {
        let (tell, mut told) = unbounded_channel();
        let address = serve(move |mut peer| {
            let tell = tell.clone();
            async move {
                while let Some(asked) = peer.asked().await {
                    tell.send(asked.version).unwrap();
                    peer.answer_versions(&asked, apis).await;
                }
            }
        })
        .await;
        let connection = open(&address).await;
        assert_eq!(connection.version_of::<HeartbeatRequest>(), Some(3));
        let mut asked = Vec::new();
        while let Ok(version) = told.try_recv() {
            asked.push(version);
        }
        assert_eq!(asked, versions);
    }
}

#[tokio::test]
async fn a_broker_that_refuses_every_version_ends_the_attempt() {
    let address = serve(|mut peer| async move {
        while let Some(asked) = peer.asked().await {
            peer.answer(asked.id, &[0, 35]).await;
        }
    })
    .await;
    let error = Connection::open(&address, &config(&[&address])).await.unwrap_err();
    assert!(matches!(error, Error::Protocol(_)), "{error}");
}

#[tokio::test]
async fn requests_are_pipelined_and_answers_find_their_callers() {
    let address = serve(|mut peer| async move {
        peer.greet(HEARTBEATS).await;
        let (first, second) = (peer.asked().await.unwrap(), peer.asked().await.unwrap());
        peer.answer_heartbeat(second.id, 22).await;
        peer.answer_heartbeat(first.id, 11).await;
        peer.asked().await;
    })
    .await;
    let connection = open(&address).await;
    let both = tokio::join!(biased; heartbeat(&connection), heartbeat(&connection));
    assert_eq!(both, (Ok(11), Ok(22)));
}

#[tokio::test]
async fn the_late_answer_to_a_dropped_call_disturbs_nobody() {
    let (tell, mut told) = unbounded_channel();
    let address = serve(move |mut peer| {
        let tell = tell.clone();
        async move {
            peer.greet(HEARTBEATS).await;
            let dropped = peer.asked().await.unwrap();
            tell.send(()).unwrap();
            let next = peer.asked().await.unwrap();
            peer.answer_heartbeat(dropped.id, 1).await;
            peer.answer_heartbeat(next.id, 2).await;
            peer.asked().await;
        }
    })
    .await;
    let connection = open(&address).await;
    tokio::select! {
        biased;
        _ = heartbeat(&connection) => panic!("is not answered yet"),
        _ = told.recv() => {}
    }
    assert_eq!(heartbeat(&connection).await, Ok(2));
    assert!(!connection.is_closed());
}

#[tokio::test]
async fn all_who_wait_learn_that_the_broker_has_gone() {
    let address = serve(|mut peer| async move {
        peer.greet(HEARTBEATS).await;
        peer.asked().await;
        peer.asked().await;
    })
    .await;
    let connection = open(&address).await;
    let (first, second) = tokio::join!(heartbeat(&connection), heartbeat(&connection));
    let reason = "the broker closed it".to_string();
    assert_eq!(first, Err(Error::Closed { address: address.to_string(), reason }));
    assert_eq!(second, first);
    assert!(connection.is_closed());
    assert_eq!(heartbeat(&connection).await, first);
}

#[tokio::test]
async fn dropping_the_last_handle_closes_the_connection() {
    let (tell, mut told) = unbounded_channel();
    let address = serve(move |mut peer| {
        let tell = tell.clone();
        async move {
            peer.greet(HEARTBEATS).await;
            while peer.asked().await.is_some() {}
            tell.send("closed").unwrap();
        }
    })
    .await;
    let connection = open(&address).await;
    drop(connection.clone());
    assert!(!connection.is_closed());
    drop(connection);
    assert_eq!(told.recv().await, Some("closed"));
}

#[tokio::test]
async fn a_silent_broker_costs_the_connection() {
    let address = serve(|mut peer| async move {
        peer.greet(HEARTBEATS).await;
        while peer.asked().await.is_some() {}
    })
    .await;
    let connection = open(&address).await;
    let limit = Duration::from_millis(30);
    let (impatient, patient) =
        tokio::join!(connection.call_with_timeout(HeartbeatRequest::default(), limit), heartbeat(&connection));
    assert_eq!(impatient.unwrap_err(), Error::TimedOut { address: address.to_string(), api: "Heartbeat", after: limit });
    assert!(patient.unwrap_err().to_string().ends_with("has ended: Heartbeat was not answered within 30ms"));
    assert!(connection.is_closed());
}

#[tokio::test]
async fn a_peer_that_stops_reading_costs_the_connection_too() {
    let address = serve(|mut peer| async move {
        peer.greet(SYNC_GROUPS).await;
        std::future::pending().await
    })
    .await;
    let connection = open(&address).await;
    let limit = Duration::from_millis(30);
    let error = connection.call_with_timeout(sync_group(16 << 20), limit).await.unwrap_err();
    assert!(matches!(error, Error::TimedOut { .. }), "{error}");
    assert!(connection.is_closed());
}

#[tokio::test]
async fn what_is_not_kafkas_ends_the_connection_with_a_reason() {
    for (bytes, reason) in [
        (&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], "a frame of length 1213486160; is it Kafka"),
        (&[0x15, 3, 3, 0, 2, 2, 70], "does this listener speak plain text?"),
        (&[0xff; 8], "a frame of length -1"),
        (&[0, 0, 0, 3, 1, 2, 3], "a frame of length 3"),
        (&[6, 0x40, 0, 1], "a frame of length 104857601"),
        (&[0, 0, 0, 4, 0, 0, 0, 99], "it answered request 99, which nobody made"),
        (&[0, 0, 0, 9, 0, 0], "in the middle of a response"),
    ] {
        let address = serve(move |mut peer| async move {
            peer.greet(HEARTBEATS).await;
            peer.asked().await;
            peer.send(bytes).await;
        })
        .await;
        let connection = open(&address).await;
        let error = heartbeat(&connection).await.unwrap_err();
        assert!(matches!(&error, Error::Closed { reason: why, .. } if why.contains(reason)), "{error} lacks: {reason}");
    }
}

#[tokio::test]
async fn an_answer_that_does_not_decode_fails_its_call_only() {
    let address = serve(|mut peer| async move {
        peer.greet(HEARTBEATS).await;
        let asked = peer.asked().await.unwrap();
        peer.answer(asked.id, &[0, 0, 0]).await;
        let asked = peer.asked().await.unwrap();
        peer.answer_heartbeat(asked.id, 0).await;
    })
    .await;
    let connection = open(&address).await;
    assert!(matches!(heartbeat(&connection).await, Err(Error::Protocol(_))));
    assert_eq!(heartbeat(&connection).await, Ok(0));
}

#[tokio::test]
async fn a_request_larger_than_brokers_take_is_not_sent() {
    let address = serve(|mut peer| async move {
        peer.greet(SYNC_GROUPS).await;
        while let Some(asked) = peer.asked().await {
            peer.answer_heartbeat(asked.id, 0).await;
        }
    })
    .await;
    let connection = open(&address).await;
    let error = connection.call(sync_group(frame::MAX_FRAME)).await.unwrap_err();
    assert!(matches!(&error, Error::Protocol(why) if why.contains("more than")), "{error}");
    assert_eq!(heartbeat(&connection).await, Ok(0));
}

#[tokio::test]
async fn a_broker_that_is_not_there_or_does_not_greet_is_unreachable() {
    let (_held, absent) = nobody();
    let hangs_up = serve(|mut peer| async move { assert!(peer.asked().await.is_some()) }).await;
    let silent = serve(|mut peer| async move {
        peer.asked().await;
        std::future::pending().await
    })
    .await;
    let long = Duration::from_secs(30);
    let short = Duration::from_millis(100);
    for (address, connect_timeout, reason) in
        [(absent, long, "refused"), (hangs_up, long, "the broker closed it"), (silent, short, "no answer within 100ms")]
    {
        let config = Config { connect_timeout, ..config(&[&address]) };
        let error = Connection::open(&address, &config).await.unwrap_err();
        assert!(matches!(error, Error::Unreachable { .. }) && error.to_string().contains(reason), "{error} lacks: {reason}");
    }
}
