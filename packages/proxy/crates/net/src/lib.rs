//! Sockets and bytes: listeners, pooled buffers, a look at the first bytes of a connection, and at where it was going.
//!
//! `proxy` builds on it; it knows neither HTTP nor the mesh.

mod buffer;
mod listener;
mod original;
mod peek;

pub use buffer::Buffer;
pub use listener::{connect, has_ipv6, listen, listen_beside_ipv4, notice_vanished, reset_when_closed};
pub use original::original_destination;
pub use peek::first_byte;
