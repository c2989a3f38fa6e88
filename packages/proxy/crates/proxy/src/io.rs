//! The two halves of a TCP connection that carries HTTP/1.1 or opaque bytes, each with its buffer.
//! Used by bodies, heads and tunnels; knows nothing of what the bytes mean.

use std::{
    cell::{Cell, RefCell},
    io::{self, IoSlice},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use plait_model::Place;
use plait_net::Buffer;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

/// Written at once at the latest when so much waits: a socket buffer takes it in one call.
const FULL: usize = 64 * 1024;
/// When more connections than these gather so much, most of them wait for peers that do not read: the others are written sooner,
const GATHERING: usize = 64;
/// when so much waits.
const LITTLE: usize = 16 * 1024;
/// Buffers larger than this are not kept for the next message.
const KEPT: usize = 8 * 1024;
/// Spare buffers that a worker keeps.
const SPARE: usize = 64;
/// What a peer may send ahead while we are busy with its last message.
const AHEAD: usize = 64 * 1024;

thread_local! {
    static BUFFERS: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
    /// Connections that gather much.
    static GATHER: Cell<usize> = const { Cell::new(0) };
}

/// One of the connections that gather much.
#[derive(Debug)]
struct Gathering;

impl Gathering {
    fn begin() -> Option<Self> {
        (GATHER.get() < GATHERING).then(|| {
            GATHER.set(GATHER.get() + 1);
            Self
        })
    }
}

impl Drop for Gathering {
    fn drop(&mut self) {
        GATHER.set(GATHER.get() - 1);
    }
}

/// Takes a connection apart.
pub(crate) fn halves(stream: TcpStream) -> (Input, Output) {
    placed_halves(stream, None)
}

/// The same for a connection that takes a place until both halves are gone.
pub(crate) fn placed_halves(stream: TcpStream, place: Option<Place>) -> (Input, Output) {
    let (read, write) = stream.into_split();
    let place = place.map(Rc::new);
    let input = Input { half: read, buffer: Buffer::default(), _place: place.clone() };
    (input, Output { half: Some(write), pending: Vec::new(), written: 0, left: false, gathering: None, _place: place })
}

/// Puts a connection together again, for one who reads and writes by himself; `None` when it was reset.
pub(crate) fn rejoin(input: Input, output: Output) -> Option<Whole> {
    let stream = input.half.reunite(output.half?).ok()?;
    Some(Whole { stream, ahead: input.buffer, gathers: false })
}

/// A whole connection for one who reads and writes by himself, and what was read from it already.
#[derive(Debug)]
pub(crate) struct Whole {
    stream: TcpStream,
    ahead: Buffer,
    gathers: bool,
}

impl Whole {
    /// One that is read as much at a time as there is: TLS asks for a record, and each would be a system call.
    pub(crate) fn gathering(stream: TcpStream) -> Self {
        Self { stream, ahead: Buffer::default(), gathers: true }
    }
}

impl AsyncRead for Whole {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { stream, ahead, gathers } = &mut *self;
        if ahead.is_empty() {
            if !*gathers {
                return Pin::new(stream).poll_read(cx, into);
            }
            ready!(ahead.poll_fill(stream, 0, cx))?;
        }
        let count = ahead.data().len().min(into.remaining());
        into.put_slice(&ahead.data()[..count]);
        ahead.consume(count);
        if ahead.is_empty() && !*gathers {
            // It is never filled again.
            *ahead = Buffer::default();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Whole {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, data)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// What arrives.
#[derive(Debug)]
pub(crate) struct Input {
    half: OwnedReadHalf,
    pub(crate) buffer: Buffer,
    /// Behind the half: it is free when that is closed.
    _place: Option<Rc<Place>>,
}

impl Input {
    /// Receives more behind what waits; 0 = the peer closed.
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>, limit: usize) -> Poll<io::Result<usize>> {
        self.buffer.poll_fill(&mut self.half, limit, cx)
    }

    /// As `poll_fill`, waiting.
    pub(crate) async fn fill(&mut self, limit: usize) -> io::Result<usize> {
        self.buffer.fill(&mut self.half, limit).await
    }

    /// Resolves when the peer is gone while it has nothing to say; what it sends ahead is kept, and ends the watch.
    pub(crate) async fn gone(&mut self) {
        while self.buffer.is_empty() {
            match self.fill(AHEAD).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
        std::future::pending().await
    }

    /// As `gone`, though something was said already: what more comes is kept, as long as there is room.
    pub(crate) async fn gone_behind(&mut self) {
        while self.buffer.data().len() < AHEAD {
            if matches!(self.fill(AHEAD).await, Ok(0) | Err(_)) {
                return;
            }
        }
        std::future::pending().await
    }

    /// Whether nothing came in and nobody closed: an idle connection that may be used again.
    pub(crate) fn is_quiet(&self) -> bool {
        let mut byte = [0];
        self.buffer.is_empty() && matches!(self.half.try_read(&mut byte), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

/// What leaves. Small writes are gathered until `flush`, so that a head and a short body are one system call.
/// A write that was cancelled goes on where it stopped.
#[derive(Debug)]
pub(crate) struct Output {
    /// `None` once it was broken off.
    half: Option<OwnedWriteHalf>,
    pending: Vec<u8>,
    written: usize,
    /// Whether a byte left since `begin`.
    left: bool,
    gathering: Option<Gathering>,
    _place: Option<Rc<Place>>,
}

impl Output {
    /// A message begins, behind all that was flushed.
    pub(crate) fn begin(&mut self) {
        self.left = false;
    }

    /// Whether the peer got, or may have got, a byte of the message that was begun last.
    pub(crate) fn has_left(&self) -> bool {
        self.left
    }

    /// The buffer to append to.
    pub(crate) fn pending(&mut self) -> &mut Vec<u8> {
        if self.pending.capacity() == 0 {
            self.pending = BUFFERS.with_borrow_mut(Vec::pop).unwrap_or_default();
        }
        &mut self.pending
    }

    pub(crate) fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    pub(crate) fn is_full(&mut self) -> bool {
        if self.pending.len() >= LITTLE && self.gathering.is_none() {
            self.gathering = Gathering::begin();
        }
        self.pending.len() >= if self.gathering.is_some() { FULL } else { LITTLE }
    }

    /// Forgets what was not written: another answer takes its place.
    pub(crate) fn discard(&mut self) {
        self.pending.clear();
        self.written = 0;
        self.gathering = None;
    }

    /// Writes all that waits.
    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        let Some(half) = &mut self.half else { return Err(io::ErrorKind::BrokenPipe.into()) };
        while self.written < self.pending.len() {
            match half.write(&self.pending[self.written..]).await? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                count => (self.left, self.written) = (true, self.written + count),
            }
        }
        self.written = 0;
        self.gathering = None;
        let mut done = std::mem::take(&mut self.pending);
        if done.capacity() > 0 && done.capacity() <= KEPT {
            done.clear();
            BUFFERS.with_borrow_mut(|spare| {
                if spare.len() < SPARE {
                    spare.push(done);
                }
            });
        }
        Ok(())
    }

    /// Writes all that waits, and `data` behind it, without copying it.
    pub(crate) async fn write_through(&mut self, data: &[u8]) -> io::Result<()> {
        let Some(half) = &mut self.half else { return Err(io::ErrorKind::BrokenPipe.into()) };
        let mut at = 0;
        while self.written < self.pending.len() {
            let parts = [IoSlice::new(&self.pending[self.written..]), IoSlice::new(data)];
            let count = half.write_vectored(&parts).await?;
            if count == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.left = true;
            let head = count.min(self.pending.len() - self.written);
            self.written += head;
            at = count - head;
        }
        self.flush().await?;
        match &mut self.half {
            Some(half) => {
                self.left = true;
                half.write_all(&data[at..]).await
            }
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// Says that nothing more will come.
    pub(crate) async fn close(&mut self) -> io::Result<()> {
        self.flush().await?;
        match &mut self.half {
            Some(half) => half.shutdown().await,
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// Says that what was sent is not whole, where nothing else would say so: the connection will be reset, not closed.
    pub(crate) fn break_off(&mut self) {
        self.discard();
        if let Some(half) = self.half.take() {
            plait_net::reset_when_closed(half.as_ref());
            // It would say that we are done.
            half.forget();
        }
    }
}
