//! The one request model: parsed and normalised once, read by routing, policy, logs and the upstream.
//! Storage is reused from request to request of a connection, so that none is allocated after warm-up.

use http::{Method, Uri};

use crate::Headers;

/// A request without its body. Host stands in `authority` alone, framing and connection fields are gone.
#[derive(Debug, Clone, Default)]
pub struct RequestHead {
    /// Method.
    pub method: Method,
    /// As the application wrote it, "reviews:80".
    pub authority: String,
    /// Canonical, starts with '/'; "*" for OPTIONS on the server; empty for CONNECT.
    pub path: String,
    /// After '?'; `None` without one.
    pub query: Option<String>,
    /// Storage for a query, where there is none.
    pub spare: String,
    /// Header fields.
    pub headers: Headers,
    /// Authority, path and query as they came in HTTP/2, to be sent on like that where nothing of them was changed. Boxed, since idle
    /// connections of HTTP/1.1 have no use for it; the box is reused.
    pub came: Option<Box<Uri>>,
}

impl RequestHead {
    /// Forgets all, keeps the storage.
    pub fn clear(&mut self) {
        self.method = Method::GET;
        self.authority.clear();
        self.path.clear();
        self.set_query(None);
        self.headers.clear();
        if let Some(came) = &mut self.came {
            **came = Uri::default();
        }
    }

    /// Takes over a query, in the storage of the one before.
    pub fn set_query(&mut self, query: Option<&str>) {
        let mut stored = self.query.take().unwrap_or_else(|| std::mem::take(&mut self.spare));
        stored.clear();
        match query {
            Some(query) => {
                stored.push_str(query);
                self.query = Some(stored);
            }
            None => self.spare = stored,
        }
    }

    /// The value of each query parameter of that name, percent-decoded, '+' as space; a parameter without '=' has the value "".
    pub fn query_values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = std::borrow::Cow<'a, str>> + 'a {
        self.query.as_deref().unwrap_or_default().split('&').filter_map(move |pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (!pair.is_empty() && decode(key) == name).then(|| decode(value))
        })
    }
}

/// A response without its body; framing and connection fields are gone.
#[derive(Debug, Clone, Default)]
pub struct ResponseHead {
    /// Status code.
    pub status: u16,
    /// Header fields.
    pub headers: Headers,
}

fn decode(text: &str) -> std::borrow::Cow<'_, str> {
    if !text.bytes().any(|b| b == b'%' || b == b'+') {
        return text.into();
    }
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let hex = |b: Option<u8>| b.and_then(|b| (b as char).to_digit(16));
        match byte {
            b'+' => out.push(b' '),
            b'%' => match (hex(bytes.clone().next()), hex(bytes.clone().nth(1))) {
                (Some(high), Some(low)) => {
                    out.push((high << 4 | low) as u8);
                    bytes.nth(1);
                }
                _ => out.push(b'%'),
            },
            other => out.push(other),
        }
    }
    String::from_utf8_lossy(&out).into_owned().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_values_are_decoded() {
        let head = RequestHead { query: Some("a=1&b=%41+c&a=2&flag&x%3D=y&bad=%zz".into()), ..RequestHead::default() };
        let values = |name| head.query_values(name).map(|v| v.into_owned()).collect::<Vec<_>>();
        assert_eq!(values("a"), ["1", "2"]);
        assert_eq!(values("b"), ["A c"]);
        assert_eq!(values("flag"), [""]);
        assert_eq!(values("x="), ["y"]);
        assert_eq!(values("bad"), ["%zz"]);
    }
}
