//! The keys and the trust of this proxy: what is in force now, and the TLS configurations made of it once per change.
//!
//! Shared by all workers, who read it without a lock; written by `enrolment` and by `app`. Must not do I/O: `tls` does the handshakes.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use plait_model::SpiffeId;
use rustls::{ClientConfig, ServerConfig, sign::SingleCertAndKey};
use tokio::sync::watch;

use crate::{
    clock::Clock,
    config,
    error::{TlsError, Unusable},
    leaf::Leaf,
    verify::{Exactly, Trust},
};

/// All keys and trust of this proxy; shared by Arc, lock-free to read, safe from any thread.
#[derive(Debug)]
pub struct Identities {
    state: ArcSwap<State>,
    /// Held while a new state is made of the old one.
    writing: Mutex<()>,
    changes: watch::Sender<u64>,
    clock: Clock,
}

/// What is in force. Never changed: a new one takes its place.
#[derive(Debug, Clone)]
pub(crate) struct State {
    pub(crate) trust: Arc<Trust>,
    /// By workload, "namespace/name".
    held: HashMap<Arc<str>, Held>,
    /// The workload by the server name that peers ask for.
    names: HashMap<String, Arc<str>>,
}

/// A workload with all that its handshakes need.
#[derive(Debug, Clone)]
struct Held {
    leaf: Arc<Leaf>,
    server: Arc<ServerConfig>,
    /// Complete but for the protocol and the identity that is expected, which each connection adds to its own copy.
    client: Arc<ClientConfig>,
}

impl Identities {
    /// No leaf and no roots: every handshake fails.
    pub fn new() -> Arc<Self> {
        Self::with_clock(Clock::system())
    }

    /// The same, living by another clock.
    pub fn with_clock(clock: Clock) -> Arc<Self> {
        let state = State { trust: Arc::default(), held: HashMap::new(), names: HashMap::new() };
        Arc::new(Self { state: ArcSwap::from_pointee(state), writing: Mutex::new(()), changes: watch::Sender::new(0), clock })
    }

    /// The leaf of a workload ("namespace/name"), in force from the next handshake. An old one is forgotten.
    pub fn set_leaf(&self, workload: Arc<str>, leaf: Leaf) {
        self.change(|state| {
            let held = Held::new(Arc::new(leaf), &state.trust, &self.clock);
            state.held.insert(workload, held);
        });
    }

    /// The trust domain and every root to be trusted (DER), in force from the next handshake. Cheap when nothing changed.
    /// Returns how many roots cannot be read; those are not trusted.
    pub fn set_trust(&self, trust_domain: &str, roots: &[Vec<u8>]) -> usize {
        let in_force = self.trust();
        if *in_force.domain == *trust_domain && in_force.roots() == roots {
            return in_force.unreadable();
        }
        let trust = Arc::new(Trust::new(trust_domain, roots));
        let unreadable = trust.unreadable();
        self.change(|state| {
            for held in state.held.values_mut() {
                *held = Held::new(held.leaf.clone(), &trust, &self.clock);
            }
            state.trust = trust;
        });
        unreadable
    }

    /// The leaf of a workload, valid or not.
    pub fn leaf(&self, workload: &str) -> Option<Arc<Leaf>> {
        self.state.load().held.get(workload).map(|held| held.leaf.clone())
    }

    /// Changes its value whenever a leaf or the trust does.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    pub(crate) fn state(&self) -> Arc<State> {
        self.state.load_full()
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    pub(crate) fn trust(&self) -> Arc<Trust> {
        self.state.load().trust.clone()
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        // A panic while writing leaves the old state in force, whole.
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = State::clone(&self.state.load());
        change(&mut state);
        state.names = state.held.keys().map(|workload| (server_name(workload, &state.trust.domain), workload.clone())).collect();
        self.state.store(Arc::new(state));
        self.changes.send_modify(|count| *count += 1);
    }
}

impl State {
    /// The workload that a server name asks for.
    pub(crate) fn workload(&self, server_name: &str) -> Option<&Arc<str>> {
        self.names.get(server_name)
    }

    /// What our side shows as `workload` to those who connect.
    pub(crate) fn server(&self, workload: &str, clock: &Clock) -> Result<Arc<ServerConfig>, TlsError> {
        Ok(self.usable(workload, clock)?.server.clone())
    }

    /// A configuration for one connection as `workload` to exactly `expected`.
    ///
    /// Identity is checked by rustls within the handshake, so that a wrong peer learns nothing, not even who we are. For that each connection
    /// needs a verifier of its own; it is put into a copy of the cached configuration, which is a dozen reference counts (0.3 us; the handshake
    /// takes some 450 of both ends).
    pub(crate) fn client(&self, workload: &str, alpn: &[u8], expected: &SpiffeId, clock: &Clock) -> Result<Arc<ClientConfig>, TlsError> {
        let mut config = ClientConfig::clone(&self.usable(workload, clock)?.client);
        let verifier = Exactly { trust: self.trust.clone(), expected: Some(expected.clone()) };
        config.dangerous().set_certificate_verifier(Arc::new(verifier));
        config.alpn_protocols = vec![alpn.to_vec()];
        Ok(Arc::new(config))
    }

    fn usable(&self, workload: &str, clock: &Clock) -> Result<&Held, TlsError> {
        let unusable = |why| TlsError::OurIdentity { workload: workload.into(), why };
        let held = self.held.get(workload).ok_or_else(|| unusable(Unusable::NoLeaf))?;
        let now = clock.now();
        if now < held.leaf.not_before() {
            return Err(unusable(Unusable::NotYetValid));
        }
        if !held.leaf.is_valid(now) {
            return Err(unusable(Unusable::Expired));
        }
        if self.trust.is_empty() {
            return Err(unusable(Unusable::NoRoots));
        }
        if held.leaf.identity().trust_domain() != &*self.trust.domain {
            return Err(unusable(Unusable::ForeignTrustDomain));
        }
        Ok(held)
    }
}

impl Held {
    fn new(leaf: Arc<Leaf>, trust: &Arc<Trust>, clock: &Clock) -> Self {
        let shown = Arc::new(SingleCertAndKey::from(leaf.certified().clone()));
        let server = config::server(trust, shown.clone(), clock);
        let nobody = Exactly { trust: trust.clone(), expected: None };
        let client = config::client(Arc::new(nobody), Some(shown), clock);
        Self { leaf, server: Arc::new(server), client: Arc::new(client) }
    }
}

/// "namespace/name" as peers ask for it in SNI.
fn server_name(workload: &str, trust_domain: &str) -> String {
    let (namespace, name) = workload.split_once('/').unwrap_or(("", workload));
    format!("{name}.{namespace}.{trust_domain}")
}
