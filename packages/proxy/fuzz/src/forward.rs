//! What a proxy would send on for the bytes of one client connection, and the messages it took them for.
//! Called by the target for requests: what is sent on must be read again as it was meant. What real servers read of a real proxy is
//! compared in `integration/framing`.

use plait_http1::{
    BodyDecoder, Error, Framing, Limits, Request, Room, parse_request, write_chunk_header, write_field, write_framing, write_head_end,
    write_last_chunk, write_request_line,
};

/// One request as the codec read it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Message {
    /// The method.
    pub(crate) method: String,
    /// The target as it goes on.
    pub(crate) target: String,
    /// The body without its framing.
    pub(crate) body: Vec<u8>,
}

/// Reads every request of a connection that has ended and appends to `out` what goes on, until one asks to close or to tunnel.
pub(crate) fn forward(input: &[u8], out: &mut Vec<u8>) -> Result<Vec<Message>, Error> {
    let mut messages = Vec::new();
    let mut at = 0;
    while at < input.len() {
        let mut room = Room::default();
        let request = parse_request(&input[at..], &Limits::default(), &mut room)?.ok_or(Error::Truncated)?;
        at += request.head_len;
        write_head(out, &request);
        let (consumed, body) = forward_body(request.framing, &input[at..], out)?;
        at += consumed;
        messages.push(Message { method: request.method.to_owned(), target: request.origin_target().to_owned(), body });
        if !request.keep_alive || request.method == "CONNECT" {
            break;
        }
    }
    Ok(messages)
}

fn write_head(out: &mut Vec<u8>, request: &Request<'_, '_>) {
    // HTTP/1.0 need not name a host; a proxy would know it from where the connection was going.
    write_request_line(out, request.method, &[request.origin_target()], request.host.unwrap_or("localhost"));
    for field in request.fields.end_to_end() {
        write_field(out, field.name, field.value);
    }
    write_framing(out, request.framing);
    write_head_end(out);
}

/// Bytes of `input` that belong to the body, and its data.
fn forward_body(framing: Framing, input: &[u8], out: &mut Vec<u8>) -> Result<(usize, Vec<u8>), Error> {
    let mut decoder = BodyDecoder::new(framing);
    let (mut at, mut body) = (0, Vec::new());
    while !decoder.is_done() {
        let decoded = decoder.decode(&input[at..])?;
        let data = &input[at..][decoded.data];
        if framing == Framing::Chunked && !data.is_empty() {
            write_chunk_header(out, data.len());
            out.extend_from_slice(data);
            out.extend_from_slice(b"\r\n");
        } else {
            out.extend_from_slice(data);
        }
        body.extend_from_slice(data);
        at += decoded.consumed;
        if decoded.consumed == 0 && !decoder.is_done() {
            return Err(Error::Truncated);
        }
    }
    if framing == Framing::Chunked {
        let trailers = decoder.trailers()?;
        write_last_chunk(out, trailers.iter().map(|(name, value)| (name.as_str(), value.as_slice())));
    }
    Ok((at, body))
}
