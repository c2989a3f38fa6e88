//! Which endpoint gets the next request, and what is learnt from the answer.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use plait_model::{Algorithm, Backend, Endpoint};

/// The average forgets a past latency within about this time.
const DECAY_NANOS: f64 = 10e9;

/// The latency that an endpoint is given before it was measured: low, so that a new one is tried soon.
const FIRST_NANOS: u64 = 1_000_000;

/// A refused dial keeps an endpoint out for this long, doubled each time in a row.
const EJECTION_NANOS: u64 = 1_000_000_000;

/// The longest ejection.
const LONGEST_EJECTION_NANOS: u64 = 30 * EJECTION_NANOS;

/// However many endpoints there are, no request looks at more than so many of them.
const PROBES: usize = 64;

/// An endpoint for one more try. Those in `tried` and those ejected are passed over while there are others; when all are ejected, one that was
/// not tried yet still goes before one that was. `None` = there are no endpoints.
///
/// `hash` (see [`crate::hash`]) chooses where the backend's algorithm hashes. `roll(n)` gives a number in `0..n`.
pub fn pick<'b>(
    backend: &'b Backend,
    hash: Option<u64>,
    tried: &[u64],
    now_nanos: u64,
    mut roll: impl FnMut(usize) -> usize,
) -> Option<&'b Arc<Endpoint>> {
    let all = backend.endpoints.as_slice();
    let untried = |endpoint: &Endpoint| !tried.contains(&endpoint.id);
    let ejected = |until: &AtomicU64| until.load(Relaxed) > now_nanos;
    let fit = |endpoint: &Endpoint| {
        let state = &endpoint.state;
        untried(endpoint) && !ejected(&state.ejected_until_nanos) && !ejected(&state.outlier.ejected_until_nanos)
    };
    match all {
        [] => return None,
        [only] => return Some(only),
        _ => {}
    }
    if let (Some(table), Some(hash)) = (&backend.hash_table, hash)
        && let Some(owner) = table.owners_from(table.place(hash)).take(PROBES).map(|owner| &all[owner]).find(|owner| fit(owner))
    {
        return Some(owner);
    }
    let first = start(backend, all.len(), &mut roll);
    // From a random (or the next) place the first that is fit; all unfit: the first untried, else that place itself, since a refusal is
    // better than none asked.
    let Some(one) = from_place(all, first).find(|endpoint| fit(endpoint)) else {
        return Some(from_place(all, first).find(|endpoint| untried(endpoint)).unwrap_or(&all[first]));
    };
    let cost: fn(&Endpoint, u64) -> f64 = match backend.traffic.algorithm {
        Algorithm::RoundRobin | Algorithm::Random | Algorithm::RingHash | Algorithm::Maglev => return Some(one),
        Algorithm::LeastRequest => |endpoint, _| f64::from(endpoint.state.in_flight.load(Relaxed)),
        Algorithm::PeakEwma => |endpoint, now| ewma(endpoint, now) * f64::from(endpoint.state.in_flight.load(Relaxed) + 1),
    };
    // The second choice differs from the first where it can.
    let second = (first + 1 + roll(all.len() - 1)) % all.len();
    let other = from_place(all, second).find(|endpoint| fit(endpoint)).unwrap_or(one);
    Some(if cost(other, now_nanos) < cost(one, now_nanos) { other } else { one })
}

fn start(backend: &Backend, count: usize, roll: &mut impl FnMut(usize) -> usize) -> usize {
    match backend.traffic.algorithm {
        Algorithm::RoundRobin => backend.state.turn.fetch_add(1, Relaxed) as usize % count,
        Algorithm::PeakEwma | Algorithm::LeastRequest | Algorithm::Random | Algorithm::RingHash | Algorithm::Maglev => roll(count),
    }
}

/// The endpoint at `from`, then others: all of a few; of many a sample from everywhere, since neighbours in the list often fail together.
fn from_place(all: &[Arc<Endpoint>], from: usize) -> impl Iterator<Item = &Arc<Endpoint>> {
    let stride = if all.len() <= PROBES { 1 } else { all.len() / PROBES };
    (0..all.len().min(PROBES)).map(move |step| &all[(from + step * stride) % all.len()])
}

fn ewma(endpoint: &Endpoint, now_nanos: u64) -> f64 {
    let value = match endpoint.state.ewma_nanos.load(Relaxed) {
        0 => FIRST_NANOS,
        measured => measured,
    };
    let idle = now_nanos.saturating_sub(endpoint.state.ewma_at_nanos.load(Relaxed)) as f64;
    value as f64 * (-idle / DECAY_NANOS).exp()
}

/// A request left for the endpoint.
pub fn started(endpoint: &Endpoint) {
    endpoint.state.in_flight.fetch_add(1, Relaxed);
}

/// A request that `started` ended, whatever its end; `latency_nanos` until the head of the answer, `None` when there was none.
pub fn finished(endpoint: &Endpoint, latency_nanos: Option<u64>, now_nanos: u64) {
    let state = &endpoint.state;
    state.in_flight.fetch_sub(1, Relaxed);
    let Some(latency) = latency_nanos else { return };
    let old = state.ewma_nanos.load(Relaxed);
    // A peak counts at once and whole; what is faster than the average pulls it down slowly.
    let new = if old == 0 || latency > old {
        latency
    } else {
        let elapsed = now_nanos.saturating_sub(state.ewma_at_nanos.load(Relaxed)) as f64;
        let weight = (-elapsed / DECAY_NANOS).exp();
        (old as f64 * weight + latency as f64 * (1.0 - weight)) as u64
    };
    state.ewma_nanos.store(new.max(1), Relaxed);
    state.ewma_at_nanos.store(now_nanos, Relaxed);
}

/// The endpoint could be dialled: it is back for everybody.
pub fn reached(endpoint: &Endpoint) {
    endpoint.state.failures.store(0, Relaxed);
    endpoint.state.ejected_until_nanos.store(0, Relaxed);
}

/// Nothing could be delivered to the endpoint: others are asked for a while.
///
/// Dials that were under way together fail together: of them only the first counts, else one crash under load would be the longest ejection.
pub fn refused(endpoint: &Endpoint, now_nanos: u64) {
    let state = &endpoint.state;
    let until = state.ejected_until_nanos.load(Relaxed);
    if until > now_nanos {
        return;
    }
    let length = (EJECTION_NANOS << state.failures.load(Relaxed).min(10)).min(LONGEST_EJECTION_NANOS);
    if state.ejected_until_nanos.compare_exchange(until, now_nanos.saturating_add(length), Relaxed, Relaxed).is_ok() {
        state.failures.fetch_add(1, Relaxed);
    }
}
