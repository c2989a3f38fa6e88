//! Connections from other proxies: each stream is a request, an upgrade or a tunnel to a port of the workload that the caller asked for by name.
//! Called by `connection` for what begins with a TLS handshake. Whom a caller may reach is judged in `request`, stream by stream.

use std::{
    cell::RefCell,
    future::poll_fn,
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use h2::{
    Reason as Code, RecvStream,
    ext::Protocol as Token,
    server::{Builder, Connection, SendResponse},
};
use http::{Method, Request};
use plait_http1::Framing;
use plait_identity::Accepted;
use plait_model::{Peer, Reason, Workload};
use plait_telemetry::{Direction, Protocol, Record};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::{CONNECTION_WINDOW, STREAM_WINDOW, STREAMS, cryptography};
use crate::{
    answer::Answer,
    call::{Call, Storage, Wish},
    heads::{HeadError, MeshAsked, from_mesh, other_protocol},
    reject::Reject,
    request,
    shared::{ConnectionInfo, Connections, Entry},
    source::Source,
    worker::Worker,
};

/// A caller that does not finish its handshake by then is none of ours.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Streams that a caller took back and that are still remembered: more is a flood.
const RESETS: usize = 100;
/// Storage kept for the next streams of a connection.
const SPARE: usize = 64;

/// Serves a connection to its end.
pub(crate) async fn serve(worker: Rc<Worker>, stream: TcpStream, from: SocketAddr) {
    // Who breaks the handshake is a stranger, and gets no more than the alert of TLS.
    let Ok(Ok(accepted)) = tokio::time::timeout(HANDSHAKE, worker.shared.identities.accept(stream)).await else { return };
    let Some(workload) = worker.shared.world.load().workloads.get(&*accepted.workload).cloned() else { return };
    let limits = worker.limits();
    let Accepted { stream, peer, not_after, .. } = accepted;
    let entry = Rc::new(Connections::enter(&worker.shared, info(&stream, &workload, peer.as_str(), from)));
    let connection = Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(STREAMS)
        .max_concurrent_reset_streams(RESETS)
        .max_pending_accept_reset_streams(RESETS)
        .max_header_list_size(limits.head_bytes as u32)
        .max_send_buffer_size(STREAM_WINDOW as usize)
        .enable_connect_protocol()
        .handshake(stream);
    let Ok(Ok(connection)) = tokio::time::timeout(HANDSHAKE, connection).await else { return };
    let peer = Peer { identity: Some(peer), address: from.ip() };
    let counted = worker.shared.telemetry.connection(Direction::Inbound, Protocol::Http2, &source(&peer), &service(&workload), true);
    accept(&worker, connection, &peer, (&workload, &entry), not_after).await;
    drop(counted);
}

fn info(stream: &TlsStream<TcpStream>, workload: &Workload, identity: &str, from: SocketAddr) -> ConnectionInfo {
    let (tls, group) = cryptography(stream.get_ref().1);
    ConnectionInfo {
        direction: "inbound",
        workload: workload.key.clone(),
        identity: identity.to_owned(),
        peer: "".into(),
        address: from,
        tls,
        group,
        since_unix: 0,
        requests: 0,
    }
}

/// "namespace/service account" of a caller.
fn source(peer: &Peer) -> Arc<str> {
    peer.identity.as_ref().map_or_else(|| "".into(), |id| format!("{}/{}", id.namespace(), id.service_account()).into())
}

/// The Service that a connection to the workload counts for: that of its first port.
fn service(workload: &Workload) -> Arc<str> {
    workload.ports.first().map_or_else(|| workload.key.clone(), |port| port.service.clone())
}

/// Takes streams until the connection ends; a drain, or the end of the caller's certificate, lets those under way end and takes no more.
async fn accept(
    worker: &Rc<Worker>,
    mut connection: Connection<TlsStream<TcpStream>, Bytes>,
    peer: &Peer,
    (workload, entry): (&Arc<Workload>, &Rc<Entry>),
    not_after: SystemTime,
) {
    let valid_for = not_after.duration_since(SystemTime::now()).unwrap_or_default();
    let closing = async {
        tokio::select! {
            () = worker.shared.drain.begun() => {}
            () = tokio::time::sleep(valid_for) => {}
        }
    };
    let mut closing = std::pin::pin!(closing);
    let mut closed = false;
    let spare: Rc<RefCell<Vec<Storage>>> = Rc::default();
    loop {
        let next = tokio::select! {
            next = poll_fn(|cx| connection.poll_accept(cx)) => next,
            () = &mut closing, if !closed => {
                closed = true;
                connection.graceful_shutdown();
                continue;
            }
        };
        let Some(Ok((request, respond))) = next else { return };
        entry.request();
        let workload = worker.shared.world.load().workloads.get(&*workload.key).cloned().unwrap_or_else(|| workload.clone());
        worker.spawn(stream(request, respond, Party { worker: worker.clone(), workload, peer: peer.clone(), spare: spare.clone() }));
    }
}

/// What a stream knows of its connection.
struct Party {
    worker: Rc<Worker>,
    workload: Arc<Workload>,
    peer: Peer,
    /// Storage of the connection's streams that have ended.
    spare: Rc<RefCell<Vec<Storage>>>,
}

/// Serves one stream.
async fn stream(request: Request<RecvStream>, mut respond: SendResponse<Bytes>, party: Party) {
    let Party { worker, workload, peer, spare } = party;
    let (mut parts, body) = request.into_parts();
    let token = parts.extensions.remove::<Token>();
    let body = Source::http2(body);
    let tunnel = parts.method == Method::CONNECT && token.is_none();
    if tunnel && parts.uri.path_and_query().is_some_and(|path| path.as_str() != "/") {
        respond.send_reset(Code::PROTOCOL_ERROR);
        return;
    }
    let answer = Answer::mesh(respond, parts.method == Method::HEAD);
    let mut call = Call::new(worker, workload, (Direction::Inbound, peer), body, answer);
    let stored = spare.borrow_mut().pop();
    let mut record = match stored {
        Some(storage) => call.reuse(storage),
        None => call.record(Protocol::Http2),
    };
    let asked = match asked(&mut parts, tunnel, &mut call) {
        Ok(asked) => asked,
        Err(error) => return refuse(call, &error).await,
    };
    call.port = Some(asked.port);
    call.wish = match token {
        Some(token) => match other_protocol(token.as_str()) {
            Some(protocol) => Wish::Upgrade(protocol.into()),
            None => return refuse(call, &HeadError::Protocol).await,
        },
        None if tunnel => Wish::Tunnel,
        None => Wish::Answer { framing: framing(&call.body, asked.length), expects_continue: false },
    };
    request::serve(&mut call, &mut record).await;
    let mut spare = spare.borrow_mut();
    if spare.len() < SPARE {
        spare.push(call.retire(record));
    }
}

fn asked(parts: &mut http::request::Parts, tunnel: bool, call: &mut Call) -> Result<MeshAsked, HeadError> {
    if tunnel {
        // A tunnel has no path; the head's form asks for one.
        let mut uri = std::mem::take(&mut parts.uri).into_parts();
        uri.scheme = Some(http::uri::Scheme::HTTP);
        uri.path_and_query = Some(http::uri::PathAndQuery::from_static("/"));
        parts.uri = http::Uri::from_parts(uri).map_err(|_| HeadError::Target)?;
    }
    let asked = from_mesh(parts, &mut call.head)?;
    if parts.method == Method::CONNECT && !tunnel {
        // An upgrade: to the process it is the GET that asked for it.
        call.head.method = Method::GET;
    }
    Ok(asked)
}

fn framing(body: &Source, length: Option<u64>) -> Framing {
    match length {
        Some(length) => Framing::Length(length),
        None if body.is_last() => Framing::None,
        None => Framing::Chunked,
    }
}

/// A head that no proxy of ours would send.
async fn refuse(mut call: Call, error: &HeadError) {
    let telemetry = call.worker.shared.telemetry.clone();
    let mut record: Record = call.record(Protocol::Http2);
    let mut outcome = plait_telemetry::Outcome::begin(&telemetry, &mut record);
    outcome.rejected(Reason::BadRequest, None);
    let reject = Reject { detail: error.to_string(), ..Reject::new(Reason::BadRequest, call.worker.shared.world.load().generation) };
    // When it cannot be sent either, the stream is reset by being dropped.
    let _ = call.answer.reject(&reject, true).await;
}
