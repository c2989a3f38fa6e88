//! One state of the world, immutable: what a request reads from its first byte to its last.

use std::sync::{Arc, atomic::AtomicU64};

use crate::{Backend, DestinationKey, Direct, Lookup, Map, Mesh, Plugin, RouteKind, RouteTable, Workload};

/// A state of the world. Built by `discovery/apply` alone.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// Its number; 0 = nothing was ever applied.
    pub generation: u64,
    /// What is true everywhere.
    pub mesh: Arc<Mesh>,
    /// The workloads that this proxy serves, by "namespace/name".
    pub workloads: Map<Box<str>, Arc<Workload>>,
    /// What was dialled: Services by name, and whatever stands behind an address.
    pub destinations: Map<DestinationKey, Arc<Destination>>,
    /// Destinations that the control plane said the mesh does not have.
    pub unknown: std::collections::HashSet<DestinationKey>,
    /// Every backend that a rule of a destination names, by "namespace/service:port".
    pub backends: Map<Arc<str>, Arc<Backend>>,
    /// Every plugin that a workload's calls pass, by name.
    pub plugins: std::collections::BTreeMap<Arc<str>, Arc<Plugin>>,
}

impl Snapshot {
    /// What is known of a destination; `None` = must be asked for.
    pub fn lookup(&self, key: &DestinationKey) -> Option<Lookup> {
        if let Some(found) = self.destinations.get(key) {
            return Some(Lookup::Known(found.clone()));
        }
        self.unknown.contains(key).then_some(Lookup::Unknown)
    }
}

/// A Service as its callers see it; or one workload, where its own address was dialled.
#[derive(Debug)]
pub struct Destination {
    /// "namespace/name" of the Service, or of the workload.
    pub key: DestinationKey,
    /// The workload; then there are no ports of a Service.
    pub direct: Option<Arc<Direct>>,
    /// Its ports.
    pub ports: Vec<DestinationPort>,
    /// When it was last dialled (seconds of the discovery client's clock); survives snapshots.
    pub last_used: Arc<AtomicU64>,
}

impl Destination {
    /// The port of that number.
    pub fn port(&self, port: u16) -> Option<&DestinationPort> {
        self.ports.iter().find(|candidate| candidate.port == port)
    }
}

/// A port of a Service with the rules that shape it.
#[derive(Debug)]
pub struct DestinationPort {
    /// Name, may be empty.
    pub name: Box<str>,
    /// Number.
    pub port: u16,
    /// What is spoken there.
    pub protocol: Protocol,
    /// The rules of all producer routes, or the implicit rule alone.
    pub routes: Arc<RouteTable>,
    /// The rules of the consumer routes of a namespace: they replace `routes` for its callers.
    pub consumer_routes: Map<Box<str>, Arc<RouteTable>>,
}

impl DestinationPort {
    /// The rules for callers of a namespace.
    pub fn routes_for(&self, namespace: &str) -> &Arc<RouteTable> {
        self.consumer_routes.get(namespace).unwrap_or(&self.routes)
    }

    /// What callers of a namespace speak there: a route for connections, or for gRPC alone, says more than the Service.
    pub fn protocol_for(&self, namespace: &str) -> Protocol {
        match (self.routes_for(namespace).kind(), self.protocol) {
            (RouteKind::Tcp, _) => Protocol::Tcp,
            (RouteKind::Tls, _) => Protocol::Tls,
            (RouteKind::Grpc, Protocol::Auto) => Protocol::Http2,
            (RouteKind::Http | RouteKind::Grpc, declared) => declared,
        }
    }
}

/// What is spoken on a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Found out from the first bytes.
    Auto,
    /// HTTP/1.1.
    Http,
    /// HTTP/2 by prior knowledge, gRPC.
    Http2,
    /// Opaque bytes.
    Tcp,
    /// TLS of the applications: opaque bytes, but for the server name that the client asks for.
    Tls,
}

impl Protocol {
    /// Whether what is sent there is passed on as bytes, whatever it is.
    pub fn is_opaque(self) -> bool {
        match self {
            Self::Tcp | Self::Tls => true,
            Self::Auto | Self::Http | Self::Http2 => false,
        }
    }
}
