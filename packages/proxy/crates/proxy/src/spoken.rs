//! What is spoken on ports whose protocol nobody declared, as it was heard last. Where the server spoke first, a client that is silent is not
//! listened to for a while. Asked and told by `connection` and `onlooker`; shown on the admin socket. Decides nothing else.

use std::{
    cell::Cell,
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use plait_model::DestinationKey;
use serde::Serialize;
use tokio::time::Instant;

use crate::Shared;

/// A greeting comes at once. A word that comes later answers something else, such as the silence of a client of HTTP.
const GREETING: Duration = Duration::from_secs(3);
/// More verdicts than this are no memory of a mesh: all are forgotten, and the true ones learnt again.
const MOST: usize = 4096;

/// A port of a destination.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Port {
    /// "namespace/service".
    pub destination: Arc<str>,
    /// Port of the Service.
    pub port: u16,
}

/// What a connection was heard to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spoken {
    /// A request line.
    Http1,
    /// The preface.
    Http2,
    /// A handshake of the client's own.
    Tls,
    /// Something else, by the client first.
    Bytes,
    /// A greeting of the server.
    ServerFirst,
}

impl Spoken {
    /// For people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http1 => "http/1.1",
            Self::Http2 => "http/2",
            Self::Tls => "tls",
            Self::Bytes => "bytes",
            Self::ServerFirst => "server first",
        }
    }
}

impl Serialize for Spoken {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.as_str())
    }
}

/// A verdict, as people are shown it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Heard {
    /// Where.
    #[serde(flatten)]
    pub port: Port,
    /// What.
    pub spoken: Spoken,
}

/// All verdicts of a proxy.
#[derive(Debug, Default)]
pub struct Undeclared(Mutex<BTreeMap<Port, Spoken>>);

impl Undeclared {
    /// All, in order.
    pub fn list(&self) -> Vec<Heard> {
        self.lock().iter().map(|(port, spoken)| Heard { port: port.clone(), spoken: *spoken }).collect()
    }

    /// The last verdict on one.
    pub fn heard(&self, port: &Port) -> Option<Spoken> {
        self.lock().get(port).copied()
    }

    fn learn(&self, port: &Port, spoken: Spoken) {
        let mut all = self.lock();
        if let Some(known) = all.get_mut(port) {
            *known = spoken;
            return;
        }
        if all.len() >= MOST {
            all.clear();
        }
        all.insert(port.clone(), spoken);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Port, Spoken>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Listens for the first word of one connection.
#[derive(Debug)]
pub(crate) struct FirstWord {
    shared: Arc<Shared>,
    port: Port,
    since: Instant,
    heard: Cell<bool>,
}

impl FirstWord {
    pub(crate) fn listen(shared: &Arc<Shared>, port: Port) -> Self {
        Self { shared: shared.clone(), port, since: Instant::now(), heard: Cell::new(false) }
    }

    /// Whether the server spoke first when it was last heard.
    pub(crate) fn is_the_servers(&self) -> bool {
        self.shared.undeclared.heard(&self.port) == Some(Spoken::ServerFirst)
    }

    /// The client said something, which is this.
    pub(crate) fn client(&self, spoken: Spoken) {
        if !self.heard.replace(true) {
            self.shared.undeclared.learn(&self.port, spoken);
        }
    }

    /// The server said something.
    pub(crate) fn server(&self) {
        if !self.heard.replace(true) && self.since.elapsed() < GREETING {
            self.shared.undeclared.learn(&self.port, Spoken::ServerFirst);
        }
    }
}

impl Port {
    /// One of a destination.
    pub fn new(destination: &DestinationKey, port: u16) -> Self {
        Self { destination: destination.shared().clone(), port }
    }
}

#[cfg(test)]
mod tests {
    use plait_identity::Identities;
    use plait_model::World;
    use plait_telemetry::Telemetry;

    use super::*;

    fn shared() -> Arc<Shared> {
        Shared::new(World::new().0, Identities::new(), Telemetry::new(std::io::sink()))
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_greeting_makes_a_verdict() {
        let (shared, port) = (shared(), Port { destination: "shop/any".into(), port: 9000 });
        for (silent, learnt) in [(Duration::ZERO, true), (GREETING / 2, true), (GREETING, false), (GREETING * 20, false)] {
            let word = FirstWord::listen(&shared, port.clone());
            tokio::time::advance(silent).await;
            word.server();
            assert_eq!(word.is_the_servers(), learnt, "after {silent:?}");
            word.client(Spoken::Bytes);
            assert_eq!(word.is_the_servers(), learnt, "only the first word counts");
            FirstWord::listen(&shared, port.clone()).client(Spoken::Bytes);
            assert!(!word.is_the_servers(), "a client that speaks first takes it back");
        }
    }

    #[tokio::test]
    async fn what_is_shown_was_heard_last() {
        let (shared, port) = (shared(), Port { destination: "shop/any".into(), port: 9000 });
        assert_eq!(shared.undeclared.heard(&port), None);
        for spoken in [Spoken::Bytes, Spoken::Http1, Spoken::Tls, Spoken::Http2] {
            FirstWord::listen(&shared, port.clone()).client(spoken);
            assert_eq!(shared.undeclared.list(), [Heard { port: port.clone(), spoken }]);
        }
    }

    #[tokio::test]
    async fn the_memory_is_bounded() {
        let shared = shared();
        for port in 0..2 * MOST as u16 {
            FirstWord::listen(&shared, Port { destination: "shop/any".into(), port }).server();
        }
        assert!(shared.undeclared.list().len() <= MOST);
    }
}
