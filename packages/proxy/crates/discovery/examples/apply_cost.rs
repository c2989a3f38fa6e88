//! What a change costs in a mesh of 1,000 Services with ten endpoints and a route each, all of them called by this proxy:
//! `cargo run --release -p plait-discovery --example apply_cost`. Prints the median of many runs; dropping the snapshot before is counted too.

#![allow(clippy::unwrap_used)] // a tool for us

use std::time::{Duration, Instant};

use plait_discovery::Resources;
use plait_wire as wire;
use prost::Message;

const SERVICES: usize = 1_000;
const RUNS: u64 = 301;

fn main() {
    let mut held = Resources::default();
    let world = (0..SERVICES).flat_map(|number| [service(number, 1), endpoints(number, 1), route(number, 1)]);
    let known = (0..SERVICES).map(|number| format!("shop/s{number}")).collect();
    let first = wire::ChangeSet { generation: 1, upserts: [mesh()].into_iter().chain(world).collect(), known, ..Default::default() };
    let began = Instant::now();
    let mut in_force = held.apply(first).unwrap();
    println!("{:<32}{:>10.1?}", "the whole world", began.elapsed());
    type Change = fn(u64) -> Vec<wire::Resource>;
    let changes: [(&str, Change); 4] = [
        ("nothing", |_| vec![]),
        ("endpoints of one Service", |run| vec![endpoints(500, run)]),
        ("one route", |run| vec![route(500, run)]),
        ("one Service", |run| vec![service(500, run)]),
    ];
    let mut generation = 1;
    for (what, change) in changes {
        let mut took: Vec<Duration> = (0..RUNS)
            .map(|run| {
                generation += 1;
                let changes = wire::ChangeSet { generation, upserts: change(run), ..Default::default() };
                let began = Instant::now();
                in_force = held.apply(changes).unwrap();
                began.elapsed()
            })
            .collect();
        took.sort();
        println!("{what:<32}{:>10.1?}", took[took.len() / 2]);
    }
    assert_eq!(in_force.snapshot.destinations.len(), SERVICES);
}

fn resource(kind: wire::ResourceKind, name: String, body: &impl Message) -> wire::Resource {
    wire::Resource { kind: kind.into(), name, version: vec![], body: body.encode_to_vec().into() }
}

fn mesh() -> wire::Resource {
    let body = wire::Mesh { trust_domain: "example".into(), mtls_mode: 1, default_policy: 1, egress: 1, ..Default::default() };
    resource(wire::ResourceKind::Mesh, "default".into(), &body)
}

fn service(number: usize, run: u64) -> wire::Resource {
    let port = wire::ServicePort { name: "http".into(), port: 80, protocol: wire::Protocol::Http.into() };
    let request_timeout = Some(prost_types::Duration { seconds: run as i64, nanos: 0 });
    let calls = Some(wire::CallTraffic { request_timeout, ..Default::default() });
    let body = wire::Service { namespace: "shop".into(), name: format!("s{number}"), ports: vec![port], calls, ..Default::default() };
    resource(wire::ResourceKind::Service, format!("shop/s{number}"), &body)
}

fn endpoints(number: usize, run: u64) -> wire::Resource {
    let endpoint = |place: u64| wire::Endpoint {
        workload: format!("shop/s{number}-{place}"),
        address: format!("10.0.{}.{place}:15006", run % 256),
        identity: "spiffe://example/ns/shop/sa/s".into(),
        server_name: format!("s{number}-{place}.shop.example"),
        target_port: 8080,
        ..Default::default()
    };
    let ports = vec![wire::PortEndpoints { port: 80, endpoints: (0..10).map(endpoint).collect() }];
    resource(wire::ResourceKind::Endpoints, format!("shop/s{number}"), &wire::Endpoints { service: format!("shop/s{number}"), ports })
}

fn route(number: usize, run: u64) -> wire::Resource {
    let path = wire::PathMatch { r#type: wire::MatchType::Prefix.into(), value: format!("/{run}") };
    let found = wire::RouteMatch { path: Some(path), ..Default::default() };
    let backend = wire::Backend { service: format!("shop/s{number}"), port: 80, weight: 1, ..Default::default() };
    let rule = wire::RouteRule { matches: vec![found], backends: vec![backend], ..Default::default() };
    let object = Some(wire::ObjectRef { kind: "HTTPRoute".into(), namespace: "shop".into(), name: format!("r{number}") });
    let parents = vec![wire::RouteParent { service: format!("shop/s{number}"), ..Default::default() }];
    let body = wire::Route { object, parents, rules: vec![rule], ..Default::default() };
    resource(wire::ResourceKind::Route, format!("HTTPRoute/shop/r{number}"), &body)
}
