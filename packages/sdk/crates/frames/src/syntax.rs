//! What a plugin may write into a message: the same checks raise at the author's line in the worker and guard the proxy.

use crate::FrameError;

/// Headers that say where a message ends, or whom it is for: written by the proxy alone, or a plugin could smuggle a second request into the first.
const FRAMING: [&str; 10] = [
    "connection",
    "content-length",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// A lower-case token that no framing depends on.
pub fn check_header_name(name: &[u8]) -> Result<&str, FrameError> {
    let text = token(name).filter(|_| !name.iter().any(u8::is_ascii_uppercase));
    let text = text.ok_or(FrameError::Content("a header name must be a lower-case token"))?;
    if FRAMING.contains(&text) {
        return Err(FrameError::Content("a header that frames the message belongs to the proxy; set the authority or the body instead"));
    }
    Ok(text)
}

/// No control characters; not begun or ended by a blank.
pub fn check_header_value(value: &[u8]) -> Result<&[u8], FrameError> {
    let blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let control = value.iter().any(|byte| (*byte < 0x20 && *byte != b'\t') || *byte == 0x7f);
    if control || blank(value.first()) || blank(value.last()) {
        return Err(FrameError::Content("a header value may hold no control characters and no blanks at its ends"));
    }
    Ok(value)
}

/// A token.
pub fn check_method(method: &[u8]) -> Result<&str, FrameError> {
    token(method).ok_or(FrameError::Content("a method must be a token"))
}

/// Begins with a slash, without a query; the proxy normalises it further.
pub fn check_path(path: &[u8]) -> Result<&str, FrameError> {
    let text = visible(path, b"?#").filter(|text| text.starts_with('/'));
    text.ok_or(FrameError::Content("a path must begin with / and hold neither blanks nor ? nor #"))
}

/// What stands after the question mark.
pub fn check_query(query: &[u8]) -> Result<&str, FrameError> {
    visible(query, b"#").ok_or(FrameError::Content("a query may hold neither blanks nor #"))
}

/// A host with or without a port.
pub fn check_authority(authority: &[u8]) -> Result<&str, FrameError> {
    let text = visible(authority, b"/?#@\\").filter(|text| !text.is_empty());
    text.ok_or(FrameError::Content("an authority must be HOST or HOST:PORT"))
}

fn token(bytes: &[u8]) -> Option<&str> {
    let inside = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    (!bytes.is_empty() && bytes.iter().all(inside)).then(|| std::str::from_utf8(bytes).ok()).flatten()
}

fn visible<'a>(bytes: &'a [u8], without: &[u8]) -> Option<&'a str> {
    let inside = |byte: &u8| byte.is_ascii_graphic() && !without.contains(byte);
    bytes.iter().all(inside).then(|| std::str::from_utf8(bytes).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_split_a_message_is_refused() {
        for name in ["", "X-Up", "a b", "a:", ":path", "content-length", "transfer-encoding", "host", "x\r\n", "ä"] {
            assert!(check_header_name(name.as_bytes()).is_err(), "{name:?}");
        }
        for value in ["a\r\nb: c", "a\nb", "a\0", " a", "a ", "\t", "\x7f"] {
            assert!(check_header_value(value.as_bytes()).is_err(), "{value:?}");
        }
        for path in ["", "a", "/a b", "/a?b", "/a#b", "/\r\n", "/ä"] {
            assert!(check_path(path.as_bytes()).is_err(), "{path:?}");
        }
        for authority in ["", "a/b", "a@b", "a b", "a?b", "a\\b"] {
            assert!(check_authority(authority.as_bytes()).is_err(), "{authority:?}");
        }
        assert!(check_method(b"GE T").is_err() && check_query(b"a b").is_err() && check_query(b"a#b").is_err());
    }

    #[test]
    fn what_messages_are_made_of_passes() {
        assert_eq!(check_header_name(b"x-tenant"), Ok("x-tenant"));
        assert_eq!(check_header_value("ä b\tc".as_bytes()), Ok("ä b\tc".as_bytes()));
        assert_eq!(check_header_value(b""), Ok(&b""[..]));
        assert_eq!(check_path(b"/a/%20/b;c"), Ok("/a/%20/b;c"));
        assert_eq!(check_query(b""), Ok(""));
        assert_eq!(check_query(b"a=b&c=?/"), Ok("a=b&c=?/"));
        assert_eq!(check_authority(b"[::1]:80"), Ok("[::1]:80"));
        assert_eq!(check_method(b"PROPFIND"), Ok("PROPFIND"));
    }
}
