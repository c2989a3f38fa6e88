//! A backend with some endpoints, and dice that repeat. Shared by tests of what chooses among endpoints.

use std::sync::Arc;

use plait_model::{Backend, BackendTraffic, Endpoint, HashTable, Protocol, Sessions, Zones};

pub(crate) const SECOND: u64 = 1_000_000_000;

/// A backend whose endpoints have the ids 0, 1, ….
pub(crate) fn backend(traffic: BackendTraffic, count: u64) -> Backend {
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
    let endpoints: Vec<_> = (0..count).map(endpoint).collect();
    Backend {
        key: "ns/s:80".into(),
        service: "ns/s".into(),
        port: 80,
        protocol: Protocol::Http,
        hash_table: HashTable::new(traffic.algorithm, &endpoints),
        sessions: Sessions::default(),
        zones: traffic.zone_aware.and_then(|_| Zones::new(traffic.algorithm, &endpoints)),
        endpoints,
        traffic,
        state: Arc::default(),
    }
}

/// Small, seeded, the same in every run.
pub(crate) fn dice(seed: u64) -> impl FnMut(usize) -> usize {
    let mut state = seed | 1;
    move |sides| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize % sides
    }
}
