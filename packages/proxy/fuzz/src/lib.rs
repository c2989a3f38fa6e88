//! What the fuzz targets check, one module a crate. Each function takes the bytes of a fuzzer and panics when a promise is broken.
//!
//! The targets call these functions, and so does a test of the crate that they check, which includes the module by its path and replays
//! `corpus/<function>/`. So the corpora run with every `cargo test`, without a fuzzer.

pub mod client_hello;
pub mod decide;
pub mod discovery;
pub mod frames;
pub mod http1;
