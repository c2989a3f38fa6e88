//! The table of hostile requests, `framing.json`: each is forwarded with the boundaries that every reader sees, or refused with the status that it names.
//! `request` holds bytes as Latin-1; a "␞" in it stands for `repeat`: a text and how often. `means` lists method, target and body of each whole
//! request, `closes` says that nothing is read behind them. `integration/framing` sends the same table through running proxies to real servers.

#![allow(clippy::unwrap_used, clippy::panic)] // clippy's own exemption ends at #[test] functions; helpers beside them are tests too

use plait_http1::{BodyDecoder, Error, Limits, Room, parse_request, parse_response};

struct Case {
    name: String,
    bytes: Vec<u8>,
    /// `None` = forwarded.
    refused: Option<u16>,
    means: Vec<Message>,
    closes: bool,
}

/// Method, target and body of a request.
type Message = (String, String, Vec<u8>);

fn latin1(text: &str) -> Vec<u8> {
    text.chars().map(|c| u8::try_from(c as u32).unwrap()).collect()
}

fn message(row: &serde_json::Value) -> Message {
    let text = |at: usize| row[at].as_str().unwrap().to_owned();
    (text(0), text(1), latin1(&text(2)))
}

fn cases() -> Vec<Case> {
    let table: Vec<serde_json::Value> = serde_json::from_str(include_str!("framing.json")).unwrap();
    table
        .iter()
        .map(|row| {
            let mut text = row["request"].as_str().unwrap().to_owned();
            if let Some(repeat) = row["repeat"].as_array() {
                text = text.replace('␞', &repeat[0].as_str().unwrap().repeat(repeat[1].as_u64().unwrap() as usize));
            }
            Case {
                name: row["name"].as_str().unwrap().to_owned(),
                bytes: latin1(&text),
                refused: row["expect"].as_u64().map(|status| status as u16),
                means: row["means"].as_array().into_iter().flatten().map(message).collect(),
                closes: row["closes"].as_bool().unwrap_or_default(),
            }
        })
        .collect()
}

/// Reads every request in `bytes`, handed over in pieces of `step`; what a proxy would see, up to one that asks to close.
fn read(bytes: &[u8], step: usize) -> Result<Vec<Message>, Error> {
    let (mut seen, mut messages, mut last) = (0, Vec::new(), false);
    let mut start = 0;
    let mut body: Option<BodyDecoder> = None;
    while seen < bytes.len() {
        seen = (seen + step).min(bytes.len());
        loop {
            if let Some(decoder) = &mut body {
                let decoded = decoder.decode(&bytes[start..seen])?;
                let data = &bytes[start..seen][decoded.data.clone()];
                let (_, _, collected): &mut Message = messages.last_mut().expect("a body follows a head");
                collected.extend_from_slice(data);
                start += decoded.consumed;
                if decoder.is_done() {
                    body = None;
                    if last {
                        return Ok(messages);
                    }
                } else if decoded.consumed == 0 || start == seen {
                    break;
                }
                continue;
            }
            if start == seen {
                break;
            }
            match parse_request(&bytes[start..seen], &Limits::default(), &mut Room::default())? {
                None => break,
                Some(request) => {
                    start += request.head_len;
                    last = !request.keep_alive;
                    messages.push((request.method.to_owned(), request.origin_target().to_owned(), Vec::new()));
                    body = Some(BodyDecoder::new(request.framing));
                }
            }
        }
    }
    if body.is_some() || start < bytes.len() { Err(Error::Truncated) } else { Ok(messages) }
}

#[test]
fn the_table_is_long_enough_to_mean_something() {
    assert!(cases().iter().filter(|case| case.refused.is_some()).count() >= 150);
}

#[test]
fn every_case_ends_as_the_table_says_whole_and_byte_by_byte() {
    for case in cases() {
        for step in [case.bytes.len(), 1, 7] {
            let expected = case.refused;
            // A long head byte by byte is quadratic and says nothing new.
            if step < 8 && case.bytes.len() > 4096 {
                continue;
            }
            let outcome = read(&case.bytes, step);
            match expected {
                None => assert_eq!(outcome.as_ref(), Ok(&case.means), "{}, step {step}", case.name),
                Some(status) => {
                    assert_eq!(outcome.as_ref().map_err(|e| e.status()).err(), Some(status), "{}, step {step}: {outcome:?}", case.name)
                }
            }
        }
    }
}

#[test]
fn what_is_forwarded_is_the_same_however_it_arrives() {
    for case in cases().iter().filter(|case| case.refused.is_none()) {
        let whole = read(&case.bytes, case.bytes.len()).unwrap();
        for step in 1..case.bytes.len() {
            assert_eq!(read(&case.bytes, step).unwrap(), whole, "{}, step {step}", case.name);
        }
    }
}

#[test]
fn a_tail_belongs_to_the_next_message() {
    for case in cases().iter().filter(|case| case.refused.is_none()) {
        let mut bytes = case.bytes.clone();
        bytes.extend_from_slice(b"GET /tail HTTP/1.1\r\nHost: tail\r\n\r\n");
        let with_tail = read(&bytes, bytes.len()).unwrap();
        assert_eq!(with_tail.len(), case.means.len() + usize::from(!case.closes), "{}", case.name);
    }
}

proptest::proptest! {
    #[test]
    fn arbitrary_bytes_never_panic_and_split_alike(bytes in proptest::collection::vec(proptest::sample::select(b"GPT /:\r\n0159aA;chunkedHost-\x00".to_vec()), 0..200), step in 1_usize..9) {
        let prefix = [b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".as_slice(), &bytes].concat();
        for input in [bytes.as_slice(), prefix.as_slice()] {
            let (whole, split) = (read(input, input.len().max(1)), read(input, step));
            // The same verdict: messages alike, or refused by both.
            proptest::prop_assert_eq!(whole.is_ok(), split.is_ok());
            if let (Ok(whole), Ok(split)) = (whole, split) {
                proptest::prop_assert_eq!(whole, split);
            }
        }
    }
}

#[test]
fn a_control_character_is_refused_wherever_it_stands_in_a_head() {
    let refused = |bytes: &[u8], response: bool| {
        let mut room = Room::default();
        match response {
            true => parse_response(bytes, "GET", &Limits::default(), &mut room).is_err(),
            false => parse_request(bytes, &Limits::default(), &mut room).is_err(),
        }
    };
    for (head, response) in [("GET /a HTTP/1.1\r\nHost: a\r\nX-A: b c\r\n\r\n", false), ("HTTP/1.1 200 Fine\r\nX-A: b c\r\n\r\n", true)] {
        // White space is lawful around a value and within it.
        for (at, control) in (0..head.len() - 1).flat_map(|at| (0..=b' ').chain([0x7f]).map(move |control| (at, control))) {
            let inserted = [&head.as_bytes()[..at], &[control], &head.as_bytes()[at..], b"\r\n\r\n"].concat();
            if !matches!(control, b'\t' | b' ') {
                assert!(refused(&inserted, response), "{control} at {at} of {head:?}");
            }
        }
        for at in head.match_indices("\r\n").map(|(at, _)| at) {
            let lone = [&head.as_bytes()[..at], &head.as_bytes()[at + 1..], b"\r\n\r\n"].concat();
            assert!(refused(&lone, response), "a line that ends in LF alone at {at} of {head:?}");
        }
    }
}
