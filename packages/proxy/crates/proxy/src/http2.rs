//! Serves a connection of HTTP/2: each stream is a request, an upgrade or a tunnel, with a task of its own. Called by `connection` for
//! applications that speak it by prior knowledge, and by `mesh::server` for other proxies. Where a request goes is decided in `request`.

use std::{cell::RefCell, future::poll_fn, rc::Rc, sync::Arc, task::Poll, time::Duration};

use bytes::Bytes;
use h2::{
    Reason as Code, RecvStream,
    ext::Protocol as Token,
    server::{Builder, Connection, SendResponse},
};
use http::{Method, Request};
use plait_http1::Framing;
use plait_model::{DestinationKey, Peer, Reason, Workload};
use plait_telemetry::{Cut, Direction, Outcome, Protocol, Record};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Instant,
};

use crate::{
    answer::{Answer, Reader},
    call::{Call, Storage, Wish},
    flood::{Credit, Of, Watched},
    heads::{HeadError, Http2Asked, from_http2, other_protocol},
    http1::{HEAD, IDLE, LINGER, LINGER_BYTES},
    reject::{self, Reject},
    request,
    shared::Entry,
    source::{Source, Step},
    websocket,
    windows::{self, Streams, Window},
    worker::Worker,
};

/// The largest frame between proxies: a piece of a body leaves whole, in as few system calls as its socket takes.
pub(crate) const FRAME: u32 = 64 << 10;
/// The largest frame of an application, as the standard has it.
pub(crate) const SMALL_FRAME: u32 = 16 << 10;
/// Streams of one connection at a time.
pub(crate) const STREAMS: u32 = 1000;
/// A peer that does not finish its handshake by then is none of ours.
pub(crate) const HANDSHAKE: Duration = Duration::from_secs(10);
/// Streams that a caller took back and that are still remembered: more is a flood.
const RESETS: usize = 100;
/// What small frames may cost that were received and not read yet, as h2 counts it: 256 bytes for each, less what it holds. Whoever exceeds it
/// loses the connection with all its streams, so there must be room for the small frames of many slow readers.
pub(crate) const SMALL_FRAMES: usize = 64 << 20;
/// Fields that another proxy and its filters may have added to those that it let pass.
const ADDED: usize = 32;
/// A peer that floods us is told so for this long.
const FAREWELL: Duration = Duration::from_secs(1);
/// Storage kept for the next streams of a connection: as many as one between proxies has under way when it is busy.
const SPARE: usize = 256;
/// It is looked this often whether a connection is used.
const LOOK: Duration = Duration::from_secs(300);

/// What the streams of a connection share.
#[derive(Debug)]
struct Common {
    credit: Rc<Credit>,
    /// Those that are open.
    open: Streams,
    /// Storage of those that have ended.
    spare: RefCell<Vec<(Storage, Box<Record>)>>,
}

/// What the streams of a connection have in common.
#[derive(Debug, Clone)]
pub(crate) struct Party {
    pub(crate) worker: Rc<Worker>,
    /// The workload beside us.
    pub(crate) workload: Arc<Workload>,
    pub(crate) direction: Direction,
    pub(crate) peer: Peer,
    /// The destination that a bind or CONNECT fixed.
    pub(crate) fixed: Option<DestinationKey>,
    /// The port that goes with it; inbound without mutual TLS, that of the process.
    pub(crate) port: Option<u16>,
    /// The entry of a connection from another proxy; `None` = an application.
    pub(crate) proxy: Option<Rc<Entry>>,
}

impl Party {
    /// Takes the newest snapshot's word on the workload; one that is gone stays as it was.
    fn refresh(self: &mut Rc<Self>) {
        if let Some(workload) = self.worker.newest(&self.workload) {
            *self = Rc::new(Self { workload, ..(**self).clone() });
        }
    }
}

/// Serves a connection to its end. It ends by itself, by a drain, or when `expired` resolves: streams under way go on to their end.
pub(crate) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(stream: S, party: Party, expired: impl Future<Output = ()>) {
    let credit = Credit::new(if party.proxy.is_some() { Of::Proxy } else { Of::Application });
    let resets = if party.proxy.is_some() { STREAMS as usize } else { RESETS };
    let window = Window::new(&party.worker.incoming);
    let handshake = Builder::new()
        .initial_window_size(window.size())
        .initial_connection_window_size(windows::CONNECTION)
        .max_frame_size(if party.proxy.is_some() { FRAME } else { SMALL_FRAME })
        .max_concurrent_streams(STREAMS)
        .max_concurrent_reset_streams(resets)
        .max_pending_accept_reset_streams(resets)
        .max_local_error_reset_streams(Some(resets))
        .max_header_list_size(party.worker.limits().head_bytes as u32)
        .max_send_buffer_size(windows::unsent(party.proxy.is_some()))
        .enable_connect_protocol()
        .data_frame_budget(SMALL_FRAMES)
        .handshake(Watched::new(stream, credit.clone()));
    match tokio::time::timeout(HANDSHAKE, handshake).await {
        Ok(Ok(connection)) => accept((connection, window), party, credit, expired).await,
        Ok(Err(_)) => {}
        Err(_) => party.worker.shared.telemetry.cut(party.direction, Cut::SlowHandshake),
    }
}

async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
    (mut connection, mut window): (Connection<S, Bytes>, Window),
    party: Party,
    credit: Rc<Credit>,
    expired: impl Future<Output = ()>,
) {
    let telemetry = party.worker.shared.telemetry.clone();
    let mut current = Rc::new(party.clone());
    let common = Rc::new(Common { credit, open: Streams::default(), spare: RefCell::default() });
    let closing = async {
        tokio::select! {
            () = party.worker.shared.drain.begun() => {}
            () = expired => {}
            // Requests under way are not those that were taken back.
            () = common.credit.restless() => telemetry.cut(party.direction, Cut::TakenBack),
        }
    };
    let (mut closing, mut unbearable) = (std::pin::pin!(closing), std::pin::pin!(unbearable(&common)));
    let mut closed = false;
    loop {
        let accepting = poll_fn(|cx| {
            window.keep(|| Instant::from_std(party.worker.recent()), |size| connection.set_initial_window_size(size));
            let accepted = connection.poll_accept(cx);
            if accepted.is_pending() {
                common.credit.next_turn();
            }
            accepted
        });
        let next = tokio::select! {
            biased;
            // First, since it is ready most often; it never is for longer than a turn of frames.
            next = accepting => next,
            cut = &mut unbearable => {
                telemetry.cut(party.direction, cut);
                connection.abrupt_shutdown(if cut == Cut::Idle { Code::NO_ERROR } else { Code::ENHANCE_YOUR_CALM });
                // Whoever does not read it is left all the same.
                let farewell = poll_fn(|cx| {
                    common.credit.next_turn();
                    connection.poll_closed(cx)
                });
                let _ = tokio::time::timeout(FAREWELL, farewell).await;
                return;
            }
            () = &mut closing, if !closed => {
                closed = true;
                connection.graceful_shutdown();
                continue;
            }
        };
        let Some(Ok((request, respond))) = next else { return };
        if let Some(entry) = &party.proxy {
            entry.request();
        }
        current.refresh();
        // Boxed: it goes from hand to hand.
        let taken = Box::new(Taken { request, respond, party: current.clone(), common: common.clone() });
        if let Some(taken) = party.worker.streams.hand(taken) {
            party.worker.spawn(streams(party.worker.clone(), taken));
        }
    }
}

/// Resolves when the connection has to end, with the cause.
async fn unbearable(Common { credit, open, spare }: &Common) -> Cut {
    let idle = async {
        while open.count() > 0 || credit.unused_for() < IDLE {
            tokio::time::sleep(LOOK).await;
            if open.count() == 0 {
                spare.take();
            }
        }
    };
    tokio::select! {
        () = credit.spent() => if credit.is_restless() { Cut::TakenBack } else { Cut::EmptyFrames },
        () = credit.late(HEAD) => Cut::SlowHead,
        () = idle => Cut::Idle,
    }
}

/// A stream that was taken up.
#[derive(Debug)]
pub(crate) struct Taken {
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
    party: Rc<Party>,
    common: Rc<Common>,
}

/// Serves a stream, then those that come while this task waits for one.
async fn streams(worker: Rc<Worker>, first: Box<Taken>) {
    let seat = Rc::default();
    let mut next = Some(first);
    while let Some(taken) = next {
        stream(taken).await;
        next = worker.streams.next(&seat).await;
    }
}

/// Serves the stream that was taken up.
async fn stream(taken: Box<Taken>) {
    let Taken { request, mut respond, party, common } = *taken;
    let began = Instant::from_std(party.worker.tick());
    common.credit.request(began);
    let _counted = (party.worker.incoming.one_more(), common.open.one_more());
    if poll_fn(|cx| Poll::Ready(respond.poll_reset(cx).is_ready())).await {
        // It was made to be taken back: nothing is owed to it.
        return common.credit.taken_back(began);
    }
    let (mut parts, body) = request.into_parts();
    let token = parts.extensions.remove::<Token>();
    let body = Source::http2(body);
    let tunnel = parts.method == Method::CONNECT && token.is_none();
    if tunnel && parts.uri.path_and_query().is_some_and(|path| path.as_str() != "/") {
        respond.send_reset(Code::PROTOCOL_ERROR);
        return;
    }
    let reader = if party.proxy.is_some() { Reader::Proxy } else { Reader::Application };
    let answer = Answer::http2(respond, parts.method == Method::HEAD, reader);
    let Party { worker, workload, direction, peer, fixed, port, proxy } = &*party;
    let (storage, record) = common.spare.borrow_mut().pop().unzip();
    let mut call = Call::new(worker.clone(), workload.clone(), (*direction, peer.clone()), (body, answer), storage.unwrap_or_default());
    let mut record = record.unwrap_or_else(|| Box::new(call.record(Protocol::Http2)));
    let asked = match asked(&mut parts, tunnel, proxy.is_some(), &mut call) {
        Ok(asked) => asked,
        Err(error) => return refuse(call, &error).await,
    };
    call.port = asked.port.or(*port);
    call.fixed.clone_from(fixed);
    if call.is_grpc() {
        call.answer.speaks_grpc();
    }
    call.wish = match token {
        Some(token) => match other_protocol(token.as_str()) {
            Some(protocol) => {
                if proxy.is_none() {
                    websocket::ask(protocol, &mut call.head.headers);
                }
                Wish::Upgrade(protocol.into())
            }
            None => return refuse(call, &HeadError::Protocol).await,
        },
        None if tunnel => Wish::Tunnel,
        None => Wish::Answer { framing: framing(&call.body, asked.length), expects_continue: false },
    };
    request::serve(&mut call, &mut record).await;
    if call.answer.is_aborted() && record.reason.is_none() {
        common.credit.taken_back(began);
    }
    if proxy.is_none() {
        linger(&mut call).await;
    }
    common.credit.ended(Instant::from_std(call.worker.recent()));
    let mut spare = common.spare.borrow_mut();
    if spare.len() < SPARE {
        spare.push((call.retire(), record));
    }
}

/// Reads what a caller still sends, for a moment: a stream that we leave before its end is reset, and many an application takes that for the
/// loss of its answer, which is complete.
async fn linger(call: &mut Call) {
    if call.answer.is_aborted() || call.body.is_over() {
        return;
    }
    let reading = async {
        let mut left = LINGER_BYTES;
        while left > 0 && matches!(poll_fn(|cx| call.body.poll_step(cx)).await, Ok(Step::Data)) {
            left = left.saturating_sub(call.body.data().len());
            call.body.consume();
        }
    };
    // Boxed: it is rare, and every stream would carry room for it.
    let _ = Box::pin(tokio::time::timeout(LINGER, reading)).await;
}

fn asked(parts: &mut http::request::Parts, tunnel: bool, from_proxy: bool, call: &mut Call) -> Result<Http2Asked, HeadError> {
    if tunnel {
        // A tunnel has no path; the head's form asks for one.
        let mut uri = std::mem::take(&mut parts.uri).into_parts();
        uri.scheme = Some(http::uri::Scheme::HTTP);
        uri.path_and_query = Some(http::uri::PathAndQuery::from_static("/"));
        parts.uri = http::Uri::from_parts(uri).map_err(|_| HeadError::Target)?;
    }
    let asked = from_http2(parts, &mut call.head, from_proxy)?;
    let (count, most) = (call.head.headers.len(), call.worker.limits().headers + if from_proxy { ADDED } else { 0 });
    if count > most {
        return Err(HeadError::TooMany(count, most));
    }
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

/// A head that cannot be what its caller means.
async fn refuse(mut call: Call, error: &HeadError) {
    let telemetry = call.worker.shared.telemetry.clone();
    let mut record: Record = call.record(Protocol::Http2);
    let mut outcome = Outcome::begin(&telemetry, &mut record);
    let reason = if matches!(error, HeadError::TooMany(..)) { Reason::HeadTooLarge } else { Reason::BadRequest };
    outcome.rejected(reason, None);
    let reject = Reject { detail: error.to_string(), ..Reject::new(reason, call.worker.shared.world.load().generation) };
    // When it cannot be sent either, the stream is reset by being dropped.
    let _ = call.answer.reject(&reject, true, reject::Form::Text).await;
}
