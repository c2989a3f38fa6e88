//! The guard over an open connection: counted when made, its bytes as they flow, closed when dropped.
//! `proxy` makes one for each connection once it knows both ends.

/// An open connection.
#[derive(Debug)]
pub struct Connection;

impl Connection {
    /// Bytes were passed on towards the destination.
    pub fn sent(&self, bytes: u64) {
        let _ = bytes;
    }

    /// Bytes were passed on towards the caller.
    pub fn received(&self, bytes: u64) {
        let _ = bytes;
    }
}
