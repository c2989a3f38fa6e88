//! When an endpoint fails its checks, who is asked then, and when checks are made at all; the clock is the test's.

#![allow(clippy::unwrap_used)] // clippy's own exemption ends at #[test] functions; helpers beside them are tests too

mod places;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use places::{SECOND, backend, dice};
use plait_decide::{
    balance::{pick, refused},
    health::{Count, checked_by, count, forget, note, panics, used},
    outlier,
};
use plait_model::{Algorithm, Backend, BackendTraffic, HealthCheck, OutlierDetection, Probe};

const ALGORITHMS: [Algorithm; 6] =
    [Algorithm::PeakEwma, Algorithm::LeastRequest, Algorithm::RoundRobin, Algorithm::Random, Algorithm::RingHash, Algorithm::Maglev];

fn rules(unhealthy_threshold: u32, healthy_threshold: u32, min_healthy_percent: u32) -> HealthCheck {
    let (interval, timeout) = (Duration::from_secs(10), Duration::from_secs(1));
    HealthCheck { interval, timeout, unhealthy_threshold, healthy_threshold, min_healthy_percent, probe: Probe::Tcp }
}

fn checked(algorithm: Algorithm, places: u64, min_healthy_percent: u32) -> Backend {
    let health_check = Some(rules(3, 2, min_healthy_percent));
    backend(BackendTraffic { algorithm, health_check, ..BackendTraffic::default() }, places)
}

/// Fails the checks of the first so many endpoints.
fn fail(backend: &Backend, places: usize) {
    for endpoint in &backend.endpoints[..places] {
        (0..3).for_each(|_| _ = note(&rules(3, 2, 50), endpoint, false, 1));
    }
    count(backend, 1);
}

/// Everybody who is asked, in many picks.
fn asked(backend: &Backend) -> BTreeSet<u64> {
    let mut roll = dice(1);
    (0..400_u64)
        .filter_map(|hash| pick(backend, Some(hash.wrapping_mul(0x9e37_79b9_7f4a_7c15)), &[], 1, &mut roll))
        .map(|endpoint| endpoint.id)
        .collect()
}

#[test]
fn so_many_checks_in_a_row_turn_an_endpoint() {
    // '+' passed, '-' failed; what is expected of the endpoint after each: 'u'p or 'd'own.
    for (unhealthy, healthy, checks, expected) in [
        (3, 2, "+---", "uuud"),
        (3, 2, "+--+--+---", "uuuuuuuuud"),
        (3, 2, "+---+-++", "uuuddddu"),
        (1, 1, "+-+-", "udud"),
        // The first check has nothing to weigh against.
        (3, 2, "-+", "dd"),
        (3, 2, "-++", "ddu"),
        (3, 1, "-+--", "duuu"),
    ] {
        let backend = checked(Algorithm::Random, 1, 50);
        let endpoint = &backend.endpoints[0];
        let mut stood = true;
        for (at, (check, expected)) in checks.chars().zip(expected.chars()).enumerate() {
            if let Some(healthy) = note(&rules(unhealthy, healthy, 50), endpoint, check == '+', 1) {
                assert_ne!(stood, healthy, "{checks} {at}: only a turn is told");
                stood = healthy;
            }
            assert_eq!(stood, expected == 'u', "{checks} {at}");
        }
    }
}

#[test]
fn who_fails_its_checks_gets_nothing_while_enough_are_healthy() {
    for algorithm in ALGORITHMS {
        let backend = checked(algorithm, 4, 50);
        assert_eq!(asked(&backend), [0, 1, 2, 3].into(), "{algorithm:?}: unknown is usable");
        fail(&backend, 2);
        assert_eq!(asked(&backend), [2, 3].into(), "{algorithm:?}");
        fail(&backend, 3);
        assert!(panics(&backend));
        assert_eq!(asked(&backend), [0, 1, 2, 3].into(), "{algorithm:?}: fewer than half");
        backend.endpoints[..3].iter().for_each(|endpoint| _ = note(&rules(3, 1, 50), endpoint, true, 2));
        assert_eq!(count(&backend, 2), Count::default());
        assert_eq!(asked(&backend), [0, 1, 2, 3].into(), "{algorithm:?}");
    }
}

#[test]
fn the_threshold_is_where_the_user_puts_it() {
    for (percent, failing, expected) in [
        (50, 5, Some(false)),
        (50, 6, Some(true)),
        (100, 1, Some(true)),
        (10, 9, Some(false)),
        (11, 9, Some(true)),
        (1, 10, Some(true)),
        // 0 = never; with none healthy there is nobody to ask.
        (0, 9, Some(false)),
        (0, 10, None),
    ] {
        let backend = checked(Algorithm::Random, 10, percent);
        fail(&backend, failing);
        let asked = asked(&backend);
        match expected {
            None => assert!(asked.is_empty(), "{percent} {failing}: {asked:?}"),
            Some(all) => assert_eq!(asked.len(), if all { 10 } else { 10 - failing }, "{percent} {failing}: {asked:?}"),
        }
    }
}

#[test]
fn the_only_endpoint_is_asked_unless_the_user_forbids_it() {
    for (percent, expected) in [(50, true), (1, true), (0, false)] {
        let backend = checked(Algorithm::PeakEwma, 1, percent);
        assert!(pick(&backend, None, &[], 1, dice(1)).is_some());
        fail(&backend, 1);
        assert_eq!(pick(&backend, None, &[], 1, dice(1)).is_some(), expected, "{percent}");
    }
}

#[test]
fn an_ejection_for_bad_answers_counts_as_one_that_is_out() {
    let outliers =
        OutlierDetection { consecutive_failures: 1, base_ejection: Duration::from_secs(10), max_ejected_percent: 50, success_rate: None };
    let health_check = Some(rules(3, 2, 50));
    let traffic = BackendTraffic { algorithm: Algorithm::RoundRobin, health_check, outliers: Some(outliers), ..BackendTraffic::default() };
    let backend = backend(traffic, 4);
    fail(&backend, 2);
    assert!(outlier::note(&backend, &backend.endpoints[2], false, 1));
    assert_eq!(count(&backend, 1), Count { unhealthy: 2, out: 3 });
    assert_eq!(asked(&backend), [0, 1, 2, 3].into());
    assert_eq!(count(&backend, 11 * SECOND), Count { unhealthy: 2, out: 2 }, "it is over by itself");
}

#[test]
fn a_refused_dial_counts_even_when_all_others_are_used_again() {
    let backend = checked(Algorithm::Random, 4, 50);
    fail(&backend, 3);
    refused(&backend.endpoints[3], 0);
    assert_eq!(asked(&backend), [0, 1, 2].into());
}

#[test]
fn another_try_prefers_who_passes_its_checks() {
    let backend = checked(Algorithm::Random, 4, 0);
    fail(&backend, 2);
    refused(&backend.endpoints[3], 0);
    let mut roll = dice(1);
    let again = (0..100).map(|_| pick(&backend, None, &[2], 1, &mut roll).unwrap().id).collect::<BTreeSet<_>>();
    assert_eq!(again, [3].into(), "it was refused a moment ago, and the others are known to fail");
}

#[test]
fn without_checks_an_old_verdict_means_nothing() {
    let mut backend = checked(Algorithm::Random, 2, 50);
    fail(&backend, 1);
    backend.traffic.health_check = None;
    assert_eq!(asked(&backend), [0, 1].into());
    forget(&backend.endpoints[0]);
    backend.traffic.health_check = Some(rules(3, 2, 50));
    assert_eq!(asked(&backend), [0, 1].into());
}

#[test]
fn a_backend_is_checked_while_it_is_called() {
    let backend = checked(Algorithm::Random, 2, 50);
    let (web, shop): (Arc<str>, Arc<str>) = ("ns/web".into(), "ns/shop".into());
    assert_eq!(checked_by(&backend, 0), None, "nobody called it");
    assert!(used(&backend, &web, 0), "checks begin");
    assert!(!used(&backend, &web, 0) && !used(&backend, &web, 1));
    assert_eq!(checked_by(&backend, 3_000), Some(web.clone()));
    assert!(!used(&backend, &shop, 3_000));
    assert_eq!(checked_by(&backend, 6_599), Some(shop), "in the name of who called last");
    assert_eq!(checked_by(&backend, 6_600), None, "nobody for an hour");
    assert!(used(&backend, &web, 7_000), "and again");
    let mut unchecked = checked(Algorithm::Random, 2, 50);
    unchecked.traffic.health_check = None;
    assert!(!used(&unchecked, &web, 0));
    assert_eq!(checked_by(&unchecked, 0), None);
}
