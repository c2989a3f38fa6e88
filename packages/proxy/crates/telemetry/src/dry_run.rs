//! Calls that policies in dry run would have denied, by policy and workload. Called by `telemetry`.

use std::sync::{
    Arc, PoisonError, RwLock,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use plait_model::{Map, ObjectRef};

use crate::series::{MOST_SERIES, OTHER, label};

/// Denials by workload "namespace/name" and policy.
#[derive(Debug, Default)]
pub(crate) struct DryRuns(RwLock<Map<Arc<str>, Map<ObjectRef, AtomicU64>>>);

impl DryRuns {
    /// Counts one; allocates nothing when both are known.
    pub(crate) fn count(&self, policy: &ObjectRef, workload: &Arc<str>) {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(denials) = known.get(&**workload).and_then(|policies| policies.get(policy)) {
            denials.fetch_add(1, Relaxed);
            return;
        }
        drop(known);
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        // Only what the control plane sent gets here; the limit is for years of changing names.
        let policy = if known.values().map(Map::len).sum::<usize>() < MOST_SERIES { policy.clone() } else { other() };
        known.entry(workload.clone()).or_default().entry(policy).or_default().fetch_add(1, Relaxed);
    }

    /// Labels as text, and the count.
    pub(crate) fn all(&self) -> Vec<(String, u64)> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let pairs = known.iter().flat_map(|(workload, policies)| policies.iter().map(move |(policy, denials)| (workload, policy, denials)));
        pairs
            .map(|(workload, policy, denials)| {
                let mut labels = String::new();
                label(&mut labels, "policy", &format!("{}/{}", policy.namespace, policy.name));
                label(&mut labels, "workload", workload);
                label(&mut labels, "verdict", "denied");
                (labels, denials.load(Relaxed))
            })
            .collect()
    }
}

fn other() -> ObjectRef {
    ObjectRef { name: OTHER.into(), ..ObjectRef::default() }
}
