//! Connections of HTTP/2 to upstreams, each shared by many requests. Used by `upstream` for processes that speak it, and by `mesh::client`
//! for other proxies, which say what a connection must have proved. One set for each worker. Knows nothing of requests.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    net::SocketAddr,
    pin::Pin,
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
    flood::{Credit, Of, Watched},
    http2::{FRAME, SMALL_FRAME, STREAMS},
    shared::Entry,
    windows::{self, Counted, Streams, Window},
};

/// While there are requests, another proxy is asked this often whether it is still there, and the peer given as long to answer.
const PING_EVERY: Duration = Duration::from_secs(10);
/// A process is asked this often: servers of gRPC end a connection on which pings come within five minutes of each other while they have nothing to
/// say, as to a stream that waits for something to happen. Whether its machine is still there TCP asks every ten seconds.
const PING_PROCESS_EVERY: Duration = Duration::from_secs(330);
/// Connections to one place at a time: with all their streams in use, a request waits for one.
const CONNECTIONS: usize = 16;
/// A connection without requests is closed after this.
const LONGEST_IDLE: Duration = Duration::from_secs(3600);

/// Requests that were taken back and whose answers may still be on their way. An answer to one that is forgotten counts as a mistake of the peer,
const TAKEN_BACK: usize = 8192;
/// and so long it may be on its way.
const REMEMBERED: Duration = Duration::from_secs(10);
/// After so many mistakes in the life of a connection it is closed, with the requests of everybody.
const FORGOTTEN: usize = 1 << 16;

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
pub(crate) struct Connections {
    places: RefCell<Map<Key, Rc<Slot>>>,
    streams: Streams,
}

/// The place of a connection, and of more when it has as many streams as its peer allows.
#[derive(Debug, Default)]
struct Slot {
    live: RefCell<Vec<Live>>,
    /// Held while dialling, so that those who come meanwhile wait for the same connection.
    dialling: Mutex<()>,
}

/// A connection that takes requests.
#[derive(Debug, Clone)]
pub(crate) struct Live {
    sender: SendRequest<Bytes>,
    proof: Proof,
    state: Rc<State>,
    streams: Streams,
}

/// What a connection's task, its requests and its place share.
#[derive(Debug, Default)]
struct State {
    /// Requests under way.
    busy: Cell<usize>,
    /// There was a request since the peer was asked last.
    used: Cell<bool>,
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
pub(crate) struct Busy {
    state: Rc<State>,
    _counted: Counted,
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.state.busy.set(self.state.busy.get() - 1);
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
        self.places
            .borrow_mut()
            .retain(|_, slot| slot.live.borrow().iter().any(|live| !live.state.ended.get()) || slot.dialling.try_lock().is_err());
    }

    /// Closes all as soon as their requests have ended.
    pub(crate) fn clear(&self) {
        for (_, slot) in self.places.borrow_mut().drain() {
            slot.live.borrow_mut().clear();
        }
    }

    /// A connection that takes one more request, dialled when there is none with that proof.
    pub(crate) async fn stream<F>(&self, key: Key, proof: &Proof, patience: Duration, dial: impl FnOnce() -> F) -> Result<Stream, Unopened>
    where
        F: Future<Output = Result<Live, Failed>>,
    {
        let slot = self.places.borrow_mut().entry(key).or_default().clone();
        if let Some(stream) = slot.ready(proof).await {
            return Ok(stream);
        }
        let dialled = async {
            let _alone = slot.dialling.lock().await;
            if let Some(stream) = slot.ready(proof).await {
                return Ok(stream);
            }
            let live = dial().await.map_err(Unopened::Failed)?;
            slot.live.borrow_mut().push(live.clone());
            live.stream().await.map_err(Unopened::Ended)
        };
        // Boxed: dialling is rare and large, and every request would carry room for it.
        tokio::time::timeout(patience, Box::pin(dialled)).await.unwrap_or(Err(Unopened::Late))
    }
}

impl Slot {
    /// A live connection that may still be used and has room. Those of another proof are left to their last requests.
    async fn ready(&self, proof: &Proof) -> Option<Stream> {
        loop {
            let (mut sender, state, streams) = {
                let mut all = self.live.borrow_mut();
                all.retain(|live| live.proof == *proof && !live.state.ended.get());
                let most = all.len() >= CONNECTIONS;
                let live = all.iter().find(|live| live.has_room()).or_else(|| all.last().filter(|_| most))?;
                (live.sender.clone(), live.state.clone(), live.streams.clone())
            };
            if poll_fn(|cx| sender.poll_ready(cx)).await.is_ok() {
                return Some(Stream::begin(sender, state, &streams));
            }
            self.live.borrow_mut().retain(|other| !Rc::ptr_eq(&other.state, &state));
        }
    }
}

impl Stream {
    fn begin(sender: SendRequest<Bytes>, state: Rc<State>, streams: &Streams) -> Self {
        if let Some(entry) = &*state.entry.borrow() {
            entry.request();
        }
        state.busy.set(state.busy.get() + 1);
        state.used.set(true);
        Self { sender, busy: Busy { state, _counted: streams.one_more() } }
    }
}

impl Live {
    /// Begins to speak HTTP/2 and waits until the far end answers: only then has it accepted our certificate and told its settings.
    /// `head_bytes`: what a head of an answer may hold.
    pub(crate) async fn begin<S>(stream: S, proof: Proof, all: &Connections, head_bytes: usize) -> Result<Self, h2::Error>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        Self::vouched(stream, proof, (all, head_bytes), std::future::pending()).await
    }

    /// The same, cut with all that is under way when the far end is `distrusted`.
    pub(crate) async fn vouched<S>(
        stream: S,
        proof: Proof,
        (all, head_bytes): (&Connections, usize),
        distrusted: impl Future<Output = ()> + 'static,
    ) -> Result<Self, h2::Error>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let streams = all.streams.clone();
        let (window, credit) = (Window::new(&streams), Credit::new(Of::Server));
        let (sender, mut connection) = Builder::new()
            .initial_window_size(window.size())
            .initial_connection_window_size(windows::CONNECTION)
            .max_frame_size(if proof.identity.is_some() { FRAME } else { SMALL_FRAME })
            .max_send_buffer_size(windows::unsent(true))
            .initial_max_send_streams(STREAMS as usize)
            .max_concurrent_reset_streams(TAKEN_BACK)
            .reset_stream_duration(REMEMBERED)
            .max_local_error_reset_streams(Some(FORGOTTEN))
            .enable_push(false)
            .max_header_list_size(u32::try_from(2 * head_bytes).unwrap_or(u32::MAX))
            .data_frame_budget(crate::http2::SMALL_FRAMES)
            .handshake(Watched::new(stream, credit.clone()))
            .await?;
        let mut pings = connection.ping_pong().expect("taken once");
        let running = poll_fn(|cx| {
            credit.next_turn();
            Pin::new(&mut connection).poll(cx)
        });
        tokio::select! {
            ended = running => return Err(ended.err().unwrap_or_else(|| h2::Reason::NO_ERROR.into())),
            pong = pings.ping(Ping::opaque()) => { pong?; }
        }
        let state: Rc<State> = Rc::default();
        let every = if proof.identity.is_some() { PING_EVERY } else { PING_PROCESS_EVERY };
        let ended = {
            let (state, credit) = (state.clone(), credit.clone());
            async move {
                tokio::select! {
                    () = until_silent(pings, &state, every) => {}
                    () = credit.spent() => {}
                    () = distrusted => {}
                }
            }
        };
        tokio::task::spawn_local(drive((connection, window), credit, ended, state.clone()));
        Ok(Self { sender, proof, state, streams })
    }

    /// The same, shown in the list of connections.
    pub(crate) fn listed(self, entry: Entry) -> Self {
        self.state.entry.replace((!self.state.ended.get()).then_some(entry));
        self
    }

    /// Whether its peer allows one more stream.
    fn has_room(&self) -> bool {
        self.state.busy.get() < self.sender.current_max_send_streams()
    }

    /// Waits until the connection takes one more request.
    async fn stream(mut self) -> Result<Stream, h2::Error> {
        poll_fn(|cx| self.sender.poll_ready(cx)).await?;
        Ok(Stream::begin(self.sender, self.state, &self.streams))
    }
}

/// Runs a connection to its end; how it ended is known to each of its requests, and to the next through its sender.
async fn drive<S>(
    (mut connection, mut window): (Connection<S, Bytes>, Window),
    credit: Rc<Credit>,
    ended: impl Future<Output = ()>,
    state: Rc<State>,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let running = poll_fn(|cx| {
        window.keep(tokio::time::Instant::now, |size| connection.set_initial_window_size(size));
        credit.next_turn();
        Pin::new(&mut connection).poll(cx)
    });
    tokio::select! {
        _ = running => {}
        () = ended => {}
    }
    state.ended.set(true);
    state.entry.take();
}

/// Resolves when the peer no longer answers, or when nobody used the connection for long.
async fn until_silent(mut pings: PingPong, state: &State, every: Duration) {
    let mut idle = Duration::ZERO;
    while idle < LONGEST_IDLE {
        tokio::time::sleep(every).await;
        // Also after requests that have ended: it may be that they waited in vain, and that the next one would.
        if !state.used.replace(state.busy.get() > 0) {
            // An idle peer is not asked.
            idle += every;
            continue;
        }
        idle = Duration::ZERO;
        if !matches!(tokio::time::timeout(PING_EVERY, pings.ping(Ping::opaque())).await, Ok(Ok(_))) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::{sync::oneshot, task::LocalSet};

    use super::*;

    /// A connection whose peer says nothing after its handshake.
    async fn silent(identity: Option<Arc<SpiffeId>>) -> Live {
        let (near, far) = tokio::io::duplex(1 << 16);
        let (stop, stopped) = oneshot::channel::<()>();
        tokio::task::spawn_local(async move {
            let mut peer = h2::server::handshake(far).await.unwrap();
            tokio::select! {
                _ = peer.accept() => {}
                _ = stopped => {}
            }
            // It stays open.
            std::future::pending::<()>().await;
        });
        let live = Live::begin(near, Proof { identity, trust: 0 }, &Connections::default(), 1 << 16).await.unwrap();
        stop.send(()).unwrap();
        live
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_peer_is_noticed_by_requests_that_ended_too() {
        let local = LocalSet::new();
        let connections = async {
            let proxy = || Some(Arc::new(SpiffeId::parse("spiffe://shop.example/ns/shop/sa/web").unwrap()));
            let (soon, late) = (2 * PING_EVERY, PING_PROCESS_EVERY + PING_EVERY);
            for (identity, requests, after, noticed) in
                [(proxy(), 0, soon, false), (proxy(), 1, soon, true), (None, 1, soon, false), (None, 0, late, false), (None, 1, late, true)]
            {
                let live = silent(identity.clone()).await;
                for _ in 0..requests {
                    drop(live.clone().stream().await.unwrap());
                }
                tokio::time::sleep(after + Duration::from_secs(1)).await;
                assert_eq!(live.state.ended.get(), noticed, "{identity:?}, {requests} requests, {after:?}");
            }
        };
        local.run_until(connections).await;
    }
}
