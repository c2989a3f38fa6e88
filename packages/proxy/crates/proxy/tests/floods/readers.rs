//! Readers that do not read: each asks for much and takes nothing. What they hold back stays small, and their neighbours go on, also those whose
//! answers come over the same connection between the sidecars.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use plait_testkit::{DEADLINE, Origin, Peer, Stage, Way};

use crate::{
    attacker::{Attacker, DATA, Door, END_HEADERS, END_STREAM, HEADERS, Target, WINDOW_UPDATE, frame},
    measure::{Peak, descriptors},
    scene::{NOISE, alone, many_descriptors, nothing_is_left, on_a_thread},
};

/// All of them together.
const READERS: usize = 1000;
/// What each asks for.
const MUCH: usize = 10_000_000;
/// What a proxy may hold for all of them.
const MEMORY: usize = 64 << 20;
/// A body of a neighbour.
const BODY: usize = 200_000;
/// Bodies that a neighbour fetches, before and meanwhile.
const BODIES: usize = 200;
/// The neighbour's p99 may be so many halves of that of before.
const HALVES: u32 = 3;
/// Scenes in which something else may slow the neighbour down.
const SCENES: usize = 4;

const INITIAL_WINDOW: u16 = 4;
const LARGEST: u32 = (1 << 31) - 1;

/// How readers do not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slow {
    /// Streams of HTTP/2 whose windows are closed from the beginning; their connection is read.
    ClosedWindows,
    /// Streams of HTTP/2 with windows as large as can be, on a connection that nobody reads.
    UnreadConnection,
    /// Connections of HTTP/1.1 that nobody reads.
    Http1,
}

/// An origin that sends as many bytes as the request asks for, and counts them.
fn serves(origin: Origin) -> Arc<AtomicUsize> {
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = sent.clone();
    tokio::spawn(async move {
        loop {
            tokio::spawn(serve(origin.accept_patiently().await.holds_little(), counted.clone()));
        }
    });
    sent
}

async fn serve(mut peer: Peer, sent: Arc<AtomicUsize>) {
    static PIECE: [u8; 64 * 1024] = [b'a'; 64 * 1024];
    while let Ok(request) = peer.next_request().await {
        let size: usize = request.field("x-size").map_or(0, |size| size.parse().unwrap());
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {size}\r\n\r\n");
        if peer.send_patiently(head.as_bytes()).await.is_err() {
            return;
        }
        let mut left = size;
        while left > 0 {
            let count = left.min(PIECE.len());
            if peer.send_patiently(&PIECE[..count]).await.is_err() {
                return;
            }
            left -= count;
            sent.fetch_add(count, Relaxed);
        }
    }
}

/// Asks on so many streams of one connection; gives it back when all was asked.
async fn asks(target: &Target, slow: Slow, streams: usize) -> Attacker {
    let window = if slow == Slow::ClosedWindows { 0 } else { LARGEST };
    let mut attacker = Attacker::connect(target, &[(INITIAL_WINDOW, window)]).await;
    attacker.send(&frame(WINDOW_UPDATE, 0, 0, &(LARGEST - 65_535).to_be_bytes())).await.unwrap();
    let head = attacker.head("GET", &[("x-size", &MUCH.to_string())]);
    for number in 0..streams as u32 {
        attacker.send(&frame(HEADERS, END_HEADERS | END_STREAM, 2 * number + 1, &head)).await.unwrap();
    }
    attacker
}

/// A request on a connection of HTTP/2 whose other streams nobody reads: its answer comes whole.
async fn a_stream_beside_them_goes_on(attacker: &mut Attacker, streams: usize) {
    let stream = 2 * streams as u32 + 1;
    let mut asked = frame(HEADERS, END_HEADERS | END_STREAM, stream, &attacker.head("GET", &[("x-size", &BODY.to_string())]));
    asked.extend(frame(WINDOW_UPDATE, 0, stream, &(BODY as u32).to_be_bytes()));
    attacker.send(&asked).await.unwrap();
    let mut left = BODY;
    while left > 0 {
        let piece = attacker.frame_of(DATA).await.expect("the connection goes on");
        if piece.stream == stream {
            left -= piece.payload.len();
        }
    }
}

/// Fetches bodies, each over a connection of its own; gives the p99.
async fn fetches(place: std::net::SocketAddr) -> Duration {
    let mut took = Vec::with_capacity(BODIES);
    for _ in 0..BODIES {
        let began = Instant::now();
        let mut caller = Peer::connect(place).await;
        caller.sends(&format!("GET / HTTP/1.1\r\nhost: reviews\r\nx-size: {BODY}\r\n\r\n")).await;
        assert_eq!(caller.response().await.body.len(), BODY);
        took.push(began.elapsed());
    }
    took.sort();
    took[BODIES * 99 / 100]
}

/// Resolves when nothing more is sent.
async fn settles(sent: &AtomicUsize, least: usize) {
    let (mut before, mut calm) = (0, 0);
    let limit = Instant::now() + 3 * DEADLINE;
    while calm < 25 {
        assert!(Instant::now() < limit, "{before} bytes, and it does not end");
        tokio::time::sleep(Duration::from_millis(20)).await;
        let now = sent.load(Relaxed);
        calm = if now == before && now >= least { calm + 1 } else { 0 };
        before = now;
    }
}

/// One scene: so many connections with their share of the readers. Gives the neighbour's p99 before and meanwhile.
async fn endure(way: Way, slow: Slow, connections: usize) -> (Duration, Duration) {
    let _alone = alone().await;
    let stage = Stage::new(way).await;
    let sent = serves(stage.origin("reviews-1"));
    let (place, target, streams) = (stage.outbound.address, Target::of(&stage, Door::Outbound), (READERS / connections).min(READERS - 1));
    let before = on_a_thread(fetches(place)).await;
    let (held, already) = (descriptors(), sent.load(Relaxed));
    let peak = Peak::watch();
    let mut unread = Vec::new();
    let mut readers = Vec::new();
    for _ in 0..connections {
        if slow == Slow::Http1 {
            let mut caller = Peer::connect(place).await.holds_little();
            caller.sends(&format!("GET / HTTP/1.1\r\nhost: reviews\r\nx-size: {MUCH}\r\n\r\n")).await;
            unread.push(caller);
        } else {
            readers.push(asks(&target, slow, streams).await);
        }
    }
    settles(&sent, already + 1).await;
    let growth = peak.growth();
    let meanwhile = on_a_thread(fetches(place)).await;
    println!("{way:?} {slow:?} over {connections}: +{} MB, p99 {before:?} -> {meanwhile:?}", growth >> 20);
    let proxies = if way == Way::Pair { 2 } else { 1 };
    assert!(growth < proxies * MEMORY, "{way:?} {slow:?} over {connections}: {growth} bytes");
    if slow == Slow::ClosedWindows {
        for attacker in readers.iter_mut().take(3) {
            a_stream_beside_them_goes_on(attacker, streams).await;
        }
    }
    drop((readers, unread));
    nothing_is_left(&stage, held).await;
    (before, meanwhile)
}

async fn neighbours_go_on(way: Way, slow: Slow, connections: usize) {
    many_descriptors();
    let mut slower = Vec::new();
    for _ in 0..SCENES {
        let (before, meanwhile) = endure(way, slow, connections).await;
        if meanwhile <= before * HALVES / 2 + NOISE {
            return;
        }
        slower.push((before, meanwhile));
    }
    panic!("{way:?} {slow:?} over {connections}: the neighbour's p99 before and meanwhile: {slower:?}");
}

#[tokio::test]
async fn streams_whose_windows_are_closed_hold_back_nobody_else() {
    for way in Way::ALL {
        for connections in [1, 100] {
            neighbours_go_on(way, Slow::ClosedWindows, connections).await;
        }
    }
}

#[tokio::test]
async fn connections_that_nobody_reads_hold_back_nobody_else() {
    for way in Way::ALL {
        for connections in [1, 100] {
            neighbours_go_on(way, Slow::UnreadConnection, connections).await;
        }
        neighbours_go_on(way, Slow::Http1, READERS).await;
    }
}
