//! `plait-proxy run` as its users run it: the binary itself, its admin socket, its signals, its files.

#![allow(clippy::unwrap_used, clippy::panic)] // clippy's own exemption ends at #[test] functions; helpers beside them are tests too

mod authority;
mod fixed;
mod joined;
mod mesh;
mod probes;
mod sidecar;
mod world;
