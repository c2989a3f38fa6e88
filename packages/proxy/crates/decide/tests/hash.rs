//! What of a request is hashed, and what is not.

#![allow(clippy::unwrap_used)] // clippy's own exemption ends at #[test] functions; helpers beside them are tests too

use std::sync::Arc;

use plait_decide::hash::of_request;
use plait_model::{
    Algorithm, Backend, BackendTraffic, Endpoint, EndpointState, HashOn, HashTable, Headers, Peer, Protocol, RequestHead, Sessions,
    SpiffeId,
};

fn backend(algorithm: Algorithm, hash_on: HashOn) -> Backend {
    let endpoint = Endpoint {
        id: 1,
        workload: "ns/w".into(),
        address: "127.0.0.1:1".parse().unwrap(),
        identity: None,
        server_name: "".into(),
        target_port: 1,
        zone: "".into(),
        state: Arc::new(EndpointState::default()),
    };
    let endpoints = vec![Arc::new(endpoint)];
    Backend {
        key: "ns/s:80".into(),
        service: "ns/s".into(),
        port: 80,
        protocol: Protocol::Http,
        hash_table: HashTable::new(algorithm, &endpoints),
        sessions: Sessions::default(),
        zones: None,
        endpoints,
        traffic: BackendTraffic { algorithm, hash_on, ..BackendTraffic::default() },
        state: Arc::default(),
    }
}

fn head(fields: &[(&str, &str)]) -> RequestHead {
    let mut headers = Headers::default();
    fields.iter().for_each(|(name, value)| headers.append(name, value.as_bytes()));
    RequestHead { authority: "reviews:80".into(), headers, ..RequestHead::default() }
}

fn peer(address: &str, account: Option<&str>) -> Peer {
    let identity = account.map(|account| Arc::new(SpiffeId::new("mesh.example", "ns", account).unwrap()));
    Peer { identity, address: address.parse().unwrap() }
}

#[test]
fn equal_values_hash_alike_and_others_apart() {
    let anybody = || peer("10.0.0.1", None);
    let header = || HashOn::Header("x-user".into());
    let cookie = || HashOn::Cookie("sid".into());
    for (on, one, other, equal) in [
        (header(), (head(&[("X-User", "a")]), anybody()), (head(&[("x-user", "a"), ("x-b", "1")]), peer("10.0.0.2", None)), true),
        (header(), (head(&[("x-user", "a")]), anybody()), (head(&[("x-user", "b")]), anybody()), false),
        (header(), (head(&[("x-user", "a"), ("x-user", "b")]), anybody()), (head(&[("x-user", "ab")]), anybody()), false),
        (HashOn::Header("host".into()), (head(&[]), anybody()), (head(&[("x-user", "a")]), anybody()), true),
        (cookie(), (head(&[("cookie", "a=1; sid=7")]), anybody()), (head(&[("cookie", "b=2"), ("cookie", "sid=7;c=3")]), anybody()), true),
        (cookie(), (head(&[("cookie", "sid=7")]), anybody()), (head(&[("cookie", "sid=8")]), anybody()), false),
        (cookie(), (head(&[("cookie", "xsid=7; sid=8")]), anybody()), (head(&[("cookie", "sid=8; sid=9")]), anybody()), true),
        (HashOn::Address, (head(&[]), peer("::ffff:10.0.0.1", None)), (head(&[]), peer("10.0.0.1", Some("a"))), true),
        (HashOn::Address, (head(&[]), peer("10.0.0.1", None)), (head(&[]), peer("10.0.0.2", None)), false),
        (HashOn::Identity, (head(&[]), peer("10.0.0.1", Some("a"))), (head(&[]), peer("10.0.0.2", Some("a"))), true),
        (HashOn::Identity, (head(&[]), peer("10.0.0.1", Some("a"))), (head(&[]), peer("10.0.0.1", Some("b"))), false),
    ] {
        for algorithm in [Algorithm::RingHash, Algorithm::Maglev] {
            let backend = backend(algorithm, on.clone());
            let hash = |(head, peer): &(RequestHead, Peer)| of_request(&backend, head, peer).unwrap();
            assert_eq!(hash(&one) == hash(&other), equal, "{on:?} {one:?} {other:?}");
        }
    }
}

#[test]
fn a_request_with_nothing_to_hash_has_no_hash() {
    let nobody = peer("10.0.0.1", None);
    for (on, fields) in [
        (HashOn::Header("x-user".into()), &[("x-users", "a")][..]),
        (HashOn::Cookie("sid".into()), &[("cookie", "sidx=1; xsid=2; sid")]),
        (HashOn::Identity, &[]),
    ] {
        assert_eq!(of_request(&backend(Algorithm::Maglev, on), &head(fields), &nobody), None);
    }
    assert_eq!(of_request(&backend(Algorithm::PeakEwma, HashOn::Address), &head(&[]), &nobody), None, "it does not hash");
}
