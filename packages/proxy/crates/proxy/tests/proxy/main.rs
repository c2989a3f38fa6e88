//! The whole proxy between real sockets: what a caller says, what the origin hears, what the caller gets. Each file is one concern.

#![allow(clippy::unwrap_used, clippy::panic)] // clippy's own exemption ends at #[test] functions; helpers beside them are tests too

mod addresses;
mod balancing;
mod bodies;
mod broken;
mod checks;
mod closing;
mod connections;
mod deadlines;
mod drain;
mod exchange;
mod framing;
mod grpc;
mod identities;
mod interim;
mod limits;
mod messages;
mod observed;
mod persistence;
mod policies;
mod pressure;
mod rejects;
mod retries;
mod routes;
mod sessions;
mod spoken;
mod streams;
mod targets;
mod timeouts;
mod upgrades;
mod vanished;
mod zones;
