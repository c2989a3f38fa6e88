//! Where the two lines meet: the current [`Snapshot`] behind one atomic, and the questions that the data path asks discovery.
//! `discovery` publishes, `proxy` loads and waits; what became of plugins is said here for `discovery` to tell. Must not know how a snapshot is
//! made.

use std::{ops::Deref, sync::Arc, time::Duration};

use arc_swap::{ArcSwap, Guard, cache::Cache};
use tokio::sync::{mpsc, watch};

use crate::{Destination, DestinationKey, PluginReport, Snapshot};

/// A destination that was dialled and is not in the snapshot yet.
#[derive(Debug)]
pub struct Demand(pub DestinationKey);

/// What the mesh says of a destination.
#[derive(Debug, Clone)]
pub enum Lookup {
    /// A Service of the mesh.
    Known(Arc<Destination>),
    /// The control plane said that the mesh has no such destination.
    Unknown,
}

/// Nobody answered whether the destination belongs to the mesh: the request must fail, never be passed on in plaintext.
#[derive(Debug, thiserror::Error)]
#[error("the control plane did not say within {0:?} whether the destination belongs to the mesh")]
pub struct DiscoveryUnavailable(pub Duration);

/// The current snapshot and the way to ask for more of the world. Cheap to share (`Arc<World>`).
#[derive(Debug)]
pub struct World {
    snapshot: ArcSwap<Snapshot>,
    changed: watch::Sender<u64>,
    demands: mpsc::UnboundedSender<Demand>,
    reports: watch::Sender<Vec<PluginReport>>,
}

/// The snapshot as one thread saw it last. While it is in force, to ask for it again costs a comparison.
#[derive(Debug)]
pub struct Seen(Cache<Swap, Arc<Snapshot>>);

impl Seen {
    /// The current snapshot.
    pub fn now(&mut self) -> &Arc<Snapshot> {
        self.0.load()
    }
}

#[derive(Debug)]
struct Swap(Arc<World>);

impl Deref for Swap {
    type Target = ArcSwap<Snapshot>;

    fn deref(&self) -> &Self::Target {
        &self.0.snapshot
    }
}

impl World {
    /// An empty world, and the receiving end of its demands for the discovery client.
    pub fn new() -> (Arc<Self>, mpsc::UnboundedReceiver<Demand>) {
        let (demands, receiver) = mpsc::unbounded_channel();
        let (changed, _) = watch::channel(0);
        let reports = watch::Sender::default();
        (Arc::new(Self { snapshot: ArcSwap::from_pointee(Snapshot::default()), changed, demands, reports }), receiver)
    }

    /// The current snapshot, for one request; a few nanoseconds.
    pub fn load(&self) -> Guard<Arc<Snapshot>> {
        self.snapshot.load()
    }

    /// The current snapshot, to keep across awaits.
    pub fn load_full(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// The same for a thread that asks often.
    pub fn seen(self: &Arc<Self>) -> Seen {
        Seen(Cache::new(Swap(self.clone())))
    }

    /// Puts a new snapshot in force and wakes all who wait.
    pub fn publish(&self, snapshot: Snapshot) {
        self.snapshot.store(Arc::new(snapshot));
        self.changed.send_modify(|turn| *turn += 1);
    }

    /// Resolves at each publication; the value counts publications.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Says what became of the plugins of the snapshot; whoever runs them does.
    pub fn report(&self, plugins: Vec<PluginReport>) {
        self.reports.send_if_modified(|before| {
            let changed = *before != plugins;
            *before = plugins;
            changed
        });
    }

    /// What became of the plugins.
    pub fn reports(&self) -> watch::Receiver<Vec<PluginReport>> {
        self.reports.subscribe()
    }

    /// What the mesh says of `key`: at once when known, else asked for and waited for at most `patience`.
    pub async fn destination(&self, key: &DestinationKey, patience: Duration) -> Result<Lookup, DiscoveryUnavailable> {
        if let Some(found) = self.load().lookup(key) {
            return Ok(found);
        }
        let mut changed = self.changes();
        // A closed channel means that nobody discovers any more (static resources): the wait below then ends at its deadline.
        let _ = self.demands.send(Demand(key.clone()));
        let wait = async {
            loop {
                if let Some(found) = self.load().lookup(key) {
                    return found;
                }
                if changed.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        tokio::time::timeout(patience, wait).await.map_err(|_| DiscoveryUnavailable(patience))
    }
}
