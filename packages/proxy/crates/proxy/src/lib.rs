//! Stages of the request line that need no socket of their own: answers made by the mesh, the relay of opaque bytes,
//! and the head as it travels between proxies.
//!
//! Built on `plait-model` alone. Must not decide anything: that is the job of `plait-decide`.

mod heads;
mod reject;
mod tunnel;

pub use heads::{HeadError, PORT_HEADER, from_mesh, to_mesh};
pub use reject::{REASON_HEADER, REJECT_HEADER, Reject};
pub use tunnel::{Relayed, relay};
