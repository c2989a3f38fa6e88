//! Moves a body from its source to its sink: the one loop behind requests, answers, upgrades and tunnels.
//! What is ready is gathered before it is written; a sink that does not take it holds back the source.

use std::{
    cell::{Cell, RefCell},
    future::poll_fn,
    task::Poll,
};

use bytes::Bytes;

use crate::{
    onlooker::{Flow, Onlooker},
    sink::Sink,
    source::{Broken, Source, Step},
};

/// Which side a pump broke on.
#[derive(Debug)]
pub(crate) enum Stuck {
    /// What arrives broke.
    Source(Broken),
    /// What leaves broke.
    Sink(Broken),
}

/// A copy of the beginning of a request's body, so that it can be sent again, or mirrored.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    bytes: RefCell<Vec<u8>>,
    overflowed: Cell<bool>,
    limit: Cell<usize>,
}

/// Storage up to this size is kept for the next request.
const KEPT: usize = 1024;

impl Kept {
    /// Adds what is sent.
    pub(crate) fn push(&self, data: &[u8]) {
        let mut bytes = self.bytes.borrow_mut();
        if self.overflowed.get() || bytes.len() + data.len() > self.limit.get() {
            self.overflowed.set(true);
            *bytes = Vec::new();
        } else {
            bytes.extend_from_slice(data);
        }
    }

    /// Adds what was read already and must be sent: as much as it is.
    pub(crate) fn begin_with(&self, data: &[u8]) {
        self.limit.set(self.limit.get().max(data.len()));
        self.push(data);
    }

    /// All that was sent so far; `None` when it was too much.
    pub(crate) fn whole(&self) -> Option<Bytes> {
        self.is_whole().then(|| Bytes::copy_from_slice(&self.bytes.borrow()))
    }

    /// Whether nothing was kept.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.borrow().is_empty() && self.is_whole()
    }

    /// Whether all that was sent is at hand.
    pub(crate) fn is_whole(&self) -> bool {
        !self.overflowed.get()
    }

    /// Begins anew; at most `limit` bytes are kept.
    pub(crate) fn restart(&self, limit: usize) {
        let mut bytes = self.bytes.borrow_mut();
        bytes.clear();
        bytes.shrink_to(KEPT);
        self.overflowed.set(false);
        self.limit.set(limit);
    }
}

/// Counts what is moved as it moves, so that the count holds when the pump is cancelled.
pub(crate) struct Meter<'c> {
    bytes: Cell<u64>,
    starved: Cell<bool>,
    flow: Flow,
    /// Is told too, while a tunnel is open.
    onlooker: Option<&'c Onlooker>,
}

impl<'c> Meter<'c> {
    pub(crate) fn new(flow: Flow, onlooker: Option<&'c Onlooker>) -> Self {
        Self { bytes: Cell::new(0), starved: Cell::new(false), flow, onlooker }
    }

    pub(crate) fn add(&self, bytes: usize) {
        self.bytes.set(self.bytes.get() + bytes as u64);
        if let Some(onlooker) = self.onlooker {
            onlooker.moved(self.flow, bytes as u64);
        }
    }

    /// Whether the source is waited for now.
    pub(crate) fn starves(&self, starved: bool) {
        self.starved.set(starved);
    }

    /// Whether nothing is there to be moved: the source is waited for, not the sink.
    pub(crate) fn is_starved(&self) -> bool {
        self.starved.get()
    }

    /// All bytes so far.
    pub(crate) fn get(&self) -> u64 {
        self.bytes.get()
    }
}

/// Moves all that is left of `source`.
pub(crate) async fn pump(source: &mut Source, sink: &mut Sink, kept: Option<&Kept>, moved: &Meter<'_>) -> Result<(), Stuck> {
    loop {
        let step = match poll_fn(|cx| Poll::Ready(source.poll_step(cx))).await {
            Poll::Ready(step) => step,
            Poll::Pending => {
                if sink.has_pending() {
                    sink.flush().await.map_err(Stuck::Sink)?;
                }
                moved.starved.set(true);
                // A peer that wants no more of it is noticed also while nothing comes.
                let step = poll_fn(|cx| match source.poll_step(cx) {
                    Poll::Ready(step) => Poll::Ready(Ok(step)),
                    Poll::Pending => sink.poll_refused(cx).map(|error| Err(Stuck::Sink(error))),
                })
                .await?;
                moved.starved.set(false);
                step
            }
        };
        match step.map_err(Stuck::Source)? {
            Step::End => {
                let trailers = source.trailers().map_err(Stuck::Source)?;
                return sink.end(trailers).await.map_err(Stuck::Sink);
            }
            Step::Data => {
                let last = source.is_last();
                sink.piece(source, last).await.map_err(Stuck::Sink)?;
                // Only what left is kept: what did not is still in the source, and another try finds it there.
                let data = source.data();
                moved.add(data.len());
                if let Some(kept) = kept {
                    kept.push(data);
                }
                source.consume();
            }
        }
    }
}
