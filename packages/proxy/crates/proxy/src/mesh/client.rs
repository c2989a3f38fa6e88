//! Connections to other proxies. A connection carries one identity of ours to one workload of theirs; many requests share it.
//! Called by `upstream`. Fails closed: without proof of the identity that the endpoint must have, nothing is sent.

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
use plait_identity::TlsError;
use plait_model::{Endpoint, Map, Reason, SpiffeId, Workload};
use tokio::{net::TcpStream, sync::Mutex};
use tokio_rustls::client::TlsStream;

use super::{CONNECTION_WINDOW, STREAM_WINDOW, STREAMS, cryptography};
use crate::{
    failed::Failed,
    reject::Reject,
    shared::{ConnectionInfo, Connections, Entry},
    worker::Worker,
};

/// While requests wait, the peer is asked this often whether it is still there, and given as long to answer.
const PING_EVERY: Duration = Duration::from_secs(10);
/// A connection without requests is closed after this.
const LONGEST_IDLE: Duration = Duration::from_secs(3600);

/// Who calls whom, where.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    source: Arc<str>,
    server_name: Arc<str>,
    address: SocketAddr,
}

/// All connections of a worker.
#[derive(Debug, Default)]
pub(crate) struct Clients(RefCell<Map<Key, Rc<Slot>>>);

#[derive(Debug, Default)]
struct Slot {
    live: RefCell<Option<Live>>,
    /// Held while dialling, so that those who come meanwhile wait for the same connection.
    dialling: Mutex<()>,
}

#[derive(Debug, Clone)]
struct Live {
    sender: SendRequest<Bytes>,
    /// What the far end proved.
    identity: Arc<SpiffeId>,
    /// The state of our keys and trust that it was made under.
    trust: u64,
    entry: Rc<Entry>,
    busy: Rc<Cell<usize>>,
}

/// One request's place on a connection.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) sender: SendRequest<Bytes>,
    pub(crate) busy: Busy,
}

/// A request under way on a connection.
#[derive(Debug)]
pub(crate) struct Busy(Rc<Cell<usize>>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Live {
    /// Waits until the connection takes one more request; `None` = it takes no more.
    async fn stream(mut self) -> Result<Stream, h2::Error> {
        poll_fn(|cx| self.sender.poll_ready(cx)).await?;
        self.entry.request();
        self.busy.set(self.busy.get() + 1);
        Ok(Stream { sender: self.sender, busy: Busy(self.busy) })
    }
}

impl Clients {
    /// Forgets the connections that nobody uses any more: those that ended, and those of endpoints that are gone end by themselves.
    pub(crate) fn sweep(&self) {
        self.0.borrow_mut().retain(|_, slot| slot.live.borrow().is_some() || slot.dialling.try_lock().is_err());
    }

    /// Closes all as soon as their requests have ended.
    pub(crate) fn clear(&self) {
        for (_, slot) in self.0.borrow_mut().drain() {
            *slot.live.borrow_mut() = None;
        }
    }
}

/// A connection to `endpoint` that takes one more request, dialled when there is none.
pub(crate) async fn stream(worker: &Rc<Worker>, source: &Workload, endpoint: &Arc<Endpoint>, patience: Duration) -> Result<Stream, Failed> {
    let key = Key { source: source.key.clone(), server_name: endpoint.server_name.clone(), address: endpoint.address };
    let slot = worker.clients.0.borrow_mut().entry(key).or_default().clone();
    let Some(expected) = &endpoint.identity else {
        return Err(failed(Reason::Internal, "an endpoint without identity is no proxy".into()));
    };
    if let Some(sender) = ready(&slot, worker, expected).await {
        return Ok(sender);
    }
    let dial = async {
        let _alone = slot.dialling.lock().await;
        if let Some(sender) = ready(&slot, worker, expected).await {
            return Ok(sender);
        }
        let live = dial(worker, source, endpoint, expected, &slot).await?;
        *slot.live.borrow_mut() = Some(live.clone());
        live.stream().await.map_err(|error| failed(Reason::UpstreamUnreachable, error.to_string()))
    };
    // Boxed: dialling is rare and large, and every request would carry room for it.
    match tokio::time::timeout(patience, Box::pin(dial)).await {
        Ok(dialled) => dialled,
        Err(_) => {
            Err(failed(Reason::UpstreamUnreachable, format!("{} did not accept a connection within {patience:?}", endpoint.workload)))
        }
    }
}

/// The live connection when it may still be used. One of another trust or identity is left to its last requests.
async fn ready(slot: &Slot, worker: &Worker, expected: &SpiffeId) -> Option<Stream> {
    let live = slot.live.borrow().clone()?;
    if live.trust == worker.trust() && *live.identity == *expected {
        if let Ok(stream) = live.clone().stream().await {
            return Some(stream);
        }
    }
    slot.forget(&live.entry);
    None
}

async fn dial(
    worker: &Rc<Worker>,
    source: &Workload,
    endpoint: &Endpoint,
    expected: &Arc<SpiffeId>,
    slot: &Rc<Slot>,
) -> Result<Live, Failed> {
    let refused = |error: &dyn std::fmt::Display| {
        failed(Reason::UpstreamUnreachable, format!("{} does not accept connections: {error}", endpoint.workload))
    };
    let trust = worker.trust();
    let stream = TcpStream::connect(endpoint.address).await.map_err(|error| refused(&error))?;
    stream.set_nodelay(true).map_err(|error| refused(&error))?;
    let secured = worker.shared.identities.connect(&source.key, stream, &endpoint.server_name, expected).await;
    let stream = secured.map_err(|error: TlsError| failed(error.reason(), format!("{}: {error}", endpoint.workload)))?;
    let (tls, group) = cryptography(stream.get_ref().1);
    let info = ConnectionInfo {
        direction: "outbound",
        workload: source.key.clone(),
        identity: expected.as_str().to_owned(),
        peer: endpoint.workload.clone(),
        address: endpoint.address,
        tls,
        group,
        since_unix: 0,
        requests: 0,
    };
    let (sender, mut connection) = Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .initial_max_send_streams(STREAMS as usize)
        .enable_push(false)
        .handshake(stream)
        .await
        .map_err(|error| refused(&error))?;
    let mut pings = connection.ping_pong().expect("taken once");
    // Our certificate is judged after our half of the handshake: only an answer shows that the far end took it, and brings its settings.
    tokio::select! {
        ended = &mut connection => return Err(refused(&ended.err().map_or_else(|| "it closed the connection".to_owned(), |error| error.to_string()))),
        pong = pings.ping(Ping::opaque()) => drop(pong.map_err(|error| refused(&error))?),
    }
    let entry = Rc::new(Connections::enter(&worker.shared, info));
    tokio::task::spawn_local(drive(connection, pings, slot.clone(), entry.clone()));
    Ok(Live { sender, identity: expected.clone(), trust, entry, busy: Rc::default() })
}

/// Runs a connection to its end.
async fn drive(mut connection: Connection<TlsStream<TcpStream>, Bytes>, pings: PingPong, slot: Rc<Slot>, entry: Rc<Entry>) {
    tokio::select! {
        // How it ended is known to each of its requests.
        _ = &mut connection => {}
        () = until_silent(pings, &slot, &entry) => {}
    }
    slot.forget(&entry);
}

/// Resolves when the peer no longer answers. A connection that nobody used for long is put away, and ends by itself.
async fn until_silent(mut pings: PingPong, slot: &Slot, entry: &Rc<Entry>) {
    let mut idle = Duration::ZERO;
    loop {
        tokio::time::sleep(PING_EVERY).await;
        let busy = slot.live.borrow().as_ref().is_none_or(|live| !Rc::ptr_eq(&live.entry, entry) || live.busy.get() > 0);
        if busy {
            idle = Duration::ZERO;
            if !matches!(tokio::time::timeout(PING_EVERY, pings.ping(Ping::opaque())).await, Ok(Ok(_))) {
                return;
            }
        } else {
            // An idle peer is not asked: when it is needed again, the request finds out.
            idle += PING_EVERY;
            if idle >= LONGEST_IDLE {
                slot.forget(entry);
            }
        }
    }
}

impl Slot {
    /// Puts the connection away; another may have taken its place already.
    fn forget(&self, entry: &Rc<Entry>) {
        let mut live = self.live.borrow_mut();
        if live.as_ref().is_some_and(|live| Rc::ptr_eq(&live.entry, entry)) {
            *live = None;
        }
    }
}

fn failed(reason: Reason, detail: String) -> Failed {
    Failed::undelivered(Reject { detail, ..Reject::new(reason, 0) })
}
