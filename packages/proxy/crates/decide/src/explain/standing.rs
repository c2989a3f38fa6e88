//! What keeps requests from an endpoint at the moment, in the user's terms. Called by `explain`; offline nothing has happened yet.

use std::{
    sync::{PoisonError, atomic::Ordering::Relaxed},
    time::Duration,
};

use plait_model::{Backend, Endpoint};

use crate::slow_start;

pub(super) fn standing(backend: &Backend, endpoint: &Endpoint, now_nanos: u64) -> Vec<String> {
    let state = &endpoint.state;
    let more = |until: u64| (until > now_nanos).then(|| Duration::from_millis((until - now_nanos).div_ceil(1_000_000)));
    let refused = more(state.ejected_until_nanos.load(Relaxed)).map(|left| format!("a dial was refused: passed over for {left:?} more"));
    let ejected = more(state.outlier.ejected_until_nanos.load(Relaxed)).map(|left| format!("ejected for bad answers, for {left:?} more"));
    let share = backend.traffic.slow_start.and_then(|window| slow_start::reached(endpoint, window, now_nanos));
    let slow = share.map(|share| format!("slow start: {} % of its share", share * 100 / slow_start::WHOLE));
    [checked(backend, endpoint), ejected, refused, slow].into_iter().flatten().collect()
}

fn checked(backend: &Backend, endpoint: &Endpoint) -> Option<String> {
    backend.traffic.health_check.as_ref()?;
    let health = &endpoint.state.health;
    let failure = health.failure.lock().unwrap_or_else(PoisonError::into_inner).clone();
    match (health.unhealthy.load(Relaxed), failure) {
        (true, Some(why)) => Some(format!("fails its health checks: {why}")),
        (true, None) => Some("failed its health checks; the last one passed".to_owned()),
        (false, Some(why)) => Some(format!("its last health check did not pass: {why}")),
        (false, None) => None,
    }
}
