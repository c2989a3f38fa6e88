//! Plugins as a control plane sends them, and the chains that calls pass.

#![allow(clippy::unwrap_used, clippy::panic)] // clippy's own exemption ends at #[test] functions; helpers beside them are tests too

use std::sync::Arc;

use plait_discovery::Resources;
use plait_model::{Snapshot, Workload};
use plait_wire as wire;
use prost::Message;

const PORT: u16 = 8080;

fn resource(kind: wire::ResourceKind, name: &str, body: &impl Message) -> wire::Resource {
    let body = body.encode_to_vec();
    wire::Resource { kind: kind.into(), name: name.into(), version: body[body.len().saturating_sub(16)..].to_vec(), body: body.into() }
}

fn mesh() -> wire::Resource {
    let body = wire::Mesh { trust_domain: "example".into(), mtls_mode: 1, default_policy: 1, egress: 1, ..wire::Mesh::default() };
    resource(wire::ResourceKind::Mesh, "default", &body)
}

fn message(name: &str) -> wire::Plugin {
    wire::Plugin {
        object: Some(wire::ObjectRef { kind: "Plugin".into(), namespace: "shop".into(), name: name.into() }),
        package: "plait-one".into(),
        config: "{}".into(),
        deadline: Some(prost_types::Duration { seconds: 0, nanos: 50_000_000 }),
        on_error: wire::FailurePolicy::Closed.into(),
        on_timeout: wire::FailurePolicy::Open.into(),
        on_load_failure: wire::FailurePolicy::Closed.into(),
        group: "shop/default".into(),
        ..wire::Plugin::default()
    }
}

fn plugin(name: &str, config: &str) -> wire::Resource {
    let body = wire::Plugin { config: config.into(), ..message(name) };
    resource(wire::ResourceKind::Plugin, &format!("shop/{name}"), &body)
}

fn workload(inbound: &[(&str, u32)], outbound: &[&str]) -> wire::Resource {
    let body = wire::Workload {
        namespace: "shop".into(),
        name: "web-1".into(),
        service_account: "web".into(),
        address: "127.0.0.1".into(),
        inbound: "127.0.0.1:1".into(),
        ports: vec![wire::WorkloadPort { port: PORT.into(), protocol: wire::Protocol::Http.into(), ..wire::WorkloadPort::default() }],
        inbound_plugins: inbound
            .iter()
            .map(|(name, port)| wire::InboundPlugin { name: format!("shop/{name}"), ports: vec![*port] })
            .collect(),
        outbound_plugins: outbound.iter().map(|name| wire::OutboundPlugin { name: format!("shop/{name}"), scopes: vec![] }).collect(),
        ..wire::Workload::default()
    };
    resource(wire::ResourceKind::Workload, "shop/web-1", &body)
}

fn changes(generation: u64, upserts: Vec<wire::Resource>) -> wire::ChangeSet {
    wire::ChangeSet { generation, nonce: generation, upserts, ..wire::ChangeSet::default() }
}

fn web(snapshot: &Snapshot) -> Arc<Workload> {
    snapshot.workloads["shop/web-1"].clone()
}

#[test]
fn a_workload_without_plugins_has_no_chain() {
    let snapshot = Resources::default().apply(changes(1, vec![mesh(), workload(&[], &[])])).unwrap().snapshot;
    let web = web(&snapshot);
    assert!(web.arrivals.chain(PORT).is_none() && web.calls.chain("shop/web", None).is_none() && snapshot.plugins.is_empty());
}

#[test]
fn a_port_has_the_plugins_that_cover_it_and_a_call_those_that_see_it() {
    let upserts = vec![mesh(), plugin("a", "{}"), plugin("b", "{}"), workload(&[("b", PORT.into()), ("a", 9), ("a", PORT.into())], &["a"])];
    let snapshot = Resources::default().apply(changes(1, upserts)).unwrap().snapshot;
    let web = web(&snapshot);
    let chain = web.arrivals.chain(PORT).unwrap();
    let names: Vec<_> = chain.links.iter().map(|(name, _)| &**name).collect();
    assert_eq!(names, ["shop/b", "shop/a"]);
    assert_eq!((chain.runs.len(), chain.broken()), (1, None));
    assert_eq!(web.calls.chain("shop/reviews", None).unwrap().links.len(), 1);
}

#[test]
fn a_port_that_nobody_declared_is_covered_by_its_number_or_by_what_covers_all() {
    let name = |chain: Option<&Arc<plait_model::Chain>>| chain.map(|chain| chain.links.iter().map(|(name, _)| &**name).collect::<String>());
    for (ports, named, other) in [(vec![9], Some("shop/a"), None), (vec![], Some("shop/a"), Some("shop/a"))] {
        let body = wire::Workload {
            inbound_plugins: vec![wire::InboundPlugin { name: "shop/a".into(), ports }],
            ..wire::Workload::decode(workload(&[], &[]).body).unwrap()
        };
        let upserts = vec![mesh(), plugin("a", "{}"), resource(wire::ResourceKind::Workload, "shop/web-1", &body)];
        let snapshot = Resources::default().apply(changes(1, upserts)).unwrap().snapshot;
        let arrivals = &web(&snapshot).arrivals;
        assert_eq!((name(arrivals.chain(9)).as_deref(), name(arrivals.chain(10)).as_deref()), (named, other));
    }
}

#[test]
fn a_plugin_that_did_not_come_breaks_its_chain() {
    let snapshot = Resources::default().apply(changes(1, vec![mesh(), workload(&[("a", PORT.into())], &[])])).unwrap().snapshot;
    let chain = web(&snapshot).arrivals.chain(PORT).unwrap().clone();
    assert_eq!(chain.broken().map(|(name, _)| name.to_string()), Some("shop/a".to_owned()));
}

#[test]
fn a_change_of_a_plugin_makes_its_chains_anew_and_no_others() {
    let mut held = Resources::default();
    let upserts = vec![mesh(), plugin("a", "{}"), plugin("b", "{}"), workload(&[("a", PORT.into())], &["b"])];
    let before = web(&held.apply(changes(1, upserts)).unwrap().snapshot);
    let after = web(&held.apply(changes(2, vec![plugin("a", "{\"header\":\"x\"}")])).unwrap().snapshot);
    let chain = |web: &Workload| web.arrivals.chain(PORT).unwrap().clone();
    assert!(!Arc::ptr_eq(&chain(&before), &chain(&after)));
    assert!(Arc::ptr_eq(before.calls.chain("", None).unwrap(), after.calls.chain("", None).unwrap()));
    assert_eq!(&*chain(&after).links[0].1.as_ref().unwrap().config, "{\"header\":\"x\"}");
    let removal = wire::ResourceKey { kind: wire::ResourceKind::Plugin.into(), name: "shop/a".into() };
    let gone = held.apply(wire::ChangeSet { removals: vec![removal], ..changes(3, vec![]) }).unwrap().snapshot;
    assert!(chain(&web(&gone)).broken().is_some() && !gone.plugins.contains_key("shop/a"));
}

#[test]
fn what_cannot_be_run_is_refused_with_its_path() {
    for (body, path) in [
        (wire::Plugin { deadline: None, ..message("a") }, "deadline"),
        (wire::Plugin { on_error: 9, ..message("a") }, "on_error"),
        (wire::Plugin { digest: "sha256:xyz".into(), ..message("a") }, "digest"),
        (wire::Plugin { digest: format!("sha256:{}", "é".repeat(32)), ..message("a") }, "digest"),
        (wire::Plugin { object: None, ..message("a") }, "object"),
    ] {
        let bad = resource(wire::ResourceKind::Plugin, "shop/a", &body);
        let rejected = Resources::default().apply(changes(1, vec![mesh(), bad])).unwrap().rejected;
        assert_eq!(rejected.iter().map(|one| one.refused.path.as_str()).collect::<Vec<_>>(), [path]);
    }
    let many = vec![("a", u32::from(PORT)); 65];
    let rejected = Resources::default().apply(changes(1, vec![mesh(), workload(&many, &[])])).unwrap().rejected;
    assert_eq!(rejected[0].refused.path, "inbound_plugins");
}

#[test]
fn a_digest_is_read_as_bytes() {
    let body = wire::Plugin { digest: format!("sha256:{}", "0f".repeat(32)), ..message("a") };
    let upserts = vec![mesh(), resource(wire::ResourceKind::Plugin, "shop/a", &body)];
    let snapshot = Resources::default().apply(changes(1, upserts)).unwrap().snapshot;
    assert_eq!(snapshot.plugins["shop/a"].digest, Some([15; 32]));
}
