//! How a try, or a whole request, failed. Made by `upstream`, `exchange` and `plan`; `attempt` decides by it, `request` answers with it.

use plait_decide::retry::Ended;

use crate::{filters::Instead, reject::Reject};

/// Why a try has no answer.
#[derive(Debug)]
pub(crate) struct Failed {
    /// What may be done about it.
    pub(crate) ended: Ended,
    /// What the caller is told if nothing is done.
    pub(crate) reject: Box<Reject>,
    /// The connection had been idle and was closed under the request: not the endpoint's fault.
    pub(crate) stale: bool,
}

impl Failed {
    pub(crate) fn undelivered(reject: Reject) -> Self {
        Self { ended: Ended::Undelivered, reject: reject.into(), stale: false }
    }

    pub(crate) fn broken(reject: Reject) -> Self {
        Self { ended: Ended::Broken, reject: Reject { delivered: true, ..reject }.into(), stale: false }
    }
}

/// How a request ended that got no whole answer.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The mesh answers itself.
    Reject(Box<Reject>),
    /// A plugin, or the policy of one, ended it: what the caller gets.
    Instead(Instead),
    /// The caller is gone, or sent what cannot be read: nobody is there to answer.
    Caller,
    /// The answer had begun and cannot be whole. As long as nothing of it has left, the mesh answers in its place.
    Truncated(Box<Reject>),
}

impl From<Reject> for Fault {
    fn from(reject: Reject) -> Self {
        Self::Reject(Box::new(reject))
    }
}
