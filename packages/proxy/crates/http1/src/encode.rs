//! Heads and chunks as bytes. Appends to a buffer of the caller, so that head and small body leave in one write.

use std::io::Write;

use crate::Framing;

/// "METHOD target HTTP/1.1" and Host; the target comes in parts.
pub fn write_request_line(out: &mut Vec<u8>, method: &str, target: &[&str], host: &str) {
    for part in [&[method, " "], target, &[" HTTP/1.1\r\nhost: ", host, "\r\n"]].into_iter().flatten() {
        out.extend_from_slice(part.as_bytes());
    }
}

/// "HTTP/1.1 status reason"; the reason is the standard one, empty when there is none.
pub fn write_status_line(out: &mut Vec<u8>, status: u16, reason: &str) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(&[b'0' + (status / 100) as u8, b'0' + (status / 10 % 10) as u8, b'0' + (status % 10) as u8, b' ']);
    out.extend_from_slice(reason.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// One header field.
pub fn write_field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// The field that says how the body ends, and nothing where none is needed: a response without any ends with its connection.
pub fn write_framing(out: &mut Vec<u8>, framing: Framing) {
    match framing {
        Framing::None | Framing::UntilClose => {}
        Framing::Length(length) => write_field(out, "content-length", itoa::Buffer::new().format(length).as_bytes()),
        Framing::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
    }
}

/// The empty line after the fields.
pub fn write_head_end(out: &mut Vec<u8>) {
    out.extend_from_slice(b"\r\n");
}

/// The line before a chunk of `length` bytes (not 0); CR LF must follow the chunk.
pub fn write_chunk_header(out: &mut Vec<u8>, length: usize) {
    // Writing to a Vec cannot fail.
    let _ = write!(out, "{length:x}\r\n");
}

/// The last chunk and the trailers.
pub fn write_last_chunk<'a>(out: &mut Vec<u8>, trailers: impl Iterator<Item = (&'a str, &'a [u8])>) {
    out.extend_from_slice(b"0\r\n");
    for (name, value) in trailers {
        write_field(out, name, value);
    }
    write_head_end(out);
}
