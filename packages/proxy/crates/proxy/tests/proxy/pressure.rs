//! A reader that does not read holds back its writer: nothing of a body piles up in the proxy.

use std::time::Duration;

use plait_testkit::{Peer, Stage, Way};

/// Far more than all sockets and windows between two ends hold.
const MUCH: usize = 64 << 20;

/// Sends `piece` over and over until nobody takes more for a while; gives how many bytes were taken, and how many pieces were begun.
async fn fills(peer: &mut Peer, piece: &[u8]) -> usize {
    let (mut sent, mut stuck) = (0, 0);
    while stuck < 100 {
        assert!(sent < MUCH, "{sent} bytes and nobody held them back");
        // What was taken of a piece is not sent again.
        match peer.try_send_now(&piece[sent % piece.len()..]) {
            Ok(count) => (sent, stuck) = (sent + count, 0),
            Err(_) => {
                stuck += 1;
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
        }
    }
    sent
}

/// A chunk with so many bytes of data.
fn chunk(data: usize) -> Vec<u8> {
    format!("{data:x}\r\n{}\r\n", "a".repeat(data)).into_bytes()
}

#[tokio::test]
async fn a_caller_that_does_not_read_holds_back_the_origin() {
    for way in Way::ALL {
        for size in [1, 500, 100_000] {
            let stage = Stage::new(way).await;
            let origin = stage.origin("reviews-1");
            let mut caller = stage.caller_connects().await;
            caller.sends("GET / HTTP/1.1\r\nhost: reviews\r\n\r\n").await;
            let mut process = origin.accept().await;
            process.request().await;
            process.sends("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
            let piece = chunk(size);
            let sent = fills(&mut process, &piece).await;
            let finish = async {
                process.try_send(&piece[sent % piece.len()..]).await.unwrap();
                process.sends("0\r\n\r\n").await;
            };
            let (response, ()) = tokio::join!(caller.response(), finish);
            assert_eq!(response.body.len(), (sent / piece.len() + 1) * size, "{way:?} {size}");
        }
    }
}

#[tokio::test]
async fn an_origin_that_does_not_read_holds_back_the_caller() {
    for way in Way::ALL {
        for size in [1, 500, 100_000] {
            let stage = Stage::new(way).await;
            let origin = stage.origin("reviews-1");
            let mut caller = stage.caller_connects().await;
            caller.sends("POST / HTTP/1.1\r\nhost: reviews\r\ntransfer-encoding: chunked\r\n\r\n").await;
            let mut process = origin.accept().await;
            let piece = chunk(size);
            let sent = fills(&mut caller, &piece).await;
            let finish = async {
                caller.try_send(&piece[sent % piece.len()..]).await.unwrap();
                caller.sends("0\r\n\r\n").await;
            };
            let (request, ()) = tokio::join!(process.request(), finish);
            assert_eq!(request.body.len(), (sent / piece.len() + 1) * size, "{way:?} {size}");
        }
    }
}
