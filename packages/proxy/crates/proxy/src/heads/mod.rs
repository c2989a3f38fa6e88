//! Heads between bytes and the model: of HTTP/1.1, and as they travel between proxies.
//! Framing, connection fields and `plait-*` never enter the model's heads; what they say is handed over beside them.

mod http1;
mod http2;

use plait_model::PathError;

pub(crate) use http1::{Asked, Next, Said, read_request, read_response, write_request, write_response};
pub(crate) use http2::{
    Http2Asked, Http2Said, from_http2, response_from_http2, response_to_http2, to_http2, trailers_from_http2, trailers_to_http2,
};

/// Fields of ours, never from an application nor to one.
pub(crate) const OURS: &str = "plait-";

/// Between proxies, on the 200 that stands for a 101: without it a 200 to an upgrade is an answer of a process that did not change its protocol.
pub(crate) const UPGRADED_HEADER: &str = "plait-upgraded";

/// Of the protocols that an Upgrade lists the one that may be changed to: the first that is no HTTP. In another HTTP requests would follow that
/// neither route nor policy sees; to ignore an Upgrade is always lawful.
pub(crate) fn other_protocol(list: &str) -> Option<&str> {
    let is_http = |name: &str| name.eq_ignore_ascii_case("h2c") || name.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("http/"));
    list.split(',').map(str::trim).find(|name| !name.is_empty() && !is_http(name))
}

/// Why a head cannot be read or cannot travel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HeadError {
    #[error("the authority or path cannot be sent")]
    Target,
    #[error(transparent)]
    Path(#[from] PathError),
    #[error("the method is no token")]
    Method,
    #[error("the protocol to change to is none that may be changed to")]
    Protocol,
    #[error("the field {0:?} cannot be sent")]
    Field(String),
    #[error("it has {0} fields, and {1} are allowed")]
    TooMany(usize, usize),
    #[error("plait-port must be there once and name a port")]
    Port,
}
