//! A body as it leaves, whatever carries it. The counterpart of `source`; moved by `pump`, looks at no byte.
//! What is not ended is visible to the peer as broken: dropped, the stream is reset and the connection closed by its owner.

use std::{
    ops::Range,
    task::{Context, Poll},
};

use bytes::Bytes;
use h2::{Reason, SendStream};
use plait_http1::{Framing, write_chunk_header, write_last_chunk};
use plait_model::Headers;

use crate::{
    heads::trailers_to_http2,
    io::Output,
    source::{Broken, Source},
};

/// A piece up to this size is copied behind what waits; a larger one is written from where it lies.
const COPIED: usize = 16 * 1024;
/// Pieces for HTTP/2 are gathered up to this size: the largest frame that a peer must take.
const GATHERED: usize = 16 * 1024;
/// But not those that are as large as this: a frame of its own is cheaper than a copy.
const LARGE: usize = 4 * 1024;
/// A piece up to this size is sent without a look at the window, which costs more than it.
const SMALL: usize = 1024;
/// But no more than this without a look: a peer that does not read would have us keep any number of small pieces.
const UNASKED: usize = 16 * 1024;

/// A body that leaves.
#[derive(Debug)]
pub(crate) enum Sink {
    /// Over HTTP/1.1; with framing until close also opaque bytes.
    Http1(Http1Sink),
    /// Over HTTP/2.
    Http2(Http2Sink),
}

/// A body in a connection of its own, behind the head in the same buffer.
#[derive(Debug)]
pub(crate) struct Http1Sink {
    pub(crate) output: Output,
    framing: Framing,
}

/// A body in a stream of HTTP/2.
#[derive(Debug)]
pub(crate) struct Http2Sink {
    stream: SendStream<Bytes>,
    ended: bool,
    /// Bytes sent since the window was last asked.
    unasked: usize,
    /// Small pieces that are to leave as one: a single one as it came, more in a copy.
    single: Bytes,
    gathered: Vec<u8>,
}

impl Sink {
    pub(crate) fn http1(output: Output, framing: Framing) -> Self {
        Self::Http1(Http1Sink { output, framing })
    }

    /// `ended`: the head said that no body follows.
    pub(crate) fn http2(stream: SendStream<Bytes>, ended: bool) -> Self {
        Self::Http2(Http2Sink { stream, ended, unasked: 0, single: Bytes::new(), gathered: Vec::new() })
    }

    /// Sends the piece that `source` holds; `last` when nothing comes after it.
    pub(crate) async fn piece(&mut self, source: &Source, last: bool) -> Result<(), Broken> {
        match self {
            Self::Http1(sink) => sink.piece(source.data()).await,
            Self::Http2(sink) => sink.piece(source, last).await,
        }
    }

    /// Sends bytes kept from before.
    pub(crate) async fn bytes(&mut self, bytes: Bytes, last: bool) -> Result<(), Broken> {
        match self {
            Self::Http1(sink) => sink.piece(&bytes).await,
            Self::Http2(sink) => sink.send(bytes.len(), |part| bytes.slice(part), last).await,
        }
    }

    /// Ends the body.
    pub(crate) async fn end(&mut self, trailers: Option<Box<Headers>>) -> Result<(), Broken> {
        match self {
            Self::Http1(sink) => sink.end(trailers).await,
            Self::Http2(sink) => sink.end(trailers).await,
        }
    }

    /// Writes what was gathered; to be called before waiting for more.
    pub(crate) async fn flush(&mut self) -> Result<(), Broken> {
        match self {
            Self::Http2(sink) => sink.flush(false).await,
            Self::Http1(sink) => Ok(sink.output.flush().await?),
        }
    }

    /// Whether the peer took back what it asked for. One of HTTP/1.1 says so on the connection that it sends on.
    pub(crate) fn poll_refused(&mut self, cx: &mut Context<'_>) -> Poll<Broken> {
        match self {
            Self::Http1(_) => Poll::Pending,
            Self::Http2(sink) => sink.stream.poll_reset(cx).map(|reset| Broken::Stream(reset.map_or_else(|error| error, Into::into))),
        }
    }

    pub(crate) fn has_pending(&self) -> bool {
        match self {
            Self::Http1(sink) => sink.output.has_pending(),
            Self::Http2(sink) => sink.waiting() > 0,
        }
    }

    /// Tells the peer that the body will not be whole.
    pub(crate) fn abort(&mut self) {
        match self {
            Self::Http1(sink) if sink.framing == Framing::UntilClose => sink.output.break_off(),
            // The connection is closed by its owner, without the end that its framing demands.
            Self::Http1(sink) => sink.output.discard(),
            Self::Http2(sink) if !sink.ended => sink.stream.send_reset(Reason::INTERNAL_ERROR),
            Self::Http2(_) => {}
        }
    }

    /// Resolves when the peer wants no more of it.
    pub(crate) async fn reset(&mut self) {
        match self {
            Self::Http2(sink) => drop(std::future::poll_fn(|cx| sink.stream.poll_reset(cx)).await),
            Self::Http1(_) => std::future::pending().await,
        }
    }

    pub(crate) fn output(&mut self) -> Option<&mut Output> {
        match self {
            Self::Http1(sink) => Some(&mut sink.output),
            Self::Http2(_) => None,
        }
    }

    /// Begins the next body in the same connection.
    pub(crate) fn restart(&mut self, next: Framing) {
        if let Self::Http1(sink) = self {
            sink.framing = next;
        }
    }
}

impl Http1Sink {
    async fn piece(&mut self, data: &[u8]) -> Result<(), Broken> {
        let chunked = self.framing == Framing::Chunked;
        if chunked {
            write_chunk_header(self.output.pending(), data.len());
        }
        if data.len() <= COPIED {
            self.output.pending().extend_from_slice(data);
        } else {
            self.output.write_through(data).await?;
        }
        if chunked {
            self.output.pending().extend_from_slice(b"\r\n");
        }
        if self.output.is_full() { Ok(self.output.flush().await?) } else { Ok(()) }
    }

    async fn end(&mut self, trailers: Option<Box<Headers>>) -> Result<(), Broken> {
        match self.framing {
            Framing::Chunked => {
                write_last_chunk(self.output.pending(), trailers.iter().flat_map(|trailers| trailers.iter()));
                Ok(self.output.flush().await?)
            }
            Framing::None | Framing::Length(_) => Ok(self.output.flush().await?),
            Framing::UntilClose => Ok(self.output.close().await?),
        }
    }
}

impl Http2Sink {
    /// A peer keeps books on every frame, and closes the connection of one who sends many that hold little: small pieces are gathered.
    async fn piece(&mut self, source: &Source, last: bool) -> Result<(), Broken> {
        let length = source.data().len();
        if length >= LARGE || self.waiting() + length > GATHERED {
            self.flush(false).await?;
        }
        if length >= LARGE || (last && self.waiting() == 0) {
            return self.send(length, |part| source.bytes(part), last).await;
        }
        self.gather(source);
        if last { self.flush(true).await } else { Ok(()) }
    }

    fn gather(&mut self, source: &Source) {
        if self.waiting() == 0 {
            self.single = source.bytes(0..source.data().len());
            return;
        }
        self.gathered.extend_from_slice(&std::mem::take(&mut self.single));
        self.gathered.extend_from_slice(source.data());
    }

    /// Bytes that were gathered.
    fn waiting(&self) -> usize {
        self.single.len() + self.gathered.len()
    }

    /// Sends what was gathered.
    async fn flush(&mut self, last: bool) -> Result<(), Broken> {
        if self.waiting() == 0 {
            return Ok(());
        }
        let single = std::mem::take(&mut self.single);
        let gathered = if single.is_empty() { Bytes::from(std::mem::take(&mut self.gathered)) } else { single };
        self.send(gathered.len(), |part| gathered.slice(part), last).await
    }

    /// Sends `length` bytes, part by part as the peer takes them: none is copied before.
    async fn send(&mut self, length: usize, part: impl Fn(Range<usize>) -> Bytes, last: bool) -> Result<(), Broken> {
        self.ended = last;
        if length <= SMALL && self.unasked + length <= UNASKED {
            self.unasked += length;
            return Ok(self.stream.send_data(part(0..length), last)?);
        }
        self.unasked = 0;
        let mut at = 0;
        while at < length {
            self.stream.reserve_capacity(length - at);
            let room = match self.stream.capacity() {
                0 => match std::future::poll_fn(|cx| self.stream.poll_capacity(cx)).await {
                    Some(room) => room?,
                    None => return Err(Broken::Stream(Reason::CANCEL.into())),
                },
                room => room,
            };
            let end = length.min(at + room);
            if end > at {
                self.stream.send_data(part(at..end), last && end == length)?;
                at = end;
            }
        }
        Ok(())
    }

    async fn end(&mut self, trailers: Option<Box<Headers>>) -> Result<(), Broken> {
        self.flush(trailers.is_none()).await?;
        if std::mem::replace(&mut self.ended, true) {
            return Ok(());
        }
        match trailers {
            None => Ok(self.stream.send_data(Bytes::new(), true)?),
            Some(trailers) => Ok(self.stream.send_trailers(trailers_to_http2(*trailers))?),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::{Request, Response};

    use super::*;

    #[tokio::test]
    async fn small_pieces_for_a_peer_that_does_not_read_are_held_back_too() {
        let (near, far) = tokio::io::duplex(1 << 20);
        // It takes any number of small frames, too.
        let mut builder = h2::client::Builder::new();
        builder.data_frame_budget(1 << 30);
        let (client, server) = tokio::join!(builder.handshake::<_, Bytes>(near), h2::server::handshake(far));
        let ((mut asks, connection), mut server) = (client.unwrap(), server.unwrap());
        tokio::spawn(connection);
        // The answer is never read: its window is never opened again.
        let (_answer, _body) = asks.send_request(Request::get("http://a/").body(()).unwrap(), true).unwrap();
        let (_, mut respond) = server.accept().await.unwrap().unwrap();
        let mut sink = Sink::http2(respond.send_response(Response::new(()), false).unwrap(), false);
        tokio::spawn(async move { server.accept().await });
        let piece = Bytes::from_static(&[7; 100]);
        let mut taken = 0;
        while let Ok(sent) = tokio::time::timeout(Duration::from_millis(200), sink.bytes(piece.clone(), false)).await {
            sent.unwrap();
            taken += piece.len();
            assert!(taken <= 65_535 + 2 * UNASKED, "nothing held it back");
        }
        assert!(taken >= 65_535 - piece.len(), "the window was not used: {taken}");
    }
}
