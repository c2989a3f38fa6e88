//! The caller's half of one try: its body on the way up, and the watch for a caller that leaves. Called by `exchange`, beside the answer.

use std::{cell::Cell, pin::Pin, time::Duration};

use bytes::Bytes;
use plait_http1::Framing;
use plait_model::RequestHead;
use plait_plugins::Phase;
use tokio::sync::Notify;

use crate::{
    call::Wish,
    filters::{self, Instead, Moved, Passing},
    onlooker::{Flow, Onlooker},
    pump::{Kept, Meter, Stuck, pump},
    sink::Sink,
    source::{Broken, Source},
};

/// Of a body whose length was announced, at least
const LEAST: u64 = 1024;
/// bytes come within this: who sends less holds a place that others need.
const SPAN: Duration = Duration::from_secs(60);

/// How the caller's half ended.
#[derive(Debug)]
pub(crate) enum Sent {
    /// All of it went up.
    Whole,
    /// The upstream takes no more; its answer may be there already.
    Refused(Broken),
    /// The caller broke off, or sent what is no body.
    Broken(Broken),
    /// The caller sends its body too slowly.
    Slow,
    /// The caller left while it waited.
    Gone,
    /// A plugin ended it.
    Ended(Instead),
}

/// How far both halves came; read also when either was cancelled.
pub(crate) struct Progress<'c> {
    pub(crate) sent: Meter<'c>,
    pub(crate) received: Meter<'c>,
    /// All of the caller's half went up.
    pub(crate) whole: Cell<bool>,
    /// The upstream agreed to another protocol.
    pub(crate) opened: Notify,
}

impl<'c> Progress<'c> {
    pub(crate) fn new(onlooker: Option<&'c Onlooker>) -> Self {
        let (sent, received) = (Meter::new(Flow::Up, onlooker), Meter::new(Flow::Down, onlooker));
        Self { sent, received, whole: Cell::new(false), opened: Notify::new() }
    }
}

/// The caller's half, under way.
pub(crate) struct Up<'f, F> {
    pub(crate) sending: Pin<&'f mut F>,
    pub(crate) open: bool,
}

/// Moves the caller's half. While an answer is awaited it is noticed when the caller leaves.
pub(crate) async fn send(
    body: &mut Source,
    sink: &mut Sink,
    (kept, again, looked_at): (&Kept, Option<Bytes>, Option<(&Passing, &RequestHead)>),
    progress: &Progress<'_>,
    wish: &Wish,
) -> Sent {
    if let Wish::Upgrade(_) = wish
        && let Err(ended) = agreed(body, sink, progress).await
    {
        return ended;
    }
    if let Some(again) = again.filter(|again| !again.is_empty())
        && let Err(error) = sink.bytes(again, false).await
    {
        return Sent::Refused(error);
    }
    let crawls = crawls(wish, &progress.sent);
    let pumped = tokio::select! {
        biased;
        pumped = moved(body, sink, (kept, looked_at), progress, wish) => pumped,
        () = crawls => return Sent::Slow,
    };
    match pumped {
        Err(Moved::Stuck(Stuck::Source(error))) => return Sent::Broken(error),
        Err(Moved::Stuck(Stuck::Sink(error))) => return Sent::Refused(error),
        Err(Moved::Ended(instead)) => return Sent::Ended(instead),
        Ok(()) => progress.whole.set(true),
    }
    match body.input().filter(|_| matches!(wish, Wish::Answer { .. })) {
        None => Sent::Whole,
        Some(input) => {
            input.gone().await;
            Sent::Gone
        }
    }
}

/// Moves the body, by the plugins that look at it.
async fn moved(
    body: &mut Source,
    sink: &mut Sink,
    (kept, looked_at): (&Kept, Option<(&Passing, &RequestHead)>),
    progress: &Progress<'_>,
    wish: &Wish,
) -> Result<(), Moved> {
    match looked_at {
        Some((passing, head)) if matches!(wish, Wish::Answer { .. }) && passing.streams_up() => {
            Box::pin(filters::pump((passing, Phase::RequestBody, head), body, sink, Some(kept), &progress.sent)).await
        }
        _ => pump(body, sink, Some(kept), &progress.sent).await.map_err(Moved::Stuck),
    }
}

/// Resolves when hardly anything comes of a body whose length was announced. One without may be a conversation with long silences; and who is
/// held back by the upstream is not slow.
async fn crawls(wish: &Wish, sent: &Meter<'_>) {
    if !matches!(wish, Wish::Answer { framing: Framing::Length(1..), .. }) {
        return std::future::pending().await;
    }
    loop {
        let before = sent.get();
        tokio::time::sleep(SPAN).await;
        if sent.is_starved() && sent.get() - before < LEAST {
            return;
        }
    }
}

/// Sends the request for another protocol and waits until the upstream agrees. Before that no byte follows: the upstream could take it for
/// a request that we did not see. What the caller sends early waits here, and is the next request should the upstream disagree.
async fn agreed(body: &mut Source, sink: &mut Sink, progress: &Progress<'_>) -> Result<(), Sent> {
    sink.flush().await.map_err(Sent::Refused)?;
    progress.whole.set(true);
    let gone = async {
        match body.input() {
            Some(input) => input.gone().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = progress.opened.notified() => {}
        () = gone => return Err(Sent::Gone),
    }
    progress.whole.set(false);
    body.restart(Framing::UntilClose);
    sink.restart(Framing::UntilClose);
    Ok(())
}
