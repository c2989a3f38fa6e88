//! Binary messages of 100 bytes over WebSocket (RFC 6455), echoed. Called by `origin` and `main`.
//!
//! One frame a message and no control frames: proxies do not look into what follows the upgrade.

use std::io;

use base64::{Engine, prelude::BASE64_STANDARD};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::exchange::{Exchange, Opening};

const MESSAGE_BYTES: usize = 100;
/// A final frame that holds binary bytes.
const BINARY: u8 = 0x82;
const MASKED: u8 = 0x80;
const MASK: [u8; 4] = [0x12, 0x34, 0x56, 0x78];
/// From RFC 6455, section 1.3.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const MOST_HEAD_BYTES: usize = 8 << 10;

pub(crate) async fn serve(mut stream: TcpStream) -> io::Result<()> {
    let head = read_head(&mut stream).await?;
    let key = field(&head, "sec-websocket-key").ok_or_else(|| io::Error::other("not a request for WebSocket"))?;
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {}\r\n\r\n",
        accept(&key)
    );
    stream.write_all(answer.as_bytes()).await?;
    let mut frame = [0; 6 + MESSAGE_BYTES];
    let mut echo = server_frame(&[0; MESSAGE_BYTES]);
    loop {
        stream.read_exact(&mut frame).await?;
        let [first, length, a, b, c, d, payload @ ..] = &frame;
        if (*first, *length) != (BINARY, MASKED | MESSAGE_BYTES as u8) {
            return Err(io::Error::other("a frame of another kind or length"));
        }
        for ((byte, masked), mask) in echo[2..].iter_mut().zip(payload).zip([a, b, c, d].into_iter().cycle()) {
            *byte = masked ^ mask;
        }
        stream.write_all(&echo).await?;
    }
}

/// The caller's side.
pub(crate) fn exchange(host: &str) -> Exchange {
    let message = [b'x'; MESSAGE_BYTES];
    let mut request = vec![BINARY, MASKED | MESSAGE_BYTES as u8];
    request.extend(MASK);
    request.extend(message.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    let head = format!(
        "GET / HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
    );
    Exchange { opening: Some(Opening { head, accepted: accepted_here }), request, answer: server_frame(&message) }
}

fn accepted_here(head: &str) -> bool {
    head.starts_with("HTTP/1.1 101") && field(head, "sec-websocket-accept") == Some(accept(KEY))
}

fn server_frame(message: &[u8]) -> Vec<u8> {
    let mut frame = vec![BINARY, MESSAGE_BYTES as u8];
    frame.extend(message);
    frame
}

fn accept(key: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{GUID}").as_bytes());
    BASE64_STANDARD.encode(digest)
}

/// A head byte by byte, so that nothing of what follows is taken with it.
pub(crate) async fn read_head(stream: &mut TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
        if head.len() > MOST_HEAD_BYTES {
            return Err(io::Error::other("a head without end"));
        }
    }
    String::from_utf8(head).map_err(io::Error::other)
}

fn field(head: &str, name: &str) -> Option<String> {
    let mut fields = head.lines().filter_map(|line| line.split_once(':'));
    fields.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_answered_as_the_standard_shows() {
        assert_eq!(accept(KEY), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn an_answer_that_is_no_upgrade_is_not_accepted() {
        let accepted = format!("HTTP/1.1 101 Switching Protocols\r\nsec-websocket-accept: {}\r\n\r\n", accept(KEY));
        assert!(accepted_here(&accepted));
        assert!(!accepted_here(&accepted.replace("101", "200")));
        assert!(!accepted_here("HTTP/1.1 101 Switching Protocols\r\nsec-websocket-accept: other\r\n\r\n"));
    }
}
