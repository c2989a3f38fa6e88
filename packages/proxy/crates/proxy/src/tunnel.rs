//! What opaque bytes of our own workload come to: the TCPRoute or TLSRoute that takes the connection, and its backend. Called by `outbound`;
//! sends nothing. For a TLSRoute it looks at the first message of the client, and leaves it where it is.

use std::{sync::Arc, time::Duration};

use http::Method;
use plait_decide::{
    client_hello::{ClientHello, client_hello},
    hash, route,
};
use plait_model::{Destination, DestinationPort, Reason, RouteKind, RouteTable, Snapshot};
use plait_telemetry::Outcome;

use crate::{
    call::Call,
    failed::Fault,
    outbound::{backend, no_port, share},
    plan::{Matched, Plan, Target},
    reject::Reject,
};

/// A client that has not said whom it wants by then wants nobody.
const HELLO: Duration = Duration::from_secs(10);

/// Decides.
pub(crate) async fn decide(
    call: &mut Call,
    outcome: &mut Outcome<'_>,
    snapshot: Arc<Snapshot>,
    (destination, port): (&Destination, &DestinationPort),
) -> Result<Plan, Fault> {
    call.head.method = Method::CONNECT;
    let table = port.routes_for(&call.workload.namespace);
    let choice = match table.kind() {
        // Opaque bytes meet no route for requests: they go to the Service itself.
        RouteKind::Http | RouteKind::Grpc => return to_the_service(call, snapshot, destination, port.port),
        RouteKind::Tcp => route::find_stream(table, None),
        RouteKind::Tls => {
            let name = server_name(call).await.map_err(|why| closed(table, &snapshot, why))?;
            let found = route::find_stream(table, Some(&name));
            Some(found.ok_or_else(|| Reject { hint: question(call, &name), ..closed(table, &snapshot, format!("no rule takes {name}")) })?)
        }
    };
    let Some(choice) = choice else {
        return Err(closed(table, &snapshot, "no rule of the route takes connections".into()).into());
    };
    let rule = choice.rule.clone();
    outcome.route.set(&rule.label);
    let share = share(&rule, &snapshot)?;
    outcome.backend.set(&rule.backends[share].backend);
    let backend = backend(&rule, share, &snapshot)?;
    let hash = hash::of_request(&backend, &call.head, &call.peer);
    let chain = call.workload.calls.chain(destination.key.as_str(), Some(&rule)).cloned();
    let target = Target::Backend(backend);
    Ok(Plan { snapshot, target, rule: Some(rule), share, matched: Matched::default(), mirrors: Vec::new(), hash, session: None, chain })
}

fn to_the_service(call: &Call, snapshot: Arc<Snapshot>, destination: &Destination, port: u16) -> Result<Plan, Fault> {
    let key = format!("{}:{port}", destination.key);
    let Some(backend) = snapshot.backends.get(key.as_str()).cloned() else {
        return Err(no_port(destination, port, snapshot.generation).into());
    };
    let hash = hash::of_request(&backend, &call.head, &call.peer);
    let chain = call.workload.calls.chain(destination.key.as_str(), None).cloned();
    Ok(Plan {
        snapshot,
        target: Target::Backend(backend),
        rule: None,
        share: 0,
        matched: Matched::default(),
        mirrors: Vec::new(),
        hash,
        session: None,
        chain,
    })
}

/// The server that the client of TLS asks for; or why there is none. Nothing that came is taken.
async fn server_name(call: &mut Call) -> Result<String, String> {
    if !call.kept.is_empty() {
        return Err("HTTP came where TLS is spoken".into());
    }
    let Some(input) = call.body.input() else {
        return Err("over HTTP/2 nobody says whom it wants before its CONNECT is answered; use HTTP/1.1".into());
    };
    let limit = tokio::time::Instant::now() + HELLO;
    loop {
        match client_hello(input.buffer.data()) {
            ClientHello::Names(name) => return Ok(name),
            ClientHello::Nameless => return Err("the client names no server".into()),
            ClientHello::Malformed => return Err("what came is no first message of TLS".into()),
            ClientHello::NeedMore => {}
        }
        match tokio::time::timeout_at(limit, input.fill(0)).await {
            Ok(Ok(count)) if count > 0 => {}
            Ok(Ok(_) | Err(_)) => return Err("the client closed before it had named a server".into()),
            Err(_) => return Err(format!("the client named no server within {HELLO:?}")),
        }
    }
}

fn closed(table: &RouteTable, snapshot: &Snapshot, detail: String) -> Reject {
    let object = table.rules().first().map(|rule| (*rule.object).clone());
    Reject { object, detail, ..Reject::new(Reason::RouteNotFound, snapshot.generation) }
}

/// What to type to find out more: the usual question, and the name.
fn question(call: &Call, server_name: &str) -> String {
    format!("plait explain GET http://{} --from {} --sni {server_name}", call.head.authority, call.workload.name)
}
