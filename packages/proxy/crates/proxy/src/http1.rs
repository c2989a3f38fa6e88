//! Serves a connection of HTTP/1.1: reads head after head, hands each to `request`, and closes when it must.
//! Called by `connection`. What cannot be read is answered once, and the connection closed: nobody may guess where the next request begins.

use std::{pin::pin, time::Duration};

use http::Method;
use plait_decide::detect::{self, Detected};
use plait_http1::{Framing, Room, parse_request};
use plait_model::{DestinationPort, Headers, Lookup, Protocol, Reason, RouteKind};
use plait_telemetry::{Cut, Direction, Outcome, Record};
use tokio::time::{Instant, sleep, timeout_at};

use crate::{
    answer::{Form, Opening},
    call::{Call, Wish},
    connection::{self, Speaks},
    heads::{Asked, read_request},
    outbound,
    patience::{Came, Patience},
    reject::{self, Reject},
    request,
    spoken::Port,
};

/// The preface of HTTP/2, which begins like a request that cannot be one.
const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// A head must be whole this long after its first byte.
pub(crate) const HEAD: Duration = Duration::from_secs(30);
/// A connection without a request is closed after this.
pub(crate) const IDLE: Duration = Duration::from_secs(3600);
/// A connection that is idle when the proxy stops is closed after this: its caller may have sent a request before it could know.
const CROSSING: Duration = Duration::from_secs(1);
/// What a caller still sends is read this long before the connection closes, so that the answer is not lost to a reset.
pub(crate) const LINGER: Duration = Duration::from_secs(1);
/// And so much of it.
pub(crate) const LINGER_BYTES: usize = 256 * 1024;

/// What ended the wait for a head.
enum Head {
    Read(Asked, Option<Box<str>>),
    /// The preface of HTTP/2 by prior knowledge.
    Preface,
    /// The caller closed, or we are stopping: nothing is owed to it.
    Closed,
    /// It was silent too long.
    Idle,
    Bad(Reason, String),
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It is over.
    Closed,
    /// Its client speaks HTTP/2: nothing of that was taken.
    Http2,
}

/// Serves the connection to its end, or until its client turns out to speak HTTP/2.
pub(crate) async fn serve(call: &mut Call, record: &mut Record) -> Ended {
    call.worker.tick();
    let mut drain = call.worker.shared.drain.watch();
    let (alarm, draining) = (pin!(sleep(IDLE)), pin!(drain.begun()));
    let mut patience = Patience::new(alarm, draining);
    loop {
        let (asked, upgrade) = match head(call, &mut patience).await {
            Head::Read(asked, upgrade) => (asked, upgrade),
            Head::Closed => return Ended::Closed,
            Head::Idle => {
                call.worker.shared.telemetry.cut(call.direction, Cut::Idle);
                return Ended::Closed;
            }
            Head::Preface => return Ended::Http2,
            Head::Bad(reason, detail) => {
                if reason == Reason::SlowCaller {
                    call.worker.shared.telemetry.cut(call.direction, Cut::SlowHead);
                }
                refuse(call, record, reason, detail).await;
                return Ended::Closed;
            }
        };
        let draining = call.worker.shared.drain.has_begun();
        call.answer.restart(Form {
            minor_version: asked.minor_version,
            head_only: call.head.method == Method::HEAD,
            close: draining || !asked.keep_alive,
            opening: Opening::Connect,
        });
        call.body.restart(asked.framing);
        call.wish = match upgrade {
            Some(protocol) => Wish::Upgrade(protocol),
            None => Wish::Answer { framing: asked.framing, expects_continue: asked.expect_continue },
        };
        call.refresh();
        name_host(call);
        if call.head.method == Method::CONNECT {
            if !connect(call, record).await {
                return Ended::Closed;
            }
            continue;
        }
        request::serve(call, record).await;
        if call.answer.closes() {
            linger(call).await;
            return Ended::Closed;
        }
        if flush(call).await.is_err() {
            return Ended::Closed;
        }
    }
}

/// HTTP/1.0 need not name a host: where the destination is fixed, everybody behind us is told that.
fn name_host(call: &mut Call) {
    if let (true, Some(key), Some(port)) = (call.head.authority.is_empty(), &call.fixed, call.port) {
        call.head.authority = key.authority(port);
    }
}

async fn head(call: &mut Call, patience: &mut Patience<'_>) -> Head {
    let limits = call.worker.limits();
    let Some(input) = call.body.input() else { return Head::Closed };
    let mut first = input.buffer.is_empty();
    // The clock was read when the connection began, or when its last request ended.
    let mut until = Instant::from_std(call.worker.recent())
        + if patience.is_stopping() {
            CROSSING
        } else if first {
            IDLE
        } else {
            HEAD
        };
    loop {
        if !input.buffer.is_empty() {
            match parse_request(input.buffer.data(), &limits, &mut Room::default()) {
                Ok(Some(parsed)) => {
                    let mut upgrade = None;
                    let asked = read_request(&parsed, &mut call.head, &mut upgrade);
                    let length = parsed.head_len;
                    input.buffer.consume(length);
                    return match asked {
                        Ok(asked) => Head::Read(asked, upgrade),
                        Err(error) => Head::Bad(Reason::BadRequest, error.to_string()),
                    };
                }
                Ok(None) => {}
                Err(_) if detect::protocol(input.buffer.data()) == Detected::Http2 => return Head::Preface,
                // The rest of the preface is on its way.
                Err(_) if input.buffer.data() == &HTTP2[..input.buffer.data().len().min(HTTP2.len())] => {}
                Err(error) if error.status() == 431 => return Head::Bad(Reason::HeadTooLarge, error.to_string()),
                Err(error) => return Head::Bad(Reason::BadRequest, error.to_string()),
            }
            if std::mem::take(&mut first) {
                until = Instant::now() + HEAD;
            }
        }
        match patience.more(input, limits.head_bytes, until, first).await {
            Came::Bytes => {}
            Came::Drain => until = until.min(Instant::now() + CROSSING),
            Came::Late if !first => return Head::Bad(Reason::SlowCaller, "the head did not come in time".into()),
            Came::Late if !patience.is_stopping() => return Head::Idle,
            Came::Late | Came::Closed => return Head::Closed,
        }
    }
}

/// Answers what cannot be read, and closes.
async fn refuse(call: &mut Call, record: &mut Record, reason: Reason, detail: String) {
    call.answer.restart(Form { minor_version: 1, head_only: false, close: true, opening: Opening::Connect });
    {
        let telemetry = call.worker.shared.telemetry.clone();
        let mut outcome = Outcome::begin(&telemetry, record);
        outcome.rejected(reason, None);
        let reject = Reject { detail, ..Reject::new(reason, call.worker.shared.world.load().generation) };
        if call.answer.reject(&reject, true, reject::Form::Text).await.is_err() {
            return;
        }
    }
    linger(call).await;
}

async fn flush(call: &mut Call) -> Result<(), crate::source::Broken> {
    let Some(sink) = call.answer.sink().filter(|sink| sink.has_pending()) else { return Ok(()) };
    let flushed = sink.flush().await;
    call.worker.tick();
    flushed
}

/// Writes what waits, says that nothing follows, and reads what still comes for a moment.
async fn linger(call: &mut Call) {
    let aborted = call.answer.is_aborted();
    let Some(output) = call.answer.sink().and_then(|sink| sink.output()) else { return };
    if aborted || output.close().await.is_err() {
        return;
    }
    let Some(input) = call.body.input() else { return };
    let limit = Instant::now() + LINGER;
    let mut left = LINGER_BYTES;
    while left > 0 {
        let waiting = input.buffer.data().len();
        input.buffer.consume(waiting);
        left = left.saturating_sub(waiting);
        match timeout_at(limit, input.fill(0)).await {
            Ok(Ok(count)) if count > 0 => {}
            _ => return,
        }
    }
}

/// A CONNECT of our own workload. To a port that speaks HTTP, requests follow in the tunnel: true = the connection goes on with them.
async fn connect(call: &mut Call, record: &mut Record) -> bool {
    call.wish = Wish::Tunnel;
    call.body.restart(Framing::UntilClose);
    if call.direction == Direction::Inbound {
        refuse(call, record, Reason::BadRequest, "CONNECT is for forward proxies".into()).await;
        return false;
    }
    let spoken = match outbound::named(call) {
        Ok((key, port)) => match outbound::discover(call, &key).await {
            Ok((_, Lookup::Known(destination))) => {
                let namespace = &call.workload.namespace;
                let found = destination.port(port).filter(|found| opens_at_once(found, namespace));
                found.map(|found| (found.protocol_for(namespace), key, port))
            }
            _ => None,
        },
        Err(_) => None,
    };
    // What is unknown, refused or opaque takes the line of every tunnel, and gets its answer there.
    let Some((protocol, key, port)) = spoken else {
        request::serve(call, record).await;
        linger(call).await;
        return false;
    };
    if call.answer.tunnelled().is_err() || flush(call).await.is_err() {
        return false;
    }
    let authority = std::mem::take(&mut call.head.authority);
    call.answer.restart(Form { minor_version: 1, head_only: false, close: false, opening: Opening::Silent });
    let speaks = connection::speaks(call, protocol, Some(Port::new(&key, port))).await;
    call.worker.tick();
    match speaks {
        Speaks::Http => {
            (call.fixed, call.port) = (Some(key), Some(port));
            true
        }
        Speaks::Bytes => {
            call.head.authority = authority;
            call.head.headers = Headers::default();
            request::serve(call, record).await;
            linger(call).await;
            false
        }
        Speaks::Nothing => false,
    }
}

/// Whether the tunnel is opened before it is known where it leads: what decides that is said inside.
fn opens_at_once(port: &DestinationPort, namespace: &str) -> bool {
    match port.protocol_for(namespace) {
        Protocol::Http | Protocol::Http2 | Protocol::Auto => true,
        Protocol::Tls => port.routes_for(namespace).kind() == RouteKind::Tls,
        Protocol::Tcp => false,
    }
}
