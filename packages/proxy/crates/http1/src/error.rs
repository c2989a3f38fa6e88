//! Why a peer's bytes are refused.

/// A head or body that is malformed, ambiguous or too large. The connection must be closed after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not HTTP, or a line that does not end in CR LF.
    #[error("malformed {0}")]
    Malformed(&'static str),
    /// Two readers could find different ends of the message.
    #[error("ambiguous framing: {0}")]
    Ambiguous(&'static str),
    /// The head is longer than `Limits::head_bytes`, or has more fields than `Limits::headers`.
    #[error("the head is too large")]
    HeadTooLarge,
    /// A version other than 1.0 and 1.1.
    #[error("the version is neither HTTP/1.0 nor HTTP/1.1")]
    Version,
    /// A transfer coding other than chunked.
    #[error("a transfer coding other than chunked")]
    Coding,
    /// The peer closed in the middle of a message.
    #[error("the connection ended in the middle of a message")]
    Truncated,
}

impl Error {
    /// The status to answer a client with.
    pub fn status(self) -> u16 {
        match self {
            Self::Malformed(_) | Self::Ambiguous(_) | Self::Truncated => 400,
            Self::HeadTooLarge => 431,
            Self::Coding => 501,
            Self::Version => 505,
        }
    }
}
