//! Last known good on the disk of this proxy: read at start, written when what is in force changes, sealed anew when the certificate does.
//! Started by `joined`; what the file is stands in `plait-discovery`.

use std::{path::Path, sync::Arc};

use plait_discovery::{KEY_LABEL, Keep, Resources};
use plait_identity::Leaf;
use plait_model::Snapshot;
use plait_proxy_core::Shared;
use plait_wire::ChangeSet;
use tokio::sync::watch;

use super::{
    ready::Readiness,
    status::{Source, Topic, say},
};

/// What is kept, and how it is written.
pub(crate) struct Kept {
    keep: Keep,
    workload: Arc<str>,
    /// Written last: what, and sealed with which key.
    written: Option<(Arc<ChangeSet>, [u8; 32])>,
}

impl Kept {
    /// In the state folder.
    pub(crate) fn new(state: &Path, workload: Arc<str>) -> Self {
        Self { keep: Keep::at(state.join("resources")), workload, written: None }
    }

    /// What was in force before; empty when there is nothing that can be trusted. `leaves`: the certificate, and the one that it replaced,
    /// should the proxy have fallen before it could seal anew.
    pub(crate) fn load(&mut self, leaves: &[&Leaf]) -> (Resources, Option<Snapshot>) {
        let Some((changes, key)) = self.open(leaves) else { return (Resources::default(), None) };
        let mut resources = Resources::default();
        // Nothing is in force yet, so that no generation is too low.
        let snapshot = resources.apply(changes.clone()).ok().map(|applied| applied.snapshot);
        self.written = Some((Arc::new(changes), key));
        (resources, snapshot)
    }

    /// With the first key that fits.
    fn open(&self, leaves: &[&Leaf]) -> Option<(ChangeSet, [u8; 32])> {
        let mut failed = None;
        for leaf in leaves {
            let key = leaf.derive_key(KEY_LABEL);
            match self.keep.load(&key) {
                Ok(changes) => return changes.map(|changes| (changes, key)),
                Err(error) => failed = Some(error),
            }
        }
        if let Some(error) = failed {
            say(format_args!("! last known good: {error}"));
        }
        None
    }

    /// Writes what comes, forever.
    pub(crate) async fn follow(mut self, readiness: Readiness, mut latest: watch::Receiver<Option<Arc<ChangeSet>>>) {
        let Readiness { shared, status } = readiness;
        let mut certificates = shared.identities.changes();
        loop {
            let change = latest.borrow_and_update().clone();
            if let Some(write) = self.due(change, &shared) {
                // Disks are slow, and others run on this thread.
                let keep = self.keep.clone();
                let (changes, key) = write.clone();
                let done = tokio::task::spawn_blocking(move || keep.store(&changes, &key)).await;
                // The task does not panic and is never cancelled.
                match done.unwrap_or(Ok(())) {
                    Ok(()) => {
                        self.written = Some(write);
                        status.well(Topic::Kept, "✓ the last known good is on disk again");
                    }
                    Err(error) => status.trouble(Topic::Kept, format_args!("! a restart will need the control plane: {error}")),
                }
            }
            tokio::select! {
                Ok(()) = latest.changed() => {}
                Ok(()) = certificates.changed() => {}
                else => return,
            }
        }
    }

    /// What is to be written with which key, when that differs from what was.
    fn due(&self, change: Option<Arc<ChangeSet>>, shared: &Shared) -> Option<(Arc<ChangeSet>, [u8; 32])> {
        let key = shared.identities.leaf(&self.workload)?.derive_key(KEY_LABEL);
        let changes = change.or_else(|| self.written.as_ref().map(|(changes, _)| changes.clone()))?;
        let same = |(before, its_key): &(Arc<ChangeSet>, [u8; 32])| Arc::ptr_eq(before, &changes) && *its_key == key;
        (!self.written.as_ref().is_some_and(same)).then_some((changes, key))
    }
}

/// Says where the configuration in force came from.
pub(crate) fn in_force(readiness: &Readiness, snapshot: Option<Snapshot>) {
    if let Some(snapshot) = snapshot {
        readiness.status.set_source(Source::LastKnownGood);
        readiness.shared.world.publish(snapshot);
    }
}
