//! A call: what the proxy lets the plugins of one chain see in one phase, and nothing that none of them declared.

use crate::{
    Phase, Section,
    table::{self, Builder, FrameError, TooLarge},
};

const HEAD: usize = 28;
const LAST: u8 = 1;
/// Entries that belong to the name before them.
pub(crate) const VALUE: u8 = 80;

/// What a call says once, or, for candidates, once each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[expect(missing_docs, reason = "each is named as the model and the SDK name it")]
pub enum Field {
    Method = 1,
    Path,
    Query,
    Authority,
    Scheme,
    Protocol,
    PeerIdentity,
    PeerNamespace,
    PeerServiceAccount,
    PeerAddress,
    Workload,
    Service,
    Route,
    Traceparent,
    Tracestate,
    RequestId,
    Reason,
    Claims,
    Body,
    Port = 32,
    Status,
    DurationMicros,
    BytesIn,
    BytesOut,
    Attempt,
    Candidate = 48,
}

/// What a call says in pairs of a name and a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PairField {
    /// Headers of the request or the answer, or trailers.
    Header(Section),
    /// What plugins noted in earlier phases of the same request.
    Attribute,
}

impl PairField {
    fn tag(self) -> u8 {
        match self {
            Self::Header(section) => 64 + section as u8,
            Self::Attribute => 72,
        }
    }
}

/// A name and its value.
pub type Pair<'a> = (&'a [u8], &'a [u8]);

/// A call in the making; kept and used again, so that its memory is.
#[derive(Debug, Default)]
pub struct CallWriter {
    builder: Builder,
    last: bool,
}

impl CallWriter {
    /// Forgets what was written.
    pub fn clear(&mut self) {
        self.builder.clear();
        self.last = false;
    }

    /// Says a text.
    pub fn text(&mut self, field: Field, text: &str) {
        self.builder.put(field as u8, text.as_bytes());
    }

    /// Says bytes.
    pub fn bytes(&mut self, field: Field, bytes: &[u8]) {
        self.builder.put(field as u8, bytes);
    }

    /// Says a number.
    pub fn number(&mut self, field: Field, number: u64) {
        self.builder.put(field as u8, &number.to_le_bytes());
    }

    /// Says a header or trailer.
    pub fn header(&mut self, section: Section, name: &str, value: &[u8]) {
        self.pair(PairField::Header(section), name, value);
    }

    /// Says what plugins noted in an earlier phase.
    pub fn attribute(&mut self, name: &str, value: &str) {
        self.pair(PairField::Attribute, name, value.as_bytes());
    }

    /// This is the last piece of a body.
    pub fn last(&mut self) {
        self.last = true;
    }

    /// Appends the frame to `out`.
    pub fn finish(&self, id: u64, phase: Phase, chain: u32, skip: u64, out: &mut Vec<u8>) -> Result<(), TooLarge> {
        let mut head = [0; HEAD - 4];
        head[0] = phase as u8;
        head[1] = if self.last { LAST } else { 0 };
        head[2..4].copy_from_slice(&(self.builder.count() as u16).to_le_bytes());
        head[4..12].copy_from_slice(&id.to_le_bytes());
        head[12..20].copy_from_slice(&skip.to_le_bytes());
        head[20..24].copy_from_slice(&chain.to_le_bytes());
        self.builder.finish(&head, out)
    }

    fn pair(&mut self, field: PairField, name: &str, value: &[u8]) {
        self.builder.put(field.tag(), name.as_bytes());
        self.builder.put(VALUE, value);
    }
}

/// A call as a worker received it; read when asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallFrame {
    frame: Vec<u8>,
    phase: Phase,
    count: usize,
}

impl CallFrame {
    /// Takes a frame whose head and table are sound.
    pub fn parse(frame: Vec<u8>) -> Result<Self, FrameError> {
        let head = frame.first_chunk::<HEAD>().ok_or(FrameError::Length)?;
        let phase = Phase::from_number(head[4]).ok_or(FrameError::Unknown("phase"))?;
        let count = usize::from(u16::from_le_bytes([head[6], head[7]]));
        table::check(&frame, HEAD, count)?;
        Ok(Self { frame, phase, count })
    }

    /// When plugins are asked.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// The last piece of a body.
    pub fn is_last(&self) -> bool {
        self.frame[5] & LAST != 0
    }

    /// What its verdict must name.
    pub fn id(&self) -> u64 {
        self.word(8)
    }

    /// The plugins, by index, that are to be left out.
    pub fn skip(&self) -> u64 {
        self.word(16)
    }

    /// The chain that is asked.
    pub fn chain(&self) -> u32 {
        (self.word(20) >> 32) as u32
    }

    /// The bytes of a field.
    pub fn get(&self, field: Field) -> Option<&[u8]> {
        self.entries().find(|(tag, _)| *tag == field as u8).map(|(_, bytes)| bytes)
    }

    /// A number.
    pub fn number(&self, field: Field) -> Option<u64> {
        self.get(field)?.try_into().ok().map(u64::from_le_bytes)
    }

    /// All bytes of a field that is said more than once.
    pub fn all(&self, field: Field) -> impl Iterator<Item = &[u8]> {
        self.entries().filter(move |(tag, _)| *tag == field as u8).map(|(_, bytes)| bytes)
    }

    /// Names and values.
    pub fn pairs(&self, field: PairField) -> impl Iterator<Item = Pair<'_>> {
        let mut entries = self.entries();
        std::iter::from_fn(move || {
            let (_, name) = entries.find(|(tag, _)| *tag == field.tag())?;
            let (tag, value) = entries.next()?;
            (tag == VALUE).then_some((name, value))
        })
    }

    fn entries(&self) -> impl Iterator<Item = table::Entry<'_>> {
        table::entries(&self.frame, HEAD, self.count)
    }

    fn word(&self, at: usize) -> u64 {
        self.frame[at..].first_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }
}

/// Makes a finished frame the same call under another id, with other plugins left out: for asking again.
pub fn readdress(frame: &mut [u8], id: u64, skip: u64) {
    if let Some(place) = frame.get_mut(8..24) {
        place[..8].copy_from_slice(&id.to_le_bytes());
        place[8..].copy_from_slice(&skip.to_le_bytes());
    }
}
