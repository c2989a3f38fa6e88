//! Heads of HTTP/1.1: from the codec into the model, and from the model into bytes.

use http::{Method, StatusCode};
use plait_http1::{Framing, Request, Response, write_field, write_framing, write_head_end, write_request_line, write_status_line};
use plait_model::{Headers, RequestHead, ResponseHead, canonical_path};

use super::{HeadError, OURS, other_protocol};

/// What a request says beside its head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) framing: Framing,
    pub(crate) keep_alive: bool,
    pub(crate) expect_continue: bool,
    pub(crate) minor_version: u8,
}

/// What a response says beside its head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) framing: Framing,
    /// How long its server keeps an idle connection, where it says so.
    pub(crate) idle_seconds: Option<u32>,
    /// Content-Length as sent, also where there is no body (HEAD, 304).
    pub(crate) length: Option<u64>,
    pub(crate) keep_alive: bool,
}

/// Reads a request into `head`, whose storage is reused, and the protocol to change to into `upgrade`.
pub(crate) fn read_request(request: &Request<'_, '_>, head: &mut RequestHead, upgrade: &mut Option<Box<str>>) -> Result<Asked, HeadError> {
    head.clear();
    head.method = Method::from_bytes(request.method.as_bytes()).map_err(|_| HeadError::Method)?;
    head.authority.push_str(request.host.unwrap_or_default());
    if head.method != Method::CONNECT {
        let target = request.origin_target();
        let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        match path {
            "*" => head.path.push('*'),
            path => canonical_path(path.as_bytes(), &mut head.path)?,
        }
        head.set_query(query);
    }
    fields(request.fields.end_to_end(), &mut head.headers);
    *upgrade = request.upgrade.and_then(other_protocol).map(Into::into);
    Ok(Asked {
        framing: request.framing,
        keep_alive: request.keep_alive,
        expect_continue: request.expect_continue,
        minor_version: request.minor_version,
    })
}

/// Reads a response into `head`, whose storage is reused.
pub(crate) fn read_response(response: &Response<'_, '_>, head: &mut ResponseHead) -> Said {
    head.headers.clear();
    head.status = response.status;
    fields(response.fields.end_to_end(), &mut head.headers);
    // A 204 has no body and must not tell the length of one (RFC 9110, 8.6).
    let length = response.length.filter(|_| response.status != 204);
    Said { framing: response.framing, length, keep_alive: response.keep_alive, idle_seconds: response.idle_seconds }
}

fn fields<'b>(all: impl Iterator<Item = plait_http1::Field<'b>>, headers: &mut Headers) {
    for field in all.filter(|field| !field.name.get(..OURS.len()).is_some_and(|start| start.eq_ignore_ascii_case(OURS))) {
        headers.append(field.name, field.value);
    }
}

/// Appends a request for a server of HTTP/1.1.
pub(crate) fn write_request(out: &mut Vec<u8>, head: &RequestHead, framing: Framing, next: Next<'_>) {
    let path = if head.method == Method::CONNECT { head.authority.as_str() } else { head.path.as_str() };
    match &head.query {
        None => write_request_line(out, head.method.as_str(), &[path], &head.authority),
        Some(query) => write_request_line(out, head.method.as_str(), &[path, "?", query], &head.authority),
    }
    for (name, value) in head.headers.iter() {
        write_field(out, name, value);
    }
    write_framing(out, framing);
    write_next(out, next);
    write_head_end(out);
}

/// What becomes of a connection after a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next<'p> {
    /// It goes on, as everybody expects.
    GoesOn,
    /// It goes on, which an old caller must be told.
    KeptAlive,
    /// It ends.
    Closed,
    /// It goes on in this protocol.
    Upgraded(&'p str),
}

/// Appends a response. `length` is told where there is no body to tell it by.
pub(crate) fn write_response(out: &mut Vec<u8>, head: &ResponseHead, framing: Framing, length: Option<u64>, next: Next<'_>) {
    let reason = StatusCode::from_u16(head.status).ok().and_then(|status| status.canonical_reason()).unwrap_or_default();
    write_status_line(out, head.status, reason);
    for (name, value) in head.headers.iter() {
        write_field(out, name, value);
    }
    match (framing, length) {
        (Framing::None, Some(length)) => write_framing(out, Framing::Length(length)),
        _ => write_framing(out, framing),
    }
    write_next(out, next);
    write_head_end(out);
}

fn write_next(out: &mut Vec<u8>, next: Next<'_>) {
    match next {
        Next::GoesOn => {}
        Next::KeptAlive => write_field(out, "connection", b"keep-alive"),
        Next::Closed => write_field(out, "connection", b"close"),
        Next::Upgraded(protocol) => {
            write_field(out, "connection", b"upgrade");
            write_field(out, "upgrade", protocol.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use plait_http1::{Limits, Room, parse_request, parse_response};

    use super::*;

    fn forwarded(request: &str) -> Result<String, HeadError> {
        let mut room = Room::default();
        let parsed = parse_request(request.as_bytes(), &Limits::default(), &mut room).unwrap().unwrap();
        let (mut head, mut upgrade) = (RequestHead::default(), None);
        let asked = read_request(&parsed, &mut head, &mut upgrade)?;
        let mut out = Vec::new();
        write_request(&mut out, &head, asked.framing, upgrade.as_deref().map_or(Next::GoesOn, Next::Upgraded));
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_request_leaves_in_one_form() {
        for (came, left) in [
            ("GET http://reviews/a//b?c=d HTTP/1.1\r\nHost: other\r\n\r\n", "GET /a/b?c=d HTTP/1.1\r\nhost: reviews\r\n\r\n"),
            ("GET / HTTP/1.1\r\nHost: a\r\nX-A: 1\r\nPlait-Port: 1\r\n\r\n", "GET / HTTP/1.1\r\nhost: a\r\nx-a: 1\r\n\r\n"),
            ("POST /%61 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi", "POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n"),
            ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n"),
            (
                "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
                "GET /chat HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
            ),
        ] {
            assert_eq!(forwarded(came).unwrap(), left, "{came:?}");
        }
    }

    #[test]
    fn a_path_without_one_form_is_refused() {
        assert_eq!(forwarded("GET /../x HTTP/1.1\r\nHost: a\r\n\r\n").unwrap_err(), HeadError::Path(plait_model::PathError::Escape));
    }

    #[test]
    fn a_response_says_how_it_ends() {
        for (method, came, left) in [
            ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: 1\r\n\r\n", "HTTP/1.1 200 OK\r\nx-a: 1\r\ncontent-length: 2\r\n\r\n"),
            ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n"),
            ("GET", "HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.1 204 No Content\r\n\r\n"),
            ("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", "HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n"),
        ] {
            let mut room = Room::default();
            let parsed = parse_response(came.as_bytes(), method, &Limits::default(), &mut room).unwrap().unwrap();
            let mut head = ResponseHead::default();
            let said = read_response(&parsed, &mut head);
            let mut out = Vec::new();
            write_response(&mut out, &head, said.framing, said.length, Next::GoesOn);
            assert_eq!(String::from_utf8(out).unwrap(), left);
        }
    }
}
