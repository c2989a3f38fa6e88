//! Hands what changes to those who must know: the trust bundle to identity, the access log's settings to telemetry, certificates and
//! the generation to metrics, ports that cannot be opened and readiness to people. Runs on the control thread; changes nothing else.

use std::sync::Arc;

use plait_model::{Mesh, Snapshot};
use plait_proxy_core::{Listening, Shared};

use super::{
    admin,
    ready::Readiness,
    settings::Door,
    status::{Status, Topic},
};

/// Follows until the process ends.
pub(crate) fn start(readiness: Readiness, door: Option<Door>) {
    let Readiness { shared, status } = readiness.clone();
    tokio::spawn(snapshots(shared.clone(), status.clone()));
    tokio::spawn(certificates(shared.clone()));
    tokio::spawn(listeners(shared, status));
    tokio::spawn(admin::metrics_port(readiness.clone(), door.as_ref().map(|door| door.port)));
    if let Some(door) = door {
        tokio::spawn(admin::open_door(door, readiness.clone()));
    }
    tokio::spawn(readiness.announce());
}

async fn snapshots(shared: Arc<Shared>, status: Arc<Status>) {
    let mut changes = shared.world.changes();
    let mut mesh: Arc<Mesh> = Arc::default();
    loop {
        let snapshot = shared.world.load_full();
        shared.telemetry.set_generation(snapshot.generation);
        if snapshot.generation > 0 && !Arc::ptr_eq(&snapshot.mesh, &mesh) {
            mesh = snapshot.mesh.clone();
            shared.telemetry.configure(&mesh);
            trust(&shared, &status, &mesh);
        }
        gauges(&shared, &snapshot);
        if changes.changed().await.is_err() {
            return;
        }
    }
}

fn trust(shared: &Shared, status: &Status, mesh: &Mesh) {
    match shared.identities.set_trust(&mesh.trust_domain, &mesh.trust_bundle) {
        0 => status.well(Topic::Trust, "✓ all roots of the mesh can be read again"),
        bad => status.trouble(
            Topic::Trust,
            format_args!("! {bad} of {} roots of the mesh cannot be read, and are not trusted", mesh.trust_bundle.len()),
        ),
    }
}

async fn certificates(shared: Arc<Shared>) {
    let mut changes = shared.identities.changes();
    while changes.changed().await.is_ok() {
        gauges(&shared, &shared.world.load());
    }
}

fn gauges(shared: &Shared, snapshot: &Snapshot) {
    for workload in snapshot.workloads.values() {
        let leaf = shared.identities.leaf(&workload.key);
        shared.telemetry.set_certificate(&workload.key, leaf.map(|leaf| leaf.not_after()));
    }
}

async fn listeners(shared: Arc<Shared>, status: Arc<Status>) {
    let mut changes = shared.listening.subscribe();
    loop {
        let Listening { mut failed, .. } = changes.borrow_and_update().clone();
        failed.sort();
        let words: Vec<_> = failed.iter().map(|(address, why)| format!("cannot listen on {address}: {why}")).collect();
        match words.as_slice() {
            [] => status.well(Topic::Listeners, "✓ all ports are open"),
            _ => status.trouble(Topic::Listeners, format_args!("✗ {}", words.join("; "))),
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}
