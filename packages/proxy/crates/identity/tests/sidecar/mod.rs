//! A proxy whose workload shop/web-1 (account web) enrols, on a clock that is turned by hand.

#![allow(dead_code)] // each test binary uses its part
#![allow(clippy::unwrap_used)] // only test functions themselves are excused by clippy.toml

use std::{path::Path, sync::Arc, time::Duration};

use plait_identity::{Clock, Enrolment, Event, Identities, JoinToken, Leaf, Token};
use tempfile::TempDir;
use tokio::{
    net::TcpListener,
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    task::JoinHandle,
};

use crate::{
    authority::{Authority, HOUR, Profile, now},
    ca::Ca,
    pair::{CATALOG, id, in_time, proxy_with, tcp},
};

pub(crate) const WORKLOAD: &str = "shop/web-1";

/// Ends when dropped, as a process does that is killed.
pub(crate) struct Sidecar {
    pub(crate) identities: Arc<Identities>,
    pub(crate) clock: Clock,
    pub(crate) events: UnboundedReceiver<(String, Duration)>,
    task: JoinHandle<()>,
}

impl Sidecar {
    pub(crate) fn start(clock: &Clock, folder: &Path, address: &str, token: Option<JoinToken>) -> Self {
        Self::enrol(clock, folder, address, token.map(Token::Join))
    }

    /// With a token of either kind.
    pub(crate) fn enrol(clock: &Clock, folder: &Path, address: &str, token: Option<Token>) -> Self {
        let enrolment = Enrolment { workload: WORKLOAD.into(), token, folder: folder.to_owned(), identity_address: address.into() };
        let identities = Identities::with_clock(clock.clone());
        let (said, events) = unbounded_channel();
        let report = move |event: &Event| {
            let pause = if let Event::Failed(_, pause) = event { *pause } else { Duration::ZERO };
            let _ = said.send((event.to_string(), pause));
        };
        let task = tokio::spawn(enrolment.run(identities.clone(), report));
        Self { identities, clock: clock.clone(), events, task }
    }

    /// The next event, which must say this; returns the pause that follows a failure.
    pub(crate) async fn says(&mut self, what: &str) -> Duration {
        let (said, pause) = in_time(self.events.recv()).await.unwrap();
        assert!(said.contains(what), "{said:?} does not say {what:?}");
        pause
    }

    /// The same, and the pause goes by.
    pub(crate) async fn fails(&mut self, what: &str) {
        let pause = self.says(what).await;
        self.clock.advance(pause);
    }

    pub(crate) fn leaf(&self) -> Arc<Leaf> {
        self.identities.leaf(WORKLOAD).unwrap()
    }

    /// Whether it can call a good catalog, whose leaf is of the first of these and which trusts them all.
    pub(crate) async fn connects(&self, authorities: &[&Authority]) -> bool {
        let (client, server) = tcp().await;
        let always = Profile { not_after: now() + 1000 * HOUR, ..Profile::of("catalog") };
        let (catalog, expected) = (proxy_with("catalog", authorities, &always, &self.clock), id("catalog"));
        let both = async { tokio::join!(self.identities.connect(WORKLOAD, client, CATALOG, &expected), catalog.accept(server)) };
        let (connected, accepted) = in_time(both).await;
        connected.is_ok() && accepted.is_ok_and(|accepted| *accepted.peer == id("web"))
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A CA that serves, a clock, and an empty folder.
pub(crate) async fn stage() -> (Ca, String, Clock, TempDir) {
    let clock = Clock::manual(now());
    let ca = Ca::new(Authority::new("root"), &clock);
    let address = ca.serve("127.0.0.1:0").await;
    (ca, address, clock, TempDir::new().unwrap())
}

/// A place where nobody listens.
pub(crate) async fn nowhere() -> String {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string()
}
