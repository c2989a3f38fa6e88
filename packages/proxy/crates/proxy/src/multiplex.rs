//! Connections of HTTP/2 to upstreams, each shared by many requests. Used by `upstream` for processes that speak it, and by `mesh::client`
//! for other proxies, which say what a connection must have proved. One set for each worker. Knows nothing of requests.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use h2::{
    Ping, PingPong,
    client::{Builder, Connection, SendRequest},
};
use plait_model::{Map, SpiffeId};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::Mutex,
};

use crate::{
    failed::Failed,
    http2::{CONNECTION_WINDOW, FRAME, SMALL_FRAME, STREAM_WINDOW, STREAMS},
    shared::Entry,
};

/// While requests wait, the peer is asked this often whether it is still there, and given as long to answer.
const PING_EVERY: Duration = Duration::from_secs(10);
/// A connection without requests is closed after this.
const LONGEST_IDLE: Duration = Duration::from_secs(3600);

/// Who calls whom, where.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    /// Another proxy.
    Proxy {
        /// The calling workload: a connection carries one identity.
        source: Arc<str>,
        /// The called one.
        server_name: Arc<str>,
        /// Its sidecar.
        address: SocketAddr,
    },
    /// A process, in plaintext.
    Process(SocketAddr),
}

/// What a connection must have proved to be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Proof {
    /// Who is at the far end; `None` in plaintext.
    pub(crate) identity: Option<Arc<SpiffeId>>,
    /// The state of our keys and trust.
    pub(crate) trust: u64,
}

/// All connections of a worker.
#[derive(Debug, Default)]
pub(crate) struct Connections(RefCell<Map<Key, Rc<Slot>>>);

/// The place of a connection.
#[derive(Debug, Default)]
struct Slot {
    live: RefCell<Option<Live>>,
    /// Held while dialling, so that those who come meanwhile wait for the same connection.
    dialling: Mutex<()>,
}

/// A connection that takes requests.
#[derive(Debug, Clone)]
pub(crate) struct Live {
    sender: SendRequest<Bytes>,
    proof: Proof,
    state: Rc<State>,
}

/// What a connection's task, its requests and its place share.
#[derive(Debug, Default)]
struct State {
    /// Requests under way.
    busy: Cell<usize>,
    ended: Cell<bool>,
    /// In the list of connections, while it lives.
    entry: RefCell<Option<Entry>>,
}

/// One request's place on a connection.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) sender: SendRequest<Bytes>,
    pub(crate) busy: Busy,
}

/// A request under way on a connection.
#[derive(Debug)]
pub(crate) struct Busy(Rc<State>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.set(self.0.busy.get() - 1);
    }
}

/// Why a connection takes no request.
#[derive(Debug)]
pub(crate) enum Unopened {
    /// It could not be made.
    Failed(Failed),
    /// Not in time.
    Late,
    /// It was made and ended at once.
    Ended(h2::Error),
}

impl Connections {
    /// Forgets the places of connections that ended.
    pub(crate) fn sweep(&self) {
        self.0
            .borrow_mut()
            .retain(|_, slot| slot.live.borrow().as_ref().is_some_and(|live| !live.state.ended.get()) || slot.dialling.try_lock().is_err());
    }

    /// Closes all as soon as their requests have ended.
    pub(crate) fn clear(&self) {
        for (_, slot) in self.0.borrow_mut().drain() {
            *slot.live.borrow_mut() = None;
        }
    }

    /// A connection that takes one more request, dialled when there is none with that proof.
    pub(crate) async fn stream<F>(&self, key: Key, proof: &Proof, patience: Duration, dial: impl FnOnce() -> F) -> Result<Stream, Unopened>
    where
        F: Future<Output = Result<Live, Failed>>,
    {
        let slot = self.0.borrow_mut().entry(key).or_default().clone();
        if let Some(stream) = slot.ready(proof).await {
            return Ok(stream);
        }
        let dialled = async {
            let _alone = slot.dialling.lock().await;
            if let Some(stream) = slot.ready(proof).await {
                return Ok(stream);
            }
            let live = dial().await.map_err(Unopened::Failed)?;
            *slot.live.borrow_mut() = Some(live.clone());
            live.stream().await.map_err(Unopened::Ended)
        };
        // Boxed: dialling is rare and large, and every request would carry room for it.
        tokio::time::timeout(patience, Box::pin(dialled)).await.unwrap_or(Err(Unopened::Late))
    }
}

impl Slot {
    /// The live connection when it may still be used. One of another proof is left to its last requests.
    async fn ready(&self, proof: &Proof) -> Option<Stream> {
        let live = self.live.borrow().clone()?;
        if live.proof == *proof
            && let Ok(stream) = live.clone().stream().await
        {
            return Some(stream);
        }
        // Somebody else may have dialled meanwhile: only the one that was looked at is put away.
        let mut current = self.live.borrow_mut();
        if current.as_ref().is_some_and(|current| Rc::ptr_eq(&current.state, &live.state)) {
            *current = None;
        }
        None
    }
}

impl Live {
    /// Begins to speak HTTP/2 and waits until the far end answers: only then has it accepted our certificate and told its settings.
    pub(crate) async fn begin<S>(stream: S, proof: Proof) -> Result<Self, h2::Error>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        Self::vouched(stream, proof, std::future::pending()).await
    }

    /// The same, cut with all that is under way when the far end is `distrusted`.
    pub(crate) async fn vouched<S>(stream: S, proof: Proof, distrusted: impl Future<Output = ()> + 'static) -> Result<Self, h2::Error>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let (sender, mut connection) = Builder::new()
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(if proof.identity.is_some() { FRAME } else { SMALL_FRAME })
            .initial_max_send_streams(STREAMS as usize)
            .enable_push(false)
            .data_frame_budget(crate::http2::SMALL_FRAMES)
            .handshake(stream)
            .await?;
        let mut pings = connection.ping_pong().expect("taken once");
        tokio::select! {
            ended = &mut connection => return Err(ended.err().unwrap_or_else(|| h2::Reason::NO_ERROR.into())),
            pong = pings.ping(Ping::opaque()) => { pong?; }
        }
        let state: Rc<State> = Rc::default();
        let ended = {
            let state = state.clone();
            async move {
                tokio::select! {
                    () = until_silent(pings, &state.busy) => {}
                    () = distrusted => {}
                }
            }
        };
        tokio::task::spawn_local(drive(connection, ended, state.clone()));
        Ok(Self { sender, proof, state })
    }

    /// The same, shown in the list of connections.
    pub(crate) fn listed(self, entry: Entry) -> Self {
        self.state.entry.replace((!self.state.ended.get()).then_some(entry));
        self
    }

    /// Waits until the connection takes one more request.
    async fn stream(mut self) -> Result<Stream, h2::Error> {
        poll_fn(|cx| self.sender.poll_ready(cx)).await?;
        if let Some(entry) = &*self.state.entry.borrow() {
            entry.request();
        }
        self.state.busy.set(self.state.busy.get() + 1);
        Ok(Stream { sender: self.sender, busy: Busy(self.state) })
    }
}

/// Runs a connection to its end; how it ended is known to each of its requests, and to the next through its sender.
async fn drive<S>(mut connection: Connection<S, Bytes>, ended: impl Future<Output = ()>, state: Rc<State>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    tokio::select! {
        _ = &mut connection => {}
        () = ended => {}
    }
    state.ended.set(true);
    state.entry.take();
}

/// Resolves when the peer no longer answers, or when nobody used the connection for long.
async fn until_silent(mut pings: PingPong, busy: &Cell<usize>) {
    let mut idle = Duration::ZERO;
    while idle < LONGEST_IDLE {
        tokio::time::sleep(PING_EVERY).await;
        if busy.get() == 0 {
            // An idle peer is not asked: when it is needed again, the request finds out.
            idle += PING_EVERY;
            continue;
        }
        idle = Duration::ZERO;
        if !matches!(tokio::time::timeout(PING_EVERY, pings.ping(Ping::opaque())).await, Ok(Ok(_))) {
            return;
        }
    }
}
