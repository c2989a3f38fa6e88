//! HTTP/1.1 messages as a test reads them, with a reader that shares nothing with the codec under test.

use std::fmt;

/// A message that came whole.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Message {
    /// Request line or status line.
    pub start: String,
    /// Header fields in order, names lower case.
    pub fields: Vec<(String, String)>,
    /// The body, without its framing.
    pub body: Vec<u8>,
    /// Trailer fields in order, names lower case.
    pub trailers: Vec<(String, String)>,
}

/// A message that ended before its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// What came of it.
    pub came: Vec<u8>,
    /// The connection was reset; else it was closed.
    pub reset: bool,
}

/// Where the body of a message ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ends {
    /// So many bytes after the head.
    After(usize),
    /// With the last chunk.
    Chunks,
    /// With the connection.
    Close,
}

impl Message {
    /// The first value of a field.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(its, _)| its == name).map(|(_, value)| value.as_str())
    }

    /// The status of a response.
    pub fn status(&self) -> u16 {
        self.start.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("no status line: {:?}", self.start))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The head in `bytes` and its length, when it is whole.
    pub(crate) fn head(bytes: &[u8]) -> Option<(Self, usize)> {
        let length = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
        let text = std::str::from_utf8(&bytes[..length]).unwrap_or_else(|_| panic!("a head that is no text: {bytes:?}"));
        let mut lines = text.trim_end_matches("\r\n").split("\r\n");
        let start = lines.next().unwrap_or_default().to_owned();
        Some((Self { start, fields: lines.map(field).collect(), ..Self::default() }, length))
    }

    /// Where the body ends. `method`: that of the request, when this is a response.
    pub(crate) fn ends(&self, method: Option<&str>) -> Ends {
        let bodiless = |method| method == "HEAD" || matches!(self.status(), 100..200 | 204 | 304);
        if method.is_some_and(bodiless) {
            return Ends::After(0);
        }
        let length = self.field("content-length").map(|length| length.parse().expect("content-length is a number"));
        match (self.field("transfer-encoding"), length, method) {
            (Some("chunked"), None, _) => Ends::Chunks,
            (None, Some(length), _) => Ends::After(length),
            (None, None, Some(_)) => Ends::Close,
            (None, None, None) => Ends::After(0),
            _ => panic!("ambiguous framing:\n{self}"),
        }
    }

    /// Takes the body of chunks out of `bytes`; gives what it took, when it is whole.
    pub(crate) fn take_chunks(&mut self, bytes: &[u8]) -> Option<usize> {
        let (mut at, mut body) = (0, Vec::new());
        loop {
            let line = line(&bytes[at..])?;
            at += line.len() + 2;
            let size = usize::from_str_radix(line, 16).unwrap_or_else(|_| panic!("a chunk size {line:?}"));
            if size == 0 {
                break;
            }
            body.extend_from_slice(bytes.get(at..at + size)?);
            assert_eq!(bytes.get(at + size..at + size + 2)?, b"\r\n", "a chunk that does not end where it says");
            at += size + 2;
        }
        let mut trailers = Vec::new();
        loop {
            let line = line(&bytes[at..])?;
            at += line.len() + 2;
            if line.is_empty() {
                (self.body, self.trailers) = (body, trailers);
                return Some(at);
            }
            trailers.push(field(line));
        }
    }
}

fn line(bytes: &[u8]) -> Option<&str> {
    let end = bytes.windows(2).position(|two| two == b"\r\n")?;
    Some(std::str::from_utf8(&bytes[..end]).expect("a line is text"))
}

fn field(line: &str) -> (String, String) {
    let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("a field {line:?}"));
    (name.to_ascii_lowercase(), value.to_owned())
}

/// For comparison: fields in alphabetical order, without `traceparent`, which is another each time; an empty line before a body, "+" before a trailer.
impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sorted = |fields: &[(String, String)], before: &str| {
            let mut lines: Vec<_> =
                fields.iter().filter(|(name, _)| name != "traceparent").map(|(name, value)| format!("\n{before}{name}: {value}")).collect();
            lines.sort();
            lines.concat()
        };
        write!(f, "{}{}", self.start, sorted(&self.fields, ""))?;
        if !self.body.is_empty() {
            write!(f, "\n\n{}", self.text())?;
        }
        f.write_str(&sorted(&self.trailers, "+"))
    }
}
