//! A small world: the workload shop/web-1, and the Service shop/origin at a plaintext address.

use std::net::SocketAddr;

use plait_testkit::Port;
use plait_wire as wire;
use prost::Message;

use crate::authority::{Authority, DOMAIN};

pub(crate) const WORKLOAD: &str = "shop/web-1";

/// Where web-1 is reached, where it sends its calls, and where the origin listens.
pub(crate) struct Ports {
    pub(crate) inbound: Port,
    pub(crate) outbound: Port,
    pub(crate) origin: Port,
}

impl Ports {
    pub(crate) fn new() -> Self {
        Self { inbound: Port::new(), outbound: Port::new(), origin: Port::new() }
    }
}

fn resource(kind: wire::ResourceKind, name: &str, body: &impl Message) -> wire::Resource {
    wire::Resource { kind: kind.into(), name: name.into(), version: b"1".to_vec(), body: body.encode_to_vec().into() }
}

/// All of it at generation 1.
pub(crate) fn world(authority: &Authority, ports: &Ports, origin: SocketAddr) -> wire::ChangeSet {
    let mesh = wire::Mesh {
        trust_domain: DOMAIN.into(),
        mtls_mode: wire::MtlsMode::Strict.into(),
        default_policy: wire::DefaultPolicy::AllowAuthenticated.into(),
        egress: wire::Egress::Deny.into(),
        trust_bundle: vec![authority.root.clone()],
        ..wire::Mesh::default()
    };
    let workload = wire::Workload {
        namespace: "shop".into(),
        name: "web-1".into(),
        service_account: "web".into(),
        address: "127.0.0.1".into(),
        inbound: ports.inbound.address.to_string(),
        outbound: ports.outbound.address.to_string(),
        ..wire::Workload::default()
    };
    let port = wire::ServicePort { name: "http".into(), port: 80, protocol: wire::Protocol::Http.into() };
    let service = wire::Service { namespace: "shop".into(), name: "origin".into(), ports: vec![port], ..wire::Service::default() };
    let endpoint =
        wire::Endpoint { workload: "shop/origin-1".into(), address: origin.to_string(), target_port: 80, ..wire::Endpoint::default() };
    let endpoints =
        wire::Endpoints { service: "shop/origin".into(), ports: vec![wire::PortEndpoints { port: 80, endpoints: vec![endpoint] }] };
    let upserts = vec![
        resource(wire::ResourceKind::Mesh, "default", &mesh),
        resource(wire::ResourceKind::Workload, WORKLOAD, &workload),
        resource(wire::ResourceKind::Service, "shop/origin", &service),
        resource(wire::ResourceKind::Endpoints, "shop/origin", &endpoints),
    ];
    wire::ChangeSet { nonce: 1, generation: 1, upserts, known: vec!["shop/origin".into()], ..wire::ChangeSet::default() }
}
