//! Change sets as a control plane sends them, and the snapshot that follows.

#![allow(clippy::unwrap_used, clippy::panic)] // clippy's own exemption ends at #[test] functions; helpers beside them are tests too

use std::sync::Arc;

use plait_discovery::Resources;
use plait_model::{DestinationKey, Lookup, Reason};
use plait_wire as wire;
use proptest::prelude::*;
use prost::Message;

fn resource(kind: wire::ResourceKind, name: &str, body: &impl Message) -> wire::Resource {
    wire::Resource { kind: kind.into(), name: name.into(), version: vec![], body: body.encode_to_vec().into() }
}

fn mesh() -> wire::Resource {
    let body = wire::Mesh {
        trust_domain: "example".into(),
        mtls_mode: wire::MtlsMode::Strict.into(),
        default_policy: wire::DefaultPolicy::AllowAuthenticated.into(),
        egress: wire::Egress::Deny.into(),
        ..wire::Mesh::default()
    };
    resource(wire::ResourceKind::Mesh, "default", &body)
}

fn service(name: &str) -> wire::Resource {
    let port = wire::ServicePort { name: "http".into(), port: 80, protocol: wire::Protocol::Http.into() };
    let body = wire::Service { namespace: "shop".into(), name: name.into(), ports: vec![port], ..wire::Service::default() };
    resource(wire::ResourceKind::Service, &format!("shop/{name}"), &body)
}

fn endpoints(name: &str, addresses: &[&str]) -> wire::Resource {
    let endpoint = |address: &&str| wire::Endpoint {
        workload: "shop/w".into(),
        address: (*address).into(),
        identity: "spiffe://example/ns/shop/sa/a".into(),
        target_port: 8080,
        ..wire::Endpoint::default()
    };
    let ports = vec![wire::PortEndpoints { port: 80, endpoints: addresses.iter().map(endpoint).collect() }];
    let body = wire::Endpoints { service: format!("shop/{name}"), ports };
    resource(wire::ResourceKind::Endpoints, &format!("shop/{name}"), &body)
}

fn workload(policies: &[&str]) -> wire::Resource {
    let body = wire::Workload {
        namespace: "shop".into(),
        name: "web-1".into(),
        service_account: "web".into(),
        address: "127.0.0.1".into(),
        inbound: "127.0.0.1:1".into(),
        policies: policies.iter().map(|name| wire::PolicyRef { name: (*name).into(), ports: vec![] }).collect(),
        ..wire::Workload::default()
    };
    resource(wire::ResourceKind::Workload, "shop/web-1", &body)
}

fn route(name: &str, consumer: &str, path: wire::PathMatch) -> wire::Resource {
    let parent = wire::RouteParent { service: "shop/reviews".into(), port: 0, consumer_namespace: consumer.into() };
    let found = wire::RouteMatch { path: Some(path), ..wire::RouteMatch::default() };
    let backend = wire::Backend { service: "shop/reviews-v2".into(), port: 80, weight: 1, ..wire::Backend::default() };
    let rule = wire::RouteRule { matches: vec![found], backends: vec![backend], ..wire::RouteRule::default() };
    let object = wire::ObjectRef { kind: "HTTPRoute".into(), namespace: "shop".into(), name: name.into() };
    let body = wire::Route { object: Some(object), parents: vec![parent], rules: vec![rule], ..wire::Route::default() };
    resource(wire::ResourceKind::Route, &format!("HTTPRoute/shop/{name}"), &body)
}

fn prefix(value: &str) -> wire::PathMatch {
    wire::PathMatch { r#type: wire::MatchType::Prefix.into(), value: value.into() }
}

fn changes(generation: u64, upserts: Vec<wire::Resource>) -> wire::ChangeSet {
    wire::ChangeSet { generation, upserts, known: vec!["shop/reviews".into()], ..wire::ChangeSet::default() }
}

fn reviews(snapshot: &plait_model::Snapshot) -> Arc<plait_model::Destination> {
    match snapshot.lookup(&DestinationKey::from_contract("shop/reviews")) {
        Some(Lookup::Known(destination)) => destination,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_service_without_route_takes_everything_itself() {
    let applied = Resources::default().apply(changes(1, vec![mesh(), service("reviews"), endpoints("reviews", &["127.0.0.1:1"])])).unwrap();
    assert!(applied.rejected.is_empty());
    let destination = reviews(&applied.snapshot);
    let rules = destination.ports[0].routes.rules();
    assert!(rules.len() == 1 && rules[0].is_implicit());
    assert_eq!(&*rules[0].backends[0].backend, "shop/reviews:80");
    assert_eq!(applied.snapshot.backends["shop/reviews:80"].endpoints.len(), 1);
}

#[test]
fn a_producer_route_binds_all_and_a_consumer_route_its_namespace() {
    let upserts =
        vec![mesh(), service("reviews"), service("reviews-v2"), route("all", "", prefix("/a")), route("mine", "team", prefix("/b"))];
    let snapshot = Resources::default().apply(changes(1, upserts)).unwrap().snapshot;
    let destination = reviews(&snapshot);
    let route_of = |namespace| destination.ports[0].routes_for(namespace).rules()[0].object.name.clone();
    assert_eq!((&*route_of("shop"), &*route_of("team")), ("all", "mine"));
}

#[test]
fn a_bad_resource_rejects_itself_alone_and_its_last_good_version_stays() {
    let mut held = Resources::default();
    held.apply(changes(1, vec![mesh(), service("reviews"), service("reviews-v2"), route("r", "", prefix("/good"))])).unwrap();
    let bad = wire::PathMatch { r#type: wire::MatchType::Regex.into(), value: "(".into() };
    let applied = held.apply(changes(2, vec![route("r", "", bad), endpoints("reviews", &["127.0.0.1:1"])])).unwrap();
    let rejected = &applied.rejected[0];
    assert_eq!((rejected.name.as_str(), rejected.refused.path.as_str()), ("HTTPRoute/shop/r", "rules[0].matches[0].path.value"));
    let rule = reviews(&applied.snapshot).ports[0].routes.rules()[0].clone();
    assert!(matches!(&rule.matches[0].path, plait_model::PathMatch::Prefix(path) if &**path == "/good"));
    assert_eq!(applied.snapshot.backends["shop/reviews:80"].endpoints.len(), 1, "the rest of the change set is in force");
}

#[test]
fn an_older_generation_is_refused() {
    let mut held = Resources::default();
    held.apply(changes(5, vec![mesh()])).unwrap();
    let stale = held.apply(changes(4, vec![])).unwrap_err();
    assert_eq!((stale.offered, stale.held), (4, 5));
    assert!(held.apply(changes(5, vec![])).is_ok());
}

#[test]
fn an_endpoint_that_stays_keeps_what_was_learnt() {
    let mut held = Resources::default();
    let before =
        held.apply(changes(1, vec![mesh(), service("reviews"), endpoints("reviews", &["127.0.0.1:1", "127.0.0.1:2"])])).unwrap().snapshot;
    let after = held.apply(changes(2, vec![endpoints("reviews", &["127.0.0.1:2", "127.0.0.1:3"])])).unwrap().snapshot;
    let ids =
        |snapshot: &plait_model::Snapshot| snapshot.backends["shop/reviews:80"].endpoints.iter().map(|one| one.id).collect::<Vec<_>>();
    let (before, after) = (ids(&before), ids(&after));
    assert_eq!(after[0], before[1]);
    assert!(!before.contains(&after[1]));
}

#[test]
fn a_policy_that_is_named_and_not_held_denies() {
    let snapshot = Resources::default().apply(changes(1, vec![mesh(), workload(&["shop/missing"])])).unwrap().snapshot;
    let binding = &snapshot.workloads["shop/web-1"].policies[0];
    assert!(binding.policy.is_none() && binding.covers(80));
    assert_eq!(Reason::PolicyDenied.status(), 403);
}

#[test]
fn a_mesh_without_trust_domain_is_refused_and_the_last_good_one_stays() {
    let mut held = Resources::default();
    held.apply(changes(1, vec![mesh(), workload(&[])])).unwrap();
    let bad = resource(wire::ResourceKind::Mesh, "default", &wire::Mesh::default());
    let applied = held.apply(changes(2, vec![bad])).unwrap();
    assert_eq!(applied.rejected[0].refused.path, "trust_domain");
    assert!(applied.snapshot.workloads.contains_key("shop/web-1"));
}

#[test]
fn the_epoch_moves_exactly_when_policies_do() {
    let policy = |name: &str, action: wire::PolicyAction| {
        let object = wire::ObjectRef { kind: "AuthorizationPolicy".into(), namespace: "shop".into(), name: name.into() };
        resource(
            wire::ResourceKind::Policy,
            &format!("shop/{name}"),
            &wire::Policy { object: Some(object), action: action.into(), ..wire::Policy::default() },
        )
    };
    let mut held = Resources::default();
    let mut epoch = |generation, upserts| held.apply(changes(generation, upserts)).unwrap().snapshot.workloads["shop/web-1"].policy_epoch;
    let first = epoch(1, vec![mesh(), workload(&["shop/p"]), policy("p", wire::PolicyAction::Allow)]);
    assert_eq!(epoch(2, vec![service("reviews")]), first);
    assert_eq!(epoch(3, vec![policy("p", wire::PolicyAction::Allow)]), first, "the same policy, sent again");
    assert_ne!(epoch(4, vec![policy("p", wire::PolicyAction::Deny)]), first);
}

#[test]
fn what_the_control_plane_does_not_know_is_unknown_until_it_does() {
    let mut held = Resources::default();
    let key = DestinationKey::from_contract("shop/reviews");
    let unknown = wire::ChangeSet { generation: 1, unknown: vec!["shop/reviews".into()], ..wire::ChangeSet::default() };
    assert!(matches!(held.apply(unknown).unwrap().snapshot.lookup(&key), Some(Lookup::Unknown)));
    assert!(matches!(held.apply(changes(2, vec![service("reviews")])).unwrap().snapshot.lookup(&key), Some(Lookup::Known(_))));
    assert!(held.apply(changes(3, vec![])).unwrap().snapshot.lookup(&DestinationKey::from_contract("shop/other")).is_none());
}

/// A world in which each kind of thing is there twice, so that one changes and the other must not.
fn two_of_each() -> Vec<wire::Resource> {
    let mut upserts = vec![mesh(), workload(&["shop/p"]), route("r", "", prefix("/a")), route("r2", "team", prefix("/b"))];
    for name in ["reviews", "other"] {
        upserts.extend([service(name), endpoints(name, &["127.0.0.1:1", "127.0.0.1:2"])]);
    }
    upserts
}

#[test]
fn a_change_rebuilds_only_what_it_touches() {
    let timeout = wire::CallTraffic { request_timeout: Some(prost_types::Duration { seconds: 1, nanos: 0 }), ..Default::default() };
    let spoken = |protocol: wire::Protocol| {
        let port = wire::ServicePort { name: "http".into(), port: 80, protocol: protocol.into() };
        let body = wire::Service { namespace: "shop".into(), name: "other".into(), ports: vec![port], ..wire::Service::default() };
        resource(wire::ResourceKind::Service, "shop/other", &body)
    };
    let slow = |name: &str| {
        let port = wire::ServicePort { name: "http".into(), port: 80, protocol: wire::Protocol::Http.into() };
        let body = wire::Service {
            namespace: "shop".into(),
            name: name.into(),
            ports: vec![port],
            calls: Some(timeout.clone()),
            ..wire::Service::default()
        };
        resource(wire::ResourceKind::Service, &format!("shop/{name}"), &body)
    };
    for (what, change, rebuilt) in [
        ("the same again", two_of_each(), &[][..]),
        ("endpoints", vec![endpoints("other", &["127.0.0.1:3"])], &["backend other"]),
        ("a protocol", vec![spoken(wire::Protocol::Tcp)], &["backend other", "destination other"]),
        ("a timeout", vec![slow("other")], &["destination other", "routes other"]),
        ("a timeout of a Service that routes shape", vec![slow("reviews")], &["destination reviews"]),
        ("a producer route", vec![route("r", "", prefix("/c"))], &["destination reviews", "routes reviews"]),
        ("a consumer route", vec![route("r2", "team", prefix("/c"))], &["consumer routes reviews", "destination reviews"]),
        ("a workload", vec![workload(&[])], &["workload"]),
    ] {
        let mut held = Resources::default();
        let known = vec!["shop/reviews".to_owned(), "shop/other".to_owned()];
        let first = wire::ChangeSet { known: known.clone(), ..changes(1, two_of_each()) };
        let before = parts(&held.apply(first).unwrap().snapshot);
        let after = parts(&held.apply(wire::ChangeSet { known, ..changes(2, change) }).unwrap().snapshot);
        let differ: Vec<_> = before.iter().filter(|(name, place)| after[*name] != **place).map(|(name, _)| name.as_str()).collect();
        assert_eq!(differ, rebuilt, "{what}");
    }
}

/// Where each child of a snapshot lies in memory.
fn parts(snapshot: &plait_model::Snapshot) -> std::collections::BTreeMap<String, usize> {
    let mut parts = std::collections::BTreeMap::new();
    parts.insert("workload".to_owned(), Arc::as_ptr(&snapshot.workloads["shop/web-1"]).addr());
    for name in ["reviews", "other"] {
        let destination = &snapshot.destinations[format!("shop/{name}").as_str()];
        parts.insert(format!("destination {name}"), Arc::as_ptr(destination).addr());
        parts.insert(format!("routes {name}"), Arc::as_ptr(&destination.ports[0].routes).addr());
        if let Some(routes) = destination.ports[0].consumer_routes.get("team") {
            parts.insert(format!("consumer routes {name}"), Arc::as_ptr(routes).addr());
        }
        parts.insert(format!("backend {name}"), Arc::as_ptr(&snapshot.backends[format!("shop/{name}:80").as_str()]).addr());
    }
    parts
}

#[test]
fn what_is_removed_is_gone_and_takes_nothing_with_it() {
    let removal = |kind: wire::ResourceKind, name: &str| wire::ResourceKey { kind: kind.into(), name: name.into() };
    let mut held = Resources::default();
    held.apply(changes(1, two_of_each())).unwrap();
    let removals = vec![
        removal(wire::ResourceKind::Route, "HTTPRoute/shop/r"),
        removal(wire::ResourceKind::Service, "shop/other"),
        removal(wire::ResourceKind::Endpoints, "shop/other"),
        removal(wire::ResourceKind::Workload, "shop/web-1"),
        removal(wire::ResourceKind::Mesh, "default"),
    ];
    let snapshot = held.apply(wire::ChangeSet { removals, ..changes(2, vec![]) }).unwrap().snapshot;
    let destination = reviews(&snapshot);
    assert!(destination.ports[0].routes.rules()[0].is_implicit());
    assert!(destination.ports[0].consumer_routes.contains_key("team"));
    assert_eq!(snapshot.backends.keys().map(|key| &**key).collect::<Vec<_>>(), ["shop/reviews:80"]);
    assert!(snapshot.workloads.is_empty());
    assert_eq!(&*snapshot.mesh.trust_domain, "example", "there is always a Mesh");
    assert_eq!(held.to_change_set().upserts.len(), 4, "mesh, route, service, endpoints");
}

#[test]
fn a_port_that_goes_takes_its_backend_with_it() {
    let mut held = Resources::default();
    held.apply(changes(1, vec![mesh(), service("reviews"), endpoints("reviews", &["127.0.0.1:1"])])).unwrap();
    let port = wire::ServicePort { name: "http".into(), port: 81, protocol: wire::Protocol::Http.into() };
    let body = wire::Service { namespace: "shop".into(), name: "reviews".into(), ports: vec![port], ..wire::Service::default() };
    let snapshot = held.apply(changes(2, vec![resource(wire::ResourceKind::Service, "shop/reviews", &body)])).unwrap().snapshot;
    assert_eq!(snapshot.backends.keys().map(|key| &**key).collect::<Vec<_>>(), ["shop/reviews:81"]);
    assert!(snapshot.backends["shop/reviews:81"].endpoints.is_empty());
    assert!(reviews(&snapshot).port(80).is_none());
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(kind in 0_i32..8, body in prop::collection::vec(any::<u8>(), 0..200)) {
        let upserts = vec![wire::Resource { kind, name: "shop/reviews".into(), version: vec![], body: body.clone().into() }];
        prop_assert!(Resources::default().apply(changes(1, upserts)).is_ok());
        // Whatever this says, it says it without a panic.
        drop(plait_discovery::snapshot_of(&body));
    }
}

fn called_at(name: &str, addresses: &[&str]) -> wire::Resource {
    let port = wire::ServicePort { name: "http".into(), port: 80, protocol: wire::Protocol::Http.into() };
    let addresses = addresses.iter().map(ToString::to_string).collect();
    let body = wire::Service { namespace: "shop".into(), name: name.into(), ports: vec![port], addresses, ..wire::Service::default() };
    resource(wire::ResourceKind::Service, &format!("shop/{name}"), &body)
}

fn direct(workload: &str, inbound: &str, identity: &str) -> wire::Resource {
    let ports = vec![wire::DirectPort { port: 9000, protocol: wire::Protocol::Tcp.into() }];
    let (workload, inbound, identity) = (format!("shop/{workload}"), inbound.into(), identity.into());
    let body = wire::Direct { address: "10.0.0.9".into(), workload, inbound, identity, ports, ..wire::Direct::default() };
    resource(wire::ResourceKind::Direct, "10.0.0.9", &body)
}

#[test]
fn an_address_stands_for_whoever_has_it_now() {
    let known = ["10.0.0.9", "fd00::9"].map(Into::into).to_vec();
    let mut generation = 0;
    let mut held = Resources::default();
    let mut step = |upserts: Vec<wire::Resource>, removals: &[(wire::ResourceKind, &str)]| {
        generation += 1;
        let removals = removals.iter().map(|(kind, name)| wire::ResourceKey { kind: (*kind).into(), name: (*name).into() }).collect();
        let set = wire::ChangeSet { generation, upserts, removals, known: known.clone(), ..wire::ChangeSet::default() };
        let applied = held.apply(set).unwrap();
        assert!(applied.rejected.is_empty(), "{:?}", applied.rejected);
        let named = |address: &str| match applied.snapshot.lookup(&DestinationKey::of_address(address.parse().unwrap())) {
            Some(Lookup::Known(found)) => found.key.to_string(),
            Some(Lookup::Unknown) => "unknown".into(),
            None => "nothing".into(),
        };
        [named("10.0.0.9"), named("fd00::9")]
    };
    let (service, other) = ((wire::ResourceKind::Service, "shop/reviews"), (wire::ResourceKind::Direct, "10.0.0.9"));
    let both = ["10.0.0.9", "fd00::9"];
    for (upserts, removals, expected, why) in [
        (vec![mesh(), called_at("reviews", &both)], vec![], ["shop/reviews", "shop/reviews"], "a Service has both"),
        (vec![called_at("reviews", &both[1..])], vec![], ["nothing", "shop/reviews"], "it gave one up"),
        (vec![called_at("ledger", &both[..1])], vec![], ["shop/ledger", "shop/reviews"], "another Service took it"),
        (vec![called_at("reviews", &both)], vec![], ["shop/reviews", "shop/reviews"], "who came last has it"),
        (vec![called_at("ledger", &both)], vec![service], ["shop/ledger", "shop/ledger"], "one came as the other went"),
        (vec![called_at("ledger", &[])], vec![], ["nothing", "nothing"], "nobody has it"),
        (vec![direct("w-1", "10.0.0.9:15006", "spiffe://example/ns/shop/sa/a")], vec![], ["shop/w-1", "nothing"], "a workload has it"),
        (vec![], vec![other], ["nothing", "nothing"], "it is gone"),
    ] {
        assert_eq!(step(upserts, &removals), expected.map(String::from), "{why}");
    }
}

#[test]
fn a_workload_is_called_at_its_own_address_as_its_proxy_proves_it() {
    let known = vec!["10.0.0.9".to_owned()];
    let backend = |resource: wire::Resource, port: u16| {
        let set = wire::ChangeSet { generation: 1, upserts: vec![mesh(), resource], known: known.clone(), ..wire::ChangeSet::default() };
        let applied = Resources::default().apply(set).unwrap();
        let refused = applied.rejected.first().map(|one| one.refused.path.clone());
        let Some(Lookup::Known(found)) = applied.snapshot.lookup(&DestinationKey::from_contract("10.0.0.9")) else { return Err(refused) };
        let backend = found.direct.as_ref().unwrap().backend(port);
        let endpoint = backend.endpoints[0].clone();
        assert_eq!(endpoint.target_port, port);
        Ok((endpoint.address.to_string(), endpoint.identity.is_some(), backend.protocol))
    };
    let identity = "spiffe://example/ns/shop/sa/a";
    let proxied = || direct("w-1", "10.0.0.9:15006", identity);
    assert_eq!(backend(proxied(), 9000), Ok(("10.0.0.9:15006".into(), true, plait_model::Protocol::Tcp)));
    assert_eq!(backend(proxied(), 80), Ok(("10.0.0.9:15006".into(), true, plait_model::Protocol::Auto)), "any port may be called");
    assert_eq!(backend(direct("w-1", "", ""), 80), Ok(("10.0.0.9:80".into(), false, plait_model::Protocol::Auto)), "nobody proxies it");
    for half in [direct("w-1", "", identity), direct("w-1", "10.0.0.9:15006", "")] {
        assert_eq!(backend(half, 80), Err(Some("identity".into())), "never plaintext to who must prove an identity");
    }
}
