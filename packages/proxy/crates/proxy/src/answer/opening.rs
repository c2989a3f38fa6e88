//! How an answer opens what is no body: another protocol, or a tunnel of bytes. Part of `answer`, which all the rest belongs to.

use h2::Reason;
use http::HeaderValue;
use plait_http1::Framing;
use plait_model::ResponseHead;

use super::{Answer, Begun, Reader, Way};
use crate::{
    heads::{Next, UPGRADED_HEADER, response_to_http2, write_response},
    sink::Sink,
    source::Broken,
    websocket,
};

/// What the caller is told when its tunnel is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opening {
    /// It asked with CONNECT.
    Connect,
    /// It knows of no tunnel, but reads a reject as HTTP.
    Bytes,
    /// It knows of no tunnel, and of no HTTP: it gets bytes, or the end of its connection.
    Silent,
}

impl Answer {
    /// Both sides change to `protocol`, which is opaque bytes: 101, in HTTP/2 a 200 that says so.
    pub(crate) fn upgraded(&mut self, head: &ResponseHead, protocol: &str) -> Result<(), Broken> {
        self.begun = Begun::Opened;
        match &mut self.way {
            Way::Http1 { sink, form } => {
                form.close = true;
                sink.restart(Framing::UntilClose);
                if let Some(output) = sink.output() {
                    let head = ResponseHead { status: 101, ..head.clone() };
                    write_response(output.pending(), &head, Framing::None, None, Next::Upgraded(protocol));
                }
                Ok(())
            }
            Way::Http2 { respond, sink, reader, .. } => {
                let broken = |_| Broken::Stream(Reason::INTERNAL_ERROR.into());
                let mut head = ResponseHead { status: 200, ..head.clone() };
                if *reader != Reader::Proxy {
                    websocket::agree(&mut head.headers);
                }
                let mut response = response_to_http2(&mut head, None).map_err(broken)?;
                if *reader == Reader::Proxy {
                    response.headers_mut().insert(UPGRADED_HEADER, HeaderValue::from_static("yes"));
                }
                *sink = Some(Sink::http2(respond.send_response(response, false)?, false));
                Ok(())
            }
        }
    }

    /// The destination accepted the tunnel.
    pub(crate) fn tunnelled(&mut self) -> Result<(), Broken> {
        self.begun = Begun::Opened;
        match &mut self.way {
            Way::Http1 { sink, form } => {
                form.close = true;
                sink.restart(Framing::UntilClose);
                if let (Opening::Connect, Some(output)) = (form.opening, sink.output()) {
                    output.pending().extend_from_slice(b"HTTP/1.1 200 Connection Established\r\n\r\n");
                }
                Ok(())
            }
            Way::Http2 { .. } => self.head(&mut ResponseHead { status: 200, ..Default::default() }, Framing::UntilClose, None),
        }
    }

    /// The tunnel opens without a word: its client did not ask for one.
    pub(crate) fn tunnel_silently(&mut self) {
        if let Way::Http1 { form, .. } = &mut self.way {
            form.opening = Opening::Bytes;
        }
    }
}
