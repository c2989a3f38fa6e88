//! One active health check of one endpoint, through the same connections as requests: mutual TLS to its sidecar, whose policies judge it like
//! any call. Called by `health` alone.

use std::{future::poll_fn, rc::Rc, sync::Arc};

use bytes::{BufMut, Bytes};
use http::Method;
use plait_decide::retry::Ended;
use plait_http1::Framing;
use plait_model::{Endpoint, Probe, Protocol, Reason, RequestHead, ResponseHead};

use crate::{
    call::Wish,
    failed::Failed,
    health::Settings,
    hop::Hop,
    source::{Source, Step},
    upstream::{self, Arrived, Begun, Outgoing, Response},
    verdict,
    worker::Worker,
};

/// No more of an answer is read: its head has said what there is to say.
const MOST_BYTES: usize = 64 * 1024;
/// The status SERVING of grpc.health.v1.
const SERVING: u64 = 1;

/// What a check says of its endpoint.
#[derive(Debug)]
pub(crate) enum Verdict {
    Passed,
    Failed {
        why: String,
        /// Nothing reached the process.
        undelivered: bool,
    },
    /// Nothing: it was refused by a policy, or could not be made.
    None(String),
}

impl Verdict {
    fn failed(why: impl Into<String>) -> Self {
        Self::Failed { why: why.into(), undelivered: false }
    }
}

impl From<Failed> for Verdict {
    fn from(failed: Failed) -> Self {
        let Failed { reject, ended, .. } = failed;
        let reason = reject.reason;
        let why = [Some(reason.as_str().to_owned()), reject.object.map(|object| object.to_string()), Some(reject.detail)];
        let why = why.into_iter().flatten().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": ");
        match reason {
            // Whoever has no room for a check may do well.
            _ if reason != Reason::Overloaded && verdict::blames_the_endpoint(reason) => {
                Self::Failed { why, undelivered: ended == Ended::Undelivered }
            }
            _ => Self::None(why),
        }
    }
}

/// Makes a check within its time.
pub(crate) async fn make(worker: &Rc<Worker>, settings: &Settings, endpoint: &Arc<Endpoint>) -> Verdict {
    let limit = settings.rules.timeout;
    match tokio::time::timeout(limit, ask(worker, settings, endpoint)).await {
        Ok(Ok(())) => Verdict::Passed,
        Ok(Err(verdict)) => verdict,
        Err(_) => Verdict::failed(format!("it took longer than {limit:?}")),
    }
}

/// What is sent.
struct Question {
    head: RequestHead,
    wish: Wish,
    body: Bytes,
}

async fn ask(worker: &Rc<Worker>, settings: &Settings, endpoint: &Arc<Endpoint>) -> Result<(), Verdict> {
    let snapshot = worker.shared.world.load_full();
    let Some(source) = snapshot.workloads.get(&*settings.by) else {
        return Err(Verdict::None(format!("{} is not here any more", settings.by)));
    };
    let http2 = match settings.rules.probe {
        Probe::Grpc(_) => true,
        Probe::Http { .. } => settings.protocol == Protocol::Http2,
        Probe::Tcp => false,
    };
    let hop = Hop {
        address: endpoint.address,
        endpoint: Some(endpoint),
        http2,
        connect_timeout: settings.connect_timeout,
        idle_timeout: settings.rules.interval,
        // What comes beside the requests takes no place of theirs.
        gate: None,
        most: None,
    };
    let Question { head, wish, body } = question(&settings.rules.probe, &settings.backend);
    let asked = Outgoing { head: &head, wish: &wish, generation: snapshot.generation };
    // A connection that was idle may be closing: that would say nothing.
    let upstream = upstream::open(worker, source, &hop, true).await?;
    let Begun { mut sink, mut awaited, _busy } = upstream.begin(&hop, asked)?;
    let lost = |error| Verdict::from(upstream::broke(&error, snapshot.generation));
    if !body.is_empty() {
        sink.bytes(body, true).await.map_err(lost)?;
    }
    if wish != Wish::Tunnel {
        sink.end(None).await.map_err(lost)?;
    }
    let mut answer = ResponseHead::default();
    let mut response = loop {
        if let Arrived::Final(response) = awaited.next(asked, &worker.limits(), &mut answer).await? {
            break response;
        }
    };
    if let Some(reject) = response.reject.take() {
        return Err(if reject.delivered { Failed::broken(*reject) } else { Failed::undelivered(*reject) }.into());
    }
    if wish == Wish::Tunnel {
        // An orderly end, else the process sees a caller that broke off.
        return sink.end(None).await.map_err(lost);
    }
    judge(&settings.rules.probe, &answer, response).await
}

fn question(probe: &Probe, backend: &str) -> Question {
    let mut head = RequestHead { authority: backend.to_owned(), ..RequestHead::default() };
    head.headers.append("user-agent", b"plait-health-check");
    let answer = |framing| Wish::Answer { framing, expects_continue: false };
    match probe {
        Probe::Http { path, query, host, .. } => {
            (head.authority, head.path) = (host.to_string(), path.to_string());
            head.query = query.as_deref().map(Into::into);
            Question { head, wish: answer(Framing::None), body: Bytes::new() }
        }
        Probe::Grpc(service) => {
            (head.method, head.path) = (Method::POST, "/grpc.health.v1.Health/Check".to_owned());
            // The Service as its callers know it: no host of HTTP may hold a '/'.
            head.authority = authority(backend);
            head.headers.append("content-type", b"application/grpc");
            head.headers.append("te", b"trailers");
            Question { head, wish: answer(Framing::Chunked), body: request_of(service) }
        }
        Probe::Tcp => Question { head, wish: Wish::Tunnel, body: Bytes::new() },
    }
}

/// "reviews.shop:80" of "shop/reviews:80".
fn authority(backend: &str) -> String {
    let (namespace, rest) = backend.split_once('/').unwrap_or_default();
    let (name, port) = rest.split_once(':').unwrap_or((rest, "80"));
    format!("{name}.{namespace}:{port}")
}

async fn judge(probe: &Probe, answer: &ResponseHead, mut response: Response) -> Result<(), Verdict> {
    let body = read(&mut response.body).await?;
    match probe {
        Probe::Http { expected_statuses, .. } if expected_statuses.contains(&answer.status) => Ok(()),
        Probe::Http { .. } => Err(Verdict::failed(format!("it answered with status {}", answer.status))),
        Probe::Grpc(_) => {
            let trailers = response.body.trailers().ok().flatten();
            let said = trailers.iter().find_map(|trailers| trailers.first("grpc-status")).or_else(|| answer.headers.first("grpc-status"));
            match (answer.status, said) {
                (200, Some(b"0")) if status_in(&body) == Some(SERVING) => Ok(()),
                (200, Some(b"0")) => Err(Verdict::failed("it is not SERVING")),
                (200, Some(code)) => Err(Verdict::failed(format!("it answered with grpc-status {}", String::from_utf8_lossy(code)))),
                (status, _) => Err(Verdict::failed(format!("it answered with status {status} and no grpc-status"))),
            }
        }
        Probe::Tcp => Ok(()),
    }
}

/// The body of an answer, to its end unless it is long.
async fn read(body: &mut Source) -> Result<Vec<u8>, Verdict> {
    let mut held = Vec::new();
    let broke = |error| Verdict::failed(format!("its answer broke off: {error}"));
    while held.len() < MOST_BYTES && poll_fn(|cx| body.poll_step(cx)).await.map_err(broke)? == Step::Data {
        held.extend_from_slice(body.data());
        body.consume();
    }
    Ok(held)
}

/// HealthCheckRequest { service = 1 } as a message of gRPC.
fn request_of(service: &str) -> Bytes {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(0x0a);
        let mut length = service.len();
        while length >= 0x80 {
            message.push(length as u8 | 0x80);
            length >>= 7;
        }
        message.push(length as u8);
        message.extend_from_slice(service.as_bytes());
    }
    let mut framed = Vec::with_capacity(5 + message.len());
    framed.put_u8(0);
    framed.put_u32(message.len() as u32);
    framed.put_slice(&message);
    framed.into()
}

/// The status in a HealthCheckResponse { status = 1 }; a field that is absent is 0. `None`: it is no such message, or a compressed one.
fn status_in(body: &[u8]) -> Option<u64> {
    let (head, message) = body.split_at_checked(5)?;
    let length = u32::from_be_bytes(head[1..].try_into().ok()?) as usize;
    if head[0] != 0 || message.len() != length {
        return None;
    }
    match message {
        [] => Some(0),
        // The number of a status is small; what else the message may say some day is not looked at.
        [0x08, status, ..] if *status < 0x80 => Some(u64::from(*status)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_of_grpc_is_written_as_protobuf_has_it() {
        assert_eq!(&request_of("")[..], b"\0\0\0\0\0");
        assert_eq!(&request_of("shop.Cart")[..], b"\0\0\0\0\x0b\x0a\x09shop.Cart");
        let long = "s".repeat(300);
        assert_eq!(&request_of(&long)[..8], b"\0\0\0\x01\x2f\x0a\xac\x02");
    }

    #[test]
    fn an_answer_of_grpc_is_read_or_is_none() {
        for (body, expected) in [
            (&b"\0\0\0\0\x02\x08\x01"[..], Some(SERVING)),
            (b"\0\0\0\0\x02\x08\x02", Some(2)),
            (b"\0\0\0\0\0", Some(0)),
            (b"\0\0\0\0\x04\x08\x01\x10\x07", Some(SERVING)),
            (b"", None),
            (b"\0\0\0", None),
            (b"\x01\0\0\0\x02\x08\x01", None),
            (b"\0\0\0\0\x03\x08\x01", None),
            (b"\0\0\0\0\x02\x10\x01", None),
            (b"\0\0\0\0\x02\x08\xff", None),
        ] {
            assert_eq!(status_in(body), expected, "{body:?}");
        }
    }

    #[test]
    fn the_called_service_is_named_as_callers_know_it() {
        assert_eq!(authority("shop/reviews:80"), "reviews.shop:80");
    }
}
