//! Callers that are slow on purpose: heads, bodies and handshakes that begin and do not end. Each is sent away on time, with a reason, and its
//! neighbours hardly notice how many there are.

use std::{net::SocketAddr, time::Duration};

use plait_testkit::{Message, Peer, Proxy, Stage, Way, until};

use crate::{
    attacker::{CONTINUATION, Door, END_STREAM, HEADERS, SETTINGS, Target, field, frame},
    measure::descriptors,
    scene::{NOISE, alone, calls, many_descriptors, nothing_is_left, on_a_thread, stage_of},
};

/// Of each kind.
const EACH: usize = 400;
/// Calls of the neighbour in each measurement.
const CALLS: usize = 300;
/// The neighbour's p99 may be so many halves of that of before.
const HALVES: u32 = 3;
/// Scenes in which something else may slow the neighbour down.
const SCENES: usize = 3;

/// A kind of slow callers.
struct Kind {
    name: &'static str,
    place: SocketAddr,
    /// What each says at once.
    begins: Vec<u8>,
    /// What it says from time to time.
    drips: &'static [u8],
    /// It is told why, where it speaks HTTP/1.1.
    told: bool,
}

fn kinds(stage: &Stage) -> [Kind; 5] {
    let (outbound, inbound) = (stage.outbound.address, stage.inbound.address);
    let of = |name, place, begins: &[u8], drips, told| Kind { name, place, begins: begins.to_vec(), drips, told };
    let mut head = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    head.extend(frame(SETTINGS, 0, 0, b""));
    head.extend(frame(HEADERS, END_STREAM, 1, &field(0, ":method", "GET")));
    // A CONTINUATION of a thousand bytes, of which only the first comes.
    head.extend(&frame(CONTINUATION, 0, 1, &[0; 1000])[..10]);
    [
        of("head", outbound, b"GET / HTTP/1.1\r\nhost: reviews\r\nx: ", b"a", true),
        of("body", outbound, b"POST / HTTP/1.1\r\nhost: reviews\r\ncontent-length: 100000\r\n\r\n", b"a", true),
        of("preface", outbound, b"PRI * HTTP/2.0\r\n\r\nSM", b"", false),
        of("head of HTTP/2", outbound, &head, b"\0", false),
        of("handshake", inbound, b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03", b"\0", false),
    ]
}

/// All callers of all kinds, connected, each having said what it says first.
async fn connect(kinds: &[Kind]) -> Vec<Vec<Peer>> {
    let mut all = Vec::new();
    for kind in kinds {
        let mut callers = Vec::with_capacity(EACH);
        for _ in 0..EACH {
            let mut caller = Peer::connect(kind.place).await;
            caller.try_send(&kind.begins).await.unwrap();
            callers.push(caller);
        }
        all.push(callers);
    }
    all
}

/// Lets every caller say a little, one after the other, for ever.
async fn drip(kinds: &[Kind], callers: &mut [Vec<Peer>]) {
    loop {
        for (kind, callers) in kinds.iter().zip(&mut *callers) {
            for caller in callers {
                // Some may have been sent away already.
                let _ = caller.try_send_now(kind.drips);
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    }
}

async fn all_are_cut(proxy: &Proxy, metric: &str, label: &str, count: usize) {
    until(&format!("{metric} {label}"), || (proxy.metric(metric, &[label]) == count as f64).then_some(())).await;
}

/// Everybody is sent away in the order of the limits: 10 seconds for handshakes, 30 for heads, a minute for bodies.
async fn each_ends_on_time(stage: &Stage) {
    stage.web.passes(Duration::from_secs(10)).await;
    all_are_cut(&stage.web, "plait_connections_cut_total", "cause=\"slow_handshake\"", EACH).await;
    stage.web.passes(Duration::from_secs(30)).await;
    all_are_cut(&stage.web, "plait_connections_cut_total", "cause=\"slow_head\"", 3 * EACH).await;
    stage.web.passes(Duration::from_secs(30)).await;
    // The heads of HTTP/1.1 were requests that had begun, and so were the prefaces.
    all_are_cut(&stage.web, "plait_rejects_total", "reason=\"slow_caller\"", 3 * EACH).await;
}

/// One scene; gives the neighbour's p99 before and meanwhile.
async fn endure() -> (Duration, Duration) {
    let _alone = alone().await;
    // Between two sidecars a clock that jumps looks like a peer that does not answer.
    let stage = stage_of(Way::Hop).await;
    let (held, place, kinds) = (descriptors(), stage.outbound.address, kinds(&stage));
    let before = on_a_thread(calls(place, CALLS)).await;
    let mut callers = connect(&kinds).await;
    let meanwhile = tokio::select! {
        meanwhile = on_a_thread(calls(place, CALLS)) => meanwhile,
        () = drip(&kinds, &mut callers) => unreachable!("it drips for ever"),
    };
    println!("{} slow callers: p99 {before:?} -> {meanwhile:?}", kinds.len() * EACH);
    each_ends_on_time(&stage).await;
    for (kind, callers) in kinds.iter().zip(callers) {
        for mut caller in callers {
            if kind.told {
                let response: Message = caller.response().await;
                assert_eq!((response.status(), response.field("plait-reason")), (408, Some("slow_caller")), "{}", kind.name);
            }
            // What a peer of HTTP/2 or TLS is told last is of no interest here.
            caller.rest().await;
        }
    }
    nothing_is_left(&stage, held).await;
    (before, meanwhile)
}

#[tokio::test]
async fn slow_callers_are_sent_away_on_time_and_hold_back_nobody() {
    many_descriptors();
    let mut slower = Vec::new();
    for _ in 0..SCENES {
        let (before, meanwhile) = endure().await;
        if meanwhile <= before * HALVES / 2 + NOISE {
            return;
        }
        slower.push((before, meanwhile));
    }
    panic!("the neighbour's p99 before and meanwhile: {slower:?}");
}

#[tokio::test]
async fn a_connection_that_asks_for_nothing_is_closed_after_an_hour_and_one_that_waits_is_not() {
    let _alone = alone().await;
    let stage = Stage::new(Way::Hop).await;
    let (target, origin) = (Target::of(&stage, Door::Outbound), stage.origin("reviews-1"));
    let mut idle = crate::attacker::Attacker::connect(&target, &[]).await;
    let mut waits = crate::attacker::Attacker::connect(&target, &[]).await;
    let request = waits.request(1, "GET", END_STREAM);
    waits.send(&request).await.unwrap();
    let mut process = origin.accept().await;
    process.request().await;
    let told = stage.web.pass_time(Duration::from_secs(120), idle.frame_of(crate::attacker::GOAWAY)).await.expect("a farewell");
    assert_eq!(told.payload[4..8], [0; 4], "without blame");
    stage.web.counts("plait_connections_cut_total", &["direction=\"outbound\"", "cause=\"idle\""], 1.0).await;
    process.sends("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    assert!(waits.frame_of(HEADERS).await.is_some(), "the other goes on");
}
