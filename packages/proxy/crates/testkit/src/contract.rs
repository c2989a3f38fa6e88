//! What a control plane would send: contract messages, as short as a test can say them. All names stand in the namespace "shop".

use plait_wire as wire;
use prost::Message;

use crate::authority::DOMAIN;

/// A message that travels as a resource.
pub trait Sent: Message + Sized {
    /// Its kind and name.
    fn key(&self) -> (wire::ResourceKind, String);

    /// As it travels.
    fn resource(&self) -> wire::Resource {
        let (kind, name) = self.key();
        wire::Resource { kind: kind.into(), name, version: Vec::new(), body: self.encode_to_vec().into() }
    }
}

impl Sent for wire::Mesh {
    fn key(&self) -> (wire::ResourceKind, String) {
        (wire::ResourceKind::Mesh, "default".into())
    }
}

impl Sent for wire::Workload {
    fn key(&self) -> (wire::ResourceKind, String) {
        (wire::ResourceKind::Workload, format!("{}/{}", self.namespace, self.name))
    }
}

impl Sent for wire::Service {
    fn key(&self) -> (wire::ResourceKind, String) {
        (wire::ResourceKind::Service, format!("{}/{}", self.namespace, self.name))
    }
}

impl Sent for wire::Endpoints {
    fn key(&self) -> (wire::ResourceKind, String) {
        (wire::ResourceKind::Endpoints, self.service.clone())
    }
}

impl Sent for wire::Route {
    fn key(&self) -> (wire::ResourceKind, String) {
        let object = self.object.clone().unwrap_or_default();
        (wire::ResourceKind::Route, format!("{}/{}/{}", object.kind, object.namespace, object.name))
    }
}

impl Sent for wire::Direct {
    fn key(&self) -> (wire::ResourceKind, String) {
        (wire::ResourceKind::Direct, self.address.clone())
    }
}

impl Sent for wire::Policy {
    fn key(&self) -> (wire::ResourceKind, String) {
        let object = self.object.clone().unwrap_or_default();
        (wire::ResourceKind::Policy, format!("{}/{}", object.namespace, object.name))
    }
}

/// A strict mesh whose callers need an identity and nothing more; what it does not know is refused.
pub fn mesh(roots: &[&[u8]]) -> wire::Mesh {
    wire::Mesh {
        trust_domain: DOMAIN.into(),
        mtls_mode: wire::MtlsMode::Strict.into(),
        default_policy: wire::DefaultPolicy::AllowAuthenticated.into(),
        egress: wire::Egress::Deny.into(),
        access_log: Some(wire::AccessLog { format: wire::AccessLogFormat::Json.into(), filter: wire::AccessLogFilter::All.into() }),
        trust_bundle: roots.iter().map(|root| root.to_vec()).collect(),
        ..wire::Mesh::default()
    }
}

/// "shop/<name>".
pub(crate) fn key(name: &str) -> String {
    format!("shop/{name}")
}

/// An object of the namespace.
pub fn object(kind: &str, name: &str) -> wire::ObjectRef {
    wire::ObjectRef { kind: kind.into(), namespace: "shop".into(), name: name.into() }
}

/// A Service with one port.
pub fn service(name: &str, port: u32, protocol: wire::Protocol) -> wire::Service {
    let port = wire::ServicePort { name: "main".into(), port, protocol: protocol.into() };
    wire::Service { namespace: "shop".into(), name: name.into(), ports: vec![port], ..wire::Service::default() }
}

/// The endpoints of a Service with one port.
pub fn endpoints(service: &str, port: u32, endpoints: Vec<wire::Endpoint>) -> wire::Endpoints {
    wire::Endpoints { service: key(service), ports: vec![wire::PortEndpoints { port, endpoints }] }
}

/// A backend with the whole weight.
pub fn backend(service: &str) -> wire::Backend {
    share(service, 1)
}

/// A backend with a weight.
pub fn share(service: &str, weight: u32) -> wire::Backend {
    wire::Backend { service: key(service), port: 80, weight, ..wire::Backend::default() }
}

/// A rule for all requests, to these backends.
pub fn rule(backends: Vec<wire::Backend>) -> wire::RouteRule {
    wire::RouteRule { backends, ..wire::RouteRule::default() }
}

/// A match of all paths below `path`.
pub fn prefix(path: &str) -> wire::RouteMatch {
    let path = wire::PathMatch { r#type: wire::MatchType::Prefix.into(), value: path.into() };
    wire::RouteMatch { path: Some(path), ..wire::RouteMatch::default() }
}

/// A modifier that sets, adds and removes fields.
pub fn header_filter(set: &[(&str, &str)], add: &[(&str, &str)], remove: &[&str]) -> wire::HeaderModifier {
    let pairs =
        |pairs: &[(&str, &str)]| pairs.iter().map(|(name, value)| wire::Header { name: (*name).into(), value: (*value).into() }).collect();
    wire::HeaderModifier { set: pairs(set), add: pairs(add), remove: remove.iter().map(|name| (*name).into()).collect() }
}

/// A policy that allows what these rules match.
pub fn allow(name: &str, rules: Vec<wire::PolicyRule>) -> wire::Policy {
    policy(name, wire::PolicyAction::Allow, rules)
}

/// A policy that denies what these rules match.
pub fn deny(name: &str, rules: Vec<wire::PolicyRule>) -> wire::Policy {
    policy(name, wire::PolicyAction::Deny, rules)
}

fn policy(name: &str, action: wire::PolicyAction, rules: Vec<wire::PolicyRule>) -> wire::Policy {
    wire::Policy { object: Some(object("AuthorizationPolicy", name)), action: action.into(), rules, ..wire::Policy::default() }
}

/// A rule of a policy that matches everything.
pub fn everything() -> wire::PolicyRule {
    wire::PolicyRule::default()
}

/// A span of time.
pub fn millis(millis: u64) -> prost_types::Duration {
    prost_types::Duration { seconds: (millis / 1000) as i64, nanos: (millis % 1000) as i32 * 1_000_000 }
}
