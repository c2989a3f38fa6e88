//! Parsing allocates nothing: heads borrow from their bytes, and a body without trailers needs no memory of its own.
#![allow(unsafe_code)] // counting allocations means being the allocator

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

use plait_http1::{BodyDecoder, Limits, Room, parse_request, parse_response};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: everything is passed on to the system's allocator, which keeps the contract; the counter is a plain cell of this thread.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(run: impl FnOnce()) -> usize {
    let before = ALLOCATIONS.with(Cell::get);
    run();
    ALLOCATIONS.with(Cell::get) - before
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| drop(std::hint::black_box(Box::new(1)))), 1);
}

#[test]
fn a_request_and_its_chunks_allocate_nothing() {
    let bytes = b"POST /a HTTP/1.1\r\nHost: a\r\nConnection: x-a\r\nX-A: 1\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n1\r\n!\r\n0\r\n\r\n";
    let count = allocations(|| {
        let mut room = Room::default();
        let request = parse_request(bytes, &Limits::default(), &mut room).unwrap().unwrap();
        assert_eq!(request.fields.end_to_end().count(), 0);
        let mut at = request.head_len;
        let mut body = BodyDecoder::new(request.framing);
        while !body.is_done() {
            at += body.decode(&bytes[at..]).unwrap().consumed;
        }
        assert_eq!(at, bytes.len());
    });
    assert_eq!(count, 0);
}

#[test]
fn a_response_allocates_nothing() {
    let bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nServer: a\r\n\r\n";
    assert_eq!(allocations(|| assert!(parse_response(bytes, "GET", &Limits::default(), &mut Room::default()).unwrap().is_some())), 0);
}
