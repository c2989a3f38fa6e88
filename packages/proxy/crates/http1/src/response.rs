//! A response head: status, fields, framing.

use crate::{
    Error, Fields, Framing, Limits, MAX_HEADERS, Room,
    field::{head_end, well_formed_end},
};

/// A response head, borrowed from the bytes it came in.
#[derive(Debug)]
pub struct Response<'r, 'b> {
    /// 100 to 999.
    pub status: u16,
    /// 0 or 1.
    pub minor_version: u8,
    /// How the end of the body is found.
    pub framing: Framing,
    /// Content-Length as sent; the length that a GET would have had in an answer to HEAD and in 304, where `framing` is `None`.
    pub length: Option<u64>,
    /// The connection may be used again after the body.
    pub keep_alive: bool,
    /// How long its server keeps the connection when nothing is asked, where it says so.
    pub idle_seconds: Option<u32>,
    /// The protocol that a 101 changed to.
    pub upgrade: Option<&'b str>,
    /// Length of the head.
    pub head_len: usize,
    /// All other fields.
    pub fields: Fields<'r, 'b>,
}

/// Parses the head at the start of `bytes`; `None` = more bytes are needed. `method` is that of the request it answers.
pub fn parse_response<'r, 'b>(
    bytes: &'b [u8],
    method: &str,
    limits: &Limits,
    room: &'r mut Room<'b>,
) -> Result<Option<Response<'r, 'b>>, Error> {
    let room = &mut room.0[..limits.headers.min(MAX_HEADERS)];
    let mut parsed = httparse::Response::new(&mut []);
    let found = httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut parsed, bytes, room);
    let Some(end) = well_formed_end(bytes, found, parsed.headers, limits) else {
        // What is not whole may be wrong already.
        let Some(_) = head_end(bytes, limits)? else { return Ok(None) };
        return Err(match found {
            Err(httparse::Error::TooManyHeaders) => Error::HeadTooLarge,
            Err(httparse::Error::Version) => Error::Version,
            Ok(_) | Err(_) => Error::Malformed("head"),
        });
    };
    let (status, minor_version) = (parsed.code.unwrap_or_default(), parsed.version.unwrap_or_default());
    if status < 100 {
        return Err(Error::Malformed("status"));
    }
    let fields = Fields::sort(parsed.headers)?;
    let framing = framing(status, method, minor_version, &fields)?;
    if status == 101 && !(fields.upgrade_token && fields.upgrade.is_some()) {
        return Err(Error::Malformed("101 without Upgrade"));
    }
    // A body that may not be there: whatever its server thinks, the next bytes are not taken for a response.
    let promised = fields.chunked || fields.length.is_some_and(|length| length > 0);
    let clean = !(status == 204 && promised);
    Ok(Some(Response {
        status,
        minor_version,
        framing,
        length: fields.length,
        keep_alive: !fields.close && (minor_version == 1 || fields.keep_alive) && framing != Framing::UntilClose && clean,
        idle_seconds: fields.idle_seconds,
        upgrade: fields.upgrade.filter(|_| fields.upgrade_token),
        head_len: end,
        fields,
    }))
}

fn framing(status: u16, method: &str, minor_version: u8, fields: &Fields<'_, '_>) -> Result<Framing, Error> {
    if fields.chunked && fields.length.is_some() {
        return Err(Error::Ambiguous("Transfer-Encoding and Content-Length"));
    }
    if fields.chunked && minor_version == 0 {
        return Err(Error::Ambiguous("Transfer-Encoding in HTTP/1.0"));
    }
    if status < 200 && (fields.chunked || fields.length.is_some_and(|length| length > 0)) {
        return Err(Error::Ambiguous("an interim response with a body"));
    }
    let bodiless =
        status < 200 || status == 204 || status == 304 || method == "HEAD" || (method == "CONNECT" && (200..300).contains(&status));
    Ok(match (fields.chunked, fields.length) {
        _ if bodiless => Framing::None,
        (true, _) => Framing::Chunked,
        (false, Some(length)) => Framing::Length(length),
        (false, None) => Framing::UntilClose,
    })
}
