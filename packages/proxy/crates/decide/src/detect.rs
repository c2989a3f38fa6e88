//! What a connection speaks, from its first bytes.

/// The preface of HTTP/2 by prior knowledge.
const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The longest method that is still taken for HTTP.
const LONGEST_METHOD: usize = 24;

/// What the first bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detected {
    /// A TLS handshake.
    Tls,
    /// An HTTP/1 request line.
    Http1,
    /// The HTTP/2 preface.
    Http2,
    /// Something else.
    Opaque,
    /// Too few bytes to tell.
    NeedMore,
}

/// Tells the protocol of a client that speaks first. Once it is not `NeedMore`, more bytes never change the verdict.
pub fn protocol(bytes: &[u8]) -> Detected {
    match bytes {
        [] => return Detected::NeedMore,
        // A handshake record of TLS 1.0 to 1.3.
        [0x16] | [0x16, 3] => return Detected::NeedMore,
        [0x16, 3, 1..=4, ..] => return Detected::Tls,
        _ => {}
    }
    if HTTP2.starts_with(&bytes[..bytes.len().min(HTTP2.len())]) {
        return if bytes.len() >= HTTP2.len() { Detected::Http2 } else { Detected::NeedMore };
    }
    let token = bytes.iter().take_while(|b| b.is_ascii_uppercase() || **b == b'-').count();
    match bytes.get(token) {
        _ if token > LONGEST_METHOD => Detected::Opaque,
        None => Detected::NeedMore,
        Some(b' ') if token > 0 => target(&bytes[..token], &bytes[token + 1..]),
        Some(_) => Detected::Opaque,
    }
}

/// After the method a target must start: "/", "*", or the scheme of a proxy's request. A word alone is no target, or the commands of Redis and
/// IRC ("SET key 1") would be taken for requests; only CONNECT is followed by a name, or by an address.
fn target(method: &[u8], rest: &[u8]) -> Detected {
    match rest.first() {
        None => Detected::NeedMore,
        Some(b'/' | b'*') => Detected::Http1,
        Some(b) if method == b"CONNECT" && (b.is_ascii_alphanumeric() || *b == b'[') => Detected::Http1,
        Some(_) => scheme(rest),
    }
}

fn scheme(rest: &[u8]) -> Detected {
    let schemes: [&[u8]; 2] = [b"http://", b"https://"];
    for scheme in schemes {
        let length = rest.len().min(scheme.len());
        if rest[..length].eq_ignore_ascii_case(&scheme[..length]) {
            return if length == scheme.len() { Detected::Http1 } else { Detected::NeedMore };
        }
    }
    Detected::Opaque
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_first_bytes_tell() {
        for (bytes, expected) in [
            (&b"GET / HTTP/1.1\r\n"[..], Detected::Http1),
            (b"OPTIONS * HTTP/1.1", Detected::Http1),
            (b"CONNECT ledger:7000 HTTP/1.1", Detected::Http1),
            (b"GET http://reviews/ HTTP/1.1", Detected::Http1),
            (b"GET HTTPS://reviews/ HTTP/1.1", Detected::Http1),
            (b"GET http", Detected::NeedMore),
            (b"GET https:/", Detected::NeedMore),
            (b"CONNECT [::1]:7000 HTTP/1.1", Detected::Http1),
            (b"GE", Detected::NeedMore),
            (b"GET ", Detected::NeedMore),
            (b"", Detected::NeedMore),
            (HTTP2, Detected::Http2),
            (b"PRI * HT", Detected::NeedMore),
            (b"PRI /x HTTP/1.1", Detected::Http1),
            (b"\x16\x03\x01\x02\x00", Detected::Tls),
            (b"\x16\x03", Detected::NeedMore),
            (b"\x16\x02\x01", Detected::Opaque),
            (b"\x00\x00\x00\x08\x04\xd2\x16\x2f", Detected::Opaque),
            (b"add 3\n", Detected::Opaque),
            (b"*1\r\n$4\r\nPING", Detected::Opaque),
            (b" GET / HTTP/1.1", Detected::Opaque),
            (b"SET key 1\r\n", Detected::Opaque),
            (b"GET https\r\n", Detected::Opaque),
            (b"NICK somebody\r\n", Detected::Opaque),
            (b"OPTIONS rtsp://example.org/ RTSP/1.0\r\n", Detected::Opaque),
            (b"INVITE sip:somebody@example.org SIP/2.0\r\n", Detected::Opaque),
            (b"CONNECT {\"verbose\":false}\r\n", Detected::Opaque),
            (b"CONNECT\naccept-version:1.2\n", Detected::Opaque),
            (b"HELO\r\n", Detected::Opaque),
            (b"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", Detected::Opaque),
        ] {
            assert_eq!(protocol(bytes), expected, "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    proptest! {
        #[test]
        fn a_verdict_never_changes_with_more_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..40), cut in 0_usize..40) {
            let cut = cut.min(bytes.len());
            let early = protocol(&bytes[..cut]);
            prop_assert!(early == Detected::NeedMore || early == protocol(&bytes));
        }
    }
}
