//! After a storm of all that can happen to requests and connections, nothing is left of it: no descriptor, no request in flight, and no memory,
//! in which a task or a buffer would be seen. In a process of its own, since it counts all descriptors and bytes there are.

#![allow(unsafe_code)] // counting bytes means being the allocator
#![allow(clippy::unwrap_used, clippy::panic)] // clippy's own exemption ends at #[test] functions; helpers beside them are tests too

use std::{
    alloc::{GlobalAlloc, Layout, System},
    fs,
    net::SocketAddr,
    sync::atomic::{AtomicIsize, Ordering::Relaxed},
    time::Duration,
};

use bytes::Bytes;
use http::Request;
use plait_testkit::{Message, Peer, Proxy, Sent, Stage, Way, backend, in_time, millis, prefix, rule, until};
use plait_wire::{self as wire, filter::Filter as Kind};

/// Callers at a time, and how often each goes through everything.
const CALLERS: usize = 24;
const TURNS: usize = 6;
/// The first may leave what is kept for good.
const STORMS: usize = 3;
/// Another storm may leave so much more than those before: less than 480 bytes for each of its requests, and less than a buffer for each twenty-fifth.
const NOISE: isize = 2 * 1024 * 1024;

struct Counting;

/// Bytes that are held.
static HELD: AtomicIsize = AtomicIsize::new(0);

// SAFETY: everything is passed on to the system's allocator, which keeps the contract; the counter is an atomic.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.fetch_add(layout.size() as isize, Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size() as isize, Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

/// An origin that does what the path says.
fn answer(request: &Message) -> String {
    let path = request.start.split(' ').nth(1).unwrap_or_default();
    match path {
        "/short" => "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 10\r\n\r\nhalf".into(),
        "/bad" => "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nno chunk\r\n".into(),
        "/garbage" => "what?\r\n\r\n".into(),
        "/busy" => "HTTP/1.1 503 Busy\r\ncontent-length: 4\r\n\r\nbusy".into(),
        "/ws" => "HTTP/1.1 101 Go\r\nconnection: upgrade\r\nupgrade: x\r\n\r\nhello".into(),
        "/endless" => "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n".into(),
        "/large" => format!("HTTP/1.1 200 OK\r\ncontent-length: 300000\r\n\r\n{}", "a".repeat(300_000)),
        _ => "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".into(),
    }
}

/// What a caller does after it has sent its request.
#[derive(Clone, Copy)]
enum Then {
    Reads,
    Leaves,
    Resets,
    /// Reads the head, if one comes, and leaves.
    Glances,
}

const STORM: &[(&str, Then)] = &[
    ("GET /ok HTTP/1.1\r\nhost: reviews\r\n\r\n", Then::Reads),
    ("GET /ok HTTP/1.1\r\nhost: reviews\r\n\r\nGET /ok HTTP/1.1\r\nhost: reviews\r\n\r\n", Then::Leaves),
    ("POST /ok HTTP/1.1\r\nhost: reviews\r\ncontent-length: 2\r\n\r\nhi", Then::Reads),
    ("POST /ok HTTP/1.1\r\nhost: reviews\r\ncontent-length: 9\r\n\r\nhalf", Then::Leaves),
    ("POST /ok HTTP/1.1\r\nhost: reviews\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n", Then::Resets),
    ("POST /ok HTTP/1.1\r\nhost: reviews\r\ntransfer-encoding: chunked\r\n\r\nno chunk\r\n", Then::Reads),
    ("GET /short HTTP/1.1\r\nhost: reviews\r\n\r\n", Then::Glances),
    ("GET /bad HTTP/1.1\r\nhost: reviews\r\n\r\n", Then::Glances),
    ("GET /garbage HTTP/1.1\r\nhost: reviews\r\n\r\n", Then::Reads),
    ("GET /busy HTTP/1.1\r\nhost: reviews\r\n\r\n", Then::Reads),
    ("GET /endless HTTP/1.1\r\nhost: reviews\r\n\r\n", Then::Glances),
    ("GET /endless HTTP/1.1\r\nhost: reviews\r\n\r\n", Then::Resets),
    ("GET /large HTTP/1.1\r\nhost: reviews\r\n\r\n", Then::Glances),
    ("GET /large HTTP/1.1\r\nhost: reviews\r\n\r\n", Then::Reads),
    ("GET /ws HTTP/1.1\r\nhost: reviews\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n", Then::Glances),
    ("GET /ws HTTP/1.1\r\nhost: reviews\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n", Then::Resets),
    ("GET /none HTTP/1.1\r\nhost: ledger:7001\r\n\r\n", Then::Reads),
    ("GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", Then::Reads),
    ("CONNECT ledger:7000 HTTP/1.1\r\nhost: ledger:7000\r\n\r\n", Then::Glances),
    ("CONNECT ledger:7000 HTTP/1.1\r\nhost: ledger:7000\r\n\r\nhello", Then::Resets),
    ("CONNECT reviews:80 HTTP/1.1\r\nhost: reviews:80\r\n\r\nGET /ok HTTP/1.1\r\nhost: reviews\r\n\r\n", Then::Glances),
    ("GET / HT", Then::Leaves),
    ("", Then::Leaves),
];

async fn go_through_it(address: SocketAddr) {
    for (request, then) in STORM {
        let mut caller = Peer::connect(address).await;
        caller.sends(request).await;
        match then {
            Then::Reads => drop(caller.try_message(Some("GET")).await),
            Then::Leaves => {}
            Then::Resets => caller.resets(),
            Then::Glances => drop(caller.try_head().await),
        }
    }
}

/// The same over HTTP/2: streams that end, are reset, or are left with half a body, until the connection goes with all that is under way.
async fn go_through_streams(address: SocketAddr) {
    let stream = Peer::connect(address).await.into_stream();
    let (mut sender, connection) = in_time("a handshake", h2::client::handshake(stream)).await.unwrap();
    let driving = tokio::spawn(connection);
    for (path, then) in [
        ("/ok", Then::Reads),
        ("/busy", Then::Reads),
        ("/short", Then::Glances),
        ("/large", Then::Glances),
        ("/large", Then::Leaves),
        ("/endless", Then::Resets),
        ("/ok", Then::Resets),
        ("/endless", Then::Leaves),
    ] {
        sender = in_time("room for a stream", sender.ready()).await.unwrap();
        let request = Request::post(format!("http://reviews{path}")).body(()).unwrap();
        let (response, mut body) = sender.send_request(request, false).unwrap();
        match then {
            Then::Reads => {
                body.send_data(Bytes::from_static(b"hi"), true).unwrap();
                drop(in_time("an answer", response).await);
            }
            Then::Glances => {
                body.send_data(Bytes::from_static(b"hi"), true).unwrap();
                drop(in_time("a head", response).await.map(|answer| answer.into_parts().0));
            }
            Then::Leaves => body.send_data(Bytes::from_static(b"half"), false).unwrap(),
            Then::Resets => body.send_reset(h2::Reason::CANCEL),
        }
    }
    driving.abort();
}

async fn storm(stage: &Stage, proxies: &[&Proxy]) {
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let address = stage.outbound.address;
            tokio::spawn(async move {
                for _ in 0..TURNS {
                    go_through_it(address).await;
                    go_through_streams(address).await;
                }
            })
        })
        .collect();
    for caller in callers {
        in_time("a caller of the storm", caller).await.unwrap();
    }
    let calm = async {
        for proxy in proxies {
            proxy.counts("plait_requests_in_flight", &[], 0.0).await;
            proxy.counts("plait_connections_open", &["protocol=\"tcp\""], 0.0).await;
            proxy.counts("plait_panics_total", &[], 0.0).await;
        }
    };
    // A copy for a mirror whose answer does not end is given up after a while.
    stage.web.pass_time(Duration::from_secs(10), calm).await;
}

#[tokio::test]
async fn nothing_is_left_of_a_storm() {
    let before = descriptors();
    for way in Way::ALL {
        let stage = Stage::new(way).await;
        let retries = wire::Retries { codes: vec![503], attempts: 1, backoff: Some(millis(1)), budget: None };
        let mirror =
            wire::Filter { filter: Some(Kind::Mirror(wire::Mirror { backend: Some(backend("reviews-v2")), ..wire::Mirror::default() })) };
        let traffic = wire::CallTraffic { retries: Some(retries), attempt_timeout: Some(millis(500)), ..wire::CallTraffic::default() };
        let shaped =
            wire::RouteRule { matches: vec![prefix("/")], filters: vec![mirror], traffic: Some(traffic), ..rule(vec![backend("reviews")]) };
        stage.route(vec![shaped]).await;
        // Its lines would be held by the test.
        stage.apply(vec![wire::Mesh { access_log: None, ..stage.mesh() }.resource()]).await;
        let idle = descriptors();
        let serving: Vec<_> = ["reviews-1", "reviews-v2-1", "ledger-1"].map(|workload| stage.origin(workload).serves(answer)).into();
        let proxies: Vec<_> = [Some(&stage.web), stage.far.as_ref()].into_iter().flatten().collect();
        storm(&stage, &proxies).await;
        assert!(stage.web.metric("plait_requests_total", &[]) > (CALLERS * TURNS * STORM.len() / 2) as f64);
        let mut least = HELD.load(Relaxed);
        for _ in 1..STORMS {
            storm(&stage, &proxies).await;
            let no_more = until("memory of another storm", || (HELD.load(Relaxed) <= least + NOISE).then_some(()));
            // Both keep the storage of streams until they see that a connection is not busy any more.
            let step = Duration::from_secs(10);
            match &stage.far {
                Some(far) => far.pass_time(step, stage.web.pass_time(step, no_more)).await,
                None => stage.web.pass_time(step, no_more).await,
            }
            println!("{way:?}: {} bytes more after another storm", HELD.load(Relaxed) - least);
            least = least.min(HELD.load(Relaxed));
        }
        drop(serving);
        // Idle connections are looked through from time to time. One connection may live: that between the two proxies, which has two ends here.
        let gone = until("descriptors", || (descriptors() <= idle + 2 * (proxies.len() - 1)).then_some(()));
        stage.web.pass_time(Duration::from_secs(10), gone).await;
        for proxy in proxies {
            proxy.drain();
            proxy.is_drained().await;
        }
    }
    until("descriptors", || (descriptors() <= before).then_some(())).await;
}
