//! Heads of responses: where the body ends and whether the connection may be used again, for every rule of RFC 9112, section 6.3.

use plait_http1::{Error, Framing, Limits, Room, parse_response};

/// Head without its last empty line, method of the request, framing and keep-alive; `None` = refused.
type Row = (&'static str, &'static str, Option<(Framing, bool)>);

const LENGTH: Option<(Framing, bool)> = Some((Framing::Length(5), true));
const CHUNKED: Option<(Framing, bool)> = Some((Framing::Chunked, true));
const BODILESS: Option<(Framing, bool)> = Some((Framing::None, true));
const UNTIL_CLOSE: Option<(Framing, bool)> = Some((Framing::UntilClose, false));
const REFUSED: Option<(Framing, bool)> = None;

const ROWS: &[Row] = &[
    ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n", "GET", LENGTH),
    ("HTTP/1.1 200\r\nContent-Length: 5\r\n", "GET", LENGTH),
    ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n", "GET", Some((Framing::Length(0), true))),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n", "GET", CHUNKED),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n", "GET", Some((Framing::Chunked, false))),
    ("HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n", "DELETE", LENGTH),
    ("HTTP/1.1 999 What\r\nContent-Length: 5\r\n", "GET", LENGTH),
    // Without a length the body ends with the connection.
    ("HTTP/1.1 200 OK\r\n", "GET", UNTIL_CLOSE),
    ("HTTP/1.1 200 OK\r\nConnection: keep-alive\r\n", "GET", UNTIL_CLOSE),
    ("HTTP/1.0 200 OK\r\n", "GET", UNTIL_CLOSE),
    ("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n", "GET", Some((Framing::Length(5), false))),
    ("HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n", "GET", LENGTH),
    ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive, close\r\n", "GET", Some((Framing::Length(5), false))),
    // What has no body by its method or status.
    ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n", "HEAD", BODILESS),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n", "HEAD", BODILESS),
    ("HTTP/1.1 200 OK\r\n", "HEAD", BODILESS),
    ("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n", "GET", BODILESS),
    ("HTTP/1.1 204 No Content\r\n", "GET", BODILESS),
    ("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n", "GET", BODILESS),
    ("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n", "GET", Some((Framing::None, false))),
    ("HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n", "GET", Some((Framing::None, false))),
    ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n", "CONNECT", BODILESS),
    ("HTTP/1.1 407 No\r\nContent-Length: 5\r\n", "CONNECT", LENGTH),
    ("HTTP/1.1 100 Continue\r\n", "POST", BODILESS),
    ("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n", "GET", BODILESS),
    ("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n", "GET", BODILESS),
    ("HTTP/1.1 101 Switching Protocols\r\n", "GET", REFUSED),
    ("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n", "GET", REFUSED),
    ("HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n", "POST", REFUSED),
    ("HTTP/1.1 103 Early Hints\r\nTransfer-Encoding: chunked\r\n", "GET", REFUSED),
    // What two readers could understand differently.
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n", "GET", REFUSED),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n", "HEAD", REFUSED),
    ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n", "GET", REFUSED),
    ("HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n", "GET", REFUSED),
    ("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n", "GET", REFUSED),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n", "GET", REFUSED),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "GET", REFUSED),
    ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n", "GET", REFUSED),
    ("HTTP/1.1 200 OK\r\nContent-Length : 5\r\n", "GET", REFUSED),
    ("HTTP/1.1 200 OK\r\nX: a\r\n b\r\n", "GET", REFUSED),
    ("HTTP/1.1 200 OK\nContent-Length: 5\r\n", "GET", REFUSED),
    ("HTTP/1.1 200 OK\r\nX: a\rb\r\n", "GET", REFUSED),
    ("HTTP/1.1 200 OK\r\nX: a\0b\r\n", "GET", REFUSED),
    // What is no response.
    ("HTTP/2.0 200 OK\r\n", "GET", REFUSED),
    ("HTTP/1.2 200 OK\r\n", "GET", REFUSED),
    ("HTTP/1.1 99 Low\r\n", "GET", REFUSED),
    ("HTTP/1.1 20x OK\r\n", "GET", REFUSED),
    ("HTTP/1.1 2000 OK\r\n", "GET", REFUSED),
    ("HTTP/1.1  200 OK\r\n", "GET", REFUSED),
    ("\r\nHTTP/1.1 200 OK\r\n", "GET", REFUSED),
    ("ICY 200 OK\r\n", "GET", REFUSED),
    ("GET / HTTP/1.1\r\n", "GET", REFUSED),
];

/// What a caller acts on: framing, keep-alive, and the end of the head.
fn outcome(bytes: &[u8], method: &str) -> Result<Option<(Framing, bool, usize)>, Error> {
    let mut room = Room::default();
    let response = parse_response(bytes, method, &Limits::default(), &mut room)?;
    Ok(response.map(|response| (response.framing, response.keep_alive, response.head_len)))
}

#[test]
fn every_head_ends_as_the_table_says_whole_byte_by_byte_and_with_a_tail() {
    for (head, method, expected) in ROWS {
        let bytes = [head.as_bytes(), b"\r\n"].concat();
        let expected = expected.map(|(framing, keep_alive)| (framing, keep_alive, bytes.len()));
        assert_eq!(outcome(&bytes, method).ok().flatten(), expected, "{method} {head:?}");
        let tailed = [&bytes, b"HTTP/1.1 200 OK\r\n\r\n".as_slice()].concat();
        assert_eq!(outcome(&tailed, method).ok().flatten(), expected, "with a tail: {method} {head:?}");
        for end in 0..bytes.len() {
            match outcome(&bytes[..end], method) {
                Ok(found) => assert_eq!(found, None, "{end} bytes: {method} {head:?}"),
                Err(error) => assert_eq!(expected, None, "{end} bytes: {method} {head:?}: {error}"),
            }
        }
    }
}

#[test]
fn the_length_of_what_was_not_sent_is_kept() {
    for (head, method) in [("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "HEAD"), ("HTTP/1.1 304 -\r\nContent-Length: 5\r\n\r\n", "GET")]
    {
        let mut room = Room::default();
        let response = parse_response(head.as_bytes(), method, &Limits::default(), &mut room).unwrap().unwrap();
        assert_eq!((response.length, response.framing), (Some(5), Framing::None));
    }
}

#[test]
fn how_long_the_server_keeps_the_connection_is_read_where_it_says_so() {
    for (value, seconds) in [
        ("timeout=5", Some(5)),
        ("timeout=5, max=100", Some(5)),
        ("max=100,Timeout = 7", Some(7)),
        ("timeout=0", Some(0)),
        ("max=100", None),
        ("timeout", None),
        ("timeout=-1", None),
        ("timeout=99999999999", None),
        ("", None),
    ] {
        let head = format!("HTTP/1.1 200 OK\r\nKeep-Alive: {value}\r\nContent-Length: 0\r\n\r\n");
        let mut room = Room::default();
        let response = parse_response(head.as_bytes(), "GET", &Limits::default(), &mut room).unwrap().unwrap();
        assert_eq!(response.idle_seconds, seconds, "{value:?}");
    }
}
