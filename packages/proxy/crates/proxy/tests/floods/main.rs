//! Floods: a raw peer that breaks the rules of HTTP/2 or the patience of HTTP/1.1, at both doors of a sidecar. What must hold: memory and CPU
//! stay within bounds, who attacks for sure is sent away, who does not is served as before, and nothing is left behind.

#![allow(clippy::unwrap_used, clippy::panic)] // clippy's own exemption ends at #[test] functions; helpers beside them are tests too

mod attacker;
mod control;
mod cuts;
mod heads;
mod measure;
mod readers;
mod requests;
mod resets;
mod scene;
mod servers;
mod slow;
