//! What a request means beyond its boundaries: whom it is for, what goes on, and what its connection does afterwards.
#![allow(clippy::unwrap_used)] // only test functions themselves are excused by clippy.toml

use plait_http1::{BodyDecoder, Framing, Limits, Request, Room, parse_request};

fn parse(head: &str) -> Request<'_, '_> {
    // A test may leak: its heads outlive the room they are parsed in.
    let room = Box::leak(Box::new(Room::default()));
    parse_request(head.as_bytes(), &Limits::default(), room).unwrap().unwrap()
}

#[test]
fn the_authority_in_the_target_wins_over_host() {
    for (head, host, target) in [
        ("GET /a?b HTTP/1.1\r\nHost: h:1\r\n\r\n", Some("h:1"), "/a?b"),
        ("GET http://a:80/b HTTP/1.1\r\nHost: h\r\n\r\n", Some("a:80"), "/b"),
        ("GET http://a HTTP/1.1\r\nHost: h\r\n\r\n", Some("a"), "/"),
        ("OPTIONS http://a HTTP/1.1\r\nHost: h\r\n\r\n", Some("a"), "*"),
        ("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", Some("h"), "*"),
        ("CONNECT a:443 HTTP/1.1\r\nHost: h\r\n\r\n", Some("a:443"), "a:443"),
        ("CONNECT [::1]:443 HTTP/1.1\r\nHost: h\r\n\r\n", Some("[::1]:443"), "[::1]:443"),
        ("GET /?u=http://x/ HTTP/1.0\r\n\r\n", None, "/?u=http://x/"),
    ] {
        let request = parse(head);
        assert_eq!((request.host, request.origin_target()), (host, target), "{head:?}");
    }
}

#[test]
fn the_connection_does_as_its_fields_say() {
    // Fields after Host; whether another request may follow, whether 100 is waited for, what to change to.
    for (version, fields, keep_alive, expect, upgrade) in [
        ("1.1", "", true, false, None),
        ("1.1", "Connection: close\r\n", false, false, None),
        ("1.1", "Connection: Close, Keep-Alive\r\n", false, false, None),
        ("1.0", "", false, false, None),
        ("1.0", "Connection: keep-alive\r\n", true, false, None),
        ("1.1", "Expect: 100-Continue\r\nContent-Length: 1\r\n", true, true, None),
        ("1.0", "Expect: 100-continue\r\nContent-Length: 1\r\n", false, false, None),
        ("1.1", "Expect: 100-continue\r\n", true, false, None),
        ("1.1", "Expect: 100-continue\r\nContent-Length: 0\r\n", true, false, None),
        ("1.1", "Connection: upgrade\r\nUpgrade: websocket\r\n", true, false, Some("websocket")),
        ("1.1", "Upgrade: websocket\r\n", true, false, None),
        ("1.1", "Connection: upgrade\r\n", true, false, None),
        ("1.0", "Connection: upgrade\r\nUpgrade: websocket\r\n", false, false, None),
        ("1.1", "Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 1\r\n", true, false, None),
    ] {
        let head = format!("POST / HTTP/{version}\r\nHost: a\r\n{fields}\r\n");
        let request = parse(&head);
        assert_eq!((request.keep_alive, request.expect_continue, request.upgrade), (keep_alive, expect, upgrade), "{head:?}");
    }
}

#[test]
fn only_what_goes_from_end_to_end_goes_on() {
    let request = parse(
        "POST / HTTP/1.1\r\nHost: a\r\nX-A: 1\r\nConnection: keep-alive, x-b\r\nX-B: 2\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\n\
         TE: trailers\r\nTrailer: x-sum\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\nUpgrade: h2c\r\nx-a: 3\r\n\r\n",
    );
    let names: Vec<(&str, &[u8])> = request.fields.end_to_end().map(|field| (field.name, field.value)).collect();
    assert_eq!(names, [("X-A", b"1".as_slice()), ("TE", b"trailers"), ("Trailer", b"x-sum"), ("x-a", b"3")]);
    assert_eq!(parse("GET / HTTP/1.1\r\nHost: a\r\nTE: gzip, trailers\r\n\r\n").fields.end_to_end().count(), 0);
}

#[test]
fn trailers_bring_nothing_that_the_head_decides() {
    let mut body = BodyDecoder::new(Framing::Chunked);
    let bytes =
        b"0\r\nX-Sum: 1\r\nContent-Length: 5\r\nhost: b\r\nPLAIT-Port: 1\r\nx-forwarded-for: b\r\nAuthorization: b\r\nx-sum: 2\r\n\r\n";
    assert_eq!(body.decode(bytes).unwrap().consumed, bytes.len());
    assert!(body.is_done());
    assert_eq!(body.trailers().unwrap(), [("x-sum".to_owned(), b"1".to_vec()), ("x-sum".to_owned(), b"2".to_vec())]);
}

#[test]
fn a_body_ends_with_its_connection_only_where_it_may() {
    for (framing, bytes, fine) in [
        (Framing::None, "", true),
        (Framing::Length(0), "", true),
        (Framing::Length(2), "ab", true),
        (Framing::Length(2), "a", false),
        (Framing::UntilClose, "a", true),
        (Framing::UntilClose, "", true),
        (Framing::Chunked, "", false),
        (Framing::Chunked, "1\r\na\r\n", false),
        (Framing::Chunked, "0\r\n", false),
    ] {
        let mut body = BodyDecoder::new(framing);
        let mut at = 0;
        while at < bytes.len() {
            at += body.decode(&bytes.as_bytes()[at..]).unwrap().consumed;
        }
        assert_eq!(body.end_of_input().is_ok(), fine, "{framing:?} {bytes:?}");
    }
}
