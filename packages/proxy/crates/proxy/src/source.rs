//! A body as it arrives, whatever carries it: HTTP/1.1, HTTP/2, or opaque bytes. Read piece by piece; a piece is borrowed until it is consumed,
//! and only then is room made for the next, so that a slow reader holds back the writer. Moved by `pump`; looks at no byte.

use std::{
    io,
    ops::Range,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use h2::RecvStream;
use plait_http1::{BodyDecoder, Decoded, Framing};
use plait_model::Headers;

use crate::{heads::trailers_from_http2, io::Input};

/// Why a body could not be moved to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
    #[error("the body is no valid HTTP: {0}")]
    Framing(#[from] plait_http1::Error),
    #[error("the stream broke: {0}")]
    Stream(#[from] h2::Error),
}

/// What a look at a body found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// A piece is there.
    Data,
    /// The body has ended.
    End,
}

/// A body that arrives.
#[derive(Debug)]
pub(crate) enum Source {
    /// Over HTTP/1.1; with framing until close also opaque bytes.
    Http1(Http1Source),
    /// Over HTTP/2.
    Http2(Http2Source),
}

/// A body in a connection of its own.
#[derive(Debug)]
pub(crate) struct Http1Source {
    pub(crate) input: Input,
    decoder: BodyDecoder,
    piece: Decoded,
}

/// A body in a stream of HTTP/2.
#[derive(Debug)]
pub(crate) struct Http2Source {
    stream: RecvStream,
    piece: Bytes,
    trailers: Option<Box<Headers>>,
    ended: bool,
}

impl Source {
    pub(crate) fn http1(input: Input, framing: Framing) -> Self {
        Self::Http1(Http1Source { input, decoder: BodyDecoder::new(framing), piece: NOTHING })
    }

    pub(crate) fn http2(stream: RecvStream) -> Self {
        let ended = stream.is_end_stream();
        Self::Http2(Http2Source { stream, piece: Bytes::new(), trailers: None, ended })
    }

    /// Makes sure that a piece is there, or says that the body has ended.
    pub(crate) fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<Result<Step, Broken>> {
        match self {
            Self::Http1(body) => body.poll_step(cx),
            Self::Http2(body) => body.poll_step(cx),
        }
    }

    /// The piece.
    pub(crate) fn data(&self) -> &[u8] {
        match self {
            Self::Http1(body) => &body.input.buffer.data()[body.piece.data.clone()],
            Self::Http2(body) => &body.piece,
        }
    }

    /// A part of the piece, for HTTP/2; copied only when it came another way.
    pub(crate) fn bytes(&self, part: Range<usize>) -> Bytes {
        match self {
            Self::Http2(body) => body.piece.slice(part),
            Self::Http1(_) => Bytes::copy_from_slice(&self.data()[part]),
        }
    }

    /// Done with the piece.
    pub(crate) fn consume(&mut self) {
        match self {
            Self::Http1(body) => {
                body.input.buffer.consume(body.piece.consumed);
                body.piece = NOTHING;
            }
            Self::Http2(body) => {
                // It fails only for a stream that is reset, whose window nobody needs.
                let _ = body.stream.flow_control().release_capacity(body.piece.len());
                body.piece = Bytes::new();
            }
        }
    }

    /// Whether nothing comes after the piece at hand.
    pub(crate) fn is_last(&self) -> bool {
        match self {
            Self::Http1(body) => body.decoder.is_done(),
            Self::Http2(body) => body.ended || body.stream.is_end_stream(),
        }
    }

    /// The trailer fields of a body that has ended, where it has any. Boxed: most have none, and every body would carry room for them.
    pub(crate) fn trailers(&mut self) -> Result<Option<Box<Headers>>, Broken> {
        match self {
            Self::Http1(body) => {
                let fields = body.decoder.trailers()?;
                if fields.is_empty() {
                    return Ok(None);
                }
                let mut headers = Box::<Headers>::default();
                for (name, value) in fields {
                    headers.append(&name, &value);
                }
                Ok(Some(headers))
            }
            Self::Http2(body) => Ok(body.trailers.take().filter(|trailers| !trailers.is_empty())),
        }
    }

    /// The connection, for a line that reads by itself.
    pub(crate) fn into_input(self) -> Option<Input> {
        match self {
            Self::Http1(body) => Some(body.input),
            Self::Http2(_) => None,
        }
    }

    /// Begins the next body in the same connection.
    pub(crate) fn restart(&mut self, framing: Framing) {
        if let Self::Http1(body) = self {
            body.decoder = BodyDecoder::new(framing);
            body.piece = NOTHING;
        }
    }

    /// Whether all of the body was moved.
    pub(crate) fn is_over(&self) -> bool {
        match self {
            Self::Http1(body) => body.piece.data.is_empty() && body.decoder.is_done(),
            Self::Http2(_) => self.is_last(),
        }
    }

    /// The connection that it arrives in, where that is its own.
    pub(crate) fn input(&mut self) -> Option<&mut Input> {
        match self {
            Self::Http1(body) => Some(&mut body.input),
            Self::Http2(_) => None,
        }
    }
}

const NOTHING: Decoded = Decoded { consumed: 0, data: 0..0 };

impl Http1Source {
    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<Result<Step, Broken>> {
        loop {
            if !self.piece.data.is_empty() {
                return Poll::Ready(Ok(Step::Data));
            }
            if self.decoder.is_done() {
                return Poll::Ready(Ok(Step::End));
            }
            if self.input.buffer.is_empty() && ready!(self.input.poll_fill(cx, 0))? == 0 {
                self.decoder.end_of_input()?;
                continue;
            }
            let decoded = self.decoder.decode(self.input.buffer.data())?;
            if decoded.data.is_empty() {
                self.input.buffer.consume(decoded.consumed);
            } else {
                self.piece = decoded;
            }
        }
    }
}

impl Http2Source {
    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<Result<Step, Broken>> {
        loop {
            if !self.piece.is_empty() {
                return Poll::Ready(Ok(Step::Data));
            }
            if self.ended {
                return Poll::Ready(Ok(Step::End));
            }
            match ready!(self.stream.poll_data(cx)) {
                Some(piece) => self.piece = piece?,
                None => {
                    self.trailers = ready!(self.stream.poll_trailers(cx))?.map(|fields| Box::new(trailers_from_http2(fields)));
                    self.ended = true;
                }
            }
        }
    }
}
