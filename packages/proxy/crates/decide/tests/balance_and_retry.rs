//! Choosing an endpoint and trying again; clock and dice are the test's.

#![allow(clippy::unwrap_used, clippy::panic)] // clippy's own exemption ends at #[test] functions; helpers beside them are tests too

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use plait_decide::{
    balance::{Wanted, finished, fit, pick, reached, refused, started},
    retry::{Again, Budget, Ended, Try, again, is_open, no_sooner},
};
use plait_model::{Algorithm, Backend, BackendTraffic, Endpoint, EndpointState, HashTable, Protocol, Retries, RetryBudget, Sessions};
use proptest::prelude::*;

const SECOND: u64 = 1_000_000_000;

const ALGORITHMS: [Algorithm; 6] =
    [Algorithm::PeakEwma, Algorithm::LeastRequest, Algorithm::RoundRobin, Algorithm::Random, Algorithm::RingHash, Algorithm::Maglev];

fn backend(algorithm: Algorithm, count: u64) -> Backend {
    let endpoint = |id| {
        Arc::new(Endpoint {
            id,
            workload: format!("ns/w-{id}").into(),
            address: "127.0.0.1:1".parse().unwrap(),
            identity: None,
            server_name: "".into(),
            target_port: 1,
            zone: "".into(),
            state: Arc::new(EndpointState::default()),
        })
    };
    let endpoints: Vec<_> = (0..count).map(endpoint).collect();
    Backend {
        key: "ns/s:80".into(),
        service: "ns/s".into(),
        port: 80,
        protocol: Protocol::Http,
        hash_table: HashTable::new(algorithm, &endpoints),
        sessions: Sessions::default(),
        zones: None,
        endpoints,
        traffic: BackendTraffic { algorithm, ..BackendTraffic::default() },
        state: Arc::default(),
    }
}

/// Dice that repeat: small, seeded, the same in every run.
fn dice(seed: u64) -> impl FnMut(usize) -> usize {
    let mut state = seed | 1;
    move |sides| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize % sides
    }
}

#[test]
fn round_robin_takes_each_in_turn() {
    let backend = backend(Algorithm::RoundRobin, 3);
    let picks: Vec<_> = (0..6).map(|_| pick(&backend, None, &[], 0, |_| unreachable!()).unwrap().id).collect();
    assert_eq!(picks, [0, 1, 2, 0, 1, 2]);
}

#[test]
fn the_slower_endpoint_gets_less() {
    for (algorithm, most) in [(Algorithm::PeakEwma, 50), (Algorithm::LeastRequest, 600), (Algorithm::Random, 600)] {
        let backend = backend(algorithm, 2);
        let mut roll = dice(1);
        for (endpoint, latency) in backend.endpoints.iter().zip([SECOND / 10, SECOND / 1000]) {
            started(endpoint);
            finished(endpoint, Some(latency), 0);
        }
        let slow = (0..1000).filter(|_| pick(&backend, None, &[], 1, &mut roll).unwrap().id == 0).count();
        assert!(slow <= most, "{algorithm:?}: {slow}");
    }
}

#[test]
fn requests_in_flight_count() {
    let backend = backend(Algorithm::LeastRequest, 2);
    (0..5).for_each(|_| started(&backend.endpoints[0]));
    let mut roll = dice(2);
    assert!((0..50).all(|_| pick(&backend, None, &[], 0, &mut roll).unwrap().id == 1));
}

#[test]
fn a_refused_endpoint_is_left_out_for_a_while_longer_each_time() {
    let backend = backend(Algorithm::Random, 2);
    let mut roll = dice(3);
    let mut chosen = |now| (0..50).any(|_| pick(&backend, None, &[], now, &mut roll).unwrap().id == 0);
    refused(&backend.endpoints[0], 0);
    assert!(!chosen(SECOND / 2));
    assert!(chosen(SECOND));
    refused(&backend.endpoints[0], SECOND);
    assert!(!chosen(2 * SECOND + SECOND / 2), "the second time it is out for two seconds");
    assert!(chosen(3 * SECOND));
    reached(&backend.endpoints[0]);
    assert_eq!(backend.endpoints[0].state.failures.load(Relaxed), 0);
}

#[test]
fn dials_that_fail_together_count_once() {
    let backend = backend(Algorithm::Random, 2);
    (0..50).for_each(|n| refused(&backend.endpoints[0], n));
    let state = &backend.endpoints[0].state;
    assert_eq!((state.failures.load(Relaxed), state.ejected_until_nanos.load(Relaxed)), (1, SECOND));
}

#[test]
fn an_ejection_is_never_longer_than_thirty_seconds() {
    let backend = backend(Algorithm::Random, 2);
    let until = || backend.endpoints[0].state.ejected_until_nanos.load(Relaxed);
    let lengths: Vec<_> = (0..8)
        .map(|_| {
            let now = until();
            refused(&backend.endpoints[0], now);
            (until() - now) / SECOND
        })
        .collect();
    assert_eq!(lengths, [1, 2, 4, 8, 16, 30, 30, 30]);
}

#[test]
fn when_all_are_ejected_the_untried_go_first() {
    for algorithm in ALGORITHMS {
        let backend = backend(algorithm, 3);
        backend.endpoints.iter().for_each(|endpoint| refused(endpoint, 0));
        let mut roll = dice(6);
        assert!((0..50).all(|hash| pick(&backend, Some(hash), &[0, 1], 1, &mut roll).unwrap().id == 2), "{algorithm:?}");
    }
}

#[test]
fn equal_endpoints_get_equal_shares() {
    for algorithm in [Algorithm::PeakEwma, Algorithm::LeastRequest, Algorithm::Random] {
        let backend = backend(algorithm, 4);
        let mut roll = dice(7);
        let mut counts = [0_u32; 4];
        // With one request in flight at a time nothing tells the four apart.
        (0..4_000).for_each(|_| {
            let endpoint = pick(&backend, None, &[], 0, &mut roll).unwrap();
            started(endpoint);
            finished(endpoint, None, 0);
            counts[endpoint.id as usize] += 1;
        });
        assert!(counts.iter().all(|count| (850..=1_150).contains(count)), "{algorithm:?} {counts:?}");
    }
}

#[test]
fn what_was_tried_is_not_tried_again_while_there_are_others() {
    for algorithm in ALGORITHMS {
        let backend = backend(algorithm, 3);
        let mut roll = dice(4);
        assert!((0..50).all(|hash| pick(&backend, Some(hash << 56), &[0, 2], 0, &mut roll).unwrap().id == 1), "{algorithm:?}");
    }
}

#[test]
fn the_first_of_a_ranking_that_is_fit_goes_before_sessions_and_algorithms() {
    let backend = backend(Algorithm::RoundRobin, 4);
    let picked = |ranked: &[usize], tried: &[u64]| {
        pick(&backend, Wanted { ranked, session: Some(0), ..Wanted::default() }, tried, 0, dice(1)).unwrap().id
    };
    assert_eq!(picked(&[2, 3], &[]), 2);
    assert_eq!(picked(&[2, 3], &[2]), 3);
    assert_eq!(picked(&[2, 3], &[2, 3]), 0);
    assert_eq!(picked(&[9], &[]), 0);
    refused(&backend.endpoints[2], 0);
    assert_eq!(picked(&[2, 3], &[]), 3);
    assert_eq!(fit(&backend, &[1], 0).map(|(place, _)| place).collect::<Vec<_>>(), [0, 3]);
}

#[test]
fn all_ejected_is_still_an_endpoint_and_none_is_none() {
    let two = backend(Algorithm::PeakEwma, 2);
    two.endpoints.iter().for_each(|endpoint| refused(endpoint, 0));
    assert!(pick(&two, None, &[], 1, dice(5)).is_some());
    assert!(pick(&backend(Algorithm::PeakEwma, 0), None, &[], 1, dice(5)).is_none());
}

#[test]
fn a_hash_stays_with_its_endpoint_and_leaves_it_only_while_it_is_unfit() {
    for algorithm in [Algorithm::RingHash, Algorithm::Maglev] {
        let backend = backend(algorithm, 5);
        let mut roll = dice(8);
        let mut owner = |hash: u64, now| pick(&backend, Some(hash.wrapping_mul(0x9e37_79b9_7f4a_7c15)), &[], now, &mut roll).unwrap().id;
        let before: Vec<_> = (0..500).map(|hash| owner(hash, 0)).collect();
        assert_eq!(before, (0..500).map(|hash| owner(hash, 0)).collect::<Vec<_>>());
        refused(&backend.endpoints[2], 0);
        let meanwhile: Vec<_> = (0..500).map(|hash| owner(hash, 1)).collect();
        assert!(before.iter().zip(&meanwhile).all(|(before, now)| if *before == 2 { *now != 2 } else { before == now }), "{algorithm:?}");
        assert!((0..5).all(|id| (id == 2) != meanwhile.contains(&id)), "what was its own is spread");
        assert_eq!(before, (0..500).map(|hash| owner(hash, SECOND)).collect::<Vec<_>>());
    }
}

#[test]
fn a_request_without_what_is_hashed_goes_anywhere() {
    for algorithm in [Algorithm::RingHash, Algorithm::Maglev] {
        let backend = backend(algorithm, 3);
        let mut roll = dice(9);
        let chosen: std::collections::BTreeSet<_> = (0..100).map(|_| pick(&backend, None, &[], 0, &mut roll).unwrap().id).collect();
        assert_eq!(chosen.len(), 3);
    }
}

fn user(codes: &[u16], attempts: u32) -> Retries {
    Retries { codes: codes.to_vec(), attempts, backoff: Duration::from_millis(25), budget: RetryBudget::default() }
}

#[test]
fn only_what_is_safe_or_asked_for_is_tried_again() {
    let two = user(&[503], 2);
    for (retries, attempt, idempotent, ended, expected) in [
        (None, 0, false, Ended::Undelivered, true),
        (None, 2, false, Ended::Undelivered, true),
        (None, 3, false, Ended::Undelivered, false),
        (None, 0, true, Ended::Broken, false),
        (None, 0, true, Ended::Status(503), false),
        (Some(&two), 0, true, Ended::Broken, true),
        (Some(&two), 0, false, Ended::Broken, false),
        (Some(&two), 0, false, Ended::Status(503), true),
        (Some(&two), 0, true, Ended::Status(500), false),
        (Some(&two), 1, true, Ended::Status(503), true),
        (Some(&two), 2, true, Ended::Status(503), false),
        (Some(&two), 2, true, Ended::Undelivered, true),
    ] {
        let verdict = again(retries, Try { number: attempt, idempotent, ended }, None, 1.0);
        assert_eq!(verdict != Again::No, expected, "{attempt} {idempotent} {ended:?}");
    }
}

#[test]
fn others_decide_about_failures_that_are_safe_to_repeat_and_about_nothing_else() {
    let two = user(&[404], 2);
    for (retries, number, idempotent, ended, open) in [
        (None, 0, false, Ended::Undelivered, true),
        (None, 3, false, Ended::Undelivered, false),
        (None, 0, true, Ended::Broken, true),
        (None, 0, false, Ended::Broken, false),
        (None, 0, false, Ended::Status(503), true),
        (None, 0, false, Ended::Status(429), true),
        (None, 0, true, Ended::Status(200), false),
        (None, 0, true, Ended::Status(404), false),
        (Some(&two), 0, true, Ended::Status(404), true),
        (Some(&two), 2, true, Ended::Status(503), false),
    ] {
        let one = Try { number, idempotent, ended };
        assert_eq!(is_open(retries, one), open, "{one:?}");
        if open {
            assert_eq!(again(retries, one, Some(false), 1.0), Again::No, "{one:?}");
            assert_ne!(again(retries, one, Some(true), 1.0), Again::No, "{one:?}");
        }
    }
}

#[test]
fn the_pause_doubles_with_jitter() {
    let many = user(&[503], 40);
    let pause =
        |attempt, jitter| match again(Some(&many), Try { number: attempt, idempotent: true, ended: Ended::Status(503) }, None, jitter) {
            Again::After(pause) => pause,
            Again::No => panic!("refused"),
        };
    assert_eq!(pause(0, 1.0), Duration::from_millis(25));
    assert_eq!(pause(0, 0.0), Duration::from_micros(12_500));
    assert_eq!(pause(2, 1.0), Duration::from_millis(100));
    assert_eq!(pause(30, 1.0), Duration::from_secs(10));
    assert_eq!(again(None, Try { number: 0, idempotent: false, ended: Ended::Undelivered }, None, 1.0), Again::After(Duration::ZERO));
}

#[test]
fn a_destination_that_asks_for_a_pause_gets_it_or_its_answer_stands() {
    let seconds = Duration::from_secs;
    for (asked, pause) in [(None, Some(1)), (Some(0), Some(1)), (Some(3), Some(3)), (Some(10), Some(10)), (Some(11), None)] {
        assert_eq!(no_sooner(seconds(1), asked.map(seconds)), pause.map(seconds), "{asked:?}");
    }
}

#[test]
fn workers_share_one_budget() {
    const ROUNDS: u64 = 100_000;
    let budget = RetryBudget { percent: 0, interval: Duration::from_secs(1), min_per_second: 1 };
    let counted = Budget::default();
    let arrived = AtomicU64::new(0);
    // Each second both ask at once for the one retry of that second; spinning brings them closer together than a barrier does.
    let ask = |second: &u64| {
        arrived.fetch_add(1, Relaxed);
        while arrived.load(Relaxed) < second * 2 {
            std::hint::spin_loop();
        }
        counted.take(&budget, Duration::from_secs(*second))
    };
    let taken: usize = std::thread::scope(|scope| {
        let workers = [(); 2].map(|()| scope.spawn(|| (1..=ROUNDS).filter(ask).count()));
        workers.into_iter().map(|worker| worker.join().unwrap()).sum()
    });
    assert_eq!(taken as u64, ROUNDS);
}

#[test]
fn an_older_clock_reading_does_not_refill_the_budget() {
    let budget = RetryBudget { percent: 0, interval: Duration::from_secs(1), min_per_second: 1 };
    let counted = Budget::default();
    assert!(counted.take(&budget, Duration::from_millis(1_001)));
    assert!(!counted.take(&budget, Duration::from_millis(999)));
    assert!(!counted.take(&budget, Duration::from_millis(1_002)));
}

proptest! {
    /// Retries never exceed the larger of the share and the floor, whatever the order of events.
    #[test]
    fn the_budget_bounds_the_retries(events in prop::collection::vec(any::<bool>(), 0..400), percent in 0_u32..100, floor in 0_u32..5) {
        let budget = RetryBudget { percent, interval: Duration::from_secs(1), min_per_second: floor };
        let counted = Budget::default();
        let (mut requests, mut retries) = (0_u32, 0_u32);
        for is_request in events {
            if is_request {
                counted.request(&budget, Duration::from_millis(10));
                requests += 1;
            } else if counted.take(&budget, Duration::from_millis(20)) {
                retries += 1;
                prop_assert!(retries <= floor.max(requests * percent / 100));
            }
        }
        // The next interval starts afresh.
        prop_assert_eq!(counted.take(&budget, Duration::from_millis(1500)), floor > 0);
    }
}
