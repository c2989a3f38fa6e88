//! The server name that a client of TLS asks for, read from its first message without taking it. Called by `proxy/outbound` where a TLSRoute
//! chooses by that name. Reads a stranger's bytes: strict, bounded, and it keeps nothing.

/// What is still a first message: ours with post-quantum keys have 2 KiB, those of browsers 4. In records of a byte each it could grow to six times that.
const MOST: usize = 16 * 1024;
/// Record that carries a handshake; message that opens one; extension that names the server; a name that is a host's.
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
const HOST_NAME: u8 = 0;
/// The longest name of the DNS.
const LONGEST_NAME: usize = 253;

/// What the first bytes of a connection say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientHello {
    /// The server that is asked for, in lower case.
    Names(String),
    /// A client that asks for nobody in particular.
    Nameless,
    /// No first message of TLS, or one that is not as the standard has it.
    Malformed,
    /// Too few bytes to tell.
    NeedMore,
}

/// Why there is no name yet, or none at all.
enum Stop {
    Malformed,
    NeedMore,
}

/// Reads the first message. Once it is not `NeedMore`, more bytes never change the verdict.
pub fn client_hello(bytes: &[u8]) -> ClientHello {
    let bounded = &bytes[..bytes.len().min(MOST)];
    match message(bounded).map(|message| server_name(&message)) {
        Ok(Some(Some(name))) => ClientHello::Names(name),
        Ok(Some(None)) => ClientHello::Nameless,
        Ok(None) | Err(Stop::Malformed) => ClientHello::Malformed,
        Err(Stop::NeedMore) if bounded.len() == MOST => ClientHello::Malformed,
        Err(Stop::NeedMore) => ClientHello::NeedMore,
    }
}

/// The body of the message, put together from its records.
fn message(bytes: &[u8]) -> Result<Vec<u8>, Stop> {
    let (mut rest, mut message) = (bytes, Vec::new());
    loop {
        // What can be told from part of a record header is told at once.
        let header = &rest[..rest.len().min(5)];
        let told = |at: usize, right: fn(u8) -> bool| header.get(at).is_none_or(|byte| right(*byte));
        if !told(0, |kind| kind == HANDSHAKE) || !told(1, |major| major == 3) || !told(2, |minor| minor <= 4) {
            return Err(Stop::Malformed);
        }
        let [_, _, _, high, low] = *header else { return Err(Stop::NeedMore) };
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length == 0 {
            return Err(Stop::Malformed);
        }
        let record = &rest[5..];
        message.extend_from_slice(&record[..length.min(record.len())]);
        if message.first().is_some_and(|kind| *kind != CLIENT_HELLO) {
            return Err(Stop::Malformed);
        }
        if let [_, a, b, c, ..] = message[..] {
            let whole = 4 + u32::from_be_bytes([0, a, b, c]) as usize;
            // Nothing follows it until the server has answered.
            let announced = message.len() + length.saturating_sub(record.len());
            if whole > MOST || announced > whole {
                return Err(Stop::Malformed);
            }
            if message.len() == whole {
                return Ok(message.split_off(4));
            }
        }
        if record.len() <= length {
            return Err(Stop::NeedMore);
        }
        rest = &record[length..];
    }
}

/// The name in a message; outer `None` = it is malformed.
fn server_name(message: &[u8]) -> Option<Option<String>> {
    let mut body = Reader(message);
    let version = body.take(2)?;
    body.take(32)?; // random
    let session = body.list8()?;
    let suites = body.list16()?;
    let compressions = body.list8()?;
    if version[0] != 3 || session.0.len() > 32 || suites.0.is_empty() || suites.0.len() % 2 != 0 || compressions.0.is_empty() {
        return None;
    }
    // Before TLS 1.3 there may be no extensions at all.
    if body.0.is_empty() {
        return Some(None);
    }
    let mut extensions = body.list16()?;
    if !body.0.is_empty() {
        return None;
    }
    let mut found = None;
    while !extensions.0.is_empty() {
        let kind = extensions.number16()?;
        let content = extensions.list16()?;
        if kind == SERVER_NAME && found.replace(host_name(content)?).is_some() {
            return None;
        }
    }
    Some(found)
}

/// The one name of the extension.
fn host_name(mut content: Reader<'_>) -> Option<String> {
    let mut names = content.list16()?;
    let kind = names.take(1)?[0];
    let name = names.list16()?;
    if kind != HOST_NAME || !names.0.is_empty() || !content.0.is_empty() || name.0.len() > LONGEST_NAME {
        return None;
    }
    let name = std::str::from_utf8(name.0).ok()?;
    let label = |label: &str| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    name.split('.').all(label).then(|| name.to_ascii_lowercase())
}

/// Bytes that are still to be read; every read that they are too short for gives `None`.
struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn take(&mut self, count: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn number16(&mut self) -> Option<u16> {
        self.take(2).map(|two| u16::from_be_bytes([two[0], two[1]]))
    }

    /// What a length of one byte announces.
    fn list8(&mut self) -> Option<Self> {
        let length = self.take(1)?[0];
        self.take(length.into()).map(Self)
    }

    /// What a length of two bytes announces.
    fn list16(&mut self) -> Option<Self> {
        let length = self.number16()?;
        self.take(length.into()).map(Self)
    }
}
