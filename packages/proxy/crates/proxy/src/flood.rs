//! Floods of HTTP/2: frames that carry nothing, and requests that are taken back as soon as they are made. Wraps the bytes of a connection and
//! keeps books on frames by their type and length alone: to read them is h2's work. Used by `http2`, which ends the connection.
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
/// More requests than this have to be taken back before it matters,
const TAKEN_BACK: u32 = 200;
/// and they have to be more than half of the last so many.
const LAST: u32 = 4 * TAKEN_BACK;

/// Types of frames.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
/// DATA that ends its stream carries that, even when it is empty.
const END_STREAM: u8 = 1;

/// What a connection may still cost.
#[derive(Debug)]
pub(crate) struct Credit {
    left: Cell<i64>,
    since: Cell<Instant>,
    spent: Cell<bool>,
    requests: Cell<u32>,
    taken_back: Cell<u32>,
    restless: Cell<bool>,
    /// `spent` or `restless` did.
    changed: Notify,
}

impl Credit {
    pub(crate) fn new() -> Rc<Self> {
        Rc::new(Self {
            left: Cell::new(MOST),
            since: Cell::new(Instant::now()),
            spent: Cell::new(false),
            requests: Cell::new(0),
            taken_back: Cell::new(0),
            restless: Cell::new(false),
            changed: Notify::new(),
        })
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

    /// A request began.
    pub(crate) fn request(&self) -> Instant {
        if self.requests.get() >= LAST && !self.restless.get() {
            self.requests.set(self.requests.get() / 2);
            self.taken_back.set(self.taken_back.get() / 2);
        }
        self.requests.set(self.requests.get() + 1);
        Instant::now()
    }

    /// The caller took back the request that began then.
    pub(crate) fn taken_back(&self, began: Instant) {
        if began.elapsed() >= SOON {
            return;
        }
        self.taken_back.set(self.taken_back.get() + 1);
        let told = self.restless.get();
        // Told to go, it may end what is under way; one that takes back as many once more has not listened.
        if told && self.taken_back.get() > TAKEN_BACK {
            self.spent.set(true);
        } else if !told && self.taken_back.get() > TAKEN_BACK && self.taken_back.get() > self.requests.get() / 2 {
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
            Frame { kind: HEADERS, .. } => self.earn(REQUEST),
            Frame { kind: DATA, length, .. } if length > 0 => self.earn(1),
            Frame { kind: DATA, flags, .. } if flags & END_STREAM != 0 => {}
            // h2 counts them.
            Frame { kind: CONTINUATION, .. } => {}
            Frame { .. } => self.pay(),
        }
    }

    fn left(&self, frame: Frame) {
        if matches!(frame, Frame { kind: HEADERS | DATA, .. }) {
            self.earn(PIECE);
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
            found(Frame { length, kind, flags });
        }
    }
}

/// A connection whose frames are counted.
#[derive(Debug)]
pub(crate) struct Watched<S> {
    stream: S,
    credit: Rc<Credit>,
    read: Frames,
    written: Frames,
    turn: u32,
}

impl<S> Watched<S> {
    /// That of a client, from its preface on.
    pub(crate) fn new(stream: S, credit: Rc<Credit>) -> Self {
        Self { stream, credit, read: Frames { skip: PREFACE, ..Frames::default() }, written: Frames::default(), turn: 0 }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let me = self.get_mut();
        if me.credit.spent.get() {
            // Nothing more is read; `http2` was told, and closes.
            return Poll::Pending;
        }
        if me.turn >= TURN {
            me.turn = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let Poll::Ready(read) = Pin::new(&mut me.stream).poll_read(cx, buffer) else {
            me.turn = 0;
            return Poll::Pending;
        };
        read?;
        me.read.feed(&buffer.filled()[before..], |frame| {
            me.turn += 1;
            me.credit.came(frame);
        });
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
