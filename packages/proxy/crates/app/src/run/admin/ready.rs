//! `/ready`: whether traffic is served, and if not, all that keeps it from being so.

use std::time::SystemTime;

use axum::{
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};

use super::{Asked, refusal};

pub(super) async fn ready(State(asked): State<Asked>) -> Response {
    match reasons(&asked, SystemTime::now()).as_slice() {
        [] => "ready\n".into_response(),
        reasons => refusal(StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n")),
    }
}

/// In the order in which a proxy gets ready: leaf, snapshot, listeners.
fn reasons(asked: &Asked, now: SystemTime) -> Vec<String> {
    let mut reasons = Vec::new();
    let shared = &asked.shared;
    let snapshot = shared.world.load();
    for workload in snapshot.workloads.keys() {
        match shared.identities.leaf(workload) {
            None => reasons.push(format!("no certificate for {workload} yet")),
            Some(leaf) if !leaf.is_valid(now) => reasons.push(format!("the certificate of {workload} is not valid now")),
            Some(_) => {}
        }
    }
    if snapshot.generation == 0 {
        reasons.push("no configuration yet".to_owned());
    }
    let listening = shared.listening.borrow();
    if snapshot.generation > 0 && listening.generation == 0 {
        reasons.push("listeners are not open yet".to_owned());
    }
    reasons.extend(listening.failed.iter().map(|(address, why)| format!("cannot listen on {address}: {why}")));
    if shared.drain.has_begun() {
        reasons.push("stopping".to_owned());
    }
    reasons
}
