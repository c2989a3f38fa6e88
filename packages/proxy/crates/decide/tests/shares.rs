//! What share of the requests an endpoint gets over time, after one slow answer and while it is new; and what a pick costs. Clock and dice are
//! the test's.

#![allow(clippy::unwrap_used)] // clippy's own exemption ends at #[test] functions; helpers beside them are tests too

mod places;

use std::time::{Duration, Instant};

use places::{SECOND, backend, dice};
use plait_decide::{
    balance::{finished, pick, refused, started},
    health, outlier,
};
use plait_model::{Algorithm, Backend, BackendTraffic, Endpoint, HealthCheck, OutlierDetection, Probe};

const MILLI: u64 = SECOND / 1000;

const ALGORITHMS: [Algorithm; 6] =
    [Algorithm::PeakEwma, Algorithm::LeastRequest, Algorithm::RoundRobin, Algorithm::Random, Algorithm::RingHash, Algorithm::Maglev];

/// Requests one after the other from `from` to `to`; gives how many each of the endpoints got.
fn requests(backend: &Backend, (from, to, every): (u64, u64, u64), latency: impl Fn(&Endpoint, u64) -> u64) -> Vec<u64> {
    let mut roll = dice(from);
    let mut counts = vec![0; backend.endpoints.len()];
    for now in (from..to).step_by(every as usize) {
        let endpoint = pick(backend, None, &[], now, &mut roll).unwrap();
        counts[endpoint.id as usize] += 1;
        started(endpoint);
        let took = latency(endpoint, now);
        finished(endpoint, Some(took), now + took);
    }
    counts
}

#[test]
fn one_slow_answer_shuts_nobody_out() {
    for (every, patience) in [(10 * MILLI, 3), (200 * MILLI, 20)] {
        // The first answer of the first endpoint takes ten seconds, every later one is as fast as the other's.
        let backend = backend(BackendTraffic::default(), 2);
        started(&backend.endpoints[0]);
        finished(&backend.endpoints[0], Some(10 * SECOND), 10 * SECOND);
        let fast = |_: &Endpoint, _| MILLI;
        requests(&backend, (10 * SECOND, (10 + patience) * SECOND, every), fast);
        let after = requests(&backend, ((10 + patience) * SECOND, (30 + patience) * SECOND, every), fast);
        let share = after[0] * 100 / (after[0] + after[1]);
        assert!((25..=75).contains(&share), "a request each {every} ns: {after:?}");
    }
}

#[test]
fn an_endpoint_that_stays_slow_is_asked_now_and_then() {
    let backend = backend(BackendTraffic::default(), 2);
    let latency = |endpoint: &Endpoint, _| if endpoint.id == 0 { 100 * MILLI } else { MILLI };
    let counts = requests(&backend, (SECOND, 61 * SECOND, 10 * MILLI), latency);
    assert!((5..=62).contains(&counts[0]), "at most once a second: {counts:?}");
    let rare = requests(&backend, (100 * SECOND, 400 * SECOND, SECOND), latency);
    assert!(rare[0] <= 40, "and at most once in sixteen chances: {rare:?}");
}

#[test]
fn a_new_endpoint_gets_its_share_little_by_little() {
    const WINDOW: u64 = 100;
    for algorithm in [Algorithm::PeakEwma, Algorithm::LeastRequest, Algorithm::RoundRobin, Algorithm::Random] {
        let slow_start = Some(Duration::from_secs(WINDOW));
        let backend = backend(BackendTraffic { algorithm, slow_start, ..BackendTraffic::default() }, 4);
        // Three are known since long, the fourth comes now.
        let begin = 1000 * SECOND;
        backend.endpoints[..3].iter().for_each(|endpoint| endpoint.state.since_nanos.store(1, std::sync::atomic::Ordering::Relaxed));
        let share_of_last = |from: u64, to: u64| {
            let counts = requests(&backend, (begin + from * SECOND, begin + to * SECOND, 5 * MILLI), |_, _| MILLI);
            counts[3] * 1000 / counts.iter().sum::<u64>()
        };
        let shares = [share_of_last(0, 10), share_of_last(45, 55), share_of_last(WINDOW, WINDOW + 10)];
        assert!((5..=90).contains(&shares[0]), "{algorithm:?}: it begins with little: {shares:?}");
        assert!(shares[0] + 40 < shares[1] && shares[1] <= 220, "{algorithm:?}: it grows: {shares:?}");
        assert!((200..=300).contains(&shares[2]), "{algorithm:?}: it ends as one of four: {shares:?}");
    }
}

#[test]
fn endpoints_that_are_all_new_share_alike() {
    for algorithm in [Algorithm::PeakEwma, Algorithm::LeastRequest, Algorithm::RoundRobin, Algorithm::Random] {
        let slow_start = Some(Duration::from_secs(1000));
        let backend = backend(BackendTraffic { algorithm, slow_start, ..BackendTraffic::default() }, 4);
        let counts = requests(&backend, (SECOND, 41 * SECOND, 10 * MILLI), |_, _| MILLI);
        assert!(counts.iter().all(|count| (800..=1_200).contains(count)), "{algorithm:?}: {counts:?}");
    }
}

#[test]
fn one_that_is_back_from_an_ejection_starts_slowly_too() {
    let outliers =
        OutlierDetection { consecutive_failures: 1, base_ejection: Duration::from_secs(10), max_ejected_percent: 50, success_rate: None };
    let slow_start = Some(Duration::from_secs(100));
    let traffic = BackendTraffic { algorithm: Algorithm::Random, slow_start, outliers: Some(outliers), ..BackendTraffic::default() };
    let backend = backend(traffic, 2);
    backend.endpoints.iter().for_each(|endpoint| endpoint.state.since_nanos.store(1, std::sync::atomic::Ordering::Relaxed));
    assert!(outlier::note(&backend, &backend.endpoints[0], false, 1000 * SECOND));
    assert_eq!(requests(&backend, (1000 * SECOND, 1010 * SECOND, 10 * MILLI), |_, _| MILLI)[0], 0);
    let counts = requests(&backend, (1010 * SECOND, 1020 * SECOND, 10 * MILLI), |_, _| MILLI);
    assert!((30..=200).contains(&counts[0]), "{counts:?}");
}

/// The fastest of many batches of picks: on a busy machine most are interrupted.
fn cost_of_a_pick(backend: &Backend) -> Duration {
    let mut roll = dice(10);
    let mut batch = |hashes: std::ops::Range<u64>| {
        let began = Instant::now();
        for hash in hashes {
            let hash = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let endpoint = pick(backend, Some(hash), &[], 1, &mut roll).unwrap();
            assert!(endpoint.id as usize >= backend.endpoints.len() / 2, "it is fit");
        }
        began.elapsed()
    };
    (0..60).map(|nth| batch(nth * 500..(nth + 1) * 500)).min().unwrap()
}

#[test]
fn ten_thousand_endpoints_are_not_looked_through() {
    for algorithm in ALGORITHMS {
        let checks = HealthCheck {
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(1),
            unhealthy_threshold: 1,
            healthy_threshold: 1,
            min_healthy_percent: 10,
            probe: Probe::Tcp,
        };
        let traffic = BackendTraffic {
            algorithm,
            slow_start: Some(Duration::from_secs(10)),
            health_check: Some(checks.clone()),
            ..BackendTraffic::default()
        };
        let [few, many] = [100, 10_000].map(|count| {
            let backend = backend(traffic.clone(), count);
            // The first half is out, for one of two reasons: a search from neighbour to neighbour would take thousands of steps.
            for endpoint in &backend.endpoints[..count as usize / 2] {
                match endpoint.id % 2 {
                    0 => refused(endpoint, 0),
                    _ => assert_eq!(health::note(&checks, endpoint, false, 0), Some(false)),
                }
            }
            health::count(&backend, 1);
            cost_of_a_pick(&backend)
        });
        // A look at each of them would cost a hundred times as much; what is far apart in memory costs more than what is near.
        assert!(many < few * 20, "{algorithm:?}: {few:?} with a hundred, {many:?} with ten thousand");
    }
}
