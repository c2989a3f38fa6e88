//! One connection from its first byte: who is there, what is spoken, and which line serves it. Called by `listener`.

use std::{net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use http::Method;
use plait_decide::detect::{self, Detected};
use plait_http1::Framing;
use plait_model::{Bind, Lookup, Peer, Protocol, Workload};
use plait_telemetry::{Cut, Direction, Record};
use tokio::net::TcpStream;

use crate::{
    answer::{Answer, Opening},
    call::{Call, Storage, Wish},
    http1::{self, Ended},
    http2::{self, Party},
    io::{halves, rejoin},
    mesh, outbound, redirected, request,
    shared::Admitted,
    source::Source,
    spoken::{FirstWord, Port, Spoken},
    worker::Worker,
};

/// A stranger at the inbound port that says nothing is closed after this.
const FIRST_BYTE: Duration = Duration::from_secs(10);
/// On a port whose protocol is not declared, a client that says nothing for so long waits for the server to speak first. Where the server did
/// so before, nobody waits.
const SPEAKS_FIRST: Duration = Duration::from_millis(100);

/// Where a connection came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Entrance {
    /// Calls of our own workload: forward proxy, or Host header.
    Outbound,
    /// Calls of our own workload to one destination.
    Bound(Bind),
    /// Calls to our own workload.
    Inbound,
}

/// What a client was heard to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speaks {
    Http,
    Bytes,
    /// It closed without a word.
    Nothing,
}

/// Serves a connection to its end; until then it holds what `admitted` it.
pub(crate) async fn serve(
    worker: Rc<Worker>,
    (stream, from): (TcpStream, SocketAddr),
    (workload, entrance): (Arc<Workload>, Entrance),
    admitted: Admitted,
) {
    let _admitted = admitted;
    match entrance {
        Entrance::Outbound if workload.redirected => Box::pin(redirected::call(worker, stream, from, workload)).await,
        Entrance::Outbound => {
            let (mut call, mut record) = plaintext(worker, stream, from, workload, Direction::Outbound, Opening::Connect);
            if http1::serve(&mut call, &mut record).await == Ended::Http2 {
                Box::pin(go_on_in_http2(call)).await;
            }
        }
        // Boxed, like what follows: a connection needs room for one of these lines only.
        Entrance::Bound(bind) => Box::pin(bound(worker, stream, from, workload, bind)).await,
        Entrance::Inbound => match redirected::port(&stream).filter(|_| workload.redirected) {
            // Other proxies dial ours. Who dials the process is a stranger, and may be a client of its own TLS.
            Some(port) => Box::pin(stranger(worker, stream, from, workload, Some(port))).await,
            None => Box::pin(dialled(worker, stream, from, workload)).await,
        },
    }
}

/// A connection to our own port: of another proxy, or of somebody who cannot say which port is meant.
async fn dialled(worker: Rc<Worker>, stream: TcpStream, from: SocketAddr, workload: Arc<Workload>) {
    match tokio::time::timeout(FIRST_BYTE, plait_net::first_byte(&stream)).await {
        Ok(Ok(Some(0x16))) => Box::pin(mesh::server::serve(worker, stream, from)).await,
        Ok(Ok(Some(_))) => {
            // There must be no choice.
            let port = match workload.ports.as_slice() {
                [only] if !workload.redirected => Some(only.port),
                _ => None,
            };
            Box::pin(stranger(worker, stream, from, workload, port)).await;
        }
        Ok(Ok(None) | Err(_)) => {}
        Err(_) => worker.shared.telemetry.cut(Direction::Inbound, Cut::SlowHandshake),
    }
}

pub(crate) fn plaintext(
    worker: Rc<Worker>,
    stream: TcpStream,
    from: SocketAddr,
    workload: Arc<Workload>,
    direction: Direction,
    opening: Opening,
) -> (Call, Record) {
    let (input, output) = halves(stream);
    let peer = Peer { identity: (direction == Direction::Outbound).then(|| workload.identity.clone()), address: from.ip() };
    let halves = (Source::http1(input, Framing::None), Answer::http1(output, opening));
    let call = Call::new(worker, workload, (direction, peer), halves, Storage::default());
    let record = call.record(plait_telemetry::Protocol::Http1);
    (call, record)
}

/// A local port for one destination.
async fn bound(worker: Rc<Worker>, stream: TcpStream, from: SocketAddr, workload: Arc<Workload>, bind: Bind) {
    let (mut call, record) = plaintext(worker, stream, from, workload, Direction::Outbound, Opening::Silent);
    let protocol = match outbound::discover(&call, &bind.destination).await {
        Ok((_, Lookup::Known(destination))) => {
            destination.port(bind.port).map_or(Protocol::Tcp, |port| port.protocol_for(&call.workload.namespace))
        }
        // The line of a tunnel finds the same, and records why the connection closes.
        Ok((_, Lookup::Unknown)) | Err(_) => Protocol::Tcp,
    };
    call.fixed = Some(bind.destination);
    call.port = Some(bind.port);
    converse(call, record, protocol, &bind.authority).await;
}

/// A caller of our workload without mutual TLS: judged as one without identity, and told so where it speaks HTTP.
async fn stranger(worker: Rc<Worker>, stream: TcpStream, from: SocketAddr, workload: Arc<Workload>, port: Option<u16>) {
    // It came as it is: that HTTP is declared is not taken for granted. Opaque bytes are what they are.
    let declared = port.and_then(|port| workload.port(port)).map(|port| port.protocol).filter(|protocol| protocol.is_opaque());
    let (mut call, record) = plaintext(worker, stream, from, workload, Direction::Inbound, Opening::Silent);
    call.port = port;
    converse(call, record, declared.unwrap_or(Protocol::Auto), "").await;
}

pub(crate) async fn converse(mut call: Call, mut record: Record, protocol: Protocol, authority: &str) {
    let called = call.fixed.as_ref().zip(call.port).map(|(key, port)| Port::new(key, port));
    match speaks(&mut call, protocol, called).await {
        Speaks::Http => {
            if http1::serve(&mut call, &mut record).await == Ended::Http2 {
                Box::pin(go_on_in_http2(call)).await;
            }
        }
        Speaks::Nothing => {}
        Speaks::Bytes => {
            call.wish = Wish::Tunnel;
            call.body.restart(Framing::UntilClose);
            call.head.method = Method::CONNECT;
            call.head.authority.push_str(authority);
            request::serve(&mut call, &mut record).await;
        }
    }
}

/// The client speaks HTTP/2 by prior knowledge.
async fn go_on_in_http2(call: Call) {
    let Call { worker, workload, direction, peer, port, fixed, body, answer, .. } = call;
    let Some(stream) = body.into_input().zip(answer.into_output()).and_then(|(input, output)| rejoin(input, output)) else { return };
    let party = Party { worker, workload, direction, peer, fixed, port, proxy: None };
    http2::serve(stream, party, std::future::pending()).await;
}

/// What the client speaks: as declared, else by its first bytes. `called`: what it calls.
pub(crate) async fn speaks(call: &mut Call, declared: Protocol, called: Option<Port>) -> Speaks {
    match declared {
        Protocol::Http | Protocol::Http2 => return Speaks::Http,
        Protocol::Tcp | Protocol::Tls => return Speaks::Bytes,
        Protocol::Auto => {}
    }
    let shared = &call.worker.shared;
    let first_word = called.map(|called| Rc::new(FirstWord::listen(shared, called)));
    let servers = first_word.as_ref().is_some_and(|word| word.is_the_servers());
    let patience = if servers { Duration::ZERO } else { SPEAKS_FIRST };
    let Some(input) = call.body.input() else { return Speaks::Nothing };
    let limit = tokio::time::Instant::now() + patience;
    loop {
        let (spoken, speaks) = match detect::protocol(input.buffer.data()) {
            Detected::Http1 => (Some(Spoken::Http1), Speaks::Http),
            Detected::Http2 => (Some(Spoken::Http2), Speaks::Http),
            Detected::Tls => (Some(Spoken::Tls), Speaks::Bytes),
            Detected::Opaque => (Some(Spoken::Bytes), Speaks::Bytes),
            Detected::NeedMore => (None, Speaks::Nothing),
        };
        if let Some(spoken) = spoken {
            first_word.iter().for_each(|word| word.client(spoken));
            return speaks;
        }
        match tokio::time::timeout_at(limit, input.fill(0)).await {
            Ok(Ok(count)) if count > 0 => {}
            // It waits for the server, or sends a word at a time: bytes are always right.
            Err(_) => {
                call.first_word = first_word;
                return Speaks::Bytes;
            }
            Ok(_) => return Speaks::Nothing,
        }
    }
}
