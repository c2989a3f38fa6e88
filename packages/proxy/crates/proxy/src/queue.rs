//! The queue for connections, where their number is limited: whose turn it is to use one, and the place for one more. Called by `attempt` and
//! `mirror` before a try takes a connection to itself, and by `upstream` before it dials. Counting is `plait-model::gate`'s.

use plait_model::{ConnectionLimit, Crowded, Gate, Place, Reason};
use tokio::time::Instant;

use crate::{
    call::{Call, Wish},
    failed::{Failed, Fault},
    hop::Hop,
    plan::{Plan, Target},
    reject::Reject,
    worker::Worker,
};

/// That it is one's turn.
#[derive(Debug)]
pub(crate) struct Turn {
    /// The right to use a connection; `None` where nothing limits them.
    _place: Option<Place>,
    /// It did not come at once.
    pub(crate) waited: bool,
}

/// Waits until a connection may be used. Ends with the caller, and with the time that the user allows: that of
/// a request or an attempt, for a tunnel or an upgrade that of a connect.
pub(crate) async fn turn(call: &mut Call, plan: &Plan, hop: &Hop<'_>, deadline: Option<Instant>) -> Result<Turn, Fault> {
    let Some((gate, Some(limit))) = plan.gate().filter(|_| hop.is_exclusive(&call.wish)) else {
        return Ok(Turn { _place: None, waited: false });
    };
    if let Some(place) = gate.try_use(limit) {
        return Ok(Turn { _place: Some(place), waited: false });
    }
    // Boxed: waiting is rare, and every request would carry room for it.
    let place = Box::pin(wait(call, plan, (hop, limit, gate), deadline)).await?;
    Ok(Turn { _place: Some(place), waited: true })
}

async fn wait(
    call: &mut Call,
    plan: &Plan,
    (hop, limit, gate): (&Hop<'_>, &ConnectionLimit, &Gate),
    deadline: Option<Instant>,
) -> Result<Place, Fault> {
    call.worker.shared.telemetry.waited(&counted_for(plan));
    let allowed = match call.wish {
        Wish::Answer { .. } => plan.traffic().and_then(|traffic| traffic.attempt_timeout),
        Wish::Upgrade(_) | Wish::Tunnel => Some(hop.connect_timeout),
    };
    // A limit that the clock cannot reach is none.
    let patience = allowed.and_then(|allowed| Instant::now().checked_add(allowed));
    tokio::select! {
        biased;
        place = gate.wait_for_use(limit) => place.map_err(|Crowded| full(plan, limit, "and as many requests wait as may").into()),
        () = left(call) => Err(Fault::Caller),
        () = reached(deadline) => Err(late(plan, limit).into()),
        () = reached(patience) => Err(full(plan, limit, "and none was free in time").into()),
    }
}

/// The same for a copy, which waits for nobody; `None` = it is not its turn.
pub(crate) fn turn_of_a_copy(plan: &Plan, hop: &Hop<'_>, wish: &Wish) -> Option<Option<Place>> {
    match plan.gate().filter(|_| hop.is_exclusive(wish)) {
        Some((gate, Some(limit))) => gate.try_use(limit).map(Some),
        Some((_, None)) | None => Some(None),
    }
}

/// The place of a connection that is to be dialled. When idle ones hold all places, one of them is closed, by another worker if need be.
pub(crate) async fn place(worker: &Worker, hop: &Hop<'_>) -> Result<Option<Place>, Failed> {
    let Some(gate) = hop.gate else { return Ok(None) };
    if let Some(place) = gate.try_connect(hop.most) {
        return Ok(Some(place));
    }
    worker.pool.evict(gate);
    if let Some(place) = gate.try_connect(hop.most) {
        return Ok(Some(place));
    }
    let place = gate.connect();
    worker.shared.short.send_replace(());
    tokio::time::timeout(hop.connect_timeout, place).await.map(Some).map_err(|_| {
        let detail = format!("no connection to {} was closed within {:?}, and there may be no more", hop.address, hop.connect_timeout);
        Failed::undelivered(Reject { detail, ..Reject::new(Reason::ConnectionLimit, 0) })
    })
}

/// Resolves when the caller is gone.
async fn left(call: &mut Call) {
    match call.body.input() {
        // Whoever opens a tunnel may say all it has to say, and listen.
        Some(input) if call.wish == Wish::Tunnel => input.gone().await,
        Some(input) => input.gone_behind().await,
        None => call.answer.taken_back().await,
    }
}

async fn reached(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

fn full(plan: &Plan, limit: &ConnectionLimit, why: &str) -> Reject {
    let detail = format!("{} connections to {} are in use, as many as connections.max allows, {why}", limit.most, counted_for(plan));
    Reject { object: limit.object.clone(), detail, ..Reject::new(Reason::ConnectionLimit, plan.snapshot.generation) }
}

fn late(plan: &Plan, limit: &ConnectionLimit) -> Reject {
    let object = plan.rule.as_deref().map(|rule| (*rule.object).clone());
    let detail =
        format!("it waited too long for one of the {} connections to {} that connections.max allows", limit.most, counted_for(plan));
    Reject { object, detail, ..Reject::new(Reason::RequestTimeout, plan.snapshot.generation) }
}

/// Whose connections they are: "namespace/service", a workload where no Service selects the port.
fn counted_for(plan: &Plan) -> std::sync::Arc<str> {
    match &plan.target {
        Target::Backend(backend) => (*backend.service).into(),
        Target::Process { workload, address, .. } => {
            let service = workload.port(address.port()).map(|port| &port.service);
            service.filter(|service| !service.is_empty()).unwrap_or(&workload.key).clone()
        }
        Target::Outside(address) => address.to_string().into(),
    }
}
