//! What a request to our own workload comes to: whether its caller may, and the port of the process. Called by `request`; sends nothing.

use std::{net::SocketAddr, sync::Arc};

use plait_decide::authorize::{Denial, Permit, judge};
use plait_model::{Peer, Protocol, Reason, RequestHead, Snapshot, Workload, World};
use plait_telemetry::Outcome;

use crate::{
    call::{Call, Wish},
    failed::Fault,
    plan::{Matched, Plan, Target},
    reject::Reject,
    upstream,
};

/// Decides.
pub(crate) fn decide(call: &mut Call, outcome: &mut Outcome<'_>) -> Result<Plan, Fault> {
    let snapshot = call.worker.snapshot();
    outcome.generation = snapshot.generation;
    let Some(workload) = snapshot.workloads.get(&*call.workload.key).cloned() else {
        let detail = format!("Workload {} is gone", call.workload.key);
        return Err(Reject { detail, ..Reject::new(Reason::UpstreamUnreachable, snapshot.generation) }.into());
    };
    let (number, declared) = (call.port.unwrap_or_default(), call.port.and_then(|number| workload.port(number)));
    let service = declared.map(|port| &port.service).filter(|service| !service.is_empty());
    outcome.destination.set(service.unwrap_or(&workload.key));
    let address = SocketAddr::new(workload.address, number);
    if declared.is_none() {
        may_be_undeclared(call, &workload, address, snapshot.generation)?;
    }
    let http2 = call.speaks_http2(declared.map_or(Protocol::Auto, |port| port.protocol));
    call.workload = workload;
    let permit = permitted(call, &snapshot, outcome)?;
    let target = Target::Process { address, workload: call.workload.clone(), http2, permit };
    let chain = call.workload.arrivals.chain(number).cloned();
    Ok(Plan { snapshot, target, rule: None, share: 0, matched: Matched::default(), mirrors: Vec::new(), hash: None, session: None, chain })
}

/// A process whose connections are redirected need not declare its ports; ours are none of its.
fn may_be_undeclared(call: &Call, workload: &Workload, address: SocketAddr, generation: u64) -> Result<(), Reject> {
    let reject = |reason, detail| Reject { detail, ..Reject::new(reason, generation) };
    if !workload.redirected || address.port() == 0 {
        return Err(reject(Reason::PortNotFound, format!("Workload {} has no port {}", workload.key, address.port())));
    }
    if upstream::is_own(&call.worker, address) {
        return Err(reject(Reason::LoopDetected, format!("{address} is this proxy itself")));
    }
    Ok(())
}

fn permitted(call: &Call, snapshot: &Snapshot, outcome: &mut Outcome<'_>) -> Result<Permit, Fault> {
    let judgement = judge(&call.workload, &snapshot.mesh, &call.peer, call.port.unwrap_or_default(), http(call));
    for policy in &judgement.dry_run_denials {
        outcome.would_be_denied(policy);
        call.worker.shared.telemetry.dry_run_denied(policy, &call.workload.key);
    }
    match judgement.result {
        Ok(permit) => {
            if let Some((policy, _)) = permit.by() {
                outcome.permitted(policy);
            }
            Ok(permit)
        }
        Err(denial) => Err(refusal(denial, &call.peer, snapshot.generation).into()),
    }
}

/// Whether the caller may ask what plugins made of its request: policies judge what reaches the process.
pub(crate) fn judge_again(call: &Call, plan: &Plan) -> Result<(), Fault> {
    let judgement = judge(&call.workload, &plan.snapshot.mesh, &call.peer, call.port.unwrap_or_default(), http(call));
    judgement.result.map(drop).map_err(|denial| refusal(denial, &call.peer, plan.snapshot.generation).into())
}

fn http(call: &Call) -> Option<&RequestHead> {
    (call.wish != Wish::Tunnel).then_some(&call.head)
}

/// What a permit was given for.
#[derive(Debug)]
pub(crate) struct Revocable<'c> {
    pub(crate) world: &'c World,
    pub(crate) workload: &'c Arc<str>,
    pub(crate) peer: &'c Peer,
    pub(crate) port: u16,
    pub(crate) head: Option<&'c RequestHead>,
}

/// Resolves with the refusal when a permit given before no longer holds.
pub(crate) async fn revoked(given: Revocable<'_>, permit: &Permit) -> Reject {
    let Revocable { world, workload, peer, port, head } = given;
    let mut changes = world.changes();
    let mut epoch = permit.epoch();
    loop {
        let snapshot = world.load_full();
        let Some(workload) = snapshot.workloads.get(&**workload) else {
            let detail = format!("Workload {workload} is gone");
            return Reject { detail, ..Reject::new(Reason::PolicyDenied, snapshot.generation) };
        };
        if workload.policy_epoch != epoch {
            epoch = workload.policy_epoch;
            if let Err(denial) = judge(workload, &snapshot.mesh, peer, port, head).result {
                return refusal(denial, peer, snapshot.generation);
            }
        }
        if changes.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

fn refusal(denial: Denial, peer: &Peer, generation: u64) -> Reject {
    let Denial { reason, object, text } = denial;
    Reject { object, detail: text, identity: peer.identity.clone(), ..Reject::new(reason, generation) }
}
