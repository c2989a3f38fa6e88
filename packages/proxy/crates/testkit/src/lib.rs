//! A mesh in one test process: whole proxies, scripted origins and raw callers over real loopback sockets and real TLS.
//!
//! For tests alone: a development dependency, never anything else. It reads HTTP with a reader of its own, so that a fault of our codec
//! cannot hide itself. Every wait has a deadline, and nothing sleeps to be safe.

#![allow(clippy::unwrap_used, clippy::panic)] // a test that cannot go on must say so

mod authority;
mod contract;
mod deadline;
mod message;
mod metrics;
mod origin;
mod peer;
mod port;
mod proxy;
mod stage;

pub use authority::{Authority, DOMAIN};
pub use contract::{Sent, allow, backend, deny, endpoints, everything, header_filter, mesh, millis, object, prefix, rule, service, share};
pub use deadline::{DEADLINE, in_time, until};
pub use message::{Cut, Message};
pub use metrics::value;
pub use origin::{Origin, Seen};
pub use peer::{End, Peer, holds_little};
pub use port::Port;
pub use proxy::Proxy;
pub use stage::{Place, Stage, Way};
