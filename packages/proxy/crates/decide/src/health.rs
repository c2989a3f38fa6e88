//! What active checks say of endpoints: who fails them, when so many do that all are used again, and which backends are checked at all.
//! Fed by `proxy::health` with the end of each check; `balance::pick` passes over what is unhealthy.

use std::sync::{
    Arc, PoisonError,
    atomic::Ordering::{Acquire, Relaxed, Release},
};

use plait_model::{Backend, Endpoint, HealthCheck, HealthState};

/// A backend that nobody called for so long is not checked.
const UNUSED_SECONDS: u64 = 3600;

/// How the endpoints of a backend do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count {
    /// They fail their checks.
    pub unhealthy: u32,
    /// Of those and of what outlierDetection ejected.
    pub out: u32,
}

/// A check ended, passed or not. `Some(healthy)` = with that the endpoint is back, or out.
pub fn note(rules: &HealthCheck, endpoint: &Endpoint, passed: bool, now_nanos: u64) -> Option<bool> {
    let state = &endpoint.state.health;
    let first = !state.known.swap(true, Relaxed);
    if passed != state.unhealthy.load(Relaxed) {
        state.contrary.store(0, Relaxed);
        return None;
    }
    let needed = match passed {
        // What nothing is known of has no past to weigh against.
        _ if first => 1,
        true => rules.healthy_threshold,
        false => rules.unhealthy_threshold,
    };
    if state.contrary.fetch_add(1, Relaxed) + 1 < needed {
        return None;
    }
    state.contrary.store(0, Relaxed);
    if passed {
        endpoint.state.since_nanos.store(now_nanos.max(1), Relaxed);
    }
    state.unhealthy.store(!passed, Relaxed);
    Some(passed)
}

/// Nothing is known of the endpoint any more: nobody checks it.
pub fn forget(endpoint: &Endpoint) {
    let HealthState { unhealthy, known, contrary, failure } = &endpoint.state.health;
    unhealthy.store(false, Relaxed);
    known.store(false, Relaxed);
    contrary.store(0, Relaxed);
    *failure.lock().unwrap_or_else(PoisonError::into_inner) = None;
}

/// Looks at every endpoint of a backend that is checked. To be called when checks, ejections or endpoints changed, never for a request.
pub fn count(backend: &Backend, now_nanos: u64) -> Count {
    let mut count = Count::default();
    for state in backend.endpoints.iter().map(|endpoint| &endpoint.state) {
        let unhealthy = state.health.unhealthy.load(Relaxed);
        count.unhealthy += u32::from(unhealthy);
        count.out += u32::from(unhealthy || state.outlier.ejected_until_nanos.load(Relaxed) > now_nanos);
    }
    backend.state.out.store(count.out, Relaxed);
    count
}

/// Whether so few endpoints are healthy that all are used: the rest could not carry what is asked, and the checks may be what is wrong.
pub fn panics(backend: &Backend) -> bool {
    let Some(rules) = &backend.traffic.health_check else { return false };
    let all = backend.endpoints.len() as u64;
    let healthy = all.saturating_sub(backend.state.out.load(Relaxed).into());
    healthy * 100 < all * u64::from(rules.min_healthy_percent)
}

/// Whether no endpoint may be asked: all are out, and the user wants none of them asked then.
pub fn is_closed(backend: &Backend) -> bool {
    let Some(rules) = &backend.traffic.health_check else { return false };
    rules.min_healthy_percent == 0 && backend.state.out.load(Relaxed) as usize >= backend.endpoints.len()
}

/// A request for the backend was decided, in the name of the workload `by`. True = nobody called it for long: checks begin now.
pub fn used(backend: &Backend, by: &Arc<str>, now_seconds: u64) -> bool {
    if backend.traffic.health_check.is_none() {
        return false;
    }
    // 0 stands for never.
    let now = now_seconds + 1;
    let state = &backend.state;
    // Read first: a store would take the line from the other workers at each request.
    let before = state.used_at_seconds.load(Acquire);
    if before == now {
        return false;
    }
    let mut used_by = state.used_by.lock().unwrap_or_else(PoisonError::into_inner);
    if used_by.as_ref() != Some(by) {
        *used_by = Some(by.clone());
    }
    state.used_at_seconds.store(now, Release);
    before == 0 || now - before.min(now) >= UNUSED_SECONDS
}

/// In whose name a backend is checked; `None` = it has no checks, or nobody called it for long.
pub fn checked_by(backend: &Backend, now_seconds: u64) -> Option<Arc<str>> {
    backend.traffic.health_check.as_ref()?;
    let used_at = backend.state.used_at_seconds.load(Acquire);
    if used_at == 0 || (now_seconds + 1).saturating_sub(used_at) >= UNUSED_SECONDS {
        return None;
    }
    backend.state.used_by.lock().unwrap_or_else(PoisonError::into_inner).clone()
}
