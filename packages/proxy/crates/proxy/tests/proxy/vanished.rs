//! Peers that vanish without a word: their connection stays open and nothing comes any more.

use std::{net::SocketAddr, time::Duration};

use plait_testkit::{Sent, Stage, Way, endpoints, in_time};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// Passes bytes on between its callers and `to`, until it is told that all its connections have vanished: new ones live.
async fn relay(to: SocketAddr) -> (SocketAddr, watch::Sender<u32>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, vanished) = (listener.local_addr().unwrap(), watch::Sender::new(0));
    let told = vanished.subscribe();
    tokio::spawn(async move {
        loop {
            let ((near_in, near_out), (far_in, far_out)) =
                (listener.accept().await.unwrap().0.into_split(), TcpStream::connect(to).await.unwrap().into_split());
            tokio::spawn(pass(near_in, far_out, told.clone()));
            tokio::spawn(pass(far_in, near_out, told.clone()));
        }
    });
    (address, vanished)
}

async fn pass(mut from: impl AsyncReadExt + Unpin, mut to: impl AsyncWriteExt + Unpin, mut told: watch::Receiver<u32>) {
    let mut buffer = vec![0; 64 * 1024];
    told.mark_unchanged();
    loop {
        let count = tokio::select! {
            biased;
            // Both ends stay open.
            _ = told.changed() => return std::future::pending().await,
            count = from.read(&mut buffer) => count.unwrap_or(0),
        };
        if count == 0 || to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn a_sidecar_that_vanished_is_found_out_within_twenty_seconds() {
    let stage = Stage::new(Way::Pair).await;
    let (address, vanished) = relay(stage.places["reviews-1"].inbound.address).await;
    let mut endpoint = stage.endpoint("reviews-1");
    endpoint.address = address.to_string();
    stage.apply(vec![endpoints("reviews", 80, vec![endpoint]).resource()]).await;
    let seen = stage.origin("reviews-1").answers(|_| "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_owned());
    let mut caller = stage.caller_connects().await;
    caller.sends("GET / HTTP/1.1\r\nhost: reviews\r\n\r\n").await;
    assert_eq!(caller.response().await.status(), 200);
    vanished.send_modify(|times| *times += 1);
    let mut others: Vec<_> = Vec::new();
    for _ in 0..3 {
        let mut other = stage.caller_connects().await;
        other.sends("POST / HTTP/1.1\r\nhost: reviews\r\ncontent-length: 2\r\n\r\nhi").await;
        others.push(other);
    }
    stage.web.counts("plait_requests_in_flight", &["direction=\"outbound\""], 3.0).await;
    for _ in 0..4 {
        stage.web.passes(Duration::from_secs(5)).await;
    }
    for mut other in others {
        let response = in_time("an end", other.response()).await;
        assert_eq!((response.status(), response.field("plait-reason")), (502, Some("upstream_reset")), "nobody knows whether it was done");
    }
    // The next takes a new connection.
    caller.sends("GET / HTTP/1.1\r\nhost: reviews\r\n\r\n").await;
    assert_eq!(caller.response().await.status(), 200);
    assert_eq!(seen.count(), 2);
    assert_eq!(stage.web.shared.connections.list().len(), 1, "the dead one is gone");
}
