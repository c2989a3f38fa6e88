//! The promises of the contract's border: whatever bytes come as a resource, the snapshot stays one that was meant, and what is in force can
//! be written down and read back.

use std::collections::BTreeMap;

use plait_discovery::Resources;
use plait_model::Snapshot;
use plait_wire as wire;
use prost::Message;

/// Longer inputs find nothing new.
const LONGEST: usize = 4096;

/// Any bytes as a whole world, and as a resource of the kind that the first byte picks, put into a world that is in force.
pub fn discovery_apply(input: &[u8]) {
    if input.len() > LONGEST {
        return;
    }
    // Whatever this says, it says it without a panic.
    drop(plait_discovery::snapshot_of(input));
    let Some((pick, body)) = input.split_first() else { return };
    let mut held = Resources::default();
    let before = held.apply(world()).expect("a first world is not stale");
    assert!(before.rejected.is_empty(), "{:?}", before.rejected);
    let (kind, name) = kinds()[usize::from(*pick) % kinds().len()];
    let changes =
        |generation| wire::ChangeSet { generation, upserts: vec![resource(kind, name, body.to_vec())], ..wire::ChangeSet::default() };
    let after = held.apply(changes(2)).expect("a later world is not stale");
    if !after.rejected.is_empty() {
        assert_eq!(shape(&before.snapshot), shape(&after.snapshot), "a resource that was refused changed something");
    }
    // The policy that the workload names is there, or denies: it is never forgotten.
    assert!(after.snapshot.workloads.values().all(|workload| kind == wire::ResourceKind::Workload || workload.policies.len() == 1));
    let again = held.apply(changes(3)).expect("a later world is not stale");
    assert_eq!((&after.rejected, shape(&after.snapshot)), (&again.rejected, shape(&again.snapshot)), "the same again is something else");
    let mut copy = Resources::default();
    let copied = copy.apply(held.to_change_set()).expect("a first world is not stale");
    assert!(copied.rejected.is_empty(), "what is in force is refused: {:?}", copied.rejected);
    assert_eq!(shape(&again.snapshot), shape(&copied.snapshot), "what is in force reads back as something else");
}

/// Each kind, and the resource of the world that arbitrary bytes take the place of. The last is no kind.
fn kinds() -> [(wire::ResourceKind, &'static str); 7] {
    use wire::ResourceKind::{Endpoints, Mesh, Policy, Route, Service, Unspecified, Workload};
    [
        (Mesh, "default"),
        (Workload, "shop/web-1"),
        (Service, "shop/reviews"),
        (Endpoints, "shop/reviews"),
        (Route, "HTTPRoute/shop/r"),
        (Policy, "shop/p"),
        (Unspecified, "shop/x"),
    ]
}

fn resource(kind: wire::ResourceKind, name: &str, body: Vec<u8>) -> wire::Resource {
    wire::Resource { kind: kind.into(), name: name.into(), version: Vec::new(), body: body.into() }
}

fn object(kind: &str, name: &str) -> Option<wire::ObjectRef> {
    Some(wire::ObjectRef { kind: kind.into(), namespace: "shop".into(), name: name.into() })
}

/// One of each kind, as a control plane sends it; also what the corpus begins with.
pub fn bodies() -> [Vec<u8>; 6] {
    let port = wire::ServicePort { name: "http".into(), port: 80, protocol: wire::Protocol::Http.into() };
    let service = wire::Service { namespace: "shop".into(), name: "reviews".into(), ports: vec![port], ..wire::Service::default() };
    let endpoint = wire::Endpoint {
        workload: "shop/reviews-1".into(),
        address: "127.0.0.1:15006".into(),
        identity: "spiffe://example/ns/shop/sa/reviews".into(),
        server_name: "reviews-1.shop.example".into(),
        target_port: 8080,
        zone: "a".into(),
    };
    let places = vec![wire::PortEndpoints { port: 80, endpoints: vec![endpoint] }];
    let path = wire::PathMatch { r#type: wire::MatchType::Regex.into(), value: "/a.*".into() };
    let backend = wire::Backend { service: "shop/reviews".into(), port: 80, weight: 1, ..wire::Backend::default() };
    let rule = wire::RouteRule {
        matches: vec![wire::RouteMatch { path: Some(path), method: "GET".into(), ..wire::RouteMatch::default() }],
        backends: vec![backend],
        ..wire::RouteRule::default()
    };
    let parent = wire::RouteParent { service: "shop/reviews".into(), ..wire::RouteParent::default() };
    let source = wire::PolicySource { cidrs: vec!["10.0.0.0/8".into()], ..wire::PolicySource::default() };
    let allowed = wire::PolicyRule { from: vec![source], ..wire::PolicyRule::default() };
    [
        wire::Mesh {
            trust_domain: "example".into(),
            mtls_mode: wire::MtlsMode::Strict.into(),
            default_policy: wire::DefaultPolicy::AllowAuthenticated.into(),
            egress: wire::Egress::Deny.into(),
            ..wire::Mesh::default()
        }
        .encode_to_vec(),
        wire::Workload {
            namespace: "shop".into(),
            name: "web-1".into(),
            service_account: "web".into(),
            address: "127.0.0.1".into(),
            inbound: "127.0.0.1:15006".into(),
            policies: vec![wire::PolicyRef { name: "shop/p".into(), ports: vec![80] }],
            ..wire::Workload::default()
        }
        .encode_to_vec(),
        service.encode_to_vec(),
        wire::Endpoints { service: "shop/reviews".into(), ports: places }.encode_to_vec(),
        wire::Route { object: object("HTTPRoute", "r"), parents: vec![parent], rules: vec![rule], ..wire::Route::default() }
            .encode_to_vec(),
        wire::Policy {
            object: object("AuthorizationPolicy", "p"),
            action: wire::PolicyAction::Allow.into(),
            rules: vec![allowed],
            ..wire::Policy::default()
        }
        .encode_to_vec(),
    ]
}

fn world() -> wire::ChangeSet {
    let upserts = kinds().into_iter().zip(bodies()).map(|((kind, name), body)| resource(kind, name, body)).collect();
    wire::ChangeSet { generation: 1, upserts, known: vec!["shop/reviews".into()], ..wire::ChangeSet::default() }
}

/// All that a snapshot says, as text, without what is learnt as it lives.
fn shape(snapshot: &Snapshot) -> BTreeMap<String, String> {
    let mut all = BTreeMap::from([("mesh".to_owned(), format!("{:?}", snapshot.mesh))]);
    for (name, workload) in &snapshot.workloads {
        all.insert(format!("workload {name}"), format!("{workload:?}"));
    }
    for (key, destination) in &snapshot.destinations {
        for port in &destination.ports {
            all.insert(format!("rules of {key} {}", port.port), format!("{:?} {:?}", port.protocol, port.routes.rules()));
            for (namespace, routes) in &port.consumer_routes {
                all.insert(format!("rules of {key} {} for {namespace}", port.port), format!("{:?}", routes.rules()));
            }
        }
    }
    for (key, backend) in &snapshot.backends {
        let places =
            backend.endpoints.iter().map(|one| (&one.workload, one.address, &one.identity, &one.server_name, one.target_port, &one.zone));
        all.insert(format!("backend {key}"), format!("{:?} {:?}", backend.traffic, places.collect::<Vec<_>>()));
    }
    all
}
