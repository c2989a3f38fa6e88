//! `/config`: what is in force, for `plait status` and for people.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use axum::{Json, extract::State};
use plait_identity::Leaf;
use plait_model::{PluginReport, PluginStage};
use plait_plugins::BreakerState;
use plait_proxy_core::Heard;
use serde::Serialize;

use crate::run::{ready::Readiness, status::Source};

/// The answer. Field names are a promise to `plait` and to scripts.
#[derive(Debug, Serialize)]
pub(super) struct Config {
    generation: u64,
    /// `None` = there is none yet.
    source: Option<Source>,
    workloads: Vec<Workload>,
    /// Services that are held because somebody here called them.
    destinations: Vec<String>,
    listening: Vec<SocketAddr>,
    /// Where nobody declared what is spoken, what was heard last.
    undeclared: Vec<Heard>,
    /// What became of the Plugins that calls here pass.
    plugins: Vec<PluginState>,
}

#[derive(Debug, Serialize)]
struct PluginState {
    name: String,
    /// "loading", "live" or "failed".
    state: &'static str,
    /// What its code said last, when it failed.
    reason: Option<String>,
    earlier_serves: bool,
    /// It is left out because it failed too often.
    breaker_open: bool,
}

#[derive(Debug, Serialize)]
struct Workload {
    name: String,
    identity: String,
    /// `None` = there is none, and nothing is served.
    certificate: Option<Certificate>,
}

#[derive(Debug, Serialize)]
struct Certificate {
    not_after_unix: u64,
    renew_at_unix: u64,
    issuer: String,
}

pub(super) async fn config(State(asked): State<Readiness>) -> Json<Config> {
    let snapshot = asked.shared.world.load_full();
    let workload = |workload: &plait_model::Workload| Workload {
        name: workload.key.to_string(),
        identity: workload.identity.to_string(),
        certificate: asked.shared.identities.leaf(&workload.key).map(|leaf| certificate(&leaf)),
    };
    let mut workloads: Vec<_> = snapshot.workloads.values().map(|held| workload(held)).collect();
    workloads.sort_by(|a, b| a.name.cmp(&b.name));
    let mut destinations: Vec<_> = snapshot.destinations.keys().map(ToString::to_string).collect();
    destinations.sort();
    let listening = asked.shared.listening.borrow().open.clone();
    let undeclared = asked.shared.undeclared.list();
    Json(Config {
        generation: snapshot.generation,
        source: asked.status.source(),
        workloads,
        destinations,
        listening,
        undeclared,
        plugins: plugins(&asked),
    })
}

fn plugins(asked: &Readiness) -> Vec<PluginState> {
    let counters = asked.shared.plugins().map(|host| host.counters());
    let open = |name: &Arc<str>| counters.as_ref().is_some_and(|counters| counters.plugin(name).breaker() == BreakerState::Open);
    let reports = asked.shared.world.reports();
    let state = |PluginReport { name, revision: _, stage, earlier_serves }: &PluginReport| {
        let (state, reason) = match stage {
            PluginStage::Loading => ("loading", None),
            PluginStage::Live => ("live", None),
            PluginStage::Failed(reason) => ("failed", Some(reason.to_string())),
        };
        PluginState { name: name.to_string(), state, reason, earlier_serves: *earlier_serves, breaker_open: open(name) }
    };
    reports.borrow().iter().map(state).collect()
}

fn certificate(leaf: &Leaf) -> Certificate {
    Certificate { not_after_unix: unix(leaf.not_after()), renew_at_unix: unix(leaf.renew_at()), issuer: issuer(leaf) }
}

/// The name of whoever signed it.
fn issuer(leaf: &Leaf) -> String {
    let parsed = leaf.chain().first().and_then(|der| x509_parser::parse_x509_certificate(der).ok());
    parsed.map_or_else(String::new, |(_, certificate)| certificate.issuer().to_string())
}

/// Whole seconds; what lies before 1970 is 0.
fn unix(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
