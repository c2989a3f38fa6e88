//! What goes back to the caller of one request: interim heads, one head, one body; or the opening of a tunnel.
//! Filled by `exchange`, or by `request` with a reject. Once it has begun nothing else can be answered: then it ends whole, or visibly broken.

mod opening;

use bytes::Bytes;
use h2::{Reason, server::SendResponse};
use http::HeaderValue;
use plait_http1::Framing;
use plait_model::ResponseHead;

pub(crate) use self::opening::Opening;
use crate::{
    heads::{Next, response_to_http2, write_response},
    io::Output,
    reject::{self, REJECT_HEADER, Reject},
    sink::Sink,
    source::Broken,
};

/// The answer to one request.
#[derive(Debug)]
pub(crate) struct Answer {
    way: Way,
    begun: Begun,
    aborted: bool,
}

/// How far an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begun {
    No,
    /// Its head was given.
    Head,
    /// Another protocol, or bytes, follow.
    Opened,
}

#[derive(Debug)]
enum Way {
    Http1 { sink: Sink, form: Form },
    Http2 { respond: SendResponse<Bytes>, sink: Option<Sink>, head_only: bool, reader: Reader },
}

/// Who reads an answer of HTTP/2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reader {
    /// Another proxy, which makes of a reject what its own caller can read.
    Proxy,
    /// An application.
    Application,
    /// An application that speaks gRPC: status 200, and the code in `grpc-status`.
    Grpc,
}

/// What a caller of HTTP/1.1 can read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Form {
    /// 0: no chunks, no interim heads.
    pub(crate) minor_version: u8,
    /// HEAD was asked: no body follows.
    pub(crate) head_only: bool,
    /// The connection ends with the answer.
    pub(crate) close: bool,
    /// What opens a tunnel.
    pub(crate) opening: Opening,
}

impl Answer {
    pub(crate) fn http1(output: Output, opening: Opening) -> Self {
        let form = Form { minor_version: 1, head_only: false, close: false, opening };
        Self { way: Way::Http1 { sink: Sink::http1(output, Framing::None), form }, begun: Begun::No, aborted: false }
    }

    /// `head_only`: HEAD was asked.
    pub(crate) fn http2(respond: SendResponse<Bytes>, head_only: bool, reader: Reader) -> Self {
        Self { way: Way::Http2 { respond, sink: None, head_only, reader }, begun: Begun::No, aborted: false }
    }

    /// The caller turned out to speak gRPC.
    pub(crate) fn speaks_grpc(&mut self) {
        if let Way::Http2 { reader: reader @ Reader::Application, .. } = &mut self.way {
            *reader = Reader::Grpc;
        }
    }

    /// Whether it goes back over HTTP/2.
    pub(crate) fn is_http2(&self) -> bool {
        matches!(self.way, Way::Http2 { .. })
    }

    /// The connection of an answer that has not begun, for a line that writes by itself.
    pub(crate) fn into_output(self) -> Option<Output> {
        match self.way {
            Way::Http1 { sink: Sink::Http1(sink), .. } => Some(sink.output),
            Way::Http1 { .. } | Way::Http2 { .. } => None,
        }
    }

    /// Begins the answer to the next request of the connection.
    pub(crate) fn restart(&mut self, next: Form) {
        self.begun = Begun::No;
        if let Way::Http1 { form, .. } = &mut self.way {
            *form = next;
        }
    }

    /// Whether the caller got, or may have got, a byte of it.
    pub(crate) fn has_begun(&self) -> bool {
        self.begun != Begun::No
    }

    /// Takes an answer back of which not a byte has left, so that another can be given. In HTTP/2 a reset says that it is void.
    pub(crate) fn take_back(&mut self) -> bool {
        let Way::Http1 { sink: Sink::Http1(sink), .. } = &mut self.way else { return false };
        if self.begun != Begun::Head || sink.output.has_left() {
            return false;
        }
        sink.output.discard();
        self.begun = Begun::No;
        true
    }

    /// Whether the connection ends with the answer; always false in HTTP/2, whose streams end by themselves.
    pub(crate) fn closes(&self) -> bool {
        matches!(&self.way, Way::Http1 { form, .. } if form.close)
    }

    /// The connection shall end with the answer.
    pub(crate) fn close(&mut self) {
        if let Way::Http1 { form, .. } = &mut self.way {
            form.close = true;
        }
    }

    /// An interim head (100, 103); left out for a caller that cannot read it.
    pub(crate) async fn interim(&mut self, head: &ResponseHead) -> Result<(), Broken> {
        match &mut self.way {
            Way::Http1 { sink: Sink::Http1(sink), form } if form.minor_version > 0 => {
                write_response(sink.output.pending(), head, Framing::None, None, Next::GoesOn);
                Ok(sink.output.flush().await?)
            }
            Way::Http2 { respond, .. } => match response_to_http2(&mut head.clone(), None) {
                Ok(response) => Ok(respond.send_informational(response)?),
                Err(_) => Ok(()),
            },
            Way::Http1 { .. } => Ok(()),
        }
    }

    /// The head. In HTTP/1.1 it waits for the first piece of the body; `length` is told where there is no body. Fields of HTTP/2 that go on in
    /// HTTP/2 are taken out of it.
    pub(crate) fn head(&mut self, head: &mut ResponseHead, framing: Framing, length: Option<u64>) -> Result<(), Broken> {
        self.begun = Begun::Head;
        match &mut self.way {
            Way::Http1 { sink, form } => {
                let framing = match framing {
                    // The end of a body of unknown length: chunks, or for an old caller the end of the connection.
                    Framing::Chunked | Framing::UntilClose if form.minor_version == 0 => Framing::UntilClose,
                    Framing::Chunked | Framing::UntilClose => Framing::Chunked,
                    Framing::None if length.is_none() && has_length(head.status) && !form.head_only => Framing::Length(0),
                    known => known,
                };
                form.close |= framing == Framing::UntilClose;
                sink.restart(framing);
                let next = match (form.close, form.minor_version) {
                    (true, _) => Next::Closed,
                    (false, 0) => Next::KeptAlive,
                    (false, _) => Next::GoesOn,
                };
                if let Some(output) = sink.output() {
                    output.begin();
                    write_response(output.pending(), head, framing, length, next);
                }
                Ok(())
            }
            Way::Http2 { respond, sink, .. } => {
                let told = match framing {
                    Framing::Length(length) => Some(length),
                    Framing::None | Framing::Chunked | Framing::UntilClose => length,
                };
                let response = response_to_http2(head, told).map_err(|_| Broken::Stream(Reason::INTERNAL_ERROR.into()))?;
                let ended = matches!(framing, Framing::None | Framing::Length(0));
                *sink = Some(Sink::http2(respond.send_response(response, ended)?, ended));
                Ok(())
            }
        }
    }

    /// Where the body goes; only after `head`, `upgraded` or `tunnelled`.
    pub(crate) fn sink(&mut self) -> Option<&mut Sink> {
        match &mut self.way {
            Way::Http1 { sink, .. } => Some(sink),
            Way::Http2 { sink, .. } => sink.as_mut(),
        }
    }

    /// The mesh answers itself: to an application in its words, to another proxy with `plait-reject` beside them.
    pub(crate) async fn reject(&mut self, reject: &Reject, known_caller: bool, form: reject::Form) -> Result<(), Broken> {
        let (mut head, body) = reject.answer(known_caller, form);
        let length = body.len() as u64;
        let only = match &self.way {
            Way::Http1 { form, .. } => form.head_only,
            Way::Http2 { head_only, .. } => *head_only,
        };
        let framing = if only { Framing::None } else { Framing::Length(length) };
        match &mut self.way {
            Way::Http1 { form, .. } if form.opening == Opening::Silent => {
                // A caller that speaks no HTTP gets the end of its connection.
                form.close = true;
                self.begun = Begun::Head;
                return Ok(());
            }
            Way::Http1 { .. } => self.head(&mut head, framing, Some(length))?,
            Way::Http2 { respond, sink, reader: Reader::Grpc, .. } => {
                // One head that is the trailers too, as gRPC has it.
                self.begun = Begun::Head;
                let mut head = reject.grpc_answer(known_caller);
                let response = response_to_http2(&mut head, None).map_err(|_| Broken::Stream(Reason::INTERNAL_ERROR.into()))?;
                *sink = Some(Sink::http2(respond.send_response(response, true)?, true));
                return Ok(());
            }
            Way::Http2 { respond, sink, reader, .. } => {
                self.begun = Begun::Head;
                let mut response = response_to_http2(&mut head, Some(length)).map_err(|_| Broken::Stream(Reason::INTERNAL_ERROR.into()))?;
                if let (Reader::Proxy, Ok(value)) = (reader, HeaderValue::from_str(&reject.to_header())) {
                    response.headers_mut().insert(REJECT_HEADER, value);
                }
                *sink = Some(Sink::http2(respond.send_response(response, only)?, only));
            }
        }
        let Some(sink) = self.sink() else { return Ok(()) };
        if !only {
            sink.bytes(Bytes::from(body), true).await?;
        }
        sink.end(None).await
    }

    /// An answer that is all here.
    pub(crate) async fn whole(&mut self, head: &ResponseHead, body: Bytes) -> Result<(), Broken> {
        let (only, bodiless) = match &self.way {
            Way::Http1 { form, .. } => (form.head_only, !has_length(head.status)),
            Way::Http2 { head_only, .. } => (*head_only, !has_length(head.status)),
        };
        let (length, none) = (body.len() as u64, only || bodiless);
        self.head(&mut head.clone(), if none { Framing::None } else { Framing::Length(length) }, (!bodiless).then_some(length))?;
        let Some(sink) = self.sink() else { return Ok(()) };
        if !none && !body.is_empty() {
            sink.bytes(body, true).await?;
        }
        sink.end(None).await
    }

    /// Whether the caller must see that it is not whole.
    pub(crate) fn is_aborted(&self) -> bool {
        self.aborted
    }

    /// The answer will not be whole, and its caller must see that.
    pub(crate) fn abort(&mut self) {
        self.close();
        self.aborted = true;
        match &mut self.way {
            Way::Http1 { sink, .. } => sink.abort(),
            Way::Http2 { sink: Some(sink), .. } => sink.abort(),
            Way::Http2 { respond, .. } => respond.send_reset(Reason::INTERNAL_ERROR),
        }
    }

    /// Resolves when the caller takes its request back (HTTP/2); over HTTP/1.1 the body's connection says so.
    pub(crate) async fn taken_back(&mut self) {
        match &mut self.way {
            Way::Http2 { sink: Some(sink), .. } => sink.reset().await,
            Way::Http2 { respond, .. } => drop(std::future::poll_fn(|cx| respond.poll_reset(cx)).await),
            Way::Http1 { .. } => std::future::pending().await,
        }
    }
}

/// Whether an answer of that status says how long its body is, even when it has none.
fn has_length(status: u16) -> bool {
    status >= 200 && status != 204 && status != 304
}
