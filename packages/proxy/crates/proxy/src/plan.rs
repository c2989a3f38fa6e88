//! What is to be done with a request: decided by `outbound` or `inbound` before anything is sent, carried out by `attempt`.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use plait_decide::{
    authorize::Permit,
    balance::{self, Wanted},
    session,
};
use plait_model::{
    Backend, CallTraffic, Chain, ConnectionLimit, Endpoint, Filters, Gate, Mirror, Protocol, Reason, RouteMatch, Rule, SessionAffinity,
    Snapshot, Workload,
};

use crate::{hop::Hop, reject::Reject};

/// A dial of a process beside us, or outside the mesh, that nobody set a limit for.
const CONNECT: Duration = Duration::from_secs(5);
/// An idle connection to a process beside us is closed after this; shorter than what servers usually wait.
const IDLE: Duration = Duration::from_secs(60);

/// What is to be done.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The state of the world that decided.
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) target: Target,
    /// The rule of the route; `None` inbound and outside the mesh.
    pub(crate) rule: Option<Arc<Rule>>,
    /// Which of the rule's backends was chosen.
    pub(crate) share: usize,
    /// How the request came to the rule.
    pub(crate) matched: Matched,
    /// Mirrors that this request goes to.
    pub(crate) mirrors: Vec<Arc<str>>,
    /// What chooses among endpoints, where the backend's algorithm hashes.
    pub(crate) hash: Option<u64>,
    /// The index of the endpoint of the caller's session.
    pub(crate) session: Option<usize>,
    /// The plugins that it passes.
    pub(crate) chain: Option<Arc<Chain>>,
}

/// How a request came to its rule, as far as anybody asks.
#[derive(Debug, Default)]
pub(crate) struct Matched {
    /// The path prefix that matched, where a rewrite needs it.
    pub(crate) prefix: Option<String>,
    /// The index of the match, where a session of the rule needs it; `None` = the rule has none.
    pub(crate) index: Option<usize>,
}

/// Where to.
#[derive(Debug)]
pub(crate) enum Target {
    /// An endpoint of a Service.
    Backend(Arc<Backend>),
    /// The process beside us, for whom a policy let pass.
    Process {
        /// Where it listens.
        address: SocketAddr,
        /// Whose it is.
        workload: Arc<Workload>,
        /// It speaks HTTP/2 by prior knowledge.
        http2: bool,
        /// That it may be called.
        permit: Permit,
    },
    /// Outside the mesh.
    Outside(SocketAddr),
}

impl Plan {
    /// Where the next try goes; endpoints in `tried` come last, those in `ranked`, which are indexes, first.
    pub(crate) fn hop(&self, caller: &Workload, (tried, ranked): (&[u64], &[usize]), now_nanos: u64) -> Result<Hop<'_>, Reject> {
        let (address, endpoint, http2, connect_timeout, idle_timeout) = match &self.target {
            Target::Process { address, http2, .. } => (*address, None, *http2, CONNECT, IDLE),
            Target::Outside(address) => (*address, None, false, CONNECT, IDLE),
            Target::Backend(backend) => {
                let wanted = Wanted { hash: self.hash, ranked, session: self.session, zone: &caller.zone };
                let endpoint = balance::pick(backend, wanted, tried, now_nanos, |n| fastrand::usize(..n)).ok_or_else(|| {
                    let detail = nobody(backend);
                    Reject { detail, ..Reject::new(Reason::NoReadyEndpoint, self.snapshot.generation) }
                })?;
                let http2 = backend.protocol == Protocol::Http2;
                (endpoint.address, Some(endpoint), http2, backend.traffic.connect_timeout, backend.traffic.idle_timeout)
            }
        };
        let (gate, limit) = self.gate().unzip();
        let most = limit.flatten().map(|limit| limit.most);
        Ok(Hop { address, endpoint, http2, connect_timeout, idle_timeout, gate, most })
    }

    /// Who counts the connections to the target, and how many there may be.
    pub(crate) fn gate(&self) -> Option<(&Arc<Gate>, Option<&ConnectionLimit>)> {
        match &self.target {
            Target::Backend(backend) => Some((&backend.state.gate, backend.traffic.connections.as_ref())),
            Target::Process { address, workload, .. } => workload.port(address.port()).map(|port| (&port.gate, port.connections.as_ref())),
            Target::Outside(_) => None,
        }
    }

    /// Timeouts and retries.
    pub(crate) fn traffic(&self) -> Option<&CallTraffic> {
        self.rule.as_deref().map(|rule| &rule.traffic)
    }

    /// The affinity whose session begins with an answer of `endpoint`; `None` where there is none, or it goes on.
    pub(crate) fn new_session(&self, endpoint: &Endpoint) -> Option<&SessionAffinity> {
        let Target::Backend(backend) = &self.target else { return None };
        let goes_on = self.session.and_then(|index| backend.endpoints.get(index)).is_some_and(|before| before.id == endpoint.id);
        session::affinity(self.rule.as_deref(), backend).filter(|_| !goes_on)
    }

    /// The match that took the request, where a session asks for it.
    pub(crate) fn matched(&self) -> Option<&RouteMatch> {
        self.rule.as_deref().zip(self.matched.index).and_then(|(rule, index)| rule.matches.get(index))
    }

    /// The backend, where it prefers the caller's zone and this endpoint stands in another.
    pub(crate) fn crosses_zones(&self, caller: &Workload, endpoint: &Endpoint) -> Option<&Backend> {
        let Target::Backend(backend) = &self.target else { return None };
        let crosses = backend.traffic.zone_aware.is_some() && !caller.zone.is_empty() && caller.zone != endpoint.zone;
        crosses.then_some(&**backend)
    }

    /// Filters of the rule, then of the chosen backend.
    pub(crate) fn filters(&self) -> impl Iterator<Item = &Filters> {
        self.rule.iter().flat_map(|rule| [Some(&rule.filters), rule.backends.get(self.share).map(|share| &share.filters)]).flatten()
    }

    /// Whether what an endpoint answers is held against it.
    pub(crate) fn judges_endpoints(&self) -> bool {
        matches!(&self.target, Target::Backend(backend) if backend.traffic.outliers.is_some())
    }

    /// Whether another endpoint could do what one did not.
    pub(crate) fn has_choice(&self) -> bool {
        matches!(self.target, Target::Backend(_))
    }
}

/// Why no endpoint can be asked.
fn nobody(backend: &Backend) -> String {
    let Backend { service, port, endpoints, .. } = backend;
    match endpoints.len() {
        0 => format!("Service {service} has no ready endpoint for port {port}"),
        count => format!("all {count} endpoints of Service {service} for port {port} fail their health checks, and minHealthyPercent is 0"),
    }
}

/// The mirrors of some filters that this request goes to.
pub(crate) fn mirrors<'f>(filters: impl Iterator<Item = &'f Filters>) -> Vec<Arc<str>> {
    let chosen = |mirror: &&Mirror| mirror.invalid.is_none() && plait_decide::route::mirrored(mirror, |n| fastrand::u32(..n));
    filters.flat_map(|filters| &filters.mirrors).filter(chosen).map(|mirror| mirror.backend.clone()).collect()
}
