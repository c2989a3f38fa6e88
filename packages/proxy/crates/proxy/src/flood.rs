//! Floods of HTTP/2: frames that carry nothing, requests that are taken back as soon as they are made, and heads that do not end. Wraps the bytes of a connection and
//! keeps books on frames by their type and length alone: to read them is h2's work. Used by `http2` and `multiplex`, which end the connection.
//!
//! A connection has credit. What carries something earns it, in both directions, and so does time; what carries nothing costs it.

use std::{
    cell::Cell,
    io::{self, IoSlice},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::Notify,
    time::Instant,
};

/// The most that is saved: a burst of so many empty frames is let through.
const MOST: i64 = 2000;
/// What each second of a connection earns: more than any client needs to keep it alive.
const EACH_SECOND: i64 = 100;
/// What a request earns: it may be answered by window updates and priorities.
const REQUEST: i64 = 8;
/// What a piece of a body earns: its reader may answer with two window updates.
const PIECE: i64 = 2;
/// So many frames are read in one go: then it is others' turn.
const TURN: u32 = 512;
/// The preface of a client.
const PREFACE: u32 = 24;
/// A request that is taken back sooner was made to be taken back, or timed out by a client that asks for much.
const SOON: Duration = Duration::from_secs(1);
/// Those that are taken back have to be more than half of the last requests, which are so many times those that do not matter.
const LAST: u32 = 4;

/// Types of frames.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
/// DATA that ends its stream carries that, even when it is empty.
const END_STREAM: u8 = 1;
/// No CONTINUATION follows.
const END_HEADERS: u8 = 4;

/// Whose frames are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Of {
    /// Those of an application that asks us.
    Application,
    /// Those of another proxy that asks us, on behalf of many.
    Proxy,
    /// Those of one whom we ask.
    Server,
}

impl Of {
    /// More requests than this have to be taken back before it matters. A proxy turns away its own application before we mind.
    fn taken_back(self) -> u32 {
        match self {
            Self::Application => 200,
            Self::Proxy | Self::Server => 1000,
        }
    }
}

/// What a connection may still cost.
#[derive(Debug)]
pub(crate) struct Credit {
    of: Of,
    left: Cell<i64>,
    since: Cell<Instant>,
    spent: Cell<bool>,
    requests: Cell<u32>,
    taken_back: Cell<u32>,
    /// Frames that were read in this turn.
    turn: Cell<u32>,
    restless: Cell<bool>,
    /// Since when a head has begun and not ended.
    in_head: Cell<Option<Instant>>,
    /// When the last request began or ended.
    used: Cell<Instant>,
    /// `spent`, `restless` or `in_head` did.
    changed: Notify,
}

impl Credit {
    pub(crate) fn new(of: Of) -> Rc<Self> {
        Rc::new(Self {
            of,
            left: Cell::new(MOST),
            since: Cell::new(Instant::now()),
            spent: Cell::new(false),
            requests: Cell::new(0),
            taken_back: Cell::new(0),
            turn: Cell::new(0),
            restless: Cell::new(false),
            in_head: Cell::new(None),
            used: Cell::new(Instant::now()),
            changed: Notify::new(),
        })
    }

    /// All that was read has been taken up, and more may be read: h2 would hold any number of requests that nobody has taken up yet against their
    /// caller, and end its connection.
    pub(crate) fn next_turn(&self) {
        self.turn.set(0);
    }

    /// Resolves when frames that carry nothing are a flood.
    pub(crate) async fn spent(&self) {
        while !self.spent.get() {
            self.changed.notified().await;
        }
    }

    /// Resolves when requests that are taken back are a flood.
    pub(crate) async fn restless(&self) {
        while !self.restless.get() {
            self.changed.notified().await;
        }
    }

    /// Resolves when a head is not whole `patience` after its first byte.
    pub(crate) async fn late(&self, patience: Duration) {
        loop {
            let Some(since) = self.in_head.get() else {
                self.changed.notified().await;
                continue;
            };
            tokio::time::sleep_until(since + patience).await;
            if self.in_head.get() == Some(since) {
                return;
            }
        }
    }

    /// Whether it was told to go because of the requests that it took back.
    pub(crate) fn is_restless(&self) -> bool {
        self.restless.get()
    }

    /// How long no request has begun or ended.
    pub(crate) fn unused_for(&self) -> Duration {
        self.used.get().elapsed()
    }

    /// A request ended.
    pub(crate) fn ended(&self, now: Instant) {
        self.used.set(now);
    }

    fn heads(&self, under_way: bool) {
        if under_way != self.in_head.get().is_some() {
            self.in_head.set(under_way.then(Instant::now));
            self.changed.notify_waiters();
        }
    }

    /// A request began.
    pub(crate) fn request(&self, now: Instant) {
        if self.requests.get() >= LAST * self.of.taken_back() && !self.restless.get() {
            self.requests.set(self.requests.get() / 2);
            self.taken_back.set(self.taken_back.get() / 2);
        }
        self.requests.set(self.requests.get() + 1);
        self.used.set(now);
    }

    /// The caller took back the request that began then.
    pub(crate) fn taken_back(&self, began: Instant) {
        if began.elapsed() >= SOON {
            return;
        }
        self.taken_back.set(self.taken_back.get() + 1);
        let (told, most) = (self.restless.get(), self.of.taken_back());
        // Told to go, it may end what is under way; one that takes back as many once more has not listened.
        if told && self.taken_back.get() > most {
            self.spent.set(true);
        } else if !told && self.taken_back.get() > most && self.taken_back.get() > self.requests.get() / 2 {
            self.restless.set(true);
            self.taken_back.set(0);
        }
        self.changed.notify_waiters();
    }

    fn earn(&self, credit: i64) {
        self.left.set((self.left.get() + credit).min(MOST));
    }

    fn pay(&self) {
        if self.left.get() <= 0 {
            let passed = self.since.replace(Instant::now()).elapsed();
            self.earn(passed.as_millis() as i64 * EACH_SECOND / 1000);
        }
        self.left.set(self.left.get() - 1);
        if self.left.get() < 0 && !self.spent.replace(true) {
            self.changed.notify_waiters();
        }
    }

    fn came(&self, frame: Frame) {
        match frame {
            // A request; a server can send as many interim heads as it likes.
            Frame { kind: HEADERS, .. } if self.of != Of::Server => self.earn(REQUEST),
            Frame { kind: DATA, length, .. } if length > 0 => self.earn(1),
            Frame { kind: DATA, flags, .. } if flags & END_STREAM != 0 => {}
            // h2 counts them.
            Frame { kind: CONTINUATION, .. } => {}
            Frame { .. } => self.pay(),
        }
    }

    fn left(&self, frame: Frame) {
        match frame.kind {
            HEADERS if self.of == Of::Server => self.earn(REQUEST),
            HEADERS | DATA => self.earn(PIECE),
            _ => {}
        }
    }
}

/// A frame as its header tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Frame {
    length: u32,
    kind: u8,
    flags: u8,
}

/// Finds frames in a stream of bytes.
#[derive(Debug, Default)]
struct Frames {
    header: [u8; 9],
    held: usize,
    skip: u32,
    /// The last frame was a part of a head, and not the last of it.
    in_head: bool,
    /// The last frame was the last part of a head.
    ends_head: bool,
}

impl Frames {
    /// Calls `found` for each frame whose header is whole.
    fn feed(&mut self, mut bytes: &[u8], mut found: impl FnMut(Frame)) {
        loop {
            let skipped = bytes.len().min(self.skip as usize);
            self.skip -= skipped as u32;
            bytes = &bytes[skipped..];
            if bytes.is_empty() {
                return;
            }
            let taken = bytes.len().min(self.header.len() - self.held);
            self.header[self.held..self.held + taken].copy_from_slice(&bytes[..taken]);
            self.held += taken;
            bytes = &bytes[taken..];
            if self.held < self.header.len() {
                return;
            }
            let [high, middle, low, kind, flags, ..] = self.header;
            let length = u32::from_be_bytes([0, high, middle, low]);
            (self.held, self.skip) = (0, length);
            let of_head = matches!(kind, HEADERS | CONTINUATION);
            (self.in_head, self.ends_head) = (of_head && flags & END_HEADERS == 0, of_head && flags & END_HEADERS != 0);
            found(Frame { length, kind, flags });
        }
    }

    /// Whether a head has begun and not ended.
    fn is_in_head(&self) -> bool {
        self.in_head || (self.ends_head && self.skip > 0)
    }
}

/// A connection whose frames are counted.
#[derive(Debug)]
pub(crate) struct Watched<S> {
    stream: S,
    credit: Rc<Credit>,
    read: Frames,
    written: Frames,
}

impl<S> Watched<S> {
    /// From the preface of its client on.
    pub(crate) fn new(stream: S, credit: Rc<Credit>) -> Self {
        let (before, nothing) = (Frames { skip: PREFACE, ..Frames::default() }, Frames::default());
        let (read, written) = if credit.of == Of::Server { (nothing, before) } else { (before, nothing) };
        Self { stream, credit, read, written }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let me = self.get_mut();
        if me.credit.spent.get() {
            // Nothing more is read; `http2` was told, and closes.
            return Poll::Pending;
        }
        if me.credit.turn.get() >= TURN {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut me.stream).poll_read(cx, buffer))?;
        me.read.feed(&buffer.filled()[before..], |frame| {
            me.credit.turn.set(me.credit.turn.get() + 1);
            me.credit.came(frame);
        });
        me.credit.heads(me.read.is_in_head());
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let me = self.get_mut();
        let count = ready!(Pin::new(&mut me.stream).poll_write(cx, bytes))?;
        me.written.feed(&bytes[..count], |frame| me.credit.left(frame));
        Poll::Ready(Ok(count))
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let me = self.get_mut();
        let count = ready!(Pin::new(&mut me.stream).poll_write_vectored(cx, parts))?;
        let mut left = count;
        for part in parts {
            let taken = left.min(part.len());
            me.written.feed(&part[..taken], |frame| me.credit.left(frame));
            left -= taken;
        }
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
