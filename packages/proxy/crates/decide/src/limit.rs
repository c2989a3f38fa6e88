//! How many requests may be in flight to a backend at a time, over all workers of this proxy. Asked by `proxy` before each try.

use std::{num::NonZeroU32, sync::atomic::Ordering::Relaxed};

use plait_model::{Backend, BackendState, ObjectRef};

/// The user's field.
const FIELD: &str = "connections.maxRequests";

/// A request that is in flight; counted until it is dropped, whatever its end.
#[derive(Debug)]
#[must_use = "dropped, it is not in flight any more"]
pub struct Admitted<'b>(Option<&'b BackendState>);

/// As many requests are in flight as may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Full {
    /// The limit.
    pub most: NonZeroU32,
    /// The policy that set it.
    pub object: Option<ObjectRef>,
}

/// Counts one more request, unless the limit is reached.
pub fn admit(backend: &Backend) -> Result<Admitted<'_>, Full> {
    let Some(most) = backend.traffic.max_requests else { return Ok(Admitted(None)) };
    let state = &*backend.state;
    let more = |requests: u32| (requests < most.get()).then_some(requests + 1);
    match state.requests.try_update(Relaxed, Relaxed, more) {
        Ok(_) => Ok(Admitted(Some(state))),
        Err(_) => {
            let origin = backend.traffic.origins.iter().find(|origin| &*origin.field == FIELD);
            Err(Full { most, object: origin.map(|origin| origin.object.clone()) })
        }
    }
}

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        if let Some(state) = self.0 {
            state.requests.fetch_sub(1, Relaxed);
        }
    }
}
