//! What a request of our own workload comes to: which destination, which rule, which backend. Called by `request`; sends nothing.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use http::Method;
use plait_decide::{
    hash, rewrite,
    route::{self, RouteChoice},
    session,
};
use plait_model::{
    Backend, Destination, DestinationKey, DestinationPort, Egress, Lookup, ObjectRef, Reason, Rule, Snapshot, WeightedBackend,
    split_authority,
};
use plait_telemetry::Outcome;

use crate::{
    call::{Call, Wish},
    failed::Fault,
    plan::{Matched, Plan, Target, mirrors},
    reject::Reject,
    tunnel, upstream,
    worker::unix_seconds,
};

/// A request to a destination that was never dialled waits this long for what the control plane says of it.
const DISCOVERY: Duration = Duration::from_secs(3);
/// The port of an authority that names none.
const HTTP_PORT: u16 = 80;

/// What a request comes to.
#[derive(Debug)]
pub(crate) enum Decided {
    /// It is sent on.
    Go(Plan),
    /// The route answers it: the head stands in `Call::response`.
    Answered,
}

/// Decides; request filters are applied to the head.
pub(crate) async fn decide(call: &mut Call, outcome: &mut Outcome<'_>) -> Result<Decided, Fault> {
    let (key, port) = named(call)?;
    outcome.destination.set(key.shared());
    let (snapshot, found) = discover(call, &key).await?;
    outcome.generation = snapshot.generation;
    let Lookup::Known(destination) = found else {
        // Whatever an application makes up is a host, not a Service of ours: metrics bound the two apart.
        if call.fixed.is_none() {
            outcome.destination.set(&call.head.authority.as_str().into());
        }
        return outside(call, snapshot, port).await.map(Decided::Go);
    };
    call.worker.used(&destination, outcome.began());
    if !key.is_service() {
        outcome.destination.set(destination.key.shared());
    }
    if let Some(direct) = &destination.direct {
        return Ok(Decided::Go(directly(call, outcome, snapshot, direct.backend(port))));
    }
    let service_port = destination.port(port).ok_or_else(|| no_port(&destination, port, snapshot.generation))?;
    if service_port.protocol_for(&call.workload.namespace).is_opaque() && call.wish != Wish::Tunnel {
        call.tunnel_the_rest();
    }
    let (rule, share, matched) = match call.wish {
        Wish::Tunnel => {
            let plan = tunnel::decide(call, outcome, snapshot.clone(), (&destination, service_port)).await?;
            return Ok(Decided::Go(plan));
        }
        Wish::Answer { .. } | Wish::Upgrade(_) => match routed(call, service_port, &snapshot)? {
            Routed::Share(rule, share, matched) => (rule, share, matched),
            Routed::Redirected(rule) => {
                outcome.route.set(&rule.label);
                return Ok(Decided::Answered);
            }
        },
    };
    outcome.route.set(&rule.label);
    outcome.backend.set(&rule.backends[share].backend);
    let target = Target::Backend(backend(&rule, share, &snapshot)?);
    let chain = call.workload.calls.chain(destination.key.as_str(), Some(&rule)).cloned();
    let mut plan = Plan { snapshot, target, rule: Some(rule), share, matched, mirrors: Vec::new(), hash: None, session: None, chain };
    if plan.chain.is_none() {
        settle(call, &mut plan);
    }
    Ok(Decided::Go(plan))
}

/// The backend stands, plugins having had their say: its filters are applied to the head, and what depends on either is chosen.
pub(crate) fn settle(call: &mut Call, plan: &mut Plan) {
    let (Some(rule), Target::Backend(backend)) = (&plan.rule, &plan.target) else { return };
    let share = &rule.backends[plan.share];
    rewrite::request(&share.filters, plan.matched.prefix.as_deref(), &mut call.head);
    plan.hash = hash::of_request(backend, &call.head, &call.peer);
    let affinity = session::affinity(Some(rule), backend);
    plan.session = affinity.and_then(|affinity| session::endpoint(affinity, backend, &call.head, Some(unix_seconds())));
    plan.mirrors = mirrors(plan.filters());
}

/// To a workload at its own address.
fn directly(call: &mut Call, outcome: &mut Outcome<'_>, snapshot: Arc<Snapshot>, backend: Backend) -> Plan {
    if backend.protocol.is_opaque() && call.wish != Wish::Tunnel {
        call.tunnel_the_rest();
    }
    if call.wish == Wish::Tunnel {
        call.head.method = Method::CONNECT;
    }
    outcome.backend.set(&backend.key);
    let target = Target::Backend(Arc::new(backend));
    let chain = call.workload.calls.chain(&outcome.destination, None).cloned();
    Plan { snapshot, target, rule: None, share: 0, matched: Matched::default(), mirrors: Vec::new(), hash: None, session: None, chain }
}

/// Which destination, and which of its ports.
pub(crate) fn named(call: &mut Call) -> Result<(DestinationKey, u16), Fault> {
    if let (Some(key), Some(port)) = (&call.fixed, call.port) {
        return Ok((key.clone(), port));
    }
    if let Some((authority, key, port)) = &call.named
        && *authority == call.head.authority
    {
        return Ok((key.clone(), *port));
    }
    let Some((host, port)) = split_authority(&call.head.authority) else {
        let detail = format!("{:?} is no host or host:port", call.head.authority);
        return Err(Reject { detail, ..Reject::new(Reason::BadRequest, call.worker.shared.world.load().generation) }.into());
    };
    let (key, port) = (DestinationKey::of_host(host, &call.workload.namespace), port.unwrap_or(HTTP_PORT));
    call.named = Some((call.head.authority.clone(), key.clone(), port));
    Ok((key, port))
}

/// What the mesh says of a destination, and the snapshot that says it.
pub(crate) async fn discover(call: &Call, key: &DestinationKey) -> Result<(Arc<Snapshot>, Lookup), Fault> {
    let world = &call.worker.shared.world;
    let snapshot = call.worker.snapshot();
    if let Some(found) = snapshot.lookup(key) {
        return Ok((snapshot, found));
    }
    let found = world.destination(key, DISCOVERY).await.map_err(|error| Reject {
        detail: error.to_string(),
        hint: "plait status".into(),
        ..Reject::new(Reason::DiscoveryUnavailable, snapshot.generation)
    })?;
    Ok((world.load_full(), found))
}

enum Routed {
    /// The share of its backends that their weights or the caller's session choose, and how it matched.
    Share(Arc<Rule>, usize, Matched),
    Redirected(Arc<Rule>),
}

fn routed(call: &mut Call, port: &DestinationPort, snapshot: &Snapshot) -> Result<Routed, Fault> {
    let table = port.routes_for(&call.workload.namespace);
    let Some(choice) = route::find(table, &call.head) else {
        let object = table.rules().first().map(|rule| (*rule.object).clone());
        let detail = "no rule of the route matches".to_owned();
        return Err(Reject { object, detail, ..Reject::new(Reason::RouteNotFound, snapshot.generation) }.into());
    };
    let rule = choice.rule.clone();
    if let Some(redirect) = &rule.filters.redirect {
        let location = rewrite::location(redirect, choice.prefix(), &call.head);
        call.response.status = redirect.status;
        call.response.headers.clear();
        call.response.headers.append("location", location.as_bytes());
        return Ok(Routed::Redirected(rule));
    }
    let share = match kept_by_session(&rule, snapshot, call) {
        Some(kept) => kept,
        None => share(&rule, snapshot)?,
    };
    let of_session = choice.matched.filter(|_| rule.sessions.is_some());
    let index = of_session.and_then(|matched| rule.matches.iter().position(|one| std::ptr::eq(one, matched)));
    let matched = Matched { prefix: prefix_of(&choice), index };
    rewrite::request(&rule.filters, matched.prefix.as_deref(), &mut call.head);
    Ok(Routed::Share(rule, share, matched))
}

/// The prefix that matched, kept apart from the head that it was found in; only rewrites need it.
fn prefix_of(choice: &RouteChoice<'_>) -> Option<String> {
    let rewrites = |rule: &Rule| rule.filters.rewrite.is_some() || rule.backends.iter().any(|share| share.filters.rewrite.is_some());
    choice.prefix().filter(|_| rewrites(choice.rule)).map(Into::into)
}

/// Which of a rule's backends the caller's session keeps it with; asked only where there is a choice.
fn kept_by_session(rule: &Rule, snapshot: &Snapshot, call: &Call) -> Option<usize> {
    let remembers = |share: &WeightedBackend| {
        snapshot.backends.get(&share.backend).is_some_and(|backend| session::affinity(Some(rule), backend).is_some())
    };
    let asked = rule.backends.len() > 1 && rule.backends.iter().any(remembers);
    session::share(rule, snapshot, &call.head, asked.then(unix_seconds)?)
}

/// Which of a rule's backends this call goes to.
pub(crate) fn share(rule: &Rule, snapshot: &Snapshot) -> Result<usize, Reject> {
    let chosen = route::backend(rule, |n| fastrand::u32(..n));
    chosen.and_then(|chosen| rule.backends.iter().position(|one| std::ptr::eq(one, chosen))).ok_or_else(|| {
        let detail = "none of the rule's backends has a weight".to_owned();
        Reject { object: Some((*rule.object).clone()), detail, ..Reject::new(Reason::BackendNotFound, snapshot.generation) }
    })
}

/// The backend of a share, unless it cannot serve.
pub(crate) fn backend(rule: &Rule, share: usize, snapshot: &Snapshot) -> Result<Arc<Backend>, Reject> {
    let chosen = &rule.backends[share];
    serving(chosen, snapshot).cloned().ok_or_else(|| {
        let why = chosen.invalid.as_deref().unwrap_or("it is not known here");
        let detail = format!("backend {} cannot serve: {why}", chosen.backend);
        Reject { object: Some((*rule.object).clone()), detail, ..Reject::new(Reason::BackendNotFound, snapshot.generation) }
    })
}

/// The backend of a share that can serve.
pub(crate) fn serving<'s>(share: &WeightedBackend, snapshot: &'s Snapshot) -> Option<&'s Arc<Backend>> {
    snapshot.backends.get(&share.backend).filter(|_| share.invalid.is_none())
}

/// A destination that the mesh does not have.
async fn outside(call: &Call, snapshot: Arc<Snapshot>, port: u16) -> Result<Plan, Fault> {
    let generation = snapshot.generation;
    let told = split_authority(&call.head.authority).map_or(call.head.authority.as_str(), |(host, _)| host);
    // Where the address that was dialled decides, nothing else does.
    let host = call.fixed.as_ref().filter(|key| key.address().is_some()).map_or(told, DestinationKey::as_str);
    let reject = |reason, detail| Reject { detail, ..Reject::new(reason, generation) };
    if snapshot.mesh.egress == Egress::Deny {
        let object = ObjectRef { kind: "Mesh".into(), namespace: "".into(), name: "default".into() };
        let detail = format!("the mesh has no Service {host}, and its egress is Deny");
        return Err(Reject { object: Some(object), ..reject(Reason::EgressDenied, detail) }.into());
    }
    let nowhere = |why| format!("the mesh has no Service {host}, and there is no such host outside: {why}");
    let address = resolve(host, port).await.map_err(|why| reject(Reason::UpstreamUnreachable, nowhere(why)))?;
    if upstream::is_own(&call.worker, address) {
        return Err(reject(Reason::LoopDetected, format!("{host}:{port} is this proxy itself")).into());
    }
    let (target, chain) = (Target::Outside(address), call.workload.calls.chain("", None).cloned());
    Ok(Plan { snapshot, target, rule: None, share: 0, matched: Matched::default(), mirrors: Vec::new(), hash: None, session: None, chain })
}

async fn resolve(host: &str, port: u16) -> Result<SocketAddr, String> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if let Ok(address) = bare.parse() {
        return Ok(SocketAddr::new(address, port));
    }
    let mut found = tokio::net::lookup_host((bare, port)).await.map_err(|error| error.to_string())?;
    found.next().ok_or_else(|| "the name has no address".to_owned())
}

pub(crate) fn no_port(destination: &Destination, port: u16, generation: u64) -> Reject {
    let (namespace, name) = destination.key.as_str().split_once('/').unwrap_or_default();
    let object = ObjectRef { kind: "Service".into(), namespace: namespace.into(), name: name.into() };
    let ports: Vec<_> = destination.ports.iter().map(|port| port.port.to_string()).collect();
    let detail = format!("it has no port {port}, only {}", ports.join(", "));
    Reject { object: Some(object), detail, ..Reject::new(Reason::PortNotFound, generation) }
}
