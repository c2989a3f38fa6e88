//! What a plugin changes: one effect each, checked before anybody may act on it.

use crate::{
    FrameError,
    syntax::{check_authority, check_header_name, check_header_value, check_method, check_path, check_query},
};

/// Whose headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Section {
    /// The request's.
    Request = 0,
    /// The answer's.
    Response = 1,
    /// Trailers.
    Trailers = 2,
}

/// The number of an effect on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[expect(missing_docs, reason = "each is explained at the variant of `Effect` of the same name")]
pub enum EffectTag {
    Plugin = 1,
    SetRequestHeader = 16,
    SetResponseHeader = 17,
    SetTrailer = 18,
    AppendRequestHeader = 20,
    AppendResponseHeader = 21,
    AppendTrailer = 22,
    RemoveRequestHeader = 24,
    RemoveResponseHeader = 25,
    RemoveTrailer = 26,
    Method = 32,
    Path = 33,
    Query = 34,
    Authority = 35,
    Status = 36,
    Body = 37,
    Claims = 38,
    Backend = 39,
    Endpoint = 40,
    Key = 41,
    Retry = 42,
    Label = 48,
    Attribute = 49,
    SpanAttribute = 50,
    Failure = 56,
    ReplyHeader = 64,
    Text = 65,
    Traceback = 66,
}

impl EffectTag {
    const ALL: [Self; 28] = [
        Self::Plugin,
        Self::SetRequestHeader,
        Self::SetResponseHeader,
        Self::SetTrailer,
        Self::AppendRequestHeader,
        Self::AppendResponseHeader,
        Self::AppendTrailer,
        Self::RemoveRequestHeader,
        Self::RemoveResponseHeader,
        Self::RemoveTrailer,
        Self::Method,
        Self::Path,
        Self::Query,
        Self::Authority,
        Self::Status,
        Self::Body,
        Self::Claims,
        Self::Backend,
        Self::Endpoint,
        Self::Key,
        Self::Retry,
        Self::Label,
        Self::Attribute,
        Self::SpanAttribute,
        Self::Failure,
        Self::ReplyHeader,
        Self::Text,
        Self::Traceback,
    ];

    pub(crate) fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|tag| *tag as u8 == number)
    }

    /// Followed by a value.
    pub fn has_value(self) -> bool {
        (16..24).contains(&(self as u8)) || (48..56).contains(&(self as u8)) || self == Self::ReplyHeader
    }

    /// The effect that sets a header.
    pub fn set(section: Section) -> Self {
        match section {
            Section::Request => Self::SetRequestHeader,
            Section::Response => Self::SetResponseHeader,
            Section::Trailers => Self::SetTrailer,
        }
    }

    /// The effect that appends a header.
    pub fn append(section: Section) -> Self {
        match section {
            Section::Request => Self::AppendRequestHeader,
            Section::Response => Self::AppendResponseHeader,
            Section::Trailers => Self::AppendTrailer,
        }
    }

    /// The effect that removes a header.
    pub fn remove(section: Section) -> Self {
        match section {
            Section::Request => Self::RemoveRequestHeader,
            Section::Response => Self::RemoveResponseHeader,
            Section::Trailers => Self::RemoveTrailer,
        }
    }
}

/// One effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect<'a> {
    /// What follows is the work of the plugin with this index; the caller of `effects` never sees it.
    Plugin(u8),
    /// All values of a header are replaced by one. In phase request an effect on the answer's headers is kept for the answer.
    SetHeader {
        /// Whose.
        section: Section,
        /// In lower case.
        name: &'a str,
        /// Without control characters.
        value: &'a [u8],
    },
    /// A value is added.
    AppendHeader {
        /// Whose.
        section: Section,
        /// In lower case.
        name: &'a str,
        /// Without control characters.
        value: &'a [u8],
    },
    /// A header is taken out.
    RemoveHeader {
        /// Whose.
        section: Section,
        /// In lower case.
        name: &'a str,
    },
    /// The request has this method.
    Method(&'a str),
    /// The request has this path; not normalised yet.
    Path(&'a str),
    /// The request has this query; empty takes it away.
    Query(&'a str),
    /// The request has this authority.
    Authority(&'a str),
    /// The answer has this status.
    Status(u16),
    /// This stands in place of the body, or of its piece.
    Body(&'a [u8]),
    /// What the caller was found to be: JSON text.
    Claims(&'a str),
    /// The backend that is to serve: one of the candidates.
    Backend(&'a str),
    /// The next of the endpoints, best first.
    Endpoint(&'a str),
    /// What the limit of the rate counts by.
    Key(&'a str),
    /// The request is to be tried again.
    Retry(bool),
    /// A label of metrics.
    Label(&'a str, &'a str),
    /// Noted for later phases of the same request.
    Attribute(&'a str, &'a str),
    /// Noted in the trace.
    SpanAttribute(&'a str, &'a str),
    /// The plugin failed and was passed over, as its policy says: the error's text.
    Failure(&'a str),
    /// A header of a `Reply`.
    ReplyHeader(&'a str, &'a [u8]),
    /// The reason of a `Deny`, the message of an `Error`.
    Text(&'a str),
    /// Where the error came from.
    Traceback(&'a str),
}

impl<'a> Effect<'a> {
    /// The checked effect; `first` is a name where there is a value, else all there is.
    pub(crate) fn checked(tag: EffectTag, first: &'a [u8], value: &'a [u8]) -> Result<Self, FrameError> {
        use EffectTag as Tag;
        let section = match tag {
            Tag::SetResponseHeader | Tag::AppendResponseHeader | Tag::RemoveResponseHeader => Section::Response,
            Tag::SetTrailer | Tag::AppendTrailer | Tag::RemoveTrailer => Section::Trailers,
            _ => Section::Request,
        };
        Ok(match tag {
            Tag::Plugin => Self::Plugin(index(first)?),
            Tag::SetRequestHeader | Tag::SetResponseHeader | Tag::SetTrailer => {
                Self::SetHeader { section, name: check_header_name(first)?, value: check_header_value(value)? }
            }
            Tag::AppendRequestHeader | Tag::AppendResponseHeader | Tag::AppendTrailer => {
                Self::AppendHeader { section, name: check_header_name(first)?, value: check_header_value(value)? }
            }
            Tag::RemoveRequestHeader | Tag::RemoveResponseHeader | Tag::RemoveTrailer => {
                Self::RemoveHeader { section, name: check_header_name(first)? }
            }
            Tag::Method => Self::Method(check_method(first)?),
            Tag::Path => Self::Path(check_path(first)?),
            Tag::Query => Self::Query(check_query(first)?),
            Tag::Authority => Self::Authority(check_authority(first)?),
            Tag::Status => Self::Status(status(first)?),
            Tag::Body => Self::Body(first),
            Tag::Claims => Self::Claims(text(first)?),
            Tag::Backend => Self::Backend(text(first)?),
            Tag::Endpoint => Self::Endpoint(text(first)?),
            Tag::Key => Self::Key(text(first)?),
            Tag::Retry => Self::Retry(first == [1]),
            Tag::Label => Self::Label(text(first)?, text(value)?),
            Tag::Attribute => Self::Attribute(text(first)?, text(value)?),
            Tag::SpanAttribute => Self::SpanAttribute(text(first)?, text(value)?),
            Tag::Failure => Self::Failure(text(first)?),
            Tag::ReplyHeader => Self::ReplyHeader(check_header_name(first)?, check_header_value(value)?),
            Tag::Text => Self::Text(text(first)?),
            Tag::Traceback => Self::Traceback(text(first)?),
        })
    }
}

fn text(bytes: &[u8]) -> Result<&str, FrameError> {
    std::str::from_utf8(bytes).map_err(|_| FrameError::Content("text that is not UTF-8"))
}

fn index(bytes: &[u8]) -> Result<u8, FrameError> {
    match bytes {
        [index] if usize::from(*index) < crate::MAX_PLUGINS => Ok(*index),
        _ => Err(FrameError::Unknown("plugin")),
    }
}

fn status(bytes: &[u8]) -> Result<u16, FrameError> {
    let status = bytes.try_into().map_or(0, u16::from_le_bytes);
    check_status(status)
}

/// A status that ends an exchange: 1xx do not.
pub(crate) fn check_status(status: u16) -> Result<u16, FrameError> {
    if (200..600).contains(&status) { Ok(status) } else { Err(FrameError::Content("a status must be 200 to 599")) }
}
