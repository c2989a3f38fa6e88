//! The body of a message: where it ends, and what of the bytes is data. A state machine without I/O.

use std::ops::Range;

use crate::{Error, Field, Framing, field::begins_with};

/// The longest extension of a chunk; the longest in use (a signature of 64 digits and its name) takes 81.
const EXTENSION_BYTES: usize = 240;

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
    /// That many bytes are left; never 0.
    Length(u64),
    UntilClose,
    /// Among the digits of a chunk size.
    Size {
        value: u64,
        digits: u8,
    },
    /// Among the extensions of a chunk; `room` bytes may still come.
    Extension {
        value: u64,
        room: usize,
    },
    /// After the CR of a chunk-size line.
    SizeEnd(u64),
    /// That many bytes of the chunk are left; never 0.
    Chunk(u64),
    /// After the chunk's data: CR must come.
    ChunkCr,
    /// After that CR: LF must come.
    ChunkLf,
    /// After the last chunk: an empty line or a trailer.
    Last,
    /// After the CR of that empty line.
    LastCr,
    Trailers,
    Done,
}

const SIZE: State = State::Size { value: 0, digits: 0 };

/// Finds data and end of one body. A body that ended keeps its trailers until the decoder is dropped.
#[derive(Debug)]
pub struct BodyDecoder {
    state: State,
    /// The trailer section as far as it came; only trailers allocate.
    section: Vec<u8>,
}

impl BodyDecoder {
    /// A decoder for one body.
    pub fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::None | Framing::Length(0) => State::Done,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => SIZE,
            Framing::UntilClose => State::UntilClose,
        };
        Self { state, section: Vec::new() }
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
                    self.state = if taken == left { State::ChunkCr } else { State::Chunk(left - taken) };
                    return Ok(Decoded { consumed: at + taken as usize, data: at..at + taken as usize });
                }
                State::Last if input[at] != b'\r' => self.state = State::Trailers,
                State::Trailers => {
                    self.trailer_byte(input[at])?;
                    at += 1;
                }
                _ => {
                    self.state = between_data(self.state, input[at])?;
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
        if !self.is_done() || self.section.is_empty() {
            return Ok(Vec::new());
        }
        let mut room = [httparse::EMPTY_HEADER; TRAILERS];
        match httparse::parse_headers(&self.section, &mut room) {
            Ok(httparse::Status::Complete((_, headers))) => headers
                .iter()
                .map(|header| checked(header))
                .filter(|field| !matches!(field, Ok(field) if forbidden(field)))
                .map(|field| field.map(|field| (field.name.to_ascii_lowercase(), field.value.to_vec())))
                .collect(),
            _ => Err(Error::Malformed("trailers")),
        }
    }

    /// One byte of the trailer section, which an empty line ends.
    fn trailer_byte(&mut self, byte: u8) -> Result<(), Error> {
        let after_cr = self.section.last() == Some(&b'\r');
        // Only CR LF ends a line, and neither stands alone; a NUL is nowhere.
        if byte == 0 || after_cr != (byte == b'\n') {
            return Err(Error::Malformed("trailer: a line must end in CR LF"));
        }
        if self.section.len() == TRAILER_BYTES {
            return Err(Error::HeadTooLarge);
        }
        self.section.push(byte);
        if self.section.ends_with(b"\r\n\r\n") {
            self.state = State::Done;
            self.trailers().map(drop)?;
        }
        Ok(())
    }
}

/// The state after one byte of what stands between the data of chunks.
///
/// A size is 1 to 16 hexadecimal digits, then perhaps extensions, which nobody needs and which may hold no quote: readers differ in what a quoted one ends with.
fn between_data(state: State, byte: u8) -> Result<State, Error> {
    Ok(match (state, byte) {
        (State::Size { value, digits }, _) if byte.is_ascii_hexdigit() && digits < 16 => {
            let digit = char::from(byte).to_digit(16).unwrap_or_default();
            State::Size { value: (value << 4) | u64::from(digit), digits: digits + 1 }
        }
        (State::Size { value, digits: 1.. }, b'\r') => State::SizeEnd(value),
        (State::Size { value, digits: 1.. }, b';') => State::Extension { value, room: EXTENSION_BYTES },
        (State::Size { .. }, _) => return Err(Error::Malformed("chunk size")),
        (State::Extension { value, .. }, b'\r') => State::SizeEnd(value),
        (State::Extension { room: 0, .. }, _) => return Err(Error::HeadTooLarge),
        (State::Extension { value, room }, b' '..=b'~') if byte != b'"' => State::Extension { value, room: room - 1 },
        (State::Extension { .. }, _) => return Err(Error::Malformed("chunk extension")),
        (State::SizeEnd(0), b'\n') => State::Last,
        (State::Last, b'\r') => State::LastCr,
        (State::LastCr, b'\n') => State::Done,
        // A size near the top of the range overflows in some readers; nobody sends exabytes.
        (State::SizeEnd(size), b'\n') if size <= i64::MAX as u64 => State::Chunk(size),
        (State::SizeEnd(_), b'\n') => return Err(Error::Malformed("chunk size")),
        (State::ChunkCr, b'\r') => State::ChunkLf,
        (State::ChunkLf, b'\n') => SIZE,
        _ => return Err(Error::Malformed("chunk: its lines must end in CR LF, its data where its size says")),
    })
}

/// Trailers may not bring what the head decided, nor what is of this connection: a reader that merges them into the head would be told something new.
fn forbidden(field: &Field<'_>) -> bool {
    const HEAD_ONLY: [&str; 20] = [
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "upgrade",
        "expect",
        "authorization",
        "proxy-authorization",
        "cookie",
        "set-cookie",
        "content-type",
        "content-encoding",
        "content-range",
        "range",
        "location",
        "forwarded",
    ];
    const PREFIXES: [&str; 2] = ["plait-", "x-forwarded-"];
    HEAD_ONLY.iter().any(|name| name.eq_ignore_ascii_case(field.name)) || PREFIXES.iter().any(|prefix| begins_with(field.name, prefix))
}

/// A field with a name that is a token and a value without control characters.
fn checked<'b>(header: &httparse::Header<'b>) -> Result<Field<'b>, Error> {
    // All of it is looked at, without an early end: so it takes many bytes at a time.
    if header.value.iter().fold(false, |bad, &b| bad | ((b < b' ') & (b != b'\t')) | (b == 0x7f)) {
        return Err(Error::Malformed("header value: a control character"));
    }
    Ok(Field { name: header.name, value: header.value })
}
