//! Sessions: how a caller comes back to the endpoint that answered it. An endpoint is known to callers by a hash of its workload's name, which tells
//! neither name nor address, is the same on every proxy, and stays while others come and go. Read and written by `plait-decide`.

use std::time::Duration;

use crate::{Endpoint, StableHash};

/// `sessionAffinity`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionAffinity {
    /// What carries the session.
    pub carrier: Carrier,
    /// Of a session, from its first answer; `None` = as long as the caller keeps it.
    pub ttl: Option<Duration>,
}

/// What carries a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Carrier {
    /// A cookie that the proxy makes.
    Cookie {
        /// Its name.
        name: Box<str>,
        /// Where it is sent.
        path: Box<str>,
    },
    /// A field of the answer that the caller repeats; name in lower case.
    Header(Box<str>),
}

/// The endpoints of a backend by what callers know them by.
#[derive(Debug)]
pub struct Sessions(Vec<(u64, u32)>);

impl Sessions {
    /// For these endpoints, in this order.
    pub fn new<E: AsRef<Endpoint>>(endpoints: &[E]) -> Self {
        let mut names: Vec<_> = (0..).zip(endpoints).map(|(index, one)| (Self::name(one.as_ref()), index)).collect();
        names.sort_unstable();
        Self(names)
    }

    /// What callers know an endpoint by.
    pub fn name(endpoint: &Endpoint) -> u64 {
        let mut hash = StableHash::default();
        hash.add(b"session");
        hash.add(endpoint.workload.as_bytes());
        hash.add(&endpoint.target_port.to_be_bytes());
        hash.finish()
    }

    /// The index of the endpoint with that name.
    pub fn find(&self, name: u64) -> Option<usize> {
        let at = self.0.binary_search_by_key(&name, |(name, _)| *name).ok()?;
        Some(self.0[at].1 as usize)
    }
}
