//! How many requests may be in flight, also when many workers ask at once.

#![allow(clippy::unwrap_used)] // clippy's own exemption ends at #[test] functions; helpers beside them are tests too

use std::{
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
};

use plait_decide::limit::admit;
use plait_model::{Backend, BackendTraffic, ObjectRef, Origin, Protocol, Sessions};

fn policy() -> ObjectRef {
    ObjectRef { kind: "TrafficPolicy".into(), namespace: "ns".into(), name: "p".into() }
}

fn backend(most: Option<u32>) -> Backend {
    let origin = Origin { field: "connections.maxRequests".into(), object: policy(), path: "spec.connections.maxRequests".into() };
    Backend {
        key: "ns/s:80".into(),
        service: "ns/s".into(),
        port: 80,
        protocol: Protocol::Http,
        endpoints: vec![],
        traffic: BackendTraffic { max_requests: most.and_then(NonZeroU32::new), origins: vec![origin], ..BackendTraffic::default() },
        hash_table: None,
        sessions: Sessions::default(),
        zones: None,
        state: Arc::default(),
    }
}

#[test]
fn the_limit_is_reached_named_and_given_back() {
    let backend = backend(Some(2));
    let (one, _two) = (admit(&backend).unwrap(), admit(&backend).unwrap());
    let full = admit(&backend).unwrap_err();
    assert_eq!((full.most.get(), full.object), (2, Some(policy())));
    drop(one);
    let _again = admit(&backend).unwrap();
    assert!(admit(&backend).is_err());
}

#[test]
fn a_limit_that_is_taken_away_or_set_anew_counts_right() {
    let (mut limited, mut open) = (backend(Some(1)), backend(None));
    // The same backend in two snapshots.
    open.state = limited.state.clone();
    let before = admit(&open).unwrap();
    let held = admit(&limited).unwrap();
    assert!((0..100).map(|_| admit(&open)).all(|admitted| admitted.is_ok()));
    drop(before);
    assert!(admit(&limited).is_err(), "what was not counted is not given back");
    drop(held);
    limited.traffic.max_requests = NonZeroU32::new(2);
    assert!(admit(&limited).is_ok());
}

#[test]
fn workers_share_one_limit() {
    let backend = backend(Some(3));
    let (now, most) = (AtomicU32::new(0), AtomicU32::new(0));
    let work = || {
        for _ in 0..50_000 {
            if let Ok(_admitted) = admit(&backend) {
                most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
                now.fetch_sub(1, SeqCst);
            }
        }
    };
    std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(work))));
    assert!((1..=3).contains(&most.load(SeqCst)));
    assert_eq!(backend.state.requests.load(SeqCst), 0, "all were given back");
}
