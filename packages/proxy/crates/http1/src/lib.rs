//! HTTP/1.1 without sockets: heads, framing and bodies, strict by construction.
//!
//! Grammar comes from `httparse`, the rules of framing are ours: what two readers could understand differently is refused.
//! Called by `proxy`; does no I/O, allocates nothing while parsing, knows nothing of routes or policies.

mod body;
mod encode;
mod error;
mod field;
mod request;
mod response;

pub use body::{BodyDecoder, Decoded};
pub use encode::{write_chunk_header, write_field, write_framing, write_head_end, write_last_chunk, write_request_line, write_status_line};
pub use error::Error;
pub use field::{Field, Fields, Framing, Limits, MAX_HEADERS, Room};
pub use request::{Request, parse_request};
pub use response::{Response, parse_response};
