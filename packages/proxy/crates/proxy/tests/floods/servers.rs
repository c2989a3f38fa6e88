//! Servers of HTTP/2 that flood those who ask them: what they send without end is bounded, their callers get an answer, and calls to others go on.

use std::{net::SocketAddr, pin::Pin, time::Duration};

use plait_testkit::{Stage, Way, in_time};
use tokio::net::TcpListener;

use crate::{
    attacker::{
        ACK, Attacker, CONTINUATION, DATA, Door, END_HEADERS, END_STREAM, End, Frame, HEADERS, PING, PUSH_PROMISE, RST_STREAM, SETTINGS,
        Target, WINDOW_UPDATE, field, frame,
    },
    measure::{Peak, descriptors, run_time},
    scene::{MEMORY, NOISE, PROMPTLY, SLOWER, alone, calls, nothing_is_left, on_a_thread, stage_of},
};

/// Frames of one flood, as long as they are small.
const MANY: usize = 1_000_000;
/// Bytes that are sent at a time, and of one flood.
const BATCH: usize = 16 << 10;
const MUCH: usize = 64 << 20;
/// Calls of the neighbour in each measurement.
const CALLS: usize = 300;
/// Scenes in which something else may slow the neighbour down.
const SCENES: usize = 3;
/// `:status: 200`.
const OK: &[u8] = &[0x88];

type Flood = fn(Attacker) -> Pin<Box<dyn Future<Output = End> + Send>>;

/// Answers the request with `begins`, and goes on with `again` without end.
async fn repeats(mut server: Attacker, begins: Vec<u8>, again: Vec<u8>) -> End {
    loop {
        // Whoever asks makes sure first that the connection works.
        match in_time("a request", server.frame()).await.expect("a connection that lives") {
            Frame { kind: PING, flags: 0, payload, .. } => server.send(&frame(PING, ACK, 0, &payload)).await.unwrap(),
            Frame { kind: HEADERS, .. } => break,
            _ => {}
        }
    }
    let at_a_time = (BATCH / again.len()).max(1);
    let (batch, count) = (again.repeat(at_a_time), MANY.min(MUCH / again.len()) / at_a_time);
    server.floods(std::iter::once(begins).chain(std::iter::repeat_n(batch, count)), PROMPTLY).await
}

fn head(flags: u8, fields: &[u8]) -> Vec<u8> {
    frame(HEADERS, flags, 1, fields)
}

/// A field that is put into the compression table once and then repeated by one byte.
fn bomb() -> Vec<u8> {
    [OK, &field(0x40, "x", &"y".repeat(4000)), &[0x80 | 62; 12_000]].concat()
}

const FLOODS: [(&str, Flood); 13] = [
    ("pushes", |server| Box::pin(repeats(server, Vec::new(), frame(PUSH_PROMISE, END_HEADERS, 1, b"\0\0\0\x02\x82\x86\x84")))),
    ("interim heads", |server| Box::pin(repeats(server, Vec::new(), head(END_HEADERS, &field(0, ":status", "103"))))),
    ("heads", |server| Box::pin(repeats(server, head(END_HEADERS, OK), head(END_HEADERS, OK)))),
    ("trailers", |server| Box::pin(repeats(server, head(END_HEADERS, OK), head(END_HEADERS, &field(0, "x", "y"))))),
    ("CONTINUATION", |server| Box::pin(repeats(server, head(0, OK), frame(CONTINUATION, 0, 1, &field(0, "a", "b"))))),
    ("a head without an end", |server| {
        Box::pin(repeats(server, head(0, OK), frame(CONTINUATION, 0, 1, &field(0, "a", &"b".repeat(9000)))))
    }),
    ("a bomb", |server| Box::pin(repeats(server, head(END_HEADERS, &bomb()), head(END_HEADERS, &bomb())))),
    ("SETTINGS", |server| Box::pin(repeats(server, Vec::new(), frame(SETTINGS, 0, 0, b"")))),
    ("PING", |server| Box::pin(repeats(server, Vec::new(), frame(PING, 0, 0, b"12345678")))),
    ("empty DATA", |server| Box::pin(repeats(server, head(END_HEADERS, OK), frame(DATA, 0, 1, b"")))),
    ("WINDOW_UPDATE", |server| Box::pin(repeats(server, Vec::new(), frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\x01")))),
    ("resets", |server| Box::pin(repeats(server, Vec::new(), frame(RST_STREAM, 0, 1, b"\0\0\0\x08")))),
    ("unknown", |server| Box::pin(repeats(server, Vec::new(), frame(0xbe, 0, 0, b"")))),
];

/// Calls the server in gRPC, which is HTTP/2 all the way; whatever comes back, something does.
async fn asks(target: &Target) {
    let mut caller = Attacker::connect(target, &[]).await;
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "any:9000"),
        (":path", "/shop.Any/Ask"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    let head: Vec<u8> = fields.iter().flat_map(|(name, value)| field(0, name, value)).collect();
    caller.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &head)).await.unwrap();
    let ended = async {
        while let Some(came) = caller.frame().await {
            if came.stream == 1 && (came.kind == RST_STREAM || came.flags & END_STREAM != 0) {
                return;
            }
        }
    };
    in_time("an end of the call", ended).await;
}

async fn attack(place: SocketAddr, target: Target, flood: Flood) -> Vec<End> {
    let listener = TcpListener::bind(place).await.unwrap();
    let mut ends = Vec::new();
    for _ in 0..3 {
        let flooding = async { flood(Attacker::accept(&listener).await).await };
        ends.push(tokio::join!(asks(&target), flooding).1);
    }
    ends
}

async fn endure(way: Way, name: &str, flood: Flood) -> (Vec<End>, Duration, Duration) {
    let _alone = alone().await;
    let stage: Stage = stage_of(way).await;
    drop(stage.origin("any-1"));
    let (place, target) = (stage.places["any-1"].process.address, Target::of(&stage, Door::Outbound));
    let (held, called) = (descriptors(), stage.outbound.address);
    let before = on_a_thread(calls(called, CALLS)).await;
    let (peak, spent) = (Peak::watch(), run_time("proxy"));
    let (ends, during) = tokio::join!(on_a_thread(attack(place, target, flood)), on_a_thread(calls(called, CALLS)));
    let (growth, spent) = (peak.growth(), run_time("proxy") - spent);
    println!("{name} {way:?}: {ends:?}, p99 {before:?} -> {during:?}, +{} KB, CPU {spent:?}", growth / 1024);
    assert!(growth < MEMORY, "{name} {way:?}: {growth} bytes more at the peak");
    nothing_is_left(&stage, held).await;
    (ends, before, during)
}

#[tokio::test]
async fn a_server_that_floods_is_left() {
    for way in Way::ALL {
        for (name, flood) in FLOODS {
            let mut slower = Vec::new();
            let calm = loop {
                let (ends, before, during) = endure(way, name, flood).await;
                for end in ends {
                    assert_ne!(end, End::Open, "{name} {way:?}");
                }
                slower.push((before, during));
                if during <= before * SLOWER + NOISE || slower.len() == SCENES {
                    break during <= before * SLOWER + NOISE;
                }
            };
            assert!(calm, "{name} {way:?}: the neighbour's p99 before and during it: {slower:?}");
        }
    }
}
