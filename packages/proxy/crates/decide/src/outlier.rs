//! Which endpoints answer so badly that they are ejected for a while. Fed with the end of each try; `balance::pick` passes over what is ejected.
//! Never ejects all: a bad answer is worth more than none.

use std::{
    sync::{
        PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use plait_model::{Backend, Endpoint, OutlierDetection, SuccessRate};

/// The longest ejection, however often it was doubled.
const LONGEST: Duration = Duration::from_secs(300);

/// A try ended well or badly; true = the endpoint was ejected for it.
pub fn note(backend: &Backend, endpoint: &Endpoint, good: bool, now_nanos: u64) -> bool {
    let Some(rules) = &backend.traffic.outliers else { return false };
    let state = &endpoint.state.outlier;
    let in_a_row = match good {
        true => {
            // Read first: most answers are good, and a store would take the line from the other workers each time.
            if state.failures_in_a_row.load(Relaxed) != 0 {
                state.failures_in_a_row.store(0, Relaxed);
            }
            0
        }
        false => state.failures_in_a_row.fetch_add(1, Relaxed) + 1,
    };
    let too_often = rules.consecutive_failures > 0 && in_a_row >= rules.consecutive_failures;
    let too_rarely = rules.success_rate.as_ref().is_some_and(|rate| is_below(rate, count(&state.window, rate, good, now_nanos)));
    (too_often || too_rarely) && eject(backend, endpoint, rules, now_nanos)
}

/// Ejects an endpoint, unless it is already or too many are.
fn eject(backend: &Backend, endpoint: &Endpoint, rules: &OutlierDetection, now_nanos: u64) -> bool {
    let state = &endpoint.state.outlier;
    let before = state.ejected_until_nanos.load(Relaxed);
    if before > now_nanos {
        return false;
    }
    let base = nanos(rules.base_ejection);
    let length = |times: u32| base.saturating_mul(1 << times.min(20)).min(nanos(LONGEST).max(base));
    // One that behaved for as long as it was out begins anew.
    let times = match state.ejections.load(Relaxed) {
        0 => 0,
        times if now_nanos - before >= length(times - 1) => 0,
        times => times,
    };
    let until = now_nanos.saturating_add(length(times));
    // Another worker may come to the same conclusion at the same moment: one of both ejects.
    if state.ejected_until_nanos.compare_exchange(before, until, Relaxed, Relaxed).is_err() {
        return false;
    }
    // What follows is judged afresh: on return, or after as many failures again where too many are out.
    state.failures_in_a_row.store(0, Relaxed);
    state.window.store(0, Relaxed);
    if !admit(backend, rules.max_ejected_percent, until, now_nanos) {
        state.ejected_until_nanos.store(before, Relaxed);
        return false;
    }
    state.ejections.store(times + 1, Relaxed);
    true
}

/// Takes a place among those that may be out at a time; false = there is none.
fn admit(backend: &Backend, percent: u32, until: u64, now_nanos: u64) -> bool {
    let count = backend.endpoints.len();
    let most = (count * percent as usize / 100).max(1).min(count.saturating_sub(1));
    let mut ejections = backend.state.ejections.lock().unwrap_or_else(PoisonError::into_inner);
    ejections.retain(|until| *until > now_nanos);
    if ejections.len() >= most {
        return false;
    }
    ejections.push(until);
    true
}

fn is_below(rate: &SuccessRate, (requests, failures): (u64, u64)) -> bool {
    requests >= u64::from(rate.min_requests.max(1)) && (requests - failures) * 100 < u64::from(rate.min_percent) * requests
}

/// Counts a request in the newest interval; gives requests and failures so far. One word, so that workers lose nothing at the turn of an
/// interval: its number in the upper half, then both counts. A count that is full halves both, which leaves the rate.
fn count(window: &AtomicU64, rate: &SuccessRate, good: bool, now_nanos: u64) -> (u64, u64) {
    const FULL: u64 = u16::MAX as u64;
    let interval = (now_nanos / nanos(rate.interval).max(1)) & u64::from(u32::MAX);
    let added = |held: u64| {
        let (mut requests, mut failures) = if held >> 32 == interval { (held >> 16 & FULL, held & FULL) } else { (0, 0) };
        if requests == FULL {
            (requests, failures) = (requests / 2, failures / 2);
        }
        (requests + 1, failures + u64::from(!good))
    };
    let packed = |(requests, failures): (u64, u64)| interval << 32 | requests << 16 | failures;
    let mut held = window.load(Relaxed);
    loop {
        let new = added(held);
        match window.compare_exchange_weak(held, packed(new), Relaxed, Relaxed) {
            Ok(_) => return new,
            Err(newer) => held = newer,
        }
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}
