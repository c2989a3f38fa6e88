//! Header fields of a head, and the few that decide about framing and connection. Shared by requests and responses.

use std::mem::MaybeUninit;

use crate::Error;

/// The most fields that any configuration allows; room for them stands on the stack while a head is parsed.
pub const MAX_HEADERS: usize = 256;

/// Limits on a head.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Longest head, bytes.
    pub head_bytes: usize,
    /// Most fields; at most [`MAX_HEADERS`].
    pub headers: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { head_bytes: 64 * 1024, headers: 100 }
    }
}

/// A header field, as it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'b> {
    /// Name, case as sent.
    pub name: &'b str,
    /// Value without surrounding white space.
    pub value: &'b [u8],
}

/// How the end of a body is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    None,
    /// That many bytes.
    Length(u64),
    /// Chunks and trailers.
    Chunked,
    /// Until the peer closes; responses only.
    UntilClose,
}

/// Room for the fields of a head, on the stack of the caller: parsing allocates nothing and moves nothing large.
#[derive(Debug)]
pub struct Room<'b>(pub(crate) [MaybeUninit<httparse::Header<'b>>; MAX_HEADERS]);

impl Default for Room<'_> {
    fn default() -> Self {
        Self([const { MaybeUninit::uninit() }; MAX_HEADERS])
    }
}

/// The fields of a head by what they are for.
#[derive(Debug, Default)]
pub struct Fields<'r, 'b> {
    all: &'r [httparse::Header<'b>],
    /// A bit for each of `all`: it goes from end to end.
    kept: [u64; MAX_HEADERS / 64],
    pub(crate) host: Option<&'b str>,
    pub(crate) length: Option<u64>,
    pub(crate) chunked: bool,
    pub(crate) close: bool,
    pub(crate) keep_alive: bool,
    pub(crate) idle_seconds: Option<u32>,
    pub(crate) upgrade_token: bool,
    pub(crate) upgrade: Option<&'b str>,
    pub(crate) expect_continue: bool,
    /// Fields that Connection names.
    named: usize,
}

/// `timeout=5` of a Keep-Alive field. What is no number is no promise.
fn idle_seconds(value: &[u8]) -> Option<u32> {
    let timeout =
        |part: &str| part.trim().split_once('=').filter(|(name, _)| name.trim().eq_ignore_ascii_case("timeout"))?.1.trim().parse().ok();
    std::str::from_utf8(value).ok()?.split(',').find_map(timeout)
}

/// Names that a Connection field may list; more is no honest peer.
const NAMED: usize = 16;

impl<'r, 'b> Fields<'r, 'b> {
    /// Sorts the fields; refuses what makes the framing ambiguous. That no value holds a control character was seen when they were parsed.
    pub(crate) fn sort(all: &'r [httparse::Header<'b>]) -> Result<Self, Error> {
        let mut fields = Self { all, ..Self::default() };
        for (at, header) in all.iter().enumerate() {
            if fields.goes_on(header)? {
                fields.kept[at / 64] |= 1 << (at % 64);
            }
        }
        if fields.named > 0 {
            for (at, _) in all.iter().enumerate().filter(|(_, header)| is_named(header.name, all)) {
                fields.kept[at / 64] &= !(1 << (at % 64));
            }
        }
        Ok(fields)
    }

    /// The fields that go from end to end, in order: not those of this connection, its framing, Host or Expect.
    pub fn end_to_end(&self) -> impl Iterator<Item = Field<'b>> + '_ {
        let kept = self.all.iter().enumerate().filter(|(at, _)| self.kept[at / 64] & (1 << (at % 64)) != 0);
        kept.map(|(_, header)| Field { name: header.name, value: header.value })
    }

    /// Whether a field goes from end to end; one that does not is taken note of.
    fn goes_on(&mut self, field: &httparse::Header<'b>) -> Result<bool, Error> {
        // The length picks the few candidates, so that most fields cost one comparison of a number.
        let name = field.name;
        match name.len() {
            2 if name.eq_ignore_ascii_case("te") => {
                // TE belongs to the connection; gRPC needs "trailers" to reach the server.
                return Ok(field.value.eq_ignore_ascii_case(b"trailers"));
            }
            4 if name.eq_ignore_ascii_case("host") => self.host(field.value)?,
            6 if name.eq_ignore_ascii_case("expect") => self.expect(field.value)?,
            7 if name.eq_ignore_ascii_case("upgrade") => self.upgrade(field.value)?,
            10 if name.eq_ignore_ascii_case("connection") => self.connection(field.value)?,
            10 if name.eq_ignore_ascii_case("keep-alive") => self.idle_seconds = idle_seconds(field.value),
            14 if name.eq_ignore_ascii_case("content-length") => self.content_length(field.value)?,
            16 if name.eq_ignore_ascii_case("proxy-connection") => {}
            17 if name.eq_ignore_ascii_case("transfer-encoding") => self.transfer_encoding(field.value)?,
            // Servers that turn names into variables read "_" as "-".
            14 if name.eq_ignore_ascii_case("content_length") => return Err(Error::Ambiguous("content_length")),
            17 if name.eq_ignore_ascii_case("transfer_encoding") => return Err(Error::Ambiguous("transfer_encoding")),
            _ => return Ok(true),
        }
        Ok(false)
    }

    fn host(&mut self, value: &'b [u8]) -> Result<(), Error> {
        if self.host.is_some() {
            return Err(Error::Ambiguous("more than one Host"));
        }
        self.host = Some(authority(value)?);
        Ok(())
    }

    fn upgrade(&mut self, value: &'b [u8]) -> Result<(), Error> {
        if self.upgrade.is_some() {
            return Err(Error::Ambiguous("more than one Upgrade"));
        }
        self.upgrade = Some(text(value)?);
        Ok(())
    }

    fn expect(&mut self, value: &[u8]) -> Result<(), Error> {
        if !value.eq_ignore_ascii_case(b"100-continue") {
            return Err(Error::Malformed("Expect: only 100-continue is known"));
        }
        self.expect_continue = true;
        Ok(())
    }

    fn content_length(&mut self, value: &[u8]) -> Result<(), Error> {
        if self.length.is_some() {
            return Err(Error::Ambiguous("more than one Content-Length"));
        }
        self.length = Some(digits(value).ok_or(Error::Ambiguous("Content-Length is no plain number"))?);
        Ok(())
    }

    fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), Error> {
        if self.chunked {
            return Err(Error::Ambiguous("more than one Transfer-Encoding"));
        }
        if !value.eq_ignore_ascii_case(b"chunked") {
            // A known coding before chunked is lawful and unused; anything that is no coding at all is an attack.
            let token = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b',' | b' ');
            let lawful = !value.is_empty() && value.iter().all(token);
            return Err(if lawful { Error::Coding } else { Error::Ambiguous("Transfer-Encoding is no token") });
        }
        self.chunked = true;
        Ok(())
    }

    fn connection(&mut self, value: &'b [u8]) -> Result<(), Error> {
        for token in tokens(text(value)?) {
            match token {
                t if t.eq_ignore_ascii_case("close") => self.close = true,
                t if t.eq_ignore_ascii_case("keep-alive") => self.keep_alive = true,
                t if t.eq_ignore_ascii_case("upgrade") => self.upgrade_token = true,
                t if protected(t) => return Err(Error::Ambiguous("Connection names a field that must not be dropped")),
                _ if self.named == NAMED => return Err(Error::HeadTooLarge),
                _ => self.named += 1,
            }
        }
        Ok(())
    }
}

fn tokens(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|token| !token.is_empty())
}

/// Whether a Connection field of the head names this one.
fn is_named(name: &str, all: &[httparse::Header<'_>]) -> bool {
    let lists = all.iter().filter(|header| header.name.eq_ignore_ascii_case("connection"));
    lists.filter_map(|header| text(header.value).ok()).flat_map(tokens).any(|token| token.eq_ignore_ascii_case(name))
}

/// Fields that a peer must not have dropped by naming them in Connection: the next hop would see another message.
fn protected(name: &str) -> bool {
    const KEPT: [&str; 8] =
        ["host", "content-length", "transfer-encoding", "authorization", "cookie", "content-type", "traceparent", "trailer"];
    KEPT.iter().any(|kept| kept.eq_ignore_ascii_case(name)) || begins_with(name, "x-forwarded-")
}

/// Whether `name` begins with `prefix`, whatever the case.
pub(crate) fn begins_with(name: &str, prefix: &str) -> bool {
    name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

/// A number of digits only: no sign, no space, no list, no overflow.
pub(crate) fn digits(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 19 || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    value.iter().try_fold(0_u64, |sum, digit| sum.checked_mul(10)?.checked_add(u64::from(digit - b'0')))
}

/// Host or the authority of a target: a name or address and perhaps a port. No user info, no path, no escapes, no empty part.
pub(crate) fn authority(value: &[u8]) -> Result<&str, Error> {
    const BAD: Error = Error::Malformed("host");
    let whole = text(value).map_err(|_| BAD)?;
    let port = if let Some(rest) = whole.strip_prefix('[') {
        let (address, port) = rest.split_once(']').ok_or(BAD)?;
        address.parse::<std::net::Ipv6Addr>().map_err(|_| BAD)?;
        port
    } else {
        let (name, port) = whole.split_at(whole.find(':').unwrap_or(whole.len()));
        let fine = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'~');
        // 255 is the longest name that DNS knows, its last dot included.
        if name.is_empty() || name.len() > 255 || !name.bytes().all(fine) {
            return Err(BAD);
        }
        port
    };
    match port.strip_prefix(':') {
        None if port.is_empty() => Ok(whole),
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) && digits.parse::<u16>().is_ok() => Ok(whole),
        _ => Err(BAD),
    }
}

pub(crate) fn text(value: &[u8]) -> Result<&str, Error> {
    std::str::from_utf8(value).map_err(|_| Error::Malformed("header value"))
}

/// Where a head ends that httparse found, with `fields`; `None` = it did not, or the lines have to be looked at.
///
/// httparse takes no control character inside a line, but a lone LF for the end of one, and empty lines before the first. So it is enough to look
/// where lines begin.
pub(crate) fn well_formed_end(
    bytes: &[u8],
    found: httparse::Result<usize>,
    fields: &[httparse::Header<'_>],
    limits: &Limits,
) -> Option<usize> {
    let Ok(httparse::Status::Complete(end)) = found else { return None };
    let head = &bytes[..end];
    let begins_a_line = |field: &httparse::Header<'_>| head[..field.name.as_ptr().addr() - head.as_ptr().addr()].ends_with(b"\r\n");
    let good =
        end <= limits.head_bytes && !matches!(head, [b'\r' | b'\n', ..]) && fields.iter().all(begins_a_line) && head.ends_with(b"\r\n\r\n");
    good.then_some(end)
}

/// Where the head ends (after the empty line), checking line ends on the way: CR LF only, no folding, no other control character.
pub(crate) fn head_end(bytes: &[u8], limits: &Limits) -> Result<Option<usize>, Error> {
    let mut from = 0;
    let mut lines = 0;
    for at in memchr::memchr2_iter(b'\n', 0, bytes) {
        if bytes[at] == 0 || at == 0 || bytes[at - 1] != b'\r' {
            return Err(Error::Malformed("line: it must end in CR LF"));
        }
        lines += 1;
        if at == from + 1 {
            if from == 0 {
                return Err(Error::Malformed("head: it starts with an empty line"));
            }
            // Each line has its own CR; one more stands inside a line.
            if memchr::memchr_iter(b'\r', &bytes[..at]).count() > lines {
                return Err(Error::Malformed("line: CR inside"));
            }
            return if at < limits.head_bytes { Ok(Some(at + 1)) } else { Err(Error::HeadTooLarge) };
        }
        if matches!(bytes.get(at + 1), Some(b' ' | b'\t')) {
            return Err(Error::Ambiguous("a folded line"));
        }
        from = at + 1;
    }
    if bytes.len() >= limits.head_bytes { Err(Error::HeadTooLarge) } else { Ok(None) }
}
