//! Bodies that plugins look at: whole, their beginning, or piece by piece. What nobody looks at is moved as if there were no plugins.

use std::{future::poll_fn, task::Poll, time::Duration};

use bytes::Bytes;
use plait_http1::Framing;
use plait_model::{Headers, Reason, RequestHead, ResponseHead};
use plait_plugins::{BodyInterest, Effect, Phase, Section};

use super::{
    effects,
    passing::Passing,
    refusal::{Instead, refusal},
    seen::Seen,
};
use crate::{
    call::{Call, Wish},
    failed::Fault,
    pump::{Kept, Meter, Stuck},
    reject::Reject,
    sink::Sink,
    source::{Broken, Source, Step},
    upstream::Response,
};

/// A body of which nothing comes for this long does not come.
const SILENCE: Duration = Duration::from_secs(60);

/// Why a body was not moved to its end.
#[derive(Debug)]
pub(crate) enum Moved {
    Stuck(Stuck),
    /// A plugin wants no more of it.
    Ended(Instead),
}

/// Reads as much of the request's body as plugins are to see before it is sent.
pub(super) async fn take(call: &mut Call, passing: &Passing) -> Result<(), Fault> {
    let Wish::Answer { framing, expects_continue } = call.wish else { return Ok(()) };
    let wanted = passing.body(Phase::RequestBody);
    let (most, whole) = match wanted {
        BodyInterest::None => return Ok(()),
        BodyInterest::Stream => {
            // Who only reads leaves it as long as it is.
            if framing != Framing::None && passing.changes(Phase::RequestBody) {
                call.wish = Wish::Answer { framing: Framing::Chunked, expects_continue };
            }
            return Ok(());
        }
        BodyInterest::Peek(bytes) => (bytes, false),
        BodyInterest::Buffer(bytes) => (bytes, true),
    };
    if expects_continue && call.answer.interim(&ResponseHead { status: 100, ..ResponseHead::default() }).await.is_err() {
        return Err(Fault::Caller);
    }
    let generation = passing.generation;
    let read = read(&mut call.body, most, whole).await.map_err(|unread| match unread {
        Unread::TooLong => too_long(passing, most).into(),
        Unread::Silent => {
            Reject { detail: "the rest of the body did not come".into(), ..Reject::new(Reason::SlowCaller, generation) }.into()
        }
        Unread::Broken(Broken::Framing(error)) if error != plait_http1::Error::Truncated => {
            Reject { detail: error.to_string(), ..Reject::new(Reason::BadRequest, generation) }.into()
        }
        Unread::Broken(_) => Fault::Caller,
    })?;
    let seen = Seen { request: Some(&call.head), ..Seen::default() };
    let body = passing.pieces(Phase::RequestBody, (read, whole), seen).await.map_err(Fault::Instead)?;
    let framing = match framing {
        Framing::None if body.is_empty() => framing,
        _ if whole => Framing::Length(body.len() as u64),
        _ => framing,
    };
    call.kept.begin_with(&body);
    passing.ahead.set(true);
    call.wish = Wish::Answer { framing, expects_continue: false };
    Ok(())
}

fn too_long(passing: &Passing, most: usize) -> Reject {
    let detail = format!("it reads whole bodies, and this one has more than {most} bytes (its limits.body, or what it declared)");
    let reader = passing.asked(Phase::RequestBody).flat_map(|passed| passed.run.plugins.first()).next();
    refusal(Reason::BodyTooLarge, reader.map(|plugin| &*plugin.name).unwrap_or_default(), detail, passing.generation)
}

/// Why a body was not read.
enum Unread {
    TooLong,
    Silent,
    Broken(Broken),
}

/// Reads `most` bytes; with `whole` all of it, which may be no more.
async fn read(source: &mut Source, most: usize, whole: bool) -> Result<Vec<u8>, Unread> {
    let mut body = Vec::new();
    loop {
        let step = tokio::time::timeout(SILENCE, poll_fn(|cx| source.poll_step(cx))).await.map_err(|_| Unread::Silent)?;
        match step.map_err(Unread::Broken)? {
            Step::End => return Ok(body),
            Step::Data => {
                body.extend_from_slice(source.data());
                source.consume();
            }
        }
        match (body.len() > most, whole) {
            (true, true) => return Err(Unread::TooLong),
            (true, false) => return Ok(body),
            (false, _) => {}
        }
    }
}

/// Sees the answer before it begins: its head, and as much of its body as plugins are to see before.
pub(crate) async fn filtered(
    passing: &Passing,
    request: &RequestHead,
    (head, response): (&mut ResponseHead, &mut Response),
) -> Result<(), Instead> {
    passing.response(request, head).await?;
    if response.opened || response.said.framing == Framing::None {
        return Ok(());
    }
    let (most, whole) = match passing.body(Phase::ResponseBody) {
        BodyInterest::None => return Ok(()),
        BodyInterest::Stream => {
            if passing.changes(Phase::ResponseBody) {
                (response.said.framing, response.said.length) = (Framing::Chunked, None);
            }
            return Ok(());
        }
        BodyInterest::Peek(bytes) => (bytes, false),
        BodyInterest::Buffer(bytes) => (bytes, true),
    };
    let read = read(&mut response.body, most, whole).await.map_err(|unread| {
        let detail = match unread {
            Unread::TooLong => format!("plugins read this answer as a whole, and it has more than {most} bytes"),
            Unread::Silent => "the rest of the answer did not come".into(),
            Unread::Broken(error) => error.to_string(),
        };
        Instead::from(Reject { detail, delivered: true, ..Reject::new(Reason::UpstreamReset, passing.generation) })
    })?;
    let seen = Seen { request: Some(request), response: Some(head), ..Seen::default() };
    let body = passing.pieces(Phase::ResponseBody, (read, whole), seen).await?;
    if let (true, Framing::Length(_)) = (whole, response.said.framing) {
        (response.said.framing, response.said.length) = (Framing::Length(body.len() as u64), None);
    }
    *passing.held.borrow_mut() = Some(body);
    Ok(())
}

impl Passing {
    /// The most that anybody wants to see of a body.
    fn body(&self, phase: Phase) -> BodyInterest {
        self.asked(phase).map(|passed| passed.body(phase)).max().unwrap_or_default()
    }

    /// Whether anybody may change a body.
    fn changes(&self, phase: Phase) -> bool {
        self.asked(phase).any(|passed| passed.changes(phase))
    }

    /// Whether the beginning of the request's body was read and must be sent.
    pub(crate) fn is_ahead(&self) -> bool {
        self.ahead.get()
    }

    /// The beginning of the answer's body, which must be sent first.
    pub(crate) fn held(&self) -> Option<Bytes> {
        self.held.take().filter(|held| !held.is_empty())
    }

    /// Whether somebody looks at each piece of the request's body.
    pub(crate) fn streams_up(&self) -> bool {
        self.body(Phase::RequestBody) == BodyInterest::Stream
    }

    /// Whether somebody looks at each piece of the answer's body, or at what follows it.
    pub(crate) fn streams_down(&self) -> bool {
        self.body(Phase::ResponseBody) == BodyInterest::Stream || self.wants(Phase::Trailers)
    }

    /// A piece as plugins leave it.
    async fn pieces(&self, phase: Phase, (piece, last): (Vec<u8>, bool), seen: Seen<'_>) -> Result<Bytes, Instead> {
        let mut piece = Bytes::from(piece);
        for passed in self.asked(phase) {
            let (shown, whole) = match passed.body(phase) {
                BodyInterest::None => continue,
                BodyInterest::Peek(most) => (piece.slice(..most.min(piece.len())), last && piece.len() <= most),
                BodyInterest::Stream | BodyInterest::Buffer(_) => (piece.clone(), last),
            };
            let verdict = self.ask(passed, phase, Seen { body: Some((&shown, whole)), ..seen }).await?;
            self.keep(&verdict);
            match (verdict.body(), passed.body(phase)) {
                (None, _) | (_, BodyInterest::None) => {}
                (Some(_), _) if !passed.changes(phase) => {
                    let plugin = passed.run.plugins.first().map(|plugin| plugin.name.clone()).unwrap_or_default();
                    self.misdeed((passed, phase), &plugin, "it did not declare that it changes this body".into())?;
                }
                (Some(_), BodyInterest::Peek(_)) => {
                    let plugin = passed.run.plugins.first().map(|plugin| plugin.name.clone()).unwrap_or_default();
                    self.misdeed((passed, phase), &plugin, "it looks at the beginning of a body, and cannot change it".into())?;
                }
                (Some(body), BodyInterest::Stream | BodyInterest::Buffer(_)) => piece = body,
            }
        }
        Ok(piece)
    }

    async fn trailers(&self, request: &RequestHead, trailers: &mut Headers) -> Result<(), Instead> {
        for passed in self.asked(Phase::Trailers) {
            let seen = Seen { request: Some(request), trailers: Some(trailers), ..Seen::default() };
            let verdict = self.ask(passed, Phase::Trailers, seen).await?;
            self.keep(&verdict);
            for (plugin, effect) in verdict.effects() {
                let done = effects::change(&effect, Section::Trailers).map(|change| effects::apply(&change, trailers));
                if let Some(Err(why)) = done {
                    self.misdeed((passed, Phase::Trailers), plugin, why)?;
                }
                if let Effect::Body(_) = effect {
                    self.misdeed((passed, Phase::Trailers), plugin, "the body is over".into())?;
                }
            }
        }
        Ok(())
    }
}

/// Moves all that is left of `source`, each piece as plugins leave it. `phase`: of a request's or an answer's body.
pub(crate) async fn pump(
    (passing, phase, request): (&Passing, Phase, &RequestHead),
    source: &mut Source,
    sink: &mut Sink,
    kept: Option<&Kept>,
    moved: &Meter<'_>,
) -> Result<(), Moved> {
    let seen = Seen { request: Some(request), ..Seen::default() };
    let mut told = false;
    loop {
        let step = match poll_fn(|cx| Poll::Ready(source.poll_step(cx))).await {
            Poll::Ready(step) => step,
            Poll::Pending => {
                sink.flush().await.map_err(|error| Moved::Stuck(Stuck::Sink(error)))?;
                moved.starves(true);
                let step = poll_fn(|cx| source.poll_step(cx)).await;
                moved.starves(false);
                step
            }
        };
        let (piece, last) = match step.map_err(|error| Moved::Stuck(Stuck::Source(error)))? {
            Step::Data => {
                let piece = source.data().to_vec();
                let last = source.is_last();
                source.consume();
                (piece, last)
            }
            // Its end came by itself, and whoever waits for it is told.
            Step::End => (Vec::new(), true),
        };
        let over = piece.is_empty();
        if !(over && told) {
            told = last;
            let piece = passing.pieces(phase, (piece, last), seen).await.map_err(Moved::Ended)?;
            if !piece.is_empty() {
                moved.add(piece.len());
                if let Some(kept) = kept {
                    kept.push(&piece);
                }
                sink.bytes(piece, false).await.map_err(|error| Moved::Stuck(Stuck::Sink(error)))?;
            }
        }
        if over {
            let mut trailers = source.trailers().map_err(|error| Moved::Stuck(Stuck::Source(error)))?.unwrap_or_default();
            if phase == Phase::ResponseBody {
                passing.trailers(request, &mut trailers).await.map_err(Moved::Ended)?;
            }
            return sink.end((!trailers.is_empty()).then_some(trailers)).await.map_err(|error| Moved::Stuck(Stuck::Sink(error)));
        }
    }
}
