//! Sessions: how a caller comes back to the endpoint that answered it. An endpoint is known to callers by a hash of its workload's name, which tells
//! neither name nor address, is the same on every proxy, and stays while others come and go. Read and written by `plait-decide`.

use std::{sync::OnceLock, time::Duration};

use crate::{Endpoint, StableHash};

/// `sessionAffinity` of a backend, or `sessionPersistence` of a rule.
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
        /// Where it is sent; `None` = below the path of the match that took the request.
        path: Option<Box<str>>,
        /// The caller forgets it when it is closed, whatever the `ttl`.
        until_closed: bool,
    },
    /// A field of the answer that the caller repeats; name in lower case.
    Header(Box<str>),
}

/// The endpoints of a backend by what callers know them by; made when the first caller has a session, since a rule of any route may ask for it.
#[derive(Debug, Default)]
pub struct Sessions(OnceLock<Vec<(u64, u32)>>);

impl Sessions {
    /// What callers know an endpoint by.
    pub fn name(endpoint: &Endpoint) -> u64 {
        let mut hash = StableHash::default();
        hash.add(b"session");
        hash.add(endpoint.workload.as_bytes());
        hash.add(&endpoint.target_port.to_be_bytes());
        hash.finish()
    }

    /// The index of the endpoint with that name; `endpoints` are the backend's own, always the same.
    pub fn find<E: AsRef<Endpoint>>(&self, endpoints: &[E], name: u64) -> Option<usize> {
        let names = self.0.get_or_init(|| {
            let mut names: Vec<_> = (0..).zip(endpoints).map(|(index, one)| (Self::name(one.as_ref()), index)).collect();
            names.sort_unstable();
            names
        });
        let at = names.binary_search_by_key(&name, |(name, _)| *name).ok()?;
        Some(names[at].1 as usize)
    }
}
