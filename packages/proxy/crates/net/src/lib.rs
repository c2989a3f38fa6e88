//! Sockets and bytes: listeners, pooled buffers, a look at the first bytes of a connection.
//!
//! `proxy` builds on it; it knows neither HTTP nor the mesh.

mod buffer;
mod listener;
mod peek;

pub use buffer::Buffer;
pub use listener::{connect, listen, notice_vanished, reset_when_closed};
pub use peek::first_byte;
