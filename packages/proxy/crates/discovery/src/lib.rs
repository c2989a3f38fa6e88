//! The data path's end of the config line: contract messages in, an immutable snapshot out.
//! Called by `app`; meets `proxy` only in `plait_model::Snapshot`. Never reads the user's YAML.

mod apply;
mod convert;
mod held;
mod join;

pub use apply::{Applied, Rejected, Resources, Stale, snapshot_of};
pub use convert::Refused;
