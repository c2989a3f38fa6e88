//! When an endpoint is ejected, for how long, and how many at a time; the clock is the test's.

#![allow(clippy::unwrap_used)] // clippy's own exemption ends at #[test] functions; helpers beside them are tests too

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use plait_decide::{balance::pick, outlier::note};
use plait_model::{Algorithm, Backend, BackendTraffic, Endpoint, OutlierDetection, Protocol, Sessions, SuccessRate};
use proptest::prelude::*;

const SECOND: u64 = 1_000_000_000;

fn rules(consecutive_failures: u32, success_rate: Option<SuccessRate>) -> OutlierDetection {
    OutlierDetection { consecutive_failures, base_ejection: Duration::from_secs(10), max_ejected_percent: 50, success_rate }
}

fn rate(min_percent: u32, min_requests: u32) -> Option<SuccessRate> {
    Some(SuccessRate { min_percent, min_requests, interval: Duration::from_secs(10) })
}

fn backend(count: u64, outliers: Option<OutlierDetection>) -> Backend {
    let endpoint = |id| {
        Arc::new(Endpoint {
            id,
            workload: format!("ns/w-{id}").into(),
            address: "127.0.0.1:1".parse().unwrap(),
            identity: None,
            server_name: "".into(),
            target_port: 1,
            zone: "".into(),
            state: Arc::default(),
        })
    };
    Backend {
        key: "ns/s:80".into(),
        service: "ns/s".into(),
        port: 80,
        protocol: Protocol::Http,
        endpoints: (0..count).map(endpoint).collect(),
        traffic: BackendTraffic { algorithm: Algorithm::RoundRobin, outliers, ..BackendTraffic::default() },
        hash_table: None,
        sessions: Sessions::default(),
        zones: None,
        state: Arc::default(),
    }
}

/// Ends of tries at the endpoint of that number, '+' good and '-' bad; gives the place of the first that ejects.
fn ejects_at(backend: &Backend, number: usize, ends: &str, now: u64) -> Option<usize> {
    ends.chars().position(|end| note(backend, &backend.endpoints[number], end == '+', now))
}

fn out(backend: &Backend, now: u64) -> Vec<u64> {
    let until = |endpoint: &Endpoint| endpoint.state.outlier.ejected_until_nanos.load(Relaxed);
    backend.endpoints.iter().filter(|endpoint| until(endpoint) > now).map(|endpoint| endpoint.id).collect()
}

#[test]
fn what_ejects_an_endpoint() {
    for (rules, ends, expected) in [
        (Some(rules(3, None)), "---", Some(2)),
        (Some(rules(3, None)), "--+--+-+", None),
        (Some(rules(1, None)), "++-", Some(2)),
        (Some(rules(0, None)), "----------", None),
        (Some(rules(0, rate(80, 10))), "+++-+++-+-", Some(9)),
        (Some(rules(0, rate(80, 10))), "+++++++-+-", None),
        (Some(rules(0, rate(80, 10))), "---------", None),
        (Some(rules(0, rate(0, 1))), "----------", None),
        (Some(rules(0, rate(100, 4))), "+++++++++-", Some(9)),
        (Some(rules(2, rate(50, 10))), "-+-+--", Some(5)),
        (None, "----------", None),
    ] {
        assert_eq!(ejects_at(&backend(4, rules.clone()), 0, ends, SECOND), expected, "{rules:?} {ends}");
    }
}

#[test]
fn the_rate_is_that_of_one_interval_however_many_requests_it_has() {
    let slow = backend(4, Some(rules(0, rate(80, 10))));
    assert_eq!(ejects_at(&slow, 0, "-----", 9 * SECOND), None);
    assert_eq!(ejects_at(&slow, 0, "+++++-++++", 10 * SECOND), None, "the failures before belong to another interval");
    let busy = backend(4, Some(rules(0, rate(80, 10))));
    assert!((0..300_000).all(|number| !note(&busy, &busy.endpoints[0], number % 10 != 0, SECOND)), "nine of ten are enough");
    assert!(ejects_at(&busy, 0, &"-".repeat(20_000), SECOND).is_some(), "and are no excuse for ever");
}

#[test]
fn an_ejected_endpoint_gets_nothing_and_comes_back_by_itself() {
    let backend = backend(3, Some(rules(3, None)));
    assert_eq!(ejects_at(&backend, 1, "---", 0), Some(2));
    let picks = |now| (0..6).map(|_| pick(&backend, None, &[], now, |_| unreachable!()).unwrap().id).collect::<Vec<_>>();
    assert!(!picks(10 * SECOND - 1).contains(&1));
    assert!(picks(10 * SECOND).contains(&1));
}

#[test]
fn each_ejection_is_twice_as_long_until_it_behaved() {
    let backend = backend(2, Some(rules(1, None)));
    let until = || backend.endpoints[0].state.outlier.ejected_until_nanos.load(Relaxed);
    let length = |now| {
        assert!(note(&backend, &backend.endpoints[0], false, now));
        (until() - now) / SECOND
    };
    let mut now = 0;
    let mut lengths = Vec::new();
    for _ in 0..7 {
        lengths.push(length(now));
        now = until() + SECOND;
    }
    assert_eq!(lengths, [10, 20, 40, 80, 160, 300, 300]);
    assert_eq!(length(until() + 299 * SECOND), 300, "it was good for less than it was out");
    assert_eq!(length(until() + 300 * SECOND), 10, "it was good for as long as it was out");
}

#[test]
fn the_failures_of_one_moment_are_one_ejection() {
    let backend = backend(3, Some(rules(1, None)));
    let ejections = (0..50).filter(|_| note(&backend, &backend.endpoints[0], false, SECOND)).count();
    assert_eq!((ejections, backend.endpoints[0].state.outlier.ejections.load(Relaxed)), (1, 1));
}

#[test]
fn only_so_many_are_out_at_a_time_and_never_all() {
    for (count, percent, most) in [(1, 100, 0), (2, 100, 1), (2, 50, 1), (3, 50, 1), (4, 50, 2), (10, 10, 1), (10, 0, 1), (10, 100, 9)] {
        let backend = backend(count, Some(OutlierDetection { max_ejected_percent: percent, ..rules(1, None) }));
        for number in 0..count as usize {
            ejects_at(&backend, number, "---", 0);
        }
        assert_eq!(out(&backend, 1).len(), most, "{count} {percent}");
        // Who was spared is ejected when there is room again.
        for number in 0..count as usize {
            ejects_at(&backend, number, "-", 10 * SECOND);
        }
        assert_eq!(out(&backend, 11 * SECOND).len(), most, "{count} {percent}");
    }
}

proptest! {
    /// Whatever happens when, the bound holds and somebody is left.
    #[test]
    fn the_bound_holds(
        ends in prop::collection::vec((0_usize..7, any::<bool>(), 0_u64..3), 0..400),
        percent in 0_u32..=100,
        in_a_row in 0_u32..4,
        min_percent in 0_u32..=100,
    ) {
        let outliers = OutlierDetection { max_ejected_percent: percent, ..rules(in_a_row, rate(min_percent, 3)) };
        let backend = backend(7, Some(outliers));
        let most = (7 * percent as usize / 100).clamp(1, 6);
        let mut now = 0;
        for (number, good, seconds) in ends {
            now += seconds * SECOND;
            note(&backend, &backend.endpoints[number], good, now);
            prop_assert!(out(&backend, now).len() <= most);
        }
    }
}
