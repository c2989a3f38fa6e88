//! The data path's end of the config line: contract messages in, an immutable snapshot out.
//! Called by `app`; meets `proxy` only in `plait_model::Snapshot`. Never reads the user's YAML.

mod apply;
mod client;
mod convert;
mod destinations;
mod held;
mod join;
mod keep;
mod session;

pub use apply::{Applied, Rejected, Resources, Stale, snapshot_of};
pub use client::{Client, Connect, Connection, Event};
pub use convert::Refused;
pub use keep::{KEY_LABEL, Keep, KeepError};
pub use session::Proxy;
