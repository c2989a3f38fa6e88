//! One try's far end: a connection of HTTP/1.1 from the pool or new, or a stream to another proxy. Opened, asked, and listened to for its head.
//! Called by `exchange` and `mirror`. Never dials in plaintext what must prove an identity.

use std::{
    future::poll_fn,
    net::{IpAddr, SocketAddr, UdpSocket},
    rc::Rc,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use h2::{client::ResponseFuture, ext::Protocol};
use http::{Method, Request, Uri};
use plait_decide::{balance, retry::Ended};
use plait_http1::{Framing, Room, parse_response};
use plait_model::{Endpoint, Reason, RequestHead, ResponseHead, Workload};

use crate::{
    call::Wish,
    failed::Failed,
    heads::{Http2Said, Next, Said, read_response, response_from_http2, to_http2, write_request},
    hop::Hop,
    io::{Input, Output, placed_halves},
    mesh,
    multiplex::{Busy, Key, Live, Proof, Stream, Unopened},
    queue,
    reject::Reject,
    sink::Sink,
    source::{Broken, Source},
    worker::Worker,
};

/// An idle connection is kept no longer: further away the clock does not reach.
const FOR_EVER: Duration = Duration::from_secs(1 << 30);

/// A far end that is ready for a request.
#[derive(Debug)]
pub(crate) enum Upstream {
    Http1 { input: Input, output: Output, reused: bool },
    Http2(Stream),
}

/// What is asked of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outgoing<'c> {
    pub(crate) head: &'c RequestHead,
    pub(crate) wish: &'c Wish,
    pub(crate) generation: u64,
}

/// A request under way.
#[derive(Debug)]
pub(crate) struct Begun {
    /// Where its body goes.
    pub(crate) sink: Sink,
    /// Where its answer comes from.
    pub(crate) awaited: Awaited,
    /// Keeps its connection from being taken for idle.
    pub(crate) _busy: Option<Busy>,
}

/// An answer whose head is not there yet.
#[derive(Debug)]
pub(crate) enum Awaited {
    Http1 {
        input: Option<Input>,
        reused: bool,
    },
    Http2(ResponseFuture),
    /// Opaque bytes have no head.
    Bytes(Option<Input>),
}

/// What came of it.
#[derive(Debug)]
pub(crate) enum Arrived {
    /// An interim head; another follows.
    Interim,
    /// The head.
    Final(Response),
}

/// An answer whose head is there.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) said: Said,
    pub(crate) body: Source,
    /// The protocol was changed, or the tunnel is open.
    pub(crate) opened: bool,
    /// The other proxy made it.
    pub(crate) reject: Option<Box<Reject>>,
}

/// A connection to `hop`, on behalf of `source`.
pub(crate) async fn open(worker: &Rc<Worker>, source: &Workload, hop: &Hop<'_>, fresh: bool) -> Result<Upstream, Failed> {
    let opened = if let Some(endpoint) = hop.proxy() {
        mesh::client::stream(worker, source, endpoint, hop.connect_timeout).await.map(Upstream::Http2)
    } else if hop.http2 {
        process(worker, hop).await.map(Upstream::Http2)
    } else if let Some((input, output)) = (!fresh).then(|| worker.pool.take(hop.to(), worker.recent())).flatten() {
        return Ok(Upstream::Http1 { input, output, reused: true });
    } else {
        // Boxed: dialling is rare, and every request would carry room for it.
        Box::pin(plain(worker, hop)).await
    };
    if let Some(endpoint) = hop.endpoint {
        match &opened {
            Ok(_) => balance::reached(endpoint),
            // It was not asked.
            Err(failed) if failed.reject.reason == Reason::ConnectionLimit => {}
            Err(_) => balance::refused(endpoint, worker.now_nanos()),
        }
    }
    opened
}

async fn plain(worker: &Worker, hop: &Hop<'_>) -> Result<Upstream, Failed> {
    let place = queue::place(worker, hop).await?;
    let stream = plait_net::connect(hop.address, hop.connect_timeout).await.map_err(|error| refused(hop, &error))?;
    let (input, output) = placed_halves(stream, place);
    Ok(Upstream::Http1 { input, output, reused: false })
}

/// A connection of HTTP/2 to a process that takes one more request.
async fn process(worker: &Worker, hop: &Hop<'_>) -> Result<Stream, Failed> {
    let proof = Proof { identity: None, trust: 0 };
    let dial = || async {
        let stream = plait_net::connect(hop.address, hop.connect_timeout).await.map_err(|error| refused(hop, &error))?;
        Live::begin(stream, proof.clone(), &worker.connections, worker.limits().head_bytes).await.map_err(|error| {
            let detail = format!("{} does not speak HTTP/2: {error}", hop.address);
            Failed::undelivered(Reject { detail, ..Reject::new(Reason::UpstreamProtocolError, 0) })
        })
    };
    let dialled = worker.connections.stream(Key::Process(hop.address), &proof, hop.connect_timeout, dial).await;
    dialled.map_err(|unopened| match unopened {
        Unopened::Failed(failed) => failed,
        Unopened::Ended(error) => refused(hop, &error),
        Unopened::Late => refused(hop, &format!("not within {:?}", hop.connect_timeout)),
    })
}

fn refused(hop: &Hop<'_>, error: &dyn std::fmt::Display) -> Failed {
    let detail = format!("{} does not accept connections: {error}", hop.address);
    Failed::undelivered(Reject { detail, ..Reject::new(Reason::UpstreamUnreachable, 0) })
}

impl Upstream {
    /// Sends the head to where `hop` leads; in HTTP/1.1 it waits for the first piece of the body.
    pub(crate) fn begin(self, hop: &Hop<'_>, asked: Outgoing<'_>) -> Result<Begun, Failed> {
        match self {
            Self::Http1 { input, output, .. } if *asked.wish == Wish::Tunnel => {
                Ok(Begun { sink: Sink::http1(output, Framing::UntilClose), awaited: Awaited::Bytes(Some(input)), _busy: None })
            }
            Self::Http1 { input, mut output, reused } => {
                let next = match asked.wish {
                    Wish::Upgrade(protocol) => Next::Upgraded(protocol),
                    Wish::Answer { .. } | Wish::Tunnel => Next::GoesOn,
                };
                let framing = asked.wish.framing();
                write_request(output.pending(), asked.head, framing, next);
                Ok(Begun { sink: Sink::http1(output, framing), awaited: Awaited::Http1 { input: Some(input), reused }, _busy: None })
            }
            Self::Http2(Stream { mut sender, busy }) => {
                let request = http2_request(asked, hop.proxy())
                    .map_err(|detail| Failed::broken(Reject { detail, ..Reject::new(Reason::BadRequest, asked.generation) }))?;
                let ended = matches!(asked.wish, Wish::Answer { framing: Framing::None | Framing::Length(0), .. });
                let (response, stream) = sender.send_request(request, ended).map_err(|error| lost(&error, asked.generation))?;
                Ok(Begun { sink: Sink::http2(stream, ended), awaited: Awaited::Http2(response), _busy: Some(busy) })
            }
        }
    }
}

/// The head for a stream. `proxy`: for the sidecar of that endpoint, which is told the port of its process.
fn http2_request(asked: Outgoing<'_>, proxy: Option<&Arc<Endpoint>>) -> Result<Request<()>, String> {
    let port = proxy.map(|endpoint| endpoint.target_port);
    let told = |error: crate::heads::HeadError| error.to_string();
    match asked.wish {
        Wish::Answer { .. } => to_http2(asked.head, port, asked.wish.length()).map_err(told),
        Wish::Upgrade(protocol) => {
            let mut request = to_http2(asked.head, port, None).map_err(told)?;
            *request.method_mut() = Method::CONNECT;
            request.extensions_mut().insert(Protocol::from(&**protocol));
            Ok(request)
        }
        Wish::Tunnel => {
            let authority = proxy.map_or_else(|| asked.head.authority.clone(), |to| tunnel_authority(&to.workload, to.target_port));
            let head = RequestHead { path: "/".into(), authority, ..RequestHead::default() };
            let mut request = to_http2(&head, port, None).map_err(told)?;
            *request.method_mut() = Method::CONNECT;
            *request.uri_mut() = Uri::builder().authority(head.authority).build().map_err(|error| error.to_string())?;
            Ok(request)
        }
    }
}

impl Awaited {
    /// Waits for the next head and reads it into `head`. Cancelled, nothing is lost.
    pub(crate) async fn next(
        &mut self,
        asked: Outgoing<'_>,
        limits: &plait_http1::Limits,
        head: &mut ResponseHead,
    ) -> Result<Arrived, Failed> {
        match self {
            Self::Http1 { input, reused } => http1_head(input, *reused, asked, limits, head).await,
            Self::Http2(response) => http2_head(response, asked, head).await,
            Self::Bytes(input) => match input.take() {
                Some(input) => Ok(opened(Source::http1(input, Framing::UntilClose))),
                None => std::future::pending().await,
            },
        }
    }
}

fn opened(body: Source) -> Arrived {
    let said = Said { framing: Framing::UntilClose, length: None, keep_alive: false, idle_seconds: None };
    Arrived::Final(Response { said, body, opened: true, reject: None })
}

async fn http1_head(
    slot: &mut Option<Input>,
    reused: bool,
    asked: Outgoing<'_>,
    limits: &plait_http1::Limits,
    head: &mut ResponseHead,
) -> Result<Arrived, Failed> {
    let Some(input) = slot.as_mut() else { return std::future::pending().await };
    let broke = |reason: Reason, detail: String| Failed::broken(Reject { detail, ..Reject::new(reason, asked.generation) });
    loop {
        if !input.buffer.is_empty() {
            let mut room = Room::default();
            let parsed = parse_response(input.buffer.data(), asked.head.method.as_str(), limits, &mut room)
                .map_err(|error| broke(Reason::UpstreamProtocolError, format!("the answer is no valid HTTP: {error}")))?;
            if let Some(response) = parsed {
                let length = response.head_len;
                let agreed =
                    matches!((asked.wish, response.upgrade), (Wish::Upgrade(wanted), Some(got)) if got.eq_ignore_ascii_case(wanted));
                let said = read_response(&response, head);
                input.buffer.consume(length);
                return match (head.status, asked.wish) {
                    (101, Wish::Upgrade(_)) if agreed => Ok(opened(Source::http1(slot.take().expect("it was there"), Framing::UntilClose))),
                    (101, _) => Err(broke(Reason::UpstreamProtocolError, "it changed to a protocol that nobody asked for".into())),
                    (100..200, _) => Ok(Arrived::Interim),
                    _ => {
                        let body = Source::http1(slot.take().expect("it was there"), said.framing);
                        Ok(Arrived::Final(Response { said, body, opened: false, reject: None }))
                    }
                };
            }
        }
        let nothing_yet = input.buffer.is_empty();
        match input.fill(limits.head_bytes).await {
            Ok(count) if count > 0 => {}
            ended => {
                let stale = reused && nothing_yet;
                let closed = if stale { "the idle connection as the request came" } else { "the connection before its answer" };
                let detail = ended.err().map_or_else(|| format!("it closed {closed}"), |error| error.to_string());
                return Err(Failed { stale, ..broke(Reason::UpstreamReset, detail) });
            }
        }
    }
}

async fn http2_head(response: &mut ResponseFuture, asked: Outgoing<'_>, head: &mut ResponseHead) -> Result<Arrived, Failed> {
    let arrived = poll_fn(|cx| {
        if let Poll::Ready(Some(interim)) = response.poll_informational(cx) {
            return Poll::Ready(interim.map(|interim| (interim.into_parts().0, None)));
        }
        std::pin::Pin::new(&mut *response).poll(cx).map_ok(|response| {
            let (parts, body) = response.into_parts();
            (parts, Some(body))
        })
    });
    let (parts, body) = arrived.await.map_err(|error| lost(&error, asked.generation))?;
    let Http2Said { length, reject, upgraded } = response_from_http2(parts, head);
    let Some(body) = body else { return Ok(Arrived::Interim) };
    let reject = reject.and_then(|value| Reject::from_header(value.to_str().ok()?)).map(Box::new);
    let opens = match asked.wish {
        Wish::Answer { .. } => false,
        Wish::Upgrade(_) => upgraded,
        Wish::Tunnel => true,
    };
    match (asked.wish, &reject) {
        (_, None) if opens && head.status == 200 => return Ok(opened(Source::http2(body))),
        (Wish::Tunnel, None) => {
            let detail = format!("the other sidecar answered a tunnel with {}", head.status);
            return Err(Failed::broken(Reject { detail, ..Reject::new(Reason::UpstreamProtocolError, asked.generation) }));
        }
        _ => {}
    }
    let framing = match length {
        _ if body.is_end_stream() => Framing::None,
        Some(length) => Framing::Length(length),
        None => Framing::Chunked,
    };
    let said = Said { framing, length, keep_alive: true, idle_seconds: None };
    Ok(Arrived::Final(Response { said, body: Source::http2(body), opened: false, reject }))
}

/// What became of a request whose stream broke: one that the other proxy never took up may be tried elsewhere.
fn lost(error: &h2::Error, generation: u64) -> Failed {
    let untouched = error.reason() == Some(h2::Reason::REFUSED_STREAM)
        || (error.is_go_away() && error.is_remote() && error.reason() == Some(h2::Reason::NO_ERROR));
    let reject =
        Reject { detail: format!("the connection to the other sidecar broke: {error}"), ..Reject::new(Reason::UpstreamReset, generation) };
    if untouched { Failed::undelivered(reject) } else { Failed::broken(reject) }
}

/// What a body that broke on the way to or from an upstream means.
pub(crate) fn broke(error: &Broken, generation: u64) -> Failed {
    if let Broken::Stream(error) = error {
        return lost(error, generation);
    }
    let reason = if matches!(error, Broken::Framing(_)) { Reason::UpstreamProtocolError } else { Reason::UpstreamReset };
    Failed { ended: Ended::Broken, ..Failed::broken(Reject { detail: error.to_string(), ..Reject::new(reason, generation) }) }
}

/// Puts a connection of HTTP/1.1 back, when its last exchange was whole. The clock was just read.
pub(crate) fn keep(worker: &Worker, hop: &Hop<'_>, sink: Sink, response: Response) {
    let Response { said, body, .. } = response;
    if let (Sink::Http1(sink), Source::Http1(body)) = (sink, body)
        && body.input.buffer.is_empty()
        && !worker.shared.drain.has_begun()
    {
        // A request takes a moment to get there: what its server keeps for so long is used for a second less.
        let told = said.idle_seconds.map_or(FOR_EVER, |seconds| Duration::from_secs(seconds.saturating_sub(1).into()));
        worker.pool.put(hop.to(), (body.input, sink.output), hop.idle_timeout.min(told).min(FOR_EVER), worker.recent());
    }
}

/// Whether an address is where this proxy itself listens: a request that goes there comes back.
pub(crate) fn is_own(worker: &Worker, address: SocketAddr) -> bool {
    worker.shared.listening.borrow().open.iter().any(|own| own.port() == address.port() && meets(own.ip(), address.ip().to_canonical()))
}

/// Whether a dial of `address` arrives at who listens on `own`. The address of nobody in particular stands for all of this machine on either side.
fn meets(own: IpAddr, address: IpAddr) -> bool {
    let is_local = || address.is_loopback() || UdpSocket::bind((address, 0)).is_ok();
    own == address || address.is_unspecified() || (own.is_unspecified() && is_local())
}

/// The name of a workload in a tunnel between proxies.
fn tunnel_authority(workload: &Arc<str>, port: u16) -> String {
    let (namespace, name) = workload.split_once('/').unwrap_or_default();
    format!("{name}.{namespace}:{port}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dial_that_comes_back_is_known_whatever_it_is_written_like() {
        for (own, address, expected) in [
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "0.0.0.0", true),
            ("127.0.0.1", "::", true),
            ("127.0.0.1", "127.0.0.2", false),
            ("0.0.0.0", "127.0.0.1", true),
            ("0.0.0.0", "127.8.9.1", true),
            ("0.0.0.0", "192.0.2.1", false),
            ("192.0.2.1", "192.0.2.2", false),
        ] {
            assert_eq!(meets(own.parse().unwrap(), address.parse().unwrap()), expected, "{own} {address}");
        }
    }
}
