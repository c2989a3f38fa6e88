//! A request head: line, target, fields, framing.

use crate::{
    Error, Fields, Framing, Limits, MAX_HEADERS, Room,
    field::{authority, head_end, well_formed_end},
};

/// A request head, borrowed from the bytes it came in.
#[derive(Debug)]
pub struct Request<'r, 'b> {
    /// Method, a token.
    pub method: &'b str,
    /// Target as sent: origin form, absolute form, authority form (CONNECT) or "*" (OPTIONS).
    pub target: &'b str,
    /// 0 or 1.
    pub minor_version: u8,
    /// The authority that the request is for: that of the target when it has one, else Host. Always there in HTTP/1.1.
    pub host: Option<&'b str>,
    /// How the end of the body is found; never `UntilClose`.
    pub framing: Framing,
    /// The client may send another request on this connection.
    pub keep_alive: bool,
    /// The client waits for 100 before it sends the body.
    pub expect_continue: bool,
    /// The protocol to change to, when Connection says so too.
    pub upgrade: Option<&'b str>,
    /// Length of the head.
    pub head_len: usize,
    /// All other fields.
    pub fields: Fields<'r, 'b>,
}

impl<'b> Request<'_, 'b> {
    /// The target as the server of `host` is asked: the path and query of an absolute form, any other form as sent.
    pub fn origin_target(&self) -> &'b str {
        match absolute(self.target) {
            None => self.target,
            Some((_, "")) if self.method == "OPTIONS" => "*",
            Some((_, "")) => "/",
            Some((_, path)) => path,
        }
    }
}

/// Parses the head at the start of `bytes`; `None` = more bytes are needed.
///
/// One empty line before the request is passed over, as RFC 9112 asks.
pub fn parse_request<'r, 'b>(bytes: &'b [u8], limits: &Limits, room: &'r mut Room<'b>) -> Result<Option<Request<'r, 'b>>, Error> {
    let skipped = if bytes.starts_with(b"\r\n") { 2 } else { 0 };
    let head = &bytes[skipped..];
    let room = &mut room.0[..limits.headers.min(MAX_HEADERS)];
    let mut parsed = httparse::Request::new(&mut []);
    let found = parsed.parse_with_uninit_headers(head, room);
    let Some(end) = well_formed_end(head, found, parsed.headers, limits) else {
        // What is not whole may be wrong already.
        let Some(end) = head_end(head, limits)? else { return Ok(None) };
        return Err(match found {
            Err(httparse::Error::TooManyHeaders) => Error::HeadTooLarge,
            Err(httparse::Error::Version) => version_error(&head[..end]),
            Ok(_) | Err(_) => Error::Malformed("head"),
        });
    };
    let (method, target, minor_version) =
        (parsed.method.unwrap_or_default(), parsed.path.unwrap_or_default(), parsed.version.unwrap_or_default());
    let fields = Fields::sort(parsed.headers)?;
    let authority = check_target(method, target)?;
    let framing = framing(method, minor_version, &fields)?;
    let bodiless = matches!(framing, Framing::None | Framing::Length(0));
    if minor_version == 1 && fields.host.is_none() {
        return Err(Error::Malformed("request: HTTP/1.1 needs a Host"));
    }
    Ok(Some(Request {
        method,
        target,
        minor_version,
        // RFC 9112, 3.2.2: the authority in the target wins, so that nobody after us has two to choose from.
        host: authority.or(fields.host),
        framing,
        keep_alive: !fields.close && (minor_version == 1 || fields.keep_alive),
        expect_continue: fields.expect_continue && minor_version == 1 && !bodiless,
        // With a body it would be open which protocol the body belongs to; ignoring an Upgrade is always lawful.
        upgrade: fields.upgrade.filter(|_| fields.upgrade_token && minor_version == 1 && bodiless && method != "CONNECT"),
        head_len: skipped + end,
        fields,
    }))
}

/// 505 is for a version that is well written and not ours; anything else in its place is malformed.
fn version_error(head: &[u8]) -> Error {
    let line = head.split(|&b| b == b'\r').next().unwrap_or_default();
    let mut words = line.split(|&b| b == b' ');
    match (words.next(), words.next(), words.next(), words.next()) {
        (Some(_), Some(_), Some([b'H', b'T', b'T', b'P', b'/', major, b'.', minor]), None)
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            Error::Version
        }
        _ => Error::Malformed("request line"),
    }
}

fn framing(method: &str, minor_version: u8, fields: &Fields<'_, '_>) -> Result<Framing, Error> {
    if method == "CONNECT" {
        // What follows a CONNECT is the tunnel's; a body would be read as such by one side only.
        return if fields.chunked || fields.length.is_some_and(|n| n > 0) {
            Err(Error::Ambiguous("CONNECT with a body"))
        } else {
            Ok(Framing::None)
        };
    }
    match (fields.chunked, fields.length) {
        (true, Some(_)) => Err(Error::Ambiguous("Transfer-Encoding and Content-Length")),
        (true, None) if minor_version == 0 => Err(Error::Ambiguous("Transfer-Encoding in HTTP/1.0")),
        (true, None) => Ok(Framing::Chunked),
        (false, None) => Ok(Framing::None),
        (false, Some(length)) => Ok(Framing::Length(length)),
    }
}

/// The form of the target must fit the method. Gives the authority that it names.
fn check_target<'b>(method: &str, target: &'b str) -> Result<Option<&'b str>, Error> {
    const BAD: Error = Error::Malformed("target");
    if target.bytes().any(|b| b <= b' ' || b >= 0x7f || b == b'#') {
        return Err(BAD);
    }
    if method == "CONNECT" {
        let ends_in_port = target.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        return match authority(target.as_bytes()) {
            Ok(authority) if ends_in_port => Ok(Some(authority)),
            _ => Err(Error::Malformed("target: CONNECT needs host:port")),
        };
    }
    if target.starts_with('/') || (target == "*" && method == "OPTIONS") {
        return Ok(None);
    }
    let (host, path) = absolute(target).ok_or(BAD)?;
    // "http://a?b" is lawful and unused; its readers differ in what the path is.
    if path.starts_with('?') { Err(BAD) } else { authority(host.as_bytes()).map(Some) }
}

/// Authority and rest of a target in absolute form, whose scheme must be http: TLS is the mesh's, not the application's.
fn absolute(target: &str) -> Option<(&str, &str)> {
    if target.starts_with('/') {
        return None;
    }
    let (scheme, rest) = target.split_once("://")?;
    scheme.eq_ignore_ascii_case("http").then(|| rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len())))
}
