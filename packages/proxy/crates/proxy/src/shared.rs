//! What all workers of a proxy share. Made by `app`, read by every stage; holds no socket and decides nothing.

use std::{
    net::SocketAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime},
};

use plait_identity::Identities;
use plait_model::{Map, World};
use plait_plugins::Host;
use plait_telemetry::Telemetry;
use serde::Serialize;
use std::sync::Mutex;
use tokio::sync::watch;

use crate::{health::Checks, spoken::Undeclared};

/// What all workers share.
#[derive(Debug)]
pub struct Shared {
    /// The current snapshot.
    pub world: Arc<World>,
    /// Keys and trust.
    pub identities: Arc<Identities>,
    /// Metrics and access log.
    pub telemetry: Arc<Telemetry>,
    /// Whether the proxy is stopping.
    pub drain: Drain,
    /// What is listened on, and what could not be.
    pub listening: watch::Sender<Listening>,
    /// Connections to and from other proxies, for people.
    pub connections: Connections,
    /// What was heard where no protocol is declared.
    pub undeclared: Undeclared,
    /// Who runs plugins.
    plugins: OnceLock<Host>,
    /// Active health checks.
    pub(crate) checks: Checks,
    /// Told when somebody waits for the place of a connection that another worker may keep idle.
    pub(crate) short: watch::Sender<()>,
    /// Connections of callers.
    admitted: AtomicUsize,
    /// When the clock of everything that decides began.
    began: Instant,
}

/// A caller's connection, counted until it is dropped.
#[derive(Debug)]
pub(crate) struct Admitted(Arc<Shared>);

impl Drop for Admitted {
    fn drop(&mut self) {
        self.0.admitted.fetch_sub(1, Relaxed);
    }
}

impl Shared {
    /// Everything of one proxy.
    pub fn new(world: Arc<World>, identities: Arc<Identities>, telemetry: Arc<Telemetry>) -> Arc<Self> {
        Arc::new(Self {
            world,
            identities,
            telemetry,
            drain: Drain::default(),
            listening: watch::Sender::default(),
            connections: Connections::default(),
            undeclared: Undeclared::default(),
            plugins: OnceLock::new(),
            checks: Checks::default(),
            short: watch::Sender::default(),
            admitted: AtomicUsize::new(0),
            began: Instant::now(),
        })
    }

    /// Plugins are run by `host`; to be said before the workers start. Without, calls get what onLoadFailure says.
    pub fn run_plugins(&self, host: Host) {
        // Who was said first stays: workers may know it already.
        let _ = self.plugins.set(host);
    }

    /// Who runs plugins.
    pub fn plugins(&self) -> Option<&Host> {
        self.plugins.get()
    }

    /// Time since the proxy began: the clock of everything that decides, the same for all workers, since they share what is learnt.
    pub fn now(&self) -> Duration {
        self.at(Instant::now())
    }

    /// The same for a moment that was noted.
    pub(crate) fn at(&self, moment: Instant) -> Duration {
        moment.saturating_duration_since(self.began)
    }

    /// One more connection of a caller, unless there are `most` already.
    pub(crate) fn admit(self: &Arc<Self>, most: usize) -> Option<Admitted> {
        let before = self.admitted.fetch_add(1, Relaxed);
        let admitted = Admitted(self.clone());
        (before < most).then_some(admitted)
    }
}

/// The listeners after the last change of the snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listening {
    /// The generation whose listeners these are; 0 = none was looked at yet.
    pub generation: u64,
    /// Open ones.
    pub open: Vec<SocketAddr>,
    /// Those that could not be opened, and why.
    pub failed: Vec<(SocketAddr, String)>,
}

/// Says that the proxy is stopping: no new connections, what is in flight ends, each answer closes its connection.
#[derive(Debug, Clone)]
pub struct Drain(watch::Sender<bool>);

impl Default for Drain {
    fn default() -> Self {
        Self(watch::Sender::new(false))
    }
}

impl Drain {
    /// Begins; cannot be taken back.
    pub fn begin(&self) {
        self.0.send_replace(true);
    }

    /// Whether it has begun.
    pub fn has_begun(&self) -> bool {
        *self.0.borrow()
    }

    /// Resolves when it begins.
    pub async fn begun(&self) {
        self.watch().begun().await;
    }

    /// For one who waits often.
    pub(crate) fn watch(&self) -> Watch {
        Watch(self.0.subscribe())
    }
}

/// Waits for the drain.
#[derive(Debug)]
pub(crate) struct Watch(watch::Receiver<bool>);

impl Watch {
    /// Resolves when it begins, at once when it has begun.
    pub(crate) async fn begun(&mut self) {
        if self.0.wait_for(|begun| *begun).await.is_err() {
            // Whoever could begin it is gone: it never will.
            std::future::pending().await
        }
    }
}

/// The connections to and from other proxies.
#[derive(Debug, Default)]
pub struct Connections {
    open: Mutex<Map<u64, Arc<Open>>>,
    next: AtomicU64,
}

#[derive(Debug)]
struct Open {
    info: ConnectionInfo,
    requests: AtomicU64,
}

/// A connection as people are shown it.
#[derive(Debug, Clone, Serialize)]
pub struct ConnectionInfo {
    /// "inbound" or "outbound".
    pub direction: &'static str,
    /// "namespace/name" of our end.
    pub workload: Arc<str>,
    /// What the far end proved.
    pub identity: String,
    /// "namespace/name" of the far end; empty where only its identity is known.
    pub peer: Arc<str>,
    /// Address of the far end.
    pub address: SocketAddr,
    /// "TLSv1.3".
    pub tls: String,
    /// Key exchange, "X25519MLKEM768".
    pub group: String,
    /// Seconds since 1970.
    pub since_unix: u64,
    /// Requests, upgrades and tunnels so far.
    pub requests: u64,
}

/// Keeps an entry in the list; gone when dropped.
#[derive(Debug)]
pub(crate) struct Entry {
    shared: Arc<Shared>,
    id: u64,
    open: Arc<Open>,
}

impl Connections {
    /// All that are open.
    pub fn list(&self) -> Vec<ConnectionInfo> {
        let open = self.open.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        open.values().map(|open| ConnectionInfo { requests: open.requests.load(Relaxed), ..open.info.clone() }).collect()
    }

    pub(crate) fn enter(shared: &Arc<Shared>, mut info: ConnectionInfo) -> Entry {
        info.since_unix = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs());
        let connections = &shared.connections;
        let id = connections.next.fetch_add(1, Relaxed);
        let open = Arc::new(Open { info, requests: AtomicU64::new(0) });
        connections.open.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(id, open.clone());
        Entry { shared: shared.clone(), id, open }
    }
}

impl Entry {
    pub(crate) fn request(&self) {
        self.open.requests.fetch_add(1, Relaxed);
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.shared.connections.open.lock().unwrap_or_else(std::sync::PoisonError::into_inner).remove(&self.id);
    }
}
