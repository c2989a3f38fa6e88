//! The one request model: parsed and normalised once, read by routing, policy, logs and the upstream.
//! Storage is reused from request to request of a connection, so that none is allocated after warm-up.

use http::Method;

/// Header fields in order, names lower case, in one buffer for names and one for values.
#[derive(Debug, Clone, Default)]
pub struct Headers {
    names: String,
    values: Vec<u8>,
    fields: Vec<Field>,
}

/// Where a field's name and value begin and end.
#[derive(Debug, Clone, Copy)]
struct Field {
    name: (u32, u32),
    value: (u32, u32),
}

impl Headers {
    /// Forgets all fields, keeps the storage.
    pub fn clear(&mut self) {
        self.names.clear();
        self.values.clear();
        self.fields.clear();
    }

    /// Number of fields.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// True without fields.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Bytes of all names and values ever put in since `clear`.
    pub fn bytes(&self) -> usize {
        self.names.len() + self.values.len()
    }

    /// Adds a field at the end; the name is written in lower case.
    pub fn append(&mut self, name: &str, value: &[u8]) {
        let (name_start, value_start) = (self.names.len(), self.values.len());
        self.names.push_str(name);
        self.names[name_start..].make_ascii_lowercase();
        self.values.extend_from_slice(value);
        let ends = (self.names.len() as u32, self.values.len() as u32);
        self.fields.push(Field { name: (name_start as u32, ends.0), value: (value_start as u32, ends.1) });
    }

    /// Name and value of each field, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.fields.iter().map(|field| (self.name(field), self.value(field)))
    }

    /// The first value of `name` (lower case).
    pub fn first(&self, name: &str) -> Option<&[u8]> {
        self.fields.iter().find(|field| self.name(field) == name).map(|field| self.value(field))
    }

    /// Every value of `name` (lower case), in order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> + 'a {
        self.fields.iter().filter(move |field| self.name(field) == name).map(|field| self.value(field))
    }

    /// True when `name` (lower case) is there.
    pub fn contains(&self, name: &str) -> bool {
        self.first(name).is_some()
    }

    /// Takes every field of `name` (lower case) away.
    pub fn remove(&mut self, name: &str) {
        self.retain(|field, _| field != name);
    }

    /// Replaces all fields of `name` by one.
    pub fn set(&mut self, name: &str, value: &[u8]) {
        self.remove(name);
        self.append(name, value);
    }

    /// Keeps the fields for which `keep` says so.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &[u8]) -> bool) {
        let Self { names, values, fields } = self;
        fields.retain(|field| keep(&names[range(field.name)], &values[range(field.value)]));
    }

    fn name(&self, field: &Field) -> &str {
        &self.names[range(field.name)]
    }

    fn value(&self, field: &Field) -> &[u8] {
        &self.values[range(field.value)]
    }
}

fn range((start, end): (u32, u32)) -> std::ops::Range<usize> {
    start as usize..end as usize
}

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
    /// Header fields.
    pub headers: Headers,
}

impl RequestHead {
    /// Forgets all, keeps the storage.
    pub fn clear(&mut self) {
        self.method = Method::GET;
        self.authority.clear();
        self.path.clear();
        self.query = None;
        self.headers.clear();
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
    fn fields_keep_their_order_and_lose_their_case() {
        let mut headers = Headers::default();
        headers.append("X-A", b"1");
        headers.append("x-b", b"2");
        headers.append("x-a", b"3");
        assert_eq!(headers.all("x-a").collect::<Vec<_>>(), [b"1", b"3"]);
        headers.set("x-a", b"4");
        assert_eq!(headers.iter().collect::<Vec<_>>(), [("x-b", &b"2"[..]), ("x-a", b"4")]);
    }

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
