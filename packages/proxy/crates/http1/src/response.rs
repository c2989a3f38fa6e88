//! A response head: status, fields, framing.

use std::mem::MaybeUninit;

use crate::{Error, Fields, Framing, Limits, MAX_HEADERS, field::head_end, request::checked};

/// A response head, borrowed from the bytes it came in.
#[derive(Debug)]
pub struct Response<'b> {
    /// 100 to 999.
    pub status: u16,
    /// 0 or 1.
    pub minor_version: u8,
    /// How the end of the body is found.
    pub framing: Framing,
    /// The connection may be used again after the body.
    pub keep_alive: bool,
    /// The protocol that a 101 changed to.
    pub upgrade: Option<&'b str>,
    /// Length of the head.
    pub head_len: usize,
    /// All other fields.
    pub fields: Fields<'b>,
}

/// Parses the head at the start of `bytes`; `None` = more bytes are needed. `method` is that of the request it answers.
pub fn parse_response<'b>(bytes: &'b [u8], method: &str, limits: &Limits) -> Result<Option<Response<'b>>, Error> {
    let Some(end) = head_end(bytes, limits)? else { return Ok(None) };
    let mut room = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let room = &mut room[..limits.headers.min(MAX_HEADERS)];
    let mut parsed = httparse::Response::new(&mut []);
    match httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut parsed, &bytes[..end], room) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err(Error::Malformed("head")),
        Err(httparse::Error::TooManyHeaders) => return Err(Error::HeadTooLarge),
        Err(httparse::Error::Version) => return Err(Error::Version),
        Err(_) => return Err(Error::Malformed("head")),
    }
    let (status, minor_version) = (parsed.code.unwrap_or_default(), parsed.version.unwrap_or_default());
    if status < 100 {
        return Err(Error::Malformed("status"));
    }
    let mut fields = Fields::default();
    for header in parsed.headers.iter() {
        fields.push(checked(header)?)?;
    }
    let framing = framing(status, method, minor_version, &fields)?;
    Ok(Some(Response {
        status,
        minor_version,
        framing,
        keep_alive: !fields.close && (minor_version == 1 || fields.keep_alive) && framing != Framing::UntilClose,
        upgrade: fields.upgrade.filter(|_| fields.upgrade_token),
        head_len: end,
        fields,
    }))
}

fn framing(status: u16, method: &str, minor_version: u8, fields: &Fields<'_>) -> Result<Framing, Error> {
    if fields.chunked && fields.length.is_some() {
        return Err(Error::Ambiguous("Transfer-Encoding and Content-Length"));
    }
    if fields.chunked && minor_version == 0 {
        return Err(Error::Ambiguous("Transfer-Encoding in HTTP/1.0"));
    }
    let bodiless =
        status < 200 || status == 204 || status == 304 || method == "HEAD" || (method == "CONNECT" && (200..300).contains(&status));
    Ok(match (fields.chunked, fields.length) {
        _ if bodiless => Framing::None,
        (true, _) => Framing::Chunked,
        (false, Some(0)) => Framing::None,
        (false, Some(length)) => Framing::Length(length),
        (false, None) => Framing::UntilClose,
    })
}
