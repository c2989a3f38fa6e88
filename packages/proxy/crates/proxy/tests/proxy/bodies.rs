//! Bodies of every size arrive as they were sent: around the sizes at which the proxy treats them differently, and far beyond what it holds.

use bytes::Bytes;
use h2::{
    Ping, PingPong, SendStream,
    client::{ResponseFuture, SendRequest},
};
use http::{Method, Request};
use plait_testkit::{Stage, Way, in_time};

const SIZES: [usize; 16] =
    [1, 1023, 1024, 1025, 16_383, 16_384, 16_385, 20_000, 65_535, 65_536, 65_537, 131_073, 1_048_575, 1_048_577, 3_000_000, 20_000_000];

/// Bytes that tell when one is missing, doubled, or in another place.
fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|n| ((n * 31) ^ (n >> 8) ^ (n >> 16)) as u8).collect()
}

/// The body in chunks of these sizes, over and over.
fn chunks(body: &[u8], sizes: &[usize]) -> Vec<u8> {
    let (mut out, mut rest, mut sizes) = (Vec::new(), body, sizes.iter().cycle());
    while !rest.is_empty() {
        let (chunk, others) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
        out.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        out.extend_from_slice(chunk);
        out.extend_from_slice(b"\r\n");
        rest = others;
    }
    out.extend_from_slice(b"0\r\n\r\n");
    out
}

#[tokio::test]
async fn bodies_arrive_as_they_were_sent() {
    for way in Way::ALL {
        let stage = Stage::new(way).await;
        let origin = stage.origin("reviews-1");
        let mut caller = stage.caller_connects().await;
        let mut process = None;
        for (size, chunked) in SIZES.into_iter().flat_map(|size| [(size, false), (size, true)]) {
            let body = bytes(size);
            let (field, framed) = match chunked {
                false => (format!("content-length: {size}"), body.clone()),
                true => ("transfer-encoding: chunked".to_owned(), chunks(&body, &[1, 900, 1024, 5000, 16_384, 70_000])),
            };
            caller.sends(&format!("POST / HTTP/1.1\r\nhost: reviews\r\n{field}\r\n\r\n")).await;
            if process.is_none() {
                process = Some(origin.accept().await);
            }
            let process = process.as_mut().unwrap();
            let (sent, request) = tokio::join!(caller.try_send(&framed), process.request());
            sent.unwrap();
            assert!(request.body == body, "{way:?} {size} {chunked}: another request body");
            process.sends(&format!("HTTP/1.1 200 OK\r\n{field}\r\n\r\n")).await;
            let (sent, response) = tokio::join!(process.try_send(&framed), caller.response());
            sent.unwrap();
            assert!(response.body == body, "{way:?} {size} {chunked}: another answer");
        }
    }
}

#[tokio::test]
async fn bytes_of_a_tunnel_arrive_as_they_were_sent() {
    for way in Way::ALL {
        let stage = Stage::new(way).await;
        let mut caller = plait_testkit::Peer::connect(stage.binds["ledger"].address).await;
        let body = bytes(20_000_000);
        // Both ways at once.
        caller.sends("x").await;
        let mut process = stage.origin("ledger-1").accept().await;
        process.reads("x").await;
        let (mut up, mut down) = (Vec::new(), Vec::new());
        for part in body.chunks(700_000) {
            // Each side sends while the other reads: nobody waits for nobody.
            let (sent, got) = tokio::join!(caller.try_send(part), process.takes(part.len()));
            sent.unwrap();
            up.extend(got);
            let (sent, got) = tokio::join!(process.try_send(part), caller.takes(part.len()));
            sent.unwrap();
            down.extend(got);
        }
        assert!(up == body && down == body, "{way:?}");
        caller.says_goodbye().await;
        process.is_closed().await;
    }
}

/// A caller of HTTP/2, and the pings of its connection.
async fn caller(stage: &Stage) -> (SendRequest<Bytes>, PingPong) {
    let stream = stage.caller_connects().await.into_stream();
    let (sender, mut connection) = in_time("a handshake", h2::client::handshake(stream)).await.unwrap();
    let pings = connection.ping_pong().unwrap();
    tokio::spawn(connection);
    (sender, pings)
}

/// Begins a request whose body is to have so many bytes.
async fn begin(sender: &mut SendRequest<Bytes>, uri: &str, length: usize) -> (ResponseFuture, SendStream<Bytes>) {
    *sender = in_time("room for a request", sender.clone().ready()).await.unwrap();
    let request = Request::builder().method(Method::POST).uri(uri).header("content-length", length).body(()).unwrap();
    sender.send_request(request, false).unwrap()
}

/// Reads an answer to its end; gives its status.
async fn ends(response: ResponseFuture, pings: &mut PingPong) -> u16 {
    let response = in_time("an answer", response).await.unwrap();
    let (status, mut body) = (response.status().as_u16(), response.into_body());
    while let Some(piece) = in_time("a piece", body.data()).await {
        body.flow_control().release_capacity(piece.unwrap().len()).unwrap();
    }
    // Had the stream been reset too, that would have come before this.
    in_time("a pong", pings.ping(Ping::opaque())).await.unwrap();
    status
}

#[tokio::test]
async fn an_end_that_follows_the_answer_finds_its_stream() {
    for way in Way::ALL {
        let stage = Stage::new(way).await;
        let origin = stage.origin("reviews-1");
        let (mut sender, mut pings) = caller(&stage).await;
        let mut process = None;
        for _ in 0..3 {
            let (response, mut body) = begin(&mut sender, "http://reviews/", 2).await;
            body.send_data(Bytes::from_static(b"hi"), false).unwrap();
            // All of them come on one connection: it is whole each time.
            let process = match &mut process {
                Some(process) => process,
                none => none.insert(origin.accept().await),
            };
            assert_eq!(process.request().await.text(), "hi", "{way:?}");
            process.sends("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
            assert_eq!(ends(response, &mut pings).await, 200);
            body.send_data(Bytes::new(), true).unwrap();
        }
    }
}

#[tokio::test]
async fn the_rest_of_a_body_that_nobody_wants_does_not_cost_the_answer() {
    let stage = Stage::new(Way::Hop).await;
    let (mut sender, mut pings) = caller(&stage).await;
    let (response, mut body) = begin(&mut sender, "http://reviews:81/", 4).await;
    body.send_data(Bytes::from_static(b"no"), false).unwrap();
    assert_eq!(ends(response, &mut pings).await, 503);
    body.send_data(Bytes::from_static(b"ne"), true).unwrap();
}
