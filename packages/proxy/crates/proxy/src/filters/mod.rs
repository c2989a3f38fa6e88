//! Plugins on the path of a request: inbound after the policies allowed it, outbound after its route is known; then at its answer, and at its
//! end. Called by `request`, `sending` and `exchange`, one call a phase, and by nobody where a call has no chain: that costs nothing.
//!
//! Which plugins a call passes stands in the snapshot; who runs them, and what becomes of one that fails, in `plait-plugins`. What plugins want
//! changed is carried out in `effects` alone.

mod body;
mod candidates;
mod effects;
mod passing;
mod refusal;
mod runner;
mod seen;
mod trying;

pub(crate) use body::{Moved, filtered, pump};
pub(crate) use passing::{Passing, enter};
pub(crate) use refusal::Instead;
pub(crate) use runner::Runner;
pub use runner::chain_id;
pub(crate) use seen::Tried;
