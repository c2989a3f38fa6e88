//! The contract as Rust types, generated from `packages/sdk/proto` by `nox -s proto`.
//! Owns nothing else: meaning is given in `discovery/convert`, which alone reads these types.

#[allow(missing_docs, unreachable_pub, clippy::all, rustdoc::invalid_html_tags)] // generated; the comments stand in the .proto files
#[rustfmt::skip] // as the generator writes it, so that `nox -s proto` can compare
#[path = "gen/plait.v1.rs"]
mod v1;

pub use v1::*;

/// The version of the discovery protocol that this build speaks (`Hello.protocol`).
pub const PROTOCOL: u32 = 1;
