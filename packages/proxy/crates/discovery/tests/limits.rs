//! Connection limits, sessions and zones on their way into the snapshot: what is refused, and what outlives a change.

#![allow(clippy::unwrap_used, clippy::panic)] // clippy's own exemption ends at #[test] functions; helpers beside them are tests too

use std::sync::Arc;

use plait_discovery::Resources;
use plait_model::{Carrier, Snapshot};
use plait_wire as wire;
use prost::Message;

fn apply(held: &mut Resources, generation: u64, resources: Vec<(wire::ResourceKind, Vec<u8>)>) -> Result<Snapshot, String> {
    let upserts = resources.into_iter().map(|(kind, body)| {
        let name = if kind == wire::ResourceKind::Mesh { "default" } else { "shop/a" };
        wire::Resource { kind: kind.into(), name: name.into(), version: vec![], body: body.into() }
    });
    let applied = held.apply(wire::ChangeSet { generation, upserts: upserts.collect(), ..wire::ChangeSet::default() }).unwrap();
    match applied.rejected.first() {
        None => Ok(applied.snapshot),
        Some(rejected) => Err(rejected.refused.to_string()),
    }
}

fn mesh() -> (wire::ResourceKind, Vec<u8>) {
    let body = wire::Mesh {
        trust_domain: "example".into(),
        mtls_mode: wire::MtlsMode::Strict.into(),
        default_policy: wire::DefaultPolicy::AllowAuthenticated.into(),
        egress: wire::Egress::Deny.into(),
        ..wire::Mesh::default()
    };
    (wire::ResourceKind::Mesh, body.encode_to_vec())
}

fn service(traffic: wire::BackendTraffic) -> (wire::ResourceKind, Vec<u8>) {
    let port = wire::ServicePort { name: "http".into(), port: 80, protocol: wire::Protocol::Http.into() };
    let body =
        wire::Service { namespace: "shop".into(), name: "a".into(), ports: vec![port], backend: Some(traffic), ..wire::Service::default() };
    (wire::ResourceKind::Service, body.encode_to_vec())
}

fn endpoints(zones: &[&str]) -> (wire::ResourceKind, Vec<u8>) {
    let endpoint = |(number, zone): (usize, &&str)| wire::Endpoint {
        workload: format!("shop/a-{number}"),
        address: "127.0.0.1:1".into(),
        target_port: 8080,
        zone: (*zone).into(),
        ..wire::Endpoint::default()
    };
    let endpoints = zones.iter().enumerate().map(endpoint).collect();
    (
        wire::ResourceKind::Endpoints,
        wire::Endpoints { service: "shop/a".into(), ports: vec![wire::PortEndpoints { port: 80, endpoints }] }.encode_to_vec(),
    )
}

fn workload(connections: Option<wire::ConnectionLimit>, zone: &str) -> (wire::ResourceKind, Vec<u8>) {
    let port = wire::WorkloadPort { port: 8080, protocol: wire::Protocol::Http.into(), connections, ..wire::WorkloadPort::default() };
    let body = wire::Workload {
        namespace: "shop".into(),
        name: "a".into(),
        service_account: "a".into(),
        address: "127.0.0.1".into(),
        inbound: "127.0.0.1:2".into(),
        ports: vec![port],
        zone: zone.into(),
        ..wire::Workload::default()
    };
    (wire::ResourceKind::Workload, body.encode_to_vec())
}

fn limit(max: u32) -> Option<wire::ConnectionLimit> {
    Some(wire::ConnectionLimit { max, max_pending: 3, object: None })
}

#[test]
fn what_means_nothing_is_refused_by_its_path() {
    use wire::session_affinity::Carrier as Named;
    let session = |carrier, seconds| {
        let ttl = Some(prost_types::Duration { seconds, nanos: 0 });
        service(wire::BackendTraffic { session_affinity: Some(wire::SessionAffinity { carrier, ttl }), ..wire::BackendTraffic::default() })
    };
    let cookie =
        |name: &str, path: &str| Some(Named::Cookie(wire::SessionCookie { name: name.into(), path: path.into(), until_closed: false }));
    for (resource, path) in [
        (workload(limit(0), ""), "ports[0].connections.max"),
        (service(wire::BackendTraffic { connections: limit(0), ..wire::BackendTraffic::default() }), "backend.connections.max"),
        (session(None, 1), "backend.session_affinity.carrier"),
        (session(Some(Named::Header(String::new())), 1), "backend.session_affinity.carrier"),
        (session(cookie("", "/"), 1), "backend.session_affinity.carrier"),
        (session(cookie("sid", "cart"), 1), "backend.session_affinity.carrier"),
        (session(cookie("sid", ""), 1), "backend.session_affinity.carrier"),
        (session(cookie("sid", "/"), 0), "backend.session_affinity.ttl"),
    ] {
        let refused = apply(&mut Resources::default(), 1, vec![mesh(), resource]).unwrap_err();
        assert!(refused.starts_with(&format!("{path}: ")), "{refused}");
    }
}

#[test]
fn connections_stay_counted_when_their_workload_or_service_changes() {
    let mut held = Resources::default();
    let traffic = |max| wire::BackendTraffic { connections: limit(max), ..wire::BackendTraffic::default() };
    let before = apply(&mut held, 1, vec![mesh(), service(traffic(5)), workload(limit(5), "x")]).unwrap();
    let after = apply(&mut held, 2, vec![service(traffic(4)), workload(limit(4), "y")]).unwrap();
    let of = |snapshot: &Snapshot| {
        let (backend, port) = (&snapshot.backends["shop/a:80"], &snapshot.workloads["shop/a"].ports[0]);
        (backend.traffic.connections.clone().unwrap(), backend.state.gate.clone(), port.connections.clone().unwrap(), port.gate.clone())
    };
    let (before, after) = (of(&before), of(&after));
    assert!(Arc::ptr_eq(&before.1, &after.1) && Arc::ptr_eq(&before.3, &after.3));
    assert_eq!((before.0.most.get(), before.0.pending, after.0.most.get(), after.2.most.get()), (5, 3, 4, 4));
}

#[test]
fn sessions_and_zones_follow_the_endpoints() {
    let mut held = Resources::default();
    let traffic = wire::BackendTraffic {
        load_balancer: Some(wire::LoadBalancer { zone_aware: Some(wire::ZoneAware { min_endpoints: 2 }), ..wire::LoadBalancer::default() }),
        session_affinity: Some(wire::SessionAffinity {
            carrier: Some(wire::session_affinity::Carrier::Header("X-Session".into())),
            ttl: None,
        }),
        ..wire::BackendTraffic::default()
    };
    let snapshot = apply(&mut held, 1, vec![mesh(), service(traffic), endpoints(&["b", "a", "b"])]).unwrap();
    let backend = &snapshot.backends["shop/a:80"];
    assert_eq!(backend.traffic.sessions.as_ref().unwrap().carrier, Carrier::Header("x-session".into()));
    let of = |index: usize| plait_model::Sessions::name(&backend.endpoints[index]);
    assert!((0..3).all(|index| backend.sessions.find(&backend.endpoints, of(index)) == Some(index)));
    let zones = backend.zones.as_ref().unwrap();
    let counts: Vec<_> = zones.all.iter().map(|zone| (&*zone.name, zone.endpoints.len())).collect();
    assert_eq!(counts, [("a", 1), ("b", 2)]);
    for few_or_many in [vec!["a"; 3], (0..100).map(|number| ["a", "b"][usize::from(number > 98)]).collect::<Vec<_>>()] {
        let zones = few_or_many.iter().collect::<std::collections::BTreeSet<_>>().len();
        let snapshot = apply(&mut held, 2, vec![endpoints(&few_or_many)]).unwrap();
        assert_eq!(snapshot.backends["shop/a:80"].zones.is_some(), zones > 1);
    }
}
