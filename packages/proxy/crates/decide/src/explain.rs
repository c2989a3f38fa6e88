//! Why a request would do what it would do, by the same functions that serve it. Asked by the admin socket, and offline by `plait-proxy decide`.

mod decision;
mod standing;
mod words;

use std::{num::NonZeroU32, sync::Arc};

use plait_model::{
    Backend, Chain, Destination, DestinationKey, Direct, Egress, Endpoint, Lookup, ObjectRef, Peer, Reason, RequestHead, RouteKind,
    RouteTable, Rule, Snapshot, WeightedBackend, Workload, split_authority,
};

pub use self::decision::{Answer, Balancing, Called, Chosen, Decision, From, Limits, NotChosen, Passed, Place, Share, Verdict};
use crate::{
    authorize, hash, health, rewrite,
    route::{self, RouteChoice},
    session, zone,
};

/// A hypothetical request of a workload that the snapshot serves.
#[derive(Debug, Clone)]
pub struct Question {
    /// "namespace/name" of the calling workload.
    pub from: String,
    /// The request; its authority names the destination, no port = 80.
    pub head: RequestHead,
    /// The server that a client of TLS asks for; `None` = the host of the authority.
    pub server_name: Option<String>,
}

/// Why a question has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unanswerable {
    /// The proxy does not serve that workload.
    #[error("this proxy does not serve the workload {0}")]
    Workload(String),
    /// The authority is malformed.
    #[error("{0:?} is no host or host:port")]
    Authority(String),
    /// The destination was never dialled and must be asked for first.
    #[error("the destination {0} is not known here yet")]
    NotHeld(String),
}

/// Answers a question from one snapshot. `now_nanos` is read from the clock of those who learnt about its endpoints; offline any will do.
pub fn explain(snapshot: &Snapshot, question: &Question, now_nanos: u64) -> Result<Decision, Unanswerable> {
    let from = snapshot.workloads.get(question.from.as_str()).ok_or_else(|| Unanswerable::Workload(question.from.clone()))?;
    let (host, port) = split_authority(&question.head.authority).ok_or_else(|| Unanswerable::Authority(question.head.authority.clone()))?;
    let key = DestinationKey::of_host(host, &from.namespace);
    let mut decision = Decision {
        generation: snapshot.generation,
        from: From { workload: question.from.clone(), identity: from.identity.as_str().to_owned() },
        destination: None,
        egress: None,
        route: None,
        not_chosen: Vec::new(),
        backends: Vec::new(),
        balancing: None,
        endpoints: Vec::new(),
        limits: None,
        plugins: Vec::new(),
        policy: None,
        answer: None,
    };
    match snapshot.lookup(&key).ok_or_else(|| Unanswerable::NotHeld(key.to_string()))? {
        Lookup::Unknown => match snapshot.mesh.egress {
            Egress::Allow => {
                decision.egress = Some("allow");
                passes(from.calls.chain("", None), "outbound", &mut decision);
            }
            Egress::Deny => {
                decision.egress = Some("deny");
                decision.answer = Some(answer(Reason::EgressDenied));
            }
        },
        Lookup::Known(destination) => {
            let server_name = question.server_name.as_deref().unwrap_or(host).to_ascii_lowercase();
            let asked = Asked { port: port.unwrap_or(80), head: &question.head, server_name: &server_name, now_nanos };
            match &destination.direct {
                Some(direct) => directly(snapshot, from, direct, asked, &mut decision),
                None => routed(snapshot, from, &destination, asked, &mut decision),
            }
        }
    }
    Ok(decision)
}

/// What is asked of a destination.
#[derive(Debug, Clone, Copy)]
struct Asked<'q> {
    port: u16,
    head: &'q RequestHead,
    server_name: &'q str,
    now_nanos: u64,
}

/// A workload at its own address: no route, no choice.
fn directly(snapshot: &Snapshot, from: &Workload, direct: &Direct, asked: Asked<'_>, decision: &mut Decision) {
    let backend = direct.backend(asked.port);
    let protocol = words::spoken(backend.protocol);
    decision.destination = Some(Called { service: direct.workload.to_string(), port: asked.port, protocol, heard: None });
    decision.endpoints = backend.endpoints.iter().map(|endpoint| place(&backend, endpoint, asked.now_nanos)).collect();
    passes(from.calls.chain(&direct.workload, None), "outbound", decision);
    at_backend((snapshot, from), (None, &backend), (!backend.protocol.is_opaque()).then_some(asked.head), decision);
}

fn routed(snapshot: &Snapshot, from: &Workload, called: &Destination, asked: Asked<'_>, decision: &mut Decision) {
    let Asked { port, head, server_name, now_nanos } = asked;
    let Some(service_port) = called.port(port) else {
        decision.answer = Some(answer(Reason::PortNotFound));
        return;
    };
    let spoken = service_port.protocol_for(&from.namespace);
    let protocol = words::spoken(spoken);
    decision.destination = Some(Called { service: called.key.to_string(), port, protocol, heard: None });
    let routes = service_port.routes_for(&from.namespace);
    let choice = match routes.kind() {
        RouteKind::Tcp | RouteKind::Tls => route::find_stream(routes, Some(server_name)),
        RouteKind::Http | RouteKind::Grpc => route::find(routes, head),
    };
    decision.not_chosen = not_chosen(routes, choice, asked);
    let Some(choice) = choice else {
        decision.answer = Some(answer(Reason::RouteNotFound));
        return;
    };
    let rule = choice.rule;
    decision.route = Some(chosen(choice, server_name));
    decision.limits = Some(limits(rule));
    passes(from.calls.chain(called.key.as_str(), Some(rule)), "outbound", decision);
    if let Some(redirect) = &rule.filters.redirect {
        decision.answer = Some(Answer { status: redirect.status, reason: "redirect" });
        return;
    }
    decision.backends = rule.backends.iter().map(|share| as_share(share, rule.total_weight)).collect();
    let heaviest = rule.backends.iter().filter(|share| share.weight > 0).max_by_key(|share| share.weight);
    let found = heaviest
        .filter(|share| share.invalid.is_none())
        .and_then(|share| snapshot.backends.get(&share.backend).map(|backend| (share, backend)));
    let Some((share, backend)) = found else {
        decision.answer = Some(answer(Reason::BackendNotFound));
        return;
    };
    // What is sent to a port of opaque bytes travels as bytes, and is judged as bytes.
    let received = (!spoken.is_opaque()).then(|| received(choice, share, head));
    decision.endpoints = backend.endpoints.iter().map(|endpoint| place(backend, endpoint, now_nanos)).collect();
    at_backend((snapshot, from), (Some(&**rule), backend), received.as_ref(), decision);
}

/// The request as the destination receives it, and as its policies judge it.
fn received(choice: RouteChoice<'_>, share: &WeightedBackend, head: &RequestHead) -> RequestHead {
    let mut received = head.clone();
    rewrite::request(&choice.rule.filters, choice.prefix(), &mut received);
    rewrite::request(&share.filters, choice.prefix(), &mut received);
    received
}

fn at_backend(
    (snapshot, from): (&Snapshot, &Workload),
    (rule, backend): (Option<&Rule>, &Backend),
    http: Option<&RequestHead>,
    decision: &mut Decision,
) {
    if let Some(limits) = &mut decision.limits {
        limits.connect_ms = Some(millis(backend.traffic.connect_timeout));
        limits.idle_ms = Some(millis(backend.traffic.idle_timeout));
        limits.max_requests = backend.traffic.max_requests.map(NonZeroU32::get);
        limits.max_connections = backend.traffic.connections.as_ref().map(|limit| limit.most.get());
        limits.max_pending = backend.traffic.connections.as_ref().map(|limit| limit.pending);
        limits.origins.extend_from_slice(&backend.traffic.origins);
    }
    decision.balancing = Some(balancing(rule, backend, from, http));
    let Some(endpoint) = backend.endpoints.first().filter(|_| !health::is_closed(backend)) else {
        decision.answer = Some(answer(Reason::NoReadyEndpoint));
        return;
    };
    // The policy of the destination is held only where the whole mesh is: offline, or by a proxy that serves both ends.
    let Some(workload) = snapshot.workloads.get(&*endpoint.workload) else { return };
    let peer = Peer { identity: endpoint.identity.as_ref().map(|_| from.identity.clone()), address: from.address };
    passes(workload.arrivals.chain(endpoint.target_port), "inbound", decision);
    let judgement = authorize::judge(workload, &snapshot.mesh, &peer, endpoint.target_port, http);
    let dry_run_denials = judgement.dry_run_denials;
    decision.policy = Some(match judgement.result {
        Ok(permit) => {
            let (object, rule) = permit.by().map(|(object, rule)| ((**object).clone(), *rule)).unzip();
            Verdict { allowed: true, object, rule, why: None, dry_run_denials }
        }
        Err(denial) => {
            decision.answer = Some(answer(denial.reason));
            Verdict { allowed: false, object: denial.object, rule: None, why: Some(denial.text), dry_run_denials }
        }
    });
}

/// Plugins by the names of their objects, which their resources have too.
fn passes(chain: Option<&Arc<Chain>>, direction: &'static str, decision: &mut Decision) {
    for (name, plugin) in chain.into_iter().flat_map(|chain| &chain.links) {
        let (namespace, short) = name.split_once('/').unwrap_or_default();
        let object = ObjectRef { kind: "Plugin".into(), namespace: namespace.into(), name: short.into() };
        let broken = match plugin {
            None => Some("it is not known here".to_owned()),
            Some(plugin) => plugin.invalid.as_deref().map(str::to_owned),
        };
        decision.plugins.push(Passed { object, direction, broken });
    }
}

fn place(backend: &Backend, endpoint: &Endpoint, now_nanos: u64) -> Place {
    Place {
        workload: endpoint.workload.to_string(),
        address: endpoint.address.to_string(),
        identity: endpoint.identity.as_ref().map(|identity| identity.as_str().to_owned()),
        zone: endpoint.zone.to_string(),
        standing: standing::standing(backend, endpoint, now_nanos),
    }
}

fn balancing(rule: Option<&Rule>, backend: &Backend, from: &Workload, http: Option<&RequestHead>) -> Balancing {
    let peer = Peer { identity: Some(from.identity.clone()), address: from.address };
    let bytes = RequestHead::default();
    let owner = backend.hash_table.as_ref().zip(hash::of_request(backend, http.unwrap_or(&bytes), &peer)).and_then(|(table, hash)| {
        let owner = table.owners_from(table.place(hash)).next()?;
        Some(backend.endpoints[owner].workload.to_string())
    });
    let affinity = session::affinity(rule, backend).filter(|_| http.is_some());
    let home = affinity.zip(http).and_then(|(affinity, head)| session::endpoint(affinity, backend, head, None));
    Balancing {
        algorithm: backend.traffic.algorithm.as_str(),
        hash_on: backend.hash_table.as_ref().map(|_| words::hashed(&backend.traffic.hash_on)),
        owner,
        sessions: affinity.map(words::carried),
        session_of: home.map(|index| backend.endpoints[index].workload.to_string()),
        zone: backend.traffic.zone_aware.map(|_| words::stays(&from.zone, zone::stay(backend, &from.zone))),
        ejected: backend.traffic.outliers.as_ref().map(words::ejected),
        health_check: backend.traffic.health_check.as_ref().map(words::checked),
        panics: health::panics(backend),
        slow_start_ms: backend.traffic.slow_start.filter(|_| backend.hash_table.is_none()).map(millis),
    }
}

fn chosen(choice: RouteChoice<'_>, server_name: &str) -> Chosen {
    let rule = choice.rule;
    let by_name = words::taken(rule, server_name);
    Chosen {
        object: (*rule.object).clone(),
        rule: rule.index,
        rule_name: rule.name.to_string(),
        matched: choice.matched.map(words::matched).or(by_name).unwrap_or_default(),
        implicit: rule.is_implicit(),
    }
}

fn as_share(share: &WeightedBackend, total: u32) -> Share {
    Share { backend: share.backend.to_string(), weight: share.weight, total, invalid: share.invalid.as_deref().map(str::to_owned) }
}

fn not_chosen(routes: &RouteTable, choice: Option<RouteChoice<'_>>, asked: Asked<'_>) -> Vec<NotChosen> {
    let others = routes.rules().iter().filter(|rule| choice.is_none_or(|choice| !std::sync::Arc::ptr_eq(rule, choice.rule)));
    others
        .map(|rule| NotChosen {
            object: (*rule.object).clone(),
            rule: rule.index,
            rule_name: rule.name.to_string(),
            why: match rule.kind {
                kind if kind < routes.kind() => words::GAVE_WAY.to_owned(),
                RouteKind::Tcp | RouteKind::Tls => words::why_no_stream(rule, choice, asked.server_name),
                RouteKind::Http | RouteKind::Grpc => words::why_not(rule, choice, asked.head),
            },
        })
        .collect()
}

fn limits(rule: &Rule) -> Limits {
    let retries = rule.traffic.retries.as_ref();
    Limits {
        request_ms: rule.traffic.request_timeout.map(millis),
        attempt_ms: rule.traffic.attempt_timeout.map(millis),
        connect_ms: None,
        idle_ms: None,
        max_requests: None,
        max_connections: None,
        max_pending: None,
        retry_attempts: retries.map_or(0, |retries| retries.attempts),
        retry_codes: retries.map_or_else(Vec::new, |retries| retries.codes.clone()),
        origins: rule.traffic.origins.clone(),
    }
}

fn millis(duration: std::time::Duration) -> u64 {
    duration.as_millis() as u64
}

fn answer(reason: Reason) -> Answer {
    Answer { status: reason.status(), reason: reason.as_str() }
}
