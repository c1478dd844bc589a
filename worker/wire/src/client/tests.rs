use kafka_protocol::messages::HeartbeatRequest;

use super::*;
use crate::fake::{HEARTBEATS, Peer, config, nobody, serve};

/// Answers this many heartbeats, then closes.
async fn beats(mut peer: Peer, count: usize) {
    peer.greet(HEARTBEATS).await;
    for _ in 0..count {
        match peer.asked().await {
            Some(asked) => peer.answer_heartbeat(asked.id, 0).await,
            None => return,
        }
    }
}

async fn ask(client: &Client) -> Result<i16, Error> {
    client.call(HeartbeatRequest::default()).await.map(|response| response.error_code)
}

#[tokio::test]
async fn callers_share_one_connection_even_while_it_is_being_made() {
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let address = serve(move |peer| {
        tell.send(()).unwrap();
        beats(peer, usize::MAX)
    })
    .await;
    let client = Client::new(config(&[&address]));
    let answers = tokio::join!(ask(&client), ask(&client), ask(&client));
    assert_eq!(answers, (Ok(0), Ok(0), Ok(0)));
    assert!(told.try_recv().is_ok() && told.try_recv().is_err());
}

#[tokio::test]
async fn a_connection_that_died_is_replaced_within_the_call() {
    let address = serve(|peer| beats(peer, 1)).await;
    let client = Client::new(config(&[&address]));
    for _ in 0..3 {
        assert_eq!(ask(&client).await, Ok(0));
    }
}

#[tokio::test]
async fn a_bootstrap_address_that_refuses_or_is_silent_does_not_stand_in_the_way() {
    let silent = serve(|_peer| std::future::pending()).await;
    let ((_held, absent), alive) = (nobody(), serve(|peer| beats(peer, usize::MAX)).await);
    let client = Client::new(config(&[&absent, &silent, &alive]));
    assert_eq!(ask(&client).await, Ok(0));
}

#[tokio::test]
async fn if_nobody_answers_the_error_names_all_with_their_reasons() {
    let ((_held, absent), rude) = (nobody(), serve(|_peer| async {}).await);
    let error = ask(&Client::new(config(&[&absent, &rude]))).await.unwrap_err();
    let sentence = error.to_string();
    assert!(matches!(error, Error::Unreachable { .. }), "{sentence}");
    assert!(sentence.contains(&format!("{absent}: Connection refused")), "{sentence}");
    assert!(sentence.contains(&format!("{rude}: the broker closed it")), "{sentence}");
}

#[tokio::test]
async fn patience_is_for_what_passes_and_ends() {
    let moved = || Error::check("ListOffsets", 6, "topic `orders`", None).unwrap_err();
    let mut patience = Patience { left: 2, pause: Duration::from_millis(1) };
    assert_eq!(patience.after(moved()).await, Ok(()));
    assert_eq!(patience.after(moved()).await, Ok(()));
    assert_eq!(patience.after(moved()).await, Err(moved()));

    let away = Error::Unreachable { address: "a:1".to_string(), reason: "refused".to_string() };
    assert_eq!(Patience::new().after(away.clone()).await, Err(away));
}
