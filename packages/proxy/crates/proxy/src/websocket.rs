//! What WebSocket has in its handshake over HTTP/1.1 and not over HTTP/2 (RFC 8441, 5.1): the key and what is made of it. Applied where an
//! application speaks HTTP/2, so that behind it every handshake is one of HTTP/1.1. Called by `http2` and `answer`.

use plait_model::Headers;

const KEY: &str = "sec-websocket-key";
const ACCEPT: &str = "sec-websocket-accept";
/// Digits of Base64.
const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
/// 16 bytes are 21 digits, a digit that holds two bits, and padding.
const KEY_DIGITS: usize = 21;

/// Adds the key that a process of HTTP/1.1 asks for. It keeps caches and servers of something else from agreeing by mistake, and is no secret.
pub(crate) fn ask(protocol: &str, headers: &mut Headers) {
    if !protocol.eq_ignore_ascii_case("websocket") {
        return;
    }
    let mut key: Vec<u8> = (0..KEY_DIGITS).map(|_| DIGITS[fastrand::usize(..64)]).collect();
    key.push(DIGITS[16 * fastrand::usize(..4)]);
    key.extend_from_slice(b"==");
    headers.set(KEY, &key);
}

/// Takes out of the answer what was made of the key.
pub(crate) fn agree(headers: &mut Headers) {
    headers.remove(ACCEPT);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_websocket_has_a_key() {
        for (protocol, has_key) in [("websocket", true), ("WebSocket", true), ("chat", false), ("", false)] {
            let mut headers = Headers::default();
            ask(protocol, &mut headers);
            assert_eq!(headers.contains(KEY), has_key, "{protocol}");
        }
    }

    #[test]
    fn a_key_is_sixteen_bytes_in_base64_and_another_each_time() {
        let key = || {
            let mut headers = Headers::default();
            ask("websocket", &mut headers);
            String::from_utf8(headers.first(KEY).unwrap().to_vec()).unwrap()
        };
        let first = key();
        assert_eq!((first.len(), &first[22..]), (24, "=="));
        assert!("AQgw".contains(&first[21..22]), "{first}: the last digit holds two bits");
        assert_ne!(first, key());
    }
}
