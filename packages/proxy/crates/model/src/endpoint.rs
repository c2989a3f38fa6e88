//! Where a backend Service runs, and what has been learnt about each place.
//! The state of an endpoint outlives snapshots: `discovery/apply` hands the same `Arc` on while the endpoint's content is the same.

use std::{
    net::SocketAddr,
    num::NonZeroU32,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, AtomicU64},
    },
    time::Duration,
};

use crate::{
    ConnectionLimit, Gate, HashTable, HealthCheck, HealthState, Origin, Protocol, SessionAffinity, Sessions, SpiffeId, ZoneAware, Zones,
};

/// How an endpoint is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Algorithm {
    /// Power of two choices by peak-sensitive latency average times requests in flight.
    #[default]
    PeakEwma,
    /// Power of two choices by requests in flight.
    LeastRequest,
    /// Each in turn.
    RoundRobin,
    /// Uniformly at random.
    Random,
    /// By what a request carries, on a ring of hashes.
    RingHash,
    /// By what a request carries, in a Maglev table.
    Maglev,
}

impl Algorithm {
    /// As users write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PeakEwma => "PeakEWMA",
            Self::LeastRequest => "LeastRequest",
            Self::RoundRobin => "RoundRobin",
            Self::Random => "Random",
            Self::RingHash => "RingHash",
            Self::Maglev => "Maglev",
        }
    }
}

/// What of a request chooses its endpoint, where the algorithm hashes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum HashOn {
    /// A header field, name in lower case.
    Header(Box<str>),
    /// A cookie.
    Cookie(Box<str>),
    /// The caller's address.
    #[default]
    Address,
    /// The caller's identity.
    Identity,
}

/// Traffic settings of a Service as a chosen backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendTraffic {
    /// How an endpoint is chosen.
    pub algorithm: Algorithm,
    /// What of a request chooses its endpoint, where the algorithm hashes.
    pub hash_on: HashOn,
    /// For so long the share of an endpoint grows that is new, or back; `None` = it is whole at once. Of no meaning where the algorithm hashes.
    pub slow_start: Option<Duration>,
    /// When endpoints of the caller's zone go first; `None` = never.
    pub zone_aware: Option<ZoneAware>,
    /// How a caller comes back to the endpoint that answered it; `None` = not at all.
    pub sessions: Option<SessionAffinity>,
    /// When an endpoint that answers badly is ejected; `None` = only refused dials pass an endpoint over.
    pub outliers: Option<OutlierDetection>,
    /// Checks that this proxy makes; `None` = none.
    pub health_check: Option<HealthCheck>,
    /// Requests in flight at a time from this proxy; `None` = no limit.
    pub max_requests: Option<NonZeroU32>,
    /// Connections at a time from this proxy; `None` = no limit.
    pub connections: Option<ConnectionLimit>,
    /// Longest wait for a connection. Default 5 s.
    pub connect_timeout: Duration,
    /// An idle pooled connection is closed after this. Default 1 h.
    pub idle_timeout: Duration,
    /// Which objects set what, for explain.
    pub origins: Vec<Origin>,
}

impl Default for BackendTraffic {
    fn default() -> Self {
        Self {
            algorithm: Algorithm::default(),
            hash_on: HashOn::default(),
            slow_start: None,
            zone_aware: None,
            sessions: None,
            outliers: None,
            health_check: None,
            max_requests: None,
            connections: None,
            connect_timeout: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(3600),
            origins: Vec::new(),
        }
    }
}

/// `outlierDetection`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutlierDetection {
    /// Failures in a row that eject; 0 = they do not matter.
    pub consecutive_failures: u32,
    /// The first ejection.
    pub base_ejection: Duration,
    /// Of the endpoints; one may always be ejected, never all.
    pub max_ejected_percent: u32,
    /// `None` = the rate does not matter.
    pub success_rate: Option<SuccessRate>,
}

/// `outlierDetection.successRate`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SuccessRate {
    /// Ejected below this.
    pub min_percent: u32,
    /// Judged from so many requests of the interval on.
    pub min_requests: u32,
    /// What is counted together.
    pub interval: Duration,
}

/// A port of a backend Service with its endpoints: what a route's `backendRef` comes to.
#[derive(Debug)]
pub struct Backend {
    /// "namespace/service:port", its key in the snapshot.
    pub key: Arc<str>,
    /// "namespace/service".
    pub service: Box<str>,
    /// Port of the Service.
    pub port: u16,
    /// What is spoken there.
    pub protocol: Protocol,
    /// Ready endpoints; empty = 503.
    pub endpoints: Vec<Arc<Endpoint>>,
    /// How calls to it behave.
    pub traffic: BackendTraffic,
    /// Which endpoint a hash belongs to; `None` where the algorithm does not hash.
    pub hash_table: Option<HashTable>,
    /// Endpoints by what callers know them by.
    pub sessions: Sessions,
    /// Endpoints by zone; `None` where zones are not looked at.
    pub zones: Option<Zones>,
    /// What was learnt about it as a whole; survives snapshots.
    pub state: Arc<BackendState>,
}

/// What all workers know of a backend.
#[derive(Debug, Default)]
pub struct BackendState {
    /// The turn of the round robin.
    pub turn: AtomicU32,
    /// Requests in flight, counted while there is a limit.
    pub requests: AtomicU32,
    /// Its connections.
    pub gate: Arc<Gate>,
    /// When the ejections for bad answers end that are in force, nanoseconds of the caller's clock. Touched when one begins, never by a pick.
    pub ejections: Mutex<Vec<u64>>,
    /// Endpoints that fail their checks or are ejected, as last counted; a pick compares it with `HealthCheck::min_healthy_percent`.
    pub out: AtomicU32,
    /// When a request for it was decided last, while there are checks: whole seconds of the caller's clock, 0 = never.
    pub used_at_seconds: AtomicU64,
    /// "namespace/name" of the workload that called it last: in whose name checks are made.
    pub used_by: Mutex<Option<Arc<str>>>,
}

/// One place where a Service runs.
#[derive(Debug)]
pub struct Endpoint {
    /// Unique in this process and never used again: the key of pools.
    pub id: u64,
    /// "namespace/name".
    pub workload: Arc<str>,
    /// The inbound listener of its sidecar; the process itself when `identity` is `None`.
    pub address: SocketAddr,
    /// Whom the peer must prove to be. `None` only where no mutual TLS is promised: plaintext HTTP/1.1.
    pub identity: Option<Arc<SpiffeId>>,
    /// SNI of the connection, `<workload>.<namespace>.<trust domain>`.
    pub server_name: Arc<str>,
    /// Port of the process, told to its sidecar.
    pub target_port: u16,
    /// Zone, may be empty.
    pub zone: Box<str>,
    /// What was learnt about it.
    pub state: Arc<EndpointState>,
}

/// What was learnt about an endpoint; written by the workers, read by the balancer. All times are nanoseconds of the caller's clock.
#[derive(Debug, Default)]
pub struct EndpointState {
    /// Requests in flight.
    pub in_flight: AtomicU32,
    /// Peak-sensitive moving average of the latency, nanoseconds; 0 = never measured.
    pub ewma_nanos: AtomicU64,
    /// When `ewma_nanos` was last changed.
    pub ewma_at_nanos: AtomicU64,
    /// Not to be chosen before this moment (after a refused dial); 0 = never ejected.
    pub ejected_until_nanos: AtomicU64,
    /// Refused dials in a row; each doubles the ejection.
    pub failures: AtomicU32,
    /// When it was first considered for a request or became healthy again: slow start counts from here; 0 = never.
    pub since_nanos: AtomicU64,
    /// When it was last asked only because its latency was measured long ago; 0 = never.
    pub asked_again_nanos: AtomicU64,
    /// How it answered.
    pub outlier: OutlierState,
    /// How its checks ended.
    pub health: HealthState,
}

/// How an endpoint answered, where `outlierDetection` asks for it.
#[derive(Debug, Default)]
pub struct OutlierState {
    /// Not to be chosen before this moment; 0 = never ejected.
    pub ejected_until_nanos: AtomicU64,
    /// Ejections that followed close on each other; each doubles the next.
    pub ejections: AtomicU32,
    /// Failures since the last success.
    pub failures_in_a_row: AtomicU32,
    /// Requests and failures of the newest interval, as `plait-decide` packs them.
    pub window: AtomicU64,
}
