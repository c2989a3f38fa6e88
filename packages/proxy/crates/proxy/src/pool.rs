//! Idle connections of HTTP/1.1, by address: those to the process beside us, to plaintext endpoints, and out of the mesh.
//! One for each worker. Knows nothing of requests; connections to other proxies stand in `mesh::client`.

use std::{cell::RefCell, collections::VecDeque, net::SocketAddr, time::Instant};

use plait_model::Map;

use crate::io::{Input, Output};

/// Idle connections kept for one address: more than that were needed at once by a burst that is over.
const PER_ADDRESS: usize = 1024;

/// A connection of HTTP/1.1 between requests.
#[derive(Debug)]
pub(crate) struct Idle {
    pub(crate) input: Input,
    pub(crate) output: Output,
    until: Instant,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Pool(RefCell<Map<SocketAddr, VecDeque<Idle>>>);

impl Pool {
    /// One that is still open, the last used first, so that those beyond the need grow old.
    pub(crate) fn take(&self, address: SocketAddr) -> Option<(Input, Output)> {
        let mut all = self.0.borrow_mut();
        let idle = all.get_mut(&address)?;
        while let Some(last) = idle.pop_back() {
            if last.input.is_quiet() {
                return Some((last.input, last.output));
            }
        }
        None
    }

    /// Keeps one for later.
    pub(crate) fn put(&self, address: SocketAddr, input: Input, output: Output, until: Instant) {
        let mut all = self.0.borrow_mut();
        let idle = all.entry(address).or_default();
        if idle.len() < PER_ADDRESS {
            idle.push_back(Idle { input, output, until });
        }
    }

    /// Drops those that are too old or that the other side closed.
    pub(crate) fn sweep(&self, now: Instant) {
        self.0.borrow_mut().retain(|_, idle| {
            idle.retain(|one| one.until > now && one.input.is_quiet());
            !idle.is_empty()
        });
    }

    /// Drops all.
    pub(crate) fn clear(&self) {
        self.0.borrow_mut().clear();
    }
}
