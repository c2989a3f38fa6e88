//! A request of HTTP/1.1 through the running worker allocates nothing once its connections are warm. In a process of
//! its own, whose allocator counts what other threads than the test's ask for: those of the proxy.
#![allow(unsafe_code)] // counting allocations means being the allocator
#![allow(clippy::unwrap_used, clippy::panic)] // clippy's own exemption ends at #[test] functions; helpers beside them are tests too

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use plait_testkit::{Peer, Sent, Stage, Way};
use plait_wire as wire;

/// Requests before it counts, and while it does.
const WARM: usize = 300;
const COUNTED: usize = 1000;

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
}
