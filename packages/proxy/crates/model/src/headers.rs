//! Header fields: in order, names in lower case. Read by routing, policy, logs and the upstream; filled by `proxy/heads`.
//! They are held as they came, so that fields of HTTP/2 that go on over HTTP/2 are neither copied nor parsed again.

use http::{HeaderMap, HeaderName, HeaderValue, header::CONTENT_LENGTH};

/// Set for every request: known beforehand, its name need not be copied.
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Header fields in order, names lower case.
#[derive(Debug, Clone, Default)]
pub struct Headers {
    lines: Lines,
    /// Fields as HTTP/2 has them; while they are there, `lines` is empty. Content-Length may be among them and is seen by nobody, since framing
    /// is no matter of a head: to take it out and put it in again costs as much as to copy the head.
    map: Held,
}

/// Boxed, since idle connections of HTTP/1.1 have no use for it; the box is reused.
#[derive(Debug, Clone, Default)]
struct Held {
    map: Option<Box<HeaderMap>>,
    is_held: bool,
}

impl Held {
    fn hold(&mut self, map: HeaderMap) {
        self.is_held = true;
        match &mut self.map {
            Some(room) => **room = map,
            None => self.map = Some(Box::new(map)),
        }
    }

    fn take(&mut self) -> Option<HeaderMap> {
        let map = self.map.as_deref_mut().filter(|_| self.is_held).map(std::mem::take);
        self.is_held = false;
        map
    }

    fn as_ref(&self) -> Option<&HeaderMap> {
        self.map.as_deref().filter(|_| self.is_held)
    }

    fn as_mut(&mut self) -> Option<&mut HeaderMap> {
        self.map.as_deref_mut().filter(|_| self.is_held)
    }
}

/// Fields in one buffer for names and one for values, whose storage is reused.
#[derive(Debug, Clone, Default)]
struct Lines {
    names: String,
    values: Vec<u8>,
    fields: Vec<Line>,
}

/// Where a field's name and value begin and end.
#[derive(Debug, Clone, Copy)]
struct Line {
    name: (u32, u32),
    value: (u32, u32),
}

impl Headers {
    /// Forgets all fields, keeps the storage.
    pub fn clear(&mut self) {
        self.lines.clear();
        drop(self.map.take());
    }

    /// Number of fields.
    pub fn len(&self) -> usize {
        let in_map = |map: &HeaderMap| map.len() - usize::from(map.contains_key(CONTENT_LENGTH));
        self.map.as_ref().map_or(self.lines.fields.len(), in_map)
    }

    /// True without fields.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of all names and values ever put into the storage that is reused.
    pub fn bytes(&self) -> usize {
        self.lines.names.len() + self.lines.values.len()
    }

    /// Holds these fields and no others; Content-Length at most once, for whoever sends them on in HTTP/2.
    pub fn hold(&mut self, map: HeaderMap) {
        self.lines.clear();
        self.map.hold(map);
    }

    /// A copy as HTTP/2 has them, Content-Length too, with room for `more`; an error tells the name of one that cannot be sent.
    pub fn to_map(&self, more: usize) -> Result<HeaderMap, &str> {
        if let Some(map) = self.map.as_ref() {
            return Ok(map.clone());
        }
        let mut map = HeaderMap::with_capacity(self.len() + more);
        for (name, value) in self.lines.iter() {
            let (field, value) = parsed(name, value).ok_or(name)?;
            map.append(field, value);
        }
        Ok(map)
    }

    /// The same without a copy, where they are held so: then none are left.
    pub fn take_map(&mut self, more: usize) -> Result<HeaderMap, &str> {
        self.map.take().map_or_else(|| self.to_map(more), Ok)
    }

    /// Adds a field at the end; the name is written in lower case.
    pub fn append(&mut self, name: &str, value: &[u8]) {
        match self.map.as_mut().map(|map| (map, parsed(name, value))) {
            Some((map, Some((name, value)))) => drop(map.append(name, value)),
            _ => self.in_lines().append(name, value),
        }
    }

    /// Name and value of each field, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.lines.iter().chain(self.map.as_ref().into_iter().flat_map(seen))
    }

    /// The first value of `name` (lower case).
    pub fn first(&self, name: &str) -> Option<&[u8]> {
        match self.map.as_ref() {
            None => self.lines.iter().find(|field| field.0 == name).map(|field| field.1),
            // Heads have few fields: to compare names is cheaper than to make one of `name` and look it up.
            Some(map) => seen(map).find(|field| field.0 == name).map(|field| field.1),
        }
    }

    /// Every value of `name` (lower case), in order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> + 'a {
        self.iter().filter(move |field| field.0 == name).map(|field| field.1)
    }

    /// True when `name` (lower case) is there.
    pub fn contains(&self, name: &str) -> bool {
        self.first(name).is_some()
    }

    /// Takes every field of `name` (lower case) away.
    pub fn remove(&mut self, name: &str) {
        match self.map.as_mut() {
            None => self.lines.remove(name),
            Some(map) => {
                if let Some(name) = map.keys().find(|field| field.as_str() == name).cloned() {
                    map.remove(name);
                }
            }
        }
    }

    /// Replaces all fields of `name` by one.
    pub fn set(&mut self, name: &str, value: &[u8]) {
        match self.map.as_mut().map(|map| (map, parsed(name, value))) {
            Some((map, Some((name, value)))) => drop(map.insert(name, value)),
            _ => {
                let lines = self.in_lines();
                lines.remove(name);
                lines.append(name, value);
            }
        }
    }

    /// What no head of HTTP/2 can hold is kept all the same: whoever sends it says what is wrong.
    fn in_lines(&mut self) -> &mut Lines {
        for (name, value) in self.map.take().iter().flat_map(seen) {
            self.lines.append(name, value);
        }
        &mut self.lines
    }
}

fn seen(map: &HeaderMap) -> impl Iterator<Item = (&str, &[u8])> {
    map.iter().filter(|field| field.0 != CONTENT_LENGTH).map(|(name, value)| (name.as_str(), value.as_bytes()))
}

/// A field as HTTP/2 has it; `None` when it cannot be one.
fn parsed(name: &str, value: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    let name = if name == TRACEPARENT.as_str() { TRACEPARENT } else { HeaderName::from_bytes(name.as_bytes()).ok()? };
    let mut value = HeaderValue::from_bytes(value).ok()?;
    // It never repeats: kept out of the compression table, where it would push useful entries out.
    value.set_sensitive(name == TRACEPARENT);
    Some((name, value))
}

impl Lines {
    fn clear(&mut self) {
        self.names.clear();
        self.values.clear();
        self.fields.clear();
    }

    fn append(&mut self, name: &str, value: &[u8]) {
        let (name_start, value_start) = (self.names.len(), self.values.len());
        self.names.push_str(name);
        self.names[name_start..].make_ascii_lowercase();
        self.values.extend_from_slice(value);
        let ends = (self.names.len() as u32, self.values.len() as u32);
        self.fields.push(Line { name: (name_start as u32, ends.0), value: (value_start as u32, ends.1) });
    }

    fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.fields.iter().map(|field| (&self.names[range(field.name)], &self.values[range(field.value)]))
    }

    fn remove(&mut self, name: &str) {
        let Self { names, fields, .. } = self;
        fields.retain(|field| &names[range(field.name)] != name);
    }
}

fn range((start, end): (u32, u32)) -> std::ops::Range<usize> {
    start as usize..end as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same fields, held in either way.
    fn both(fields: &[(&str, &str)]) -> [Headers; 2] {
        let mut lines = Headers::default();
        fields.iter().for_each(|(name, value)| lines.append(name, value.as_bytes()));
        let mut map = Headers::default();
        map.hold(lines.to_map(0).unwrap());
        [lines, map]
    }

    fn text(headers: &Headers) -> Vec<(String, String)> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let mut fields: Vec<_> = headers.iter().map(|(name, value)| (name.to_owned(), text(value))).collect();
        fields.sort();
        fields
    }

    #[test]
    fn fields_read_and_change_alike_however_they_are_held() {
        for mut headers in both(&[("X-A", "1"), ("x-b", "2"), ("x-a", "3")]) {
            assert_eq!(headers.all("x-a").collect::<Vec<_>>(), [b"1", b"3"]);
            assert_eq!((headers.len(), headers.first("x-a"), headers.first("x-c")), (3, Some(&b"1"[..]), None));
            headers.set("x-a", b"4");
            headers.append("X-C", b"5");
            headers.remove("x-b");
            headers.remove("x-d");
            assert_eq!(text(&headers), [("x-a".into(), "4".into()), ("x-c".into(), "5".into())]);
            headers.clear();
            assert!(headers.is_empty() && headers.iter().next().is_none());
        }
    }

    #[test]
    fn fields_keep_their_order() {
        for headers in both(&[("b", "1"), ("a", "2"), ("c", "3")]) {
            assert_eq!(headers.iter().map(|field| field.0).collect::<String>(), "bac");
        }
    }

    #[test]
    fn what_cannot_be_sent_is_kept_until_somebody_says_so() {
        for headers in both(&[("a", "1")]) {
            let changes: [fn(&mut Headers); 3] =
                [|headers| headers.set("a", b"1\r\nb: 2"), |headers| headers.append("a", b"1\n"), |headers| headers.append("a b", b"")];
            for change in changes {
                let mut headers = headers.clone();
                change(&mut headers);
                assert!(headers.to_map(0).is_err(), "{headers:?}");
                headers.remove("a");
                headers.remove("a b");
                assert!(headers.is_empty());
            }
        }
    }

    #[test]
    fn content_length_is_kept_for_http2_and_seen_by_nobody() {
        let mut map = HeaderMap::new();
        map.insert(CONTENT_LENGTH, HeaderValue::from(5));
        map.insert("a", HeaderValue::from(1));
        let mut headers = Headers::default();
        headers.hold(map);
        assert_eq!((headers.len(), headers.contains("content-length")), (1, false));
        assert_eq!(text(&headers), [("a".into(), "1".into())]);
        assert_eq!(headers.to_map(0).unwrap()[CONTENT_LENGTH], "5");
        headers.append("b", b"\n");
        assert_eq!(text(&headers), [("a".into(), "1".into()), ("b".into(), "\n".into())]);
    }

    #[test]
    fn a_trace_is_kept_out_of_the_compression_table() {
        for mut headers in both(&[("traceparent", "00-1-2-01"), ("a", "1")]) {
            headers.set("traceparent", b"00-1-3-01");
            let map = headers.to_map(0).unwrap();
            assert_eq!((map["traceparent"].is_sensitive(), map["a"].is_sensitive()), (true, false));
        }
    }
}
