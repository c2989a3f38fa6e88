//! Which destinations speak first, learnt from their connections on ports whose protocol nobody declared: a client that waits for such a server
//! is not listened to for a while first. Asked and told by `connection` and `exchange`; shown on the admin socket. Decides nothing else.

use std::{
    cell::Cell,
    collections::BTreeSet,
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

/// A port of a destination whose server speaks first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Speaker {
    /// "namespace/service".
    pub destination: Arc<str>,
    /// Port of the Service.
    pub port: u16,
}

/// All verdicts of a proxy.
#[derive(Debug, Default)]
pub struct Speakers(Mutex<BTreeSet<Speaker>>);

impl Speakers {
    /// All, in order.
    pub fn list(&self) -> Vec<Speaker> {
        self.lock().iter().cloned().collect()
    }

    /// Whether the server spoke first when it was last heard.
    pub(crate) fn knows(&self, speaker: &Speaker) -> bool {
        self.lock().contains(speaker)
    }

    fn learn(&self, speaker: &Speaker) {
        let mut all = self.lock();
        if all.len() >= MOST {
            all.clear();
        }
        all.insert(speaker.clone());
    }

    fn forget(&self, speaker: &Speaker) {
        self.lock().remove(speaker);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<Speaker>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Listens for the first word of one connection whose client was silent.
#[derive(Debug)]
pub(crate) struct FirstWord {
    shared: Arc<Shared>,
    speaker: Speaker,
    since: Instant,
    heard: Cell<bool>,
}

impl FirstWord {
    pub(crate) fn listen(shared: &Arc<Shared>, speaker: Speaker) -> Self {
        Self { shared: shared.clone(), speaker, since: Instant::now(), heard: Cell::new(false) }
    }

    /// The client said something.
    pub(crate) fn client(&self) {
        if !self.heard.replace(true) {
            self.shared.speakers.forget(&self.speaker);
        }
    }

    /// The server said something.
    pub(crate) fn server(&self) {
        if !self.heard.replace(true) && self.since.elapsed() < GREETING {
            self.shared.speakers.learn(&self.speaker);
        }
    }
}

impl Speaker {
    pub(crate) fn new(destination: &DestinationKey, port: u16) -> Self {
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
        let (shared, speaker) = (shared(), Speaker { destination: "shop/any".into(), port: 9000 });
        for (silent, learnt) in [(Duration::ZERO, true), (GREETING / 2, true), (GREETING, false), (GREETING * 20, false)] {
            let word = FirstWord::listen(&shared, speaker.clone());
            tokio::time::advance(silent).await;
            word.server();
            assert_eq!(shared.speakers.knows(&speaker), learnt, "after {silent:?}");
            word.client();
            assert_eq!(shared.speakers.knows(&speaker), learnt, "only the first word counts");
            FirstWord::listen(&shared, speaker.clone()).client();
            assert!(!shared.speakers.knows(&speaker), "a client that speaks first takes it back");
        }
    }

    #[tokio::test]
    async fn the_memory_is_bounded() {
        let shared = shared();
        for port in 0..2 * MOST as u16 {
            FirstWord::listen(&shared, Speaker { destination: "shop/any".into(), port }).server();
        }
        assert!(shared.speakers.list().len() <= MOST);
    }
}
