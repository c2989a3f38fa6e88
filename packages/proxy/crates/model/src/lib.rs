//! The immutable world that the data path reads, and the one request model that every stage shares.
//!
//! `discovery` writes a [`Snapshot`], `proxy` reads it; they meet only here, in [`World`].
//! No I/O, no decision: deciding is the job of `plait-decide`.

mod cell;
mod direct;
mod endpoint;
mod gate;
mod hash_table;
mod head;
mod headers;
mod health;
mod mesh;
mod name;
mod path;
mod peer;
mod plugin;
mod policy;
mod reason;
mod route;
mod route_table;
mod server_names;
mod session;
mod snapshot;
mod workload;
mod zones;

pub use cell::{Demand, DiscoveryUnavailable, Lookup, Seen, World};
pub use direct::Direct;
pub use endpoint::{
    Algorithm, Backend, BackendState, BackendTraffic, Endpoint, EndpointState, HashOn, OutlierDetection, OutlierState, SuccessRate,
};
pub use gate::{ConnectionLimit, Crowded, Gate, Place};
pub use hash_table::{HashTable, StableHash};
pub use head::{RequestHead, ResponseHead};
pub use headers::Headers;
pub use health::{HealthCheck, HealthState, Probe};
pub use mesh::{AccessLog, AccessLogFilter, DefaultPolicy, Egress, Limits, Mesh, MtlsMode};
pub use name::{DestinationKey, ObjectRef, Origin, split_authority};
pub use path::{PathError, canonical_path};
pub use peer::{Peer, SpiffeError, SpiffeId};
pub use plugin::{
    CallChains, CallPlugin, CallScope, Chain, FailurePolicy, Link, Plugin, PluginReport, PluginStage, PortChains, PortPlugin, Run,
};
pub use policy::{Action, Operation, Policy, PolicyHeader, PolicyRule, Source};
pub use reason::Reason;
pub use route::{
    CallTraffic, Filter, Filters, GrpcLength, HeaderModifier, Hostname, Mirror, PathMatch, PathRewrite, Redirect, Retries, RetryBudget,
    RouteKind, RouteMatch, Rule, UrlRewrite, ValueMatch, WeightedBackend,
};
pub use route_table::{Candidate, RouteTable, Specificity};
pub use session::{Carrier, SessionAffinity, Sessions};
pub use snapshot::{Destination, DestinationPort, Protocol, Snapshot};
pub use workload::{Bind, PolicyBinding, Workload, WorkloadPort};
pub use zones::{Zone, ZoneAware, Zones};

/// A hash map with the data path's hasher: fast, seeded at random per process.
pub type Map<K, V> = std::collections::HashMap<K, V, foldhash::fast::RandomState>;
