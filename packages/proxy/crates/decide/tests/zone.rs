//! In which zone a request stays: parts, spill-over and balance; clock and dice are the test's.

#![allow(clippy::unwrap_used, clippy::panic)] // clippy's own exemption ends at #[test] functions; helpers beside them are tests too

mod places;

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use plait_decide::{
    balance::{Wanted, pick, refused},
    zone::{Stay, stay},
};
use plait_model::{Algorithm, Backend, BackendTraffic, Endpoint, HashTable, ZoneAware, Zones};

use crate::places::{SECOND, dice};

const ALGORITHMS: [Algorithm; 6] =
    [Algorithm::PeakEwma, Algorithm::LeastRequest, Algorithm::RoundRobin, Algorithm::Random, Algorithm::RingHash, Algorithm::Maglev];

/// So many endpoints in each zone, named by a letter.
fn backend(algorithm: Algorithm, zones: &[(&str, u64)], min_endpoints: u32) -> Backend {
    let traffic = BackendTraffic { algorithm, zone_aware: Some(ZoneAware { min_endpoints }), ..BackendTraffic::default() };
    let count = zones.iter().map(|(_, count)| count).sum();
    let plain = places::backend(traffic, count);
    let names = zones.iter().flat_map(|(zone, count)| (0..*count).map(move |_| *zone));
    let placed = |(one, zone): (&Arc<Endpoint>, &str)| {
        let (workload, server_name, state) = (one.workload.clone(), one.server_name.clone(), one.state.clone());
        let (id, address, target_port) = (one.id, one.address, one.target_port);
        Arc::new(Endpoint { id, workload, address, identity: None, server_name, target_port, zone: zone.into(), state })
    };
    let endpoints: Vec<_> = plain.endpoints.iter().zip(names).map(placed).collect();
    let (hash_table, zones) = (HashTable::new(algorithm, &endpoints), Zones::new(algorithm, &endpoints));
    Backend { endpoints, hash_table, zones, ..plain }
}

/// Where so many requests of the callers in a zone go, by zone.
fn goes(backend: &Backend, zone: &str, requests: u64, now: u64, counts: &mut BTreeMap<u64, u64>) -> BTreeMap<String, u64> {
    let mut roll = dice(7);
    let mut by_zone = BTreeMap::new();
    for number in 0..requests {
        let hash = Some(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let endpoint = pick(backend, Wanted { hash, zone, ..Wanted::default() }, &[], now, &mut roll).unwrap();
        *by_zone.entry(endpoint.zone.to_string()).or_default() += 1;
        *counts.entry(endpoint.id).or_default() += 1;
    }
    by_zone
}

#[test]
fn with_callers_in_every_zone_each_endpoint_gets_the_same() {
    let cases: [&[(&str, u64)]; 5] = [
        &[("a", 2), ("b", 2)],
        &[("a", 1), ("b", 3)],
        &[("a", 1), ("b", 1), ("c", 4)],
        &[("a", 5), ("b", 3), ("c", 2)],
        &[("", 2), ("a", 1), ("b", 1)],
    ];
    for zones in cases {
        for algorithm in ALGORITHMS {
            let backend = backend(algorithm, zones, 1);
            let mut counts = BTreeMap::new();
            let callers: Vec<_> = zones.iter().map(|(zone, _)| *zone).filter(|zone| !zone.is_empty()).collect();
            for zone in &callers {
                goes(&backend, zone, 30_000, 1, &mut counts);
            }
            let even = 30_000 * callers.len() as u64 / backend.endpoints.len() as u64;
            // Rings share least evenly of all.
            let near = |count: &u64| (even * 6 / 10..=even * 15 / 10).contains(count);
            assert!(
                counts.len() == backend.endpoints.len() && counts.values().all(near),
                "{algorithm:?} {zones:?}: {counts:?}, even is {even}"
            );
        }
    }
}

#[test]
fn a_zone_that_carries_its_share_keeps_its_callers() {
    for algorithm in ALGORITHMS {
        let backend = backend(algorithm, &[("a", 3), ("b", 2), ("c", 1)], 1);
        assert_eq!(goes(&backend, "a", 1_000, 1, &mut BTreeMap::new()).len(), 1, "{algorithm:?}");
        assert_eq!(stay(&backend, "a"), Some(Stay { part: 1.0, fit: 3, of: 6 }));
        assert_eq!(stay(&backend, "c"), Some(Stay { part: 0.5, fit: 1, of: 6 }));
        // One in six carries half of a third; the rest has room in "a" alone.
        let from_c = goes(&backend, "c", 10_000, 1, &mut BTreeMap::new());
        assert!((4_700..=5_300).contains(&from_c["c"]) && !from_c.contains_key("b"), "{algorithm:?}: {from_c:?}");
    }
}

#[test]
fn callers_without_a_zone_of_endpoints_and_zones_below_the_minimum_use_all() {
    for algorithm in ALGORITHMS {
        for (zone, min_endpoints) in [("", 1), ("d", 1), ("a", 4)] {
            let backend = backend(algorithm, &[("a", 3), ("b", 3)], min_endpoints);
            let by_zone = goes(&backend, zone, 4_000, 1, &mut BTreeMap::new());
            assert!(by_zone["a"] > 1_000 && by_zone["b"] > 1_000, "{algorithm:?} {zone} {by_zone:?}");
            assert_eq!(stay(&backend, zone), None);
        }
    }
}

#[test]
fn what_is_out_carries_nothing() {
    for algorithm in ALGORITHMS {
        let backend = backend(algorithm, &[("a", 2), ("b", 2)], 1);
        assert_eq!(goes(&backend, "a", 100, 1, &mut BTreeMap::new()).len(), 1);
        refused(&backend.endpoints[0], 2);
        // The count is that of a moment ago: the other takes all, and is not lost.
        assert_eq!(goes(&backend, "a", 100, 2, &mut BTreeMap::new()).len(), 1);
        let later = SECOND / 2;
        let by_zone = goes(&backend, "a", 9_000, later, &mut BTreeMap::new());
        assert_eq!(stay(&backend, "a").unwrap().fit, 1);
        assert!((5_700..=6_300).contains(&by_zone["a"]), "{algorithm:?}: one of three carries two thirds of a half, {by_zone:?}");
        refused(&backend.endpoints[1], later);
        assert_eq!(goes(&backend, "a", 100, later, &mut BTreeMap::new()).keys().collect::<Vec<_>>(), ["b"], "{algorithm:?}");
    }
}

#[test]
fn requests_of_one_hash_stay_together_when_some_spill_over() {
    for algorithm in [Algorithm::RingHash, Algorithm::Maglev] {
        let backend = backend(algorithm, &[("a", 1), ("b", 3)], 1);
        let mut roll = dice(3);
        for number in 0..200_u64 {
            let wanted = Wanted { hash: Some(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)), zone: "a", ..Wanted::default() };
            let mut owner = || pick(&backend, wanted, &[], 1, &mut roll).unwrap().id;
            assert_eq!(owner(), owner());
        }
    }
}

#[test]
fn a_session_goes_before_zones() {
    let backend = backend(Algorithm::Random, &[("a", 2), ("b", 2)], 1);
    let wanted = Wanted { session: Some(3), zone: "a", ..Wanted::default() };
    assert!((0..50).all(|_| pick(&backend, wanted, &[], 1, dice(1)).unwrap().id == 3));
    assert_ne!(pick(&backend, wanted, &[3], 1, dice(1)).unwrap().id, 3);
    refused(&backend.endpoints[3], 1);
    assert_eq!(&*pick(&backend, wanted, &[], 2, dice(1)).unwrap().zone, "a");
}

#[test]
fn the_fit_are_counted_from_time_to_time_alone() {
    let backend = backend(Algorithm::Random, &[("a", 2), ("b", 2)], 1);
    let counted = || backend.zones.as_ref().unwrap().counted_at_nanos.load(Relaxed);
    let at = |now| pick(&backend, Wanted { zone: "a", ..Wanted::default() }, &[], now, dice(1)).map(|_| counted()).unwrap();
    assert_eq!([at(10), at(11), at(SECOND / 10), at(SECOND), at(SECOND + 1)], [10, 10, 10, SECOND, SECOND]);
}
