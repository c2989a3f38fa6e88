//! `loadBalancer.slowStart`: how much of its share an endpoint gets that is new, or back. Asked by `balance` for each candidate.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use plait_model::Endpoint;

/// A whole share.
pub(crate) const WHOLE: u32 = 1000;
/// What an endpoint gets at least: without requests it would never warm up.
const LEAST: u32 = WHOLE / 10;

/// The share of an endpoint now, of `WHOLE`: it grows evenly over the window, from when the endpoint was first considered, became healthy, or
/// came back from an ejection for bad answers.
pub(crate) fn share(endpoint: &Endpoint, window: Duration, now_nanos: u64) -> u32 {
    let state = &endpoint.state;
    let mut since = state.since_nanos.load(Relaxed);
    if since == 0 {
        since = now_nanos.max(1);
        state.since_nanos.store(since, Relaxed);
    }
    grown(since.max(state.outlier.ejected_until_nanos.load(Relaxed)), window, now_nanos)
}

/// The same for people: `None` when it is whole, or was not considered yet.
pub(crate) fn reached(endpoint: &Endpoint, window: Duration, now_nanos: u64) -> Option<u32> {
    if endpoint.state.since_nanos.load(Relaxed) == 0 {
        return None;
    }
    Some(share(endpoint, window, now_nanos)).filter(|share| *share < WHOLE)
}

fn grown(since_nanos: u64, window: Duration, now_nanos: u64) -> u32 {
    let passed = u128::from(now_nanos.saturating_sub(since_nanos)) * u128::from(WHOLE);
    let grown = passed.checked_div(window.as_nanos()).unwrap_or(u128::from(WHOLE));
    u32::try_from(grown).unwrap_or(WHOLE).clamp(LEAST, WHOLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_grows_from_a_tenth_to_the_whole() {
        let second = 1_000_000_000;
        for (passed, expected) in [(0, 100), (second, 100), (2 * second, 200), (5 * second, 500), (10 * second, 1000), (99 * second, 1000)]
        {
            assert_eq!(grown(7, Duration::from_secs(10), 7 + passed), expected, "{passed}");
        }
        assert_eq!(grown(9, Duration::from_secs(10), 3), LEAST, "another worker's clock reading was later");
        assert_eq!(grown(9, Duration::ZERO, 9), WHOLE);
    }
}
