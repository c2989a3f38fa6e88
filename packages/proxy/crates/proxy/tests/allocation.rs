//! A request of HTTP/1.1 through the running worker allocates nothing once its connections are warm, a call of gRPC as little as it may. In a
//! process of its own, whose allocator counts what other threads than the test's ask for: those of the proxy.
#![allow(unsafe_code)] // counting allocations means being the allocator
#![allow(clippy::unwrap_used, clippy::panic)] // clippy's own exemption ends at #[test] functions; helpers beside them are tests too

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, HeaderValue, Request, Response};
use plait_testkit::{Origin, Peer, Sent, Stage, Way};
use plait_wire as wire;

/// Requests before it counts, and while it does.
const WARM: usize = 300;
const COUNTED: usize = 1000;
/// Of a call of gRPC: most of them are h2's.
const CALL: usize = 15;

struct Counting;

thread_local! {
    static OURS: Cell<bool> = const { Cell::new(false) };
}

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is passed on to the system's allocator, which keeps the contract; the counter is an atomic.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !OURS.get() {
            ALLOCATIONS.fetch_add(1, Relaxed);
        }
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

async fn calls(caller: &mut Peer, request: &str, count: usize) -> usize {
    let before = ALLOCATIONS.load(Relaxed);
    for _ in 0..count {
        caller.sends(request).await;
        assert_eq!(caller.response().await.text(), "ok");
    }
    ALLOCATIONS.load(Relaxed) - before
}

/// A server of gRPC.
fn serves(origin: Origin) {
    tokio::spawn(async move {
        let mut connection = h2::server::handshake(origin.accept().await.into_stream()).await.unwrap();
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            let head = Response::builder().header("content-type", "application/grpc").body(()).unwrap();
            let mut body = respond.send_response(head, false).unwrap();
            body.send_data(Bytes::from_static(b"\0\0\0\0\0"), false).unwrap();
            body.send_trailers(HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from_static("0"))])).unwrap();
        }
    });
}

async fn unary(sender: &mut SendRequest<Bytes>, count: usize) -> usize {
    let before = ALLOCATIONS.load(Relaxed);
    for _ in 0..count {
        let request = Request::post("http://any:9000/shop.Cart/Add").header("content-type", "application/grpc").header("te", "trailers");
        *sender = sender.clone().ready().await.unwrap();
        let (response, mut body) = sender.send_request(request.body(()).unwrap(), false).unwrap();
        body.send_data(Bytes::from_static(b"\0\0\0\0\0"), true).unwrap();
        let mut answer = response.await.unwrap().into_body();
        while let Some(piece) = answer.data().await {
            answer.flow_control().release_capacity(piece.unwrap().len()).unwrap();
        }
        assert_eq!(answer.trailers().await.unwrap().unwrap()["grpc-status"], "0");
    }
    ALLOCATIONS.load(Relaxed) - before
}

#[tokio::test]
async fn a_request_allocates_nothing() {
    OURS.set(true);
    let stage = Stage::new(Way::Hop).await;
    // The thread that writes the log is not on the way of a request.
    stage.apply(vec![wire::Mesh { access_log: None, ..stage.mesh() }.resource()]).await;
    stage.origin("reviews-1").answers(|_| "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-served-by: reviews\r\n\r\nok".to_owned());
    let mut caller = stage.caller_connects().await;
    for (name, request) in [
        ("GET", "GET /a/b?c=d HTTP/1.1\r\nhost: reviews\r\nuser-agent: test\r\naccept: */*\r\ncookie: a=b\r\n\r\n"),
        ("POST", "POST /a HTTP/1.1\r\nhost: reviews\r\ncontent-length: 5\r\n\r\nhello"),
    ] {
        calls(&mut caller, request, WARM).await;
        let count = calls(&mut caller, request, COUNTED).await;
        println!("{name}: {count} allocations in {COUNTED} requests");
        // The worker looks through its idle connections from time to time.
        assert!(count < COUNTED / 20, "{name}: {count} allocations in {COUNTED} requests");
    }
    drop(caller);
    serves(stage.origin("any-1"));
    let (mut sender, connection) = h2::client::handshake(stage.caller_connects().await.into_stream()).await.unwrap();
    tokio::spawn(connection);
    unary(&mut sender, WARM).await;
    let count = unary(&mut sender, COUNTED).await;
    println!("gRPC: {count} allocations in {COUNTED} calls");
    assert!(count < CALL * COUNTED + COUNTED / 20, "gRPC: {count} allocations in {COUNTED} calls");
}
