//! A process beside a sidecar: a raw server whose connections a test takes in hand, or that answers by itself.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use socket2::SockRef;
use tokio::{net::TcpListener, task::JoinSet};

use crate::{deadline::in_time, message::Message, peer::Peer, port::Port};

/// A process that listens.
#[derive(Debug)]
pub struct Origin {
    listener: TcpListener,
}

/// What an origin that answers by itself was asked.
#[derive(Debug, Clone, Default)]
pub struct Seen(Arc<Mutex<Vec<Message>>>);

impl Seen {
    /// All requests so far.
    pub fn all(&self) -> Vec<Message> {
        self.0.lock().unwrap().clone()
    }

    /// How many there were.
    pub fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

impl Origin {
    /// On this port; dropped, it leaves the port to nobody else.
    pub async fn new(port: &Port) -> Self {
        Self { listener: TcpListener::bind(port.address).await.unwrap() }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }

    /// The next connection.
    pub async fn accept(&self) -> Peer {
        in_time("a connection to the origin", self.listener.accept()).await.unwrap().0.into()
    }

    /// The next connection, however long it takes to come.
    pub async fn accept_patiently(&self) -> Peer {
        self.listener.accept().await.unwrap().0.into()
    }

    /// No connection waits.
    pub fn is_untouched(&self) {
        assert!(!self.is_asked(), "somebody connected");
    }

    /// Whether a connection waits; it is closed.
    pub fn is_asked(&self) -> bool {
        SockRef::from(&self.listener).accept().is_ok()
    }

    /// From now on it answers each request with `answer`, by itself, until the test ends.
    pub fn answers(self, answer: impl Fn(&Message) -> String + Send + Sync + 'static) -> Seen {
        let seen = Seen::default();
        tokio::spawn(self.converse(Some(seen.clone()), answer));
        seen
    }

    /// The same until what it gives is dropped: then it is gone, with all its connections. It remembers nothing.
    pub fn serves(self, answer: impl Fn(&Message) -> String + Send + Sync + 'static) -> JoinSet<()> {
        let mut serving = JoinSet::new();
        serving.spawn(self.converse(None, answer));
        serving
    }

    async fn converse(self, seen: Option<Seen>, answer: impl Fn(&Message) -> String + Send + Sync + 'static) {
        let answer = Arc::new(answer);
        let mut conversations = JoinSet::new();
        while let Ok((stream, _)) = self.listener.accept().await {
            conversations.spawn(converse(stream.into(), seen.clone(), answer.clone()));
            while conversations.try_join_next().is_some() {}
        }
    }
}

async fn converse(mut peer: Peer, seen: Option<Seen>, answer: Arc<impl Fn(&Message) -> String + Send + Sync>) {
    while let Ok(request) = peer.next_request().await {
        let answer = answer(&request);
        if let Some(seen) = &seen {
            seen.0.lock().unwrap().push(request);
        }
        if peer.try_send(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}
