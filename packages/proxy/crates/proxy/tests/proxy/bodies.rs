//! Bodies of every size arrive as they were sent: around the sizes at which the proxy treats them differently, and far beyond what it holds.

use plait_testkit::{Stage, Way};

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
