//! Whether traffic is served, and if not, all that keeps it from being so. Answered to `/ready`, and said to people when it changes.
//!
//! The order is that in which a proxy gets ready: a certificate, the first snapshot, open ports. Without all of them it serves nothing.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use plait_proxy_core::Shared;

use super::status::{Source, Status, Topic, say};

/// What the answer is made of.
#[derive(Debug, Clone)]
pub(crate) struct Readiness {
    pub(crate) shared: Arc<Shared>,
    pub(crate) status: Arc<Status>,
}

/// Certificates end by the clock on the wall, which may be set: it is looked at this often.
const LOOK: Duration = Duration::from_secs(10);

impl Readiness {
    /// What keeps the proxy from serving; empty = ready.
    pub(crate) fn reasons(&self, now: SystemTime) -> Vec<String> {
        let snapshot = self.shared.world.load();
        let mut reasons = Vec::new();
        if snapshot.workloads.is_empty() {
            // Who we are to be is known from the join token; that there is no certificate yet is then the first reason.
            reasons.extend(self.status.noted(Topic::Identity));
        }
        for workload in snapshot.workloads.keys() {
            let why = match self.shared.identities.leaf(workload) {
                Some(leaf) if leaf.is_valid(now) => continue,
                Some(_) => format!("the certificate of {workload} is not valid now"),
                None => format!("there is no certificate for {workload} yet"),
            };
            reasons.push(self.status.noted(Topic::Identity).map_or(why.clone(), |note| format!("{why}: {note}")));
        }
        if snapshot.generation == 0 {
            reasons.push(self.status.noted(Topic::ControlPlane).unwrap_or_else(|| "there is no configuration yet".to_owned()));
        } else if snapshot.workloads.is_empty() {
            reasons.push("the control plane names no workload for this proxy".to_owned());
        }
        let listening = self.shared.listening.borrow();
        if !snapshot.workloads.is_empty() && listening.generation == 0 {
            reasons.push("ports are not open yet".to_owned());
        }
        reasons.extend(listening.failed.iter().map(|(address, why)| format!("cannot listen on {address}: {why}")));
        if self.shared.drain.has_begun() {
            reasons.push("stopping".to_owned());
        }
        reasons
    }

    /// Says when the proxy becomes ready, and when it no longer is.
    pub(crate) async fn announce(self) {
        let Shared { world, identities, listening, .. } = &*self.shared;
        let (mut snapshots, mut certificates, mut ports) = (world.changes(), identities.changes(), listening.subscribe());
        let mut before = false;
        loop {
            let reasons = self.reasons(SystemTime::now());
            if before != reasons.is_empty() {
                before = !before;
                match before {
                    true => say(self.ready()),
                    false => say(format_args!("! not ready: {}", reasons.join("; "))),
                }
            }
            tokio::select! {
                Ok(()) = snapshots.changed() => {}
                Ok(()) = certificates.changed() => {}
                Ok(()) = ports.changed() => {}
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    fn ready(&self) -> String {
        let snapshot = self.shared.world.load();
        let mut workloads: Vec<_> = snapshot.workloads.keys().map(|key| &**key).collect();
        workloads.sort_unstable();
        let from = match self.status.source() {
            Some(Source::LastKnownGood) => ", from what was kept on disk",
            Some(Source::Static | Source::Live) | None => "",
        };
        format!("✓ ready: {} at generation {}{from}", workloads.join(", "), snapshot.generation)
    }
}
