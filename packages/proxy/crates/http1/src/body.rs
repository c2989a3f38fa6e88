//! The body of a message: where it ends, and what of the bytes is data. A state machine without I/O.

use std::ops::Range;

use crate::{Error, Field, Framing, request::checked};

/// The longest chunk-size line, extensions included: sizes are at most 16 digits, extensions are passed over.
const CHUNK_LINE_BYTES: usize = 256;

/// The longest trailer section.
const TRAILER_BYTES: usize = 16 * 1024;

/// The most trailer fields.
const TRAILERS: usize = 64;

/// What a call of [`BodyDecoder::decode`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoded {
    /// Bytes of the input that are done with.
    pub consumed: usize,
    /// Which of them are data; empty when none.
    pub data: Range<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Length(u64),
    UntilClose,
    ChunkSize,
    Chunk(u64),
    ChunkEnd,
    Trailers,
    Done,
}

/// Finds data and end of one body. A body that ended keeps its trailers until the decoder is dropped.
#[derive(Debug)]
pub struct BodyDecoder {
    state: State,
    /// The line or trailer section under way; empty between them.
    line: Vec<u8>,
}

impl BodyDecoder {
    /// A decoder for one body.
    pub fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::None => State::Done,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::ChunkSize,
            Framing::UntilClose => State::UntilClose,
        };
        Self { state, line: Vec::new() }
    }

    /// True when the body has ended.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Takes the next run of data out of `input`. Call again with the rest until it is used up or the body is done; `consumed` is 0 only then.
    pub fn decode(&mut self, input: &[u8]) -> Result<Decoded, Error> {
        let mut at = 0;
        while at < input.len() {
            let rest = (input.len() - at) as u64;
            match self.state {
                State::Done => break,
                State::UntilClose => return Ok(Decoded { consumed: input.len(), data: at..input.len() }),
                State::Length(left) => {
                    let taken = left.min(rest);
                    self.state = if taken == left { State::Done } else { State::Length(left - taken) };
                    return Ok(Decoded { consumed: at + taken as usize, data: at..at + taken as usize });
                }
                State::Chunk(left) => {
                    let taken = left.min(rest);
                    self.state = if taken == left { State::ChunkEnd } else { State::Chunk(left - taken) };
                    return Ok(Decoded { consumed: at + taken as usize, data: at..at + taken as usize });
                }
                State::ChunkSize | State::ChunkEnd | State::Trailers => {
                    self.step(input[at])?;
                    at += 1;
                }
            }
        }
        Ok(Decoded { consumed: at, data: at..at })
    }

    /// To be called when the peer closed: fine only where closing ends the body.
    pub fn end_of_input(&mut self) -> Result<(), Error> {
        match self.state {
            State::Done => Ok(()),
            State::UntilClose => {
                self.state = State::Done;
                Ok(())
            }
            _ => Err(Error::Truncated),
        }
    }

    /// The trailer fields of a chunked body that has ended. Those that would change framing, routing or identity are left out.
    pub fn trailers(&self) -> Result<Vec<(String, Vec<u8>)>, Error> {
        let mut room = [httparse::EMPTY_HEADER; TRAILERS];
        if !self.is_done() || self.line.is_empty() {
            return Ok(Vec::new());
        }
        match httparse::parse_headers(&self.line, &mut room) {
            Ok(httparse::Status::Complete((_, headers))) => headers
                .iter()
                .map(|header| checked(header))
                .filter(|field| !matches!(field, Ok(field) if forbidden(field)))
                .map(|field| field.map(|field| (field.name.to_ascii_lowercase(), field.value.to_vec())))
                .collect(),
            _ => Err(Error::Malformed("trailers")),
        }
    }

    /// One byte of a line between the data.
    fn step(&mut self, byte: u8) -> Result<(), Error> {
        self.line.push(byte);
        if byte != b'\n' {
            // Only CR LF ends a line: a CR must be followed by LF, a NUL is nowhere.
            if byte == 0 || (self.line.len() >= 2 && self.line[self.line.len() - 2] == b'\r') {
                return Err(Error::Malformed("chunk: CR without LF"));
            }
            let limit = if self.state == State::Trailers { TRAILER_BYTES } else { CHUNK_LINE_BYTES };
            return if self.line.len() > limit { Err(Error::HeadTooLarge) } else { Ok(()) };
        }
        if !self.line.ends_with(b"\r\n") {
            return Err(Error::Malformed("chunk: it must end in CR LF"));
        }
        match self.state {
            State::ChunkEnd if self.line.len() == 2 => self.next(State::ChunkSize),
            State::ChunkEnd => return Err(Error::Malformed("chunk: longer than its size")),
            State::ChunkSize => match chunk_size(&self.line[..self.line.len() - 2])? {
                0 => self.next(State::Trailers),
                size => self.next(State::Chunk(size)),
            },
            _ if self.line == b"\r\n" => self.next(State::Done),
            _ if self.line.ends_with(b"\r\n\r\n") => {
                self.state = State::Done;
                self.trailers().map(drop)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn next(&mut self, state: State) {
        self.state = state;
        self.line.clear();
    }
}

/// 1 to 16 hexadecimal digits, then perhaps extensions, which nobody needs and which may hold no quote: readers differ in what a quoted one ends with.
fn chunk_size(line: &[u8]) -> Result<u64, Error> {
    let end = line.iter().position(|b| !b.is_ascii_hexdigit()).unwrap_or(line.len());
    if end == 0 || end > 16 {
        return Err(Error::Malformed("chunk size"));
    }
    match line.get(end) {
        None => {}
        Some(b';') if line[end..].iter().all(|&b| (b' '..0x7f).contains(&b) && b != b'"') => {}
        Some(_) => return Err(Error::Malformed("chunk size")),
    }
    let size = line[..end].iter().fold(0_u64, |sum, &digit| (sum << 4) | u64::from((digit as char).to_digit(16).unwrap_or_default()));
    // A size near the top of the range overflows in some readers; nobody sends exabytes.
    if size > i64::MAX as u64 { Err(Error::Malformed("chunk size")) } else { Ok(size) }
}

/// Trailers may not bring what the head decided.
fn forbidden(field: &Field<'_>) -> bool {
    const HEAD_ONLY: [&str; 12] = [
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "te",
        "trailer",
        "upgrade",
        "authorization",
        "cookie",
        "set-cookie",
        "content-type",
        "content-encoding",
    ];
    HEAD_ONLY.iter().any(|name| name.eq_ignore_ascii_case(field.name)) || field.name.to_ascii_lowercase().starts_with("plait-")
}
