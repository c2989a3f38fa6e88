//! The promises of the HTTP/1.1 codec: the verdict does not depend on how bytes arrive, and what is sent on is read again as it was meant.

use plait_http1::{BodyDecoder, Error, Framing, Limits, Room, parse_request, parse_response};

#[path = "forward.rs"]
mod forward;

/// Longer inputs find nothing new and make the quadratic check of prefixes slow.
const LONGEST: usize = 2048;

/// Any bytes as requests: prefixes agree with the whole, and what is sent on is a fixed point: the same messages, the same bytes.
pub fn http1_requests(input: &[u8]) {
    if input.len() > LONGEST {
        return;
    }
    prefixes_agree(input, |bytes| Ok(parse_request(bytes, &Limits::default(), &mut Room::default())?.map(|request| request.head_len)));
    let mut once = Vec::new();
    if let Ok(messages) = forward::forward(input, &mut once) {
        let mut twice = Vec::new();
        assert_eq!(forward::forward(&once, &mut twice).as_ref(), Ok(&messages));
        assert_eq!(once, twice);
    }
}

/// Any bytes as a response, to a method that the first byte picks.
pub fn http1_response(input: &[u8]) {
    let Some((pick, bytes)) = input.split_first().filter(|_| input.len() <= LONGEST) else { return };
    let method = ["GET", "HEAD", "CONNECT"][usize::from(*pick) % 3];
    prefixes_agree(bytes, |bytes| {
        Ok(parse_response(bytes, method, &Limits::default(), &mut Room::default())?.map(|response| response.head_len))
    });
    if let Ok(Some(response)) = parse_response(bytes, method, &Limits::default(), &mut Room::default()) {
        let endless = response.framing == Framing::UntilClose;
        assert!(!(endless && response.keep_alive), "a body that only closing ends, on a connection to be used again");
    }
}

/// Any bytes as a body, whose framing the first byte picks and whose arrival in pieces the second.
pub fn http1_body(input: &[u8]) {
    let [pick, step, bytes @ ..] = input else { return };
    let framing = [Framing::Chunked, Framing::Length(u64::from(*pick)), Framing::UntilClose, Framing::None][usize::from(*pick) % 4];
    let whole = decode(framing, bytes, bytes.len().max(1));
    let pieces = decode(framing, bytes, usize::from(*step).max(1));
    match (whole, pieces) {
        (Ok(whole), Ok(pieces)) => assert_eq!(whole, pieces),
        (whole, pieces) => assert_eq!(whole.is_err(), pieces.is_err()),
    }
}

/// A head is refused or complete at one prefix, and no longer one says otherwise.
fn prefixes_agree(input: &[u8], parse: impl Fn(&[u8]) -> Result<Option<usize>, Error>) {
    let whole = parse(input);
    for end in 0..input.len() {
        match parse(&input[..end]) {
            Ok(None) => {}
            Ok(Some(length)) => {
                assert!(length <= end);
                return assert_eq!(whole, Ok(Some(length)));
            }
            Err(_) => return assert!(whole.is_err(), "refused at {end} bytes, accepted whole"),
        }
    }
}

/// What a decoder made of a body: its data, the bytes it took, its trailers, and whether it ended when its peer closed.
type Body = (Vec<u8>, usize, Vec<(String, Vec<u8>)>, bool);

fn decode(framing: Framing, input: &[u8], step: usize) -> Result<Body, Error> {
    let mut decoder = BodyDecoder::new(framing);
    let (mut at, mut data) = (0, Vec::new());
    while at < input.len() && !decoder.is_done() {
        let piece = &input[at..(at + step).min(input.len())];
        let decoded = decoder.decode(piece)?;
        assert!(decoded.consumed > 0, "a decoder that is not done must go on");
        assert!(decoded.data.end <= decoded.consumed);
        data.extend_from_slice(&piece[decoded.data]);
        at += decoded.consumed;
    }
    let trailers = decoder.trailers()?;
    Ok((data, at, trailers, decoder.end_of_input().is_ok()))
}
