//! The line of one request: decide, try, answer, record. Called by `http1`, `mesh::server` and `connection` with a head that was read.
//! Order of reading is order of running; docs/request-line.md follows it.

use std::rc::Rc;

use plait_model::{Reason, RequestHead};
use plait_telemetry::{Direction, Outcome, Protocol, Record, trace::TraceContext};

use crate::{
    attempt,
    call::{Call, Wish},
    failed::Fault,
    filters::{self, Instead},
    inbound, mirror,
    onlooker::Onlooker,
    outbound::{self, Decided},
    plan::Plan,
    reject::{Form, Reject},
};

/// Serves one request, upgrade or tunnel to its end. Whether the connection goes on is told by `Call::answer`.
pub(crate) async fn serve(call: &mut Call, record: &mut Record) {
    let worker = Rc::clone(&call.worker);
    let mut outcome = Outcome::begin(&worker.shared.telemetry, record);
    worker.note(outcome.began());
    call.kept.restart(worker.look(|snapshot| snapshot.mesh.limits.buffered_bytes));
    note(call, &mut outcome);
    trace(call, &mut outcome);
    let ended = match decide(call, &mut outcome).await {
        Ok(Some(mut plan)) => run(call, &mut plan, &mut outcome).await,
        Ok(None) => answer_redirect(call, &mut outcome),
        Err(fault) => Err(fault),
    };
    if let Err(fault) = ended {
        conclude(call, fault, &mut outcome).await;
        worker.tick();
    }
    outcome.ends(worker.recent());
    if let Some(passing) = call.passing.take() {
        passing.over(call, &outcome);
    }
}

/// Where the request goes; `None` when the route has answered it.
async fn decide(call: &mut Call, outcome: &mut Outcome<'_>) -> Result<Option<Plan>, Fault> {
    match call.direction {
        Direction::Inbound => inbound::decide(call, outcome).map(Some),
        Direction::Outbound => Ok(match outbound::decide(call, outcome).await? {
            Decided::Go(plan) => Some(plan),
            Decided::Answered => None,
        }),
    }
}

async fn run(call: &mut Call, plan: &mut Plan, outcome: &mut Outcome<'_>) -> Result<(), Fault> {
    outcome.protocol = protocol(call);
    let first_word = call.first_word.take();
    call.onlooker = (call.wish == Wish::Tunnel).then(|| {
        let telemetry = &call.worker.shared.telemetry;
        let counted = telemetry.connection(call.direction, Protocol::Tcp, &outcome.source, &outcome.destination, outcome.tls);
        Rc::new(Onlooker::new(counted, first_word))
    });
    // Boxed: most calls pass no plugins, and every one would carry room for it.
    let entered = match plan.chain.clone() {
        Some(chain) => Box::pin(filters::enter(call, plan, &chain, outcome)).await,
        None => Ok(()),
    };
    let ended = match entered {
        Ok(()) => attempt::run(call, plan, outcome).await,
        Err(fault) => Err(fault),
    };
    call.onlooker = None;
    mirror::send(call, plan);
    ended
}

fn answer_redirect(call: &mut Call, outcome: &mut Outcome<'_>) -> Result<(), Fault> {
    // It may have waited for discovery.
    call.worker.tick();
    outcome.status = call.response.status;
    if !call.body.is_over() {
        call.answer.close();
    }
    call.answer.head(&mut call.response, plait_http1::Framing::None, Some(0)).map_err(|_| Fault::Caller)
}

fn note(call: &Call, outcome: &mut Outcome<'_>) {
    let RequestHead { method, authority, path, .. } = &*call.head;
    outcome.protocol = protocol(call);
    outcome.method.clone_from(method);
    outcome.authority.push_str(authority);
    outcome.path.push_str(path);
}

fn protocol(call: &Call) -> Protocol {
    match &call.wish {
        Wish::Tunnel => Protocol::Tcp,
        _ if call.answer.is_http2() => Protocol::Http2,
        _ => Protocol::Http1,
    }
}

/// Passes the trace on, or begins one; opaque bytes have none.
fn trace(call: &mut Call, outcome: &mut Outcome<'_>) {
    if call.wish == Wish::Tunnel {
        return;
    }
    let headers = &mut call.head.headers;
    let context = TraceContext::pass_on(headers.all("traceparent")).unwrap_or_else(|| {
        headers.remove("tracestate");
        TraceContext::begin(call.worker.look(|snapshot| snapshot.mesh.sampling))
    });
    headers.set("traceparent", &context.header());
    outcome.trace = context;
}

/// A request that got no whole answer: the mesh answers, or what was begun is visibly broken.
async fn conclude(call: &mut Call, fault: Fault, outcome: &mut Outcome<'_>) {
    match fault {
        Fault::Caller => call.answer.abort(),
        Fault::Instead(Instead::Reply(reply)) => {
            outcome.status = reply.head.status;
            if !call.body.is_over() || call.worker.shared.drain.has_begun() {
                call.answer.close();
            }
            if call.answer.whole(&reply.head, reply.body).await.is_err() {
                call.answer.abort();
            }
        }
        Fault::Instead(Instead::Reject(reject)) => reject_whole(call, *reject, outcome).await,
        Fault::Truncated(reject) if !call.answer.take_back() => {
            outcome.rejected(reject.reason, reject.object);
            outcome.status = call.response.status;
            call.answer.abort();
        }
        Fault::Reject(reject) | Fault::Truncated(reject) => reject_whole(call, *reject, outcome).await,
    }
}

async fn reject_whole(call: &mut Call, reject: Reject, outcome: &mut Outcome<'_>) {
    let reject = addressed(reject, call);
    outcome.rejected(reject.reason, reject.object.clone());
    outcome.status = reject.status();
    let known = call.direction == Direction::Outbound || call.peer.identity.is_some();
    if !call.body.is_over() || call.worker.shared.drain.has_begun() {
        call.answer.close();
    }
    if call.answer.reject(&reject, known, Form::accepted(&call.head.headers)).await.is_err() {
        call.answer.abort();
    }
}

/// A reject as the caller reads it: who it is, and what it can type to find out more.
fn addressed(reject: Reject, call: &Call) -> Reject {
    if call.direction == Direction::Inbound {
        return reject;
    }
    let head = &call.head;
    let told = matches!(reject.reason, Reason::PolicyDenied | Reason::Unauthenticated);
    let identity = told.then(|| call.workload.identity.clone());
    let path = if head.path.is_empty() { "/" } else { &head.path };
    let method = if head.method == http::Method::CONNECT { "GET" } else { head.method.as_str() };
    let question = format!("plait explain {method} http://{}{path} --from {}", head.authority, call.workload.name);
    let hint = if reject.hint.is_empty() { question } else { reject.hint };
    let detail = match (told, reject.detail.as_str(), &reject.object) {
        (true, "", Some(_)) => "no rule of it allows you".to_owned(),
        _ => reject.detail,
    };
    Reject { identity, hint, detail, ..reject }
}
