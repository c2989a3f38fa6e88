//! Heads that are small on the wire and large in memory, and heads without an end.

use crate::{
    attacker::{Attacker, CONTINUATION, Door, END_HEADERS, END_STREAM, End, HEADERS, Target, field, frame},
    scene::{Attack, PROMPTLY, alone, attack, stage},
};

/// Larger than any head may be: 64 KB, decoded.
const ENDLESS: usize = 4 << 20;

/// A head that goes on and on.
async fn goes_on(mut attacker: Attacker, piece: Vec<u8>) -> End {
    let start = frame(HEADERS, END_STREAM, 1, &attacker.head("GET", &[]));
    let count = ENDLESS / piece.len().max(1);
    let continuation = frame(CONTINUATION, 0, 1, &piece);
    attacker.floods(std::iter::once(start).chain(std::iter::repeat_n(continuation, count)), PROMPTLY).await
}

#[tokio::test]
async fn a_head_without_an_end_ends_the_connection() {
    let floods: [(&str, Attack); 3] = [
        ("CONTINUATION, empty", |attacker| Box::pin(goes_on(attacker, Vec::new()))),
        ("CONTINUATION, small", |attacker| Box::pin(goes_on(attacker, field(0, "a", "b")))),
        ("CONTINUATION, large", |attacker| Box::pin(goes_on(attacker, field(0, "a", &"b".repeat(16_000))))),
    ];
    for door in Door::ALL {
        for (name, flood) in floods {
            for end in attack(name, door, 3, flood).await {
                assert_ne!(end, End::Open, "{name} {door:?}");
            }
        }
    }
}

/// A field that is put into the compression table once and then repeated by one byte, `count` times.
fn bomb(name: &str, value: &str, count: usize) -> Vec<u8> {
    // The first entry of the dynamic table.
    [field(0x40, name, value), vec![0x80 | 62; count]].concat()
}

/// The status that a head is answered with, as text that a static table holds or a literal.
async fn status(attacker: &mut Attacker, stream: u32, fields: &[u8]) -> Option<u16> {
    let head = [attacker.head("GET", &[]), fields.to_vec()].concat();
    let pieces: Vec<_> = head.chunks(16_000).collect();
    let mut bytes = Vec::new();
    for (number, piece) in pieces.iter().enumerate() {
        let end = if number + 1 == pieces.len() { END_HEADERS } else { 0 };
        let kind = if number == 0 { HEADERS } else { CONTINUATION };
        bytes.extend(frame(kind, end | if number == 0 { END_STREAM } else { 0 }, stream, piece));
    }
    attacker.send(&bytes).await.ok()?;
    loop {
        let answer = attacker.frame_of(HEADERS).await?;
        if answer.stream == stream {
            return Some(read_status(&answer.payload));
        }
    }
}

/// `:status` is the first field of a head: indexed, or a literal whose name is.
fn read_status(block: &[u8]) -> u16 {
    match block {
        [0x88, ..] => 200,
        [0x8c, ..] => 400,
        [0x48 | 0x08 | 0x18, 3, rest @ ..] => std::str::from_utf8(&rest[..3]).unwrap().parse().unwrap(),
        // Huffman codes of digits: five bits each for 0, 1 and 2, six for the others.
        [0x48 | 0x08 | 0x18, length, rest @ ..] if length & 0x80 != 0 => digits(&rest[..usize::from(length & 0x7f)]),
        _ => panic!("no status: {block:?}"),
    }
}

fn digits(bytes: &[u8]) -> u16 {
    let bits: String = bytes.iter().map(|byte| format!("{byte:08b}")).collect();
    let (mut at, mut number) = (0, 0);
    for _ in 0..3 {
        let short = u16::from_str_radix(&bits[at..at + 5], 2).unwrap();
        let digit = if short < 3 { short } else { u16::from_str_radix(&bits[at..at + 6], 2).unwrap() - 0b01_1001 + 3 };
        at += if short < 3 { 5 } else { 6 };
        number = number * 10 + digit;
    }
    number
}

#[tokio::test]
async fn a_head_is_limited_by_what_it_decodes_to() {
    let _alone = alone().await;
    for door in Door::ALL {
        let stage = stage().await;
        let target = Target::of(&stage, door);
        for (name, fields, expected) in [
            ("a plain one", Vec::new(), 200),
            ("cookies in crumbs", (0..90).flat_map(|n| field(0, "cookie", &format!("c{n}=1"))).collect(), 200),
            ("a small bomb", bomb("x", &"y".repeat(4000), 25), 431),
            ("a small bomb of cookies", bomb("cookie", &"y".repeat(4000), 25), 431),
            ("cookies beyond the limit", field(0, "cookie", &"y".repeat(1000)).repeat(70), 431),
            ("cookies without content", field(0, "cookie", "").repeat(5000), 431),
            ("more fields than are allowed", (0..200).flat_map(|n| field(0, &format!("x-{n}"), "")).collect(), 431),
        ] {
            let mut attacker = Attacker::connect(&target, &[]).await;
            assert_eq!(status(&mut attacker, 1, &fields).await, Some(expected), "{name} {door:?}");
            assert_eq!(status(&mut attacker, 3, b"").await, Some(200), "{name} {door:?}: the connection goes on");
        }
        for (name, fields) in
            [("a bomb", bomb("x", &"y".repeat(4000), 250)), ("a bomb of cookies", bomb("cookie", &"y".repeat(4000), 15_000))]
        {
            let mut attacker = Attacker::connect(&target, &[]).await;
            assert_eq!(status(&mut attacker, 1, &fields).await, None, "{name} {door:?}: far beyond the limit is no mistake");
        }
    }
}

/// Bombs on one stream after the other.
async fn bombs(mut attacker: Attacker) -> End {
    let pieces: Vec<_> = (0..200_u32)
        .map(|number| {
            let head = [attacker.head("GET", &[]), bomb("x", &"y".repeat(4000), 12_000)].concat();
            frame(HEADERS, END_HEADERS | END_STREAM, 2 * number + 1, &head)
        })
        .collect();
    attacker.floods(pieces, PROMPTLY).await
}

#[tokio::test]
async fn bombs_cost_no_more_than_they_weigh() {
    for door in Door::ALL {
        attack("bombs", door, 2, |attacker| Box::pin(bombs(attacker))).await;
    }
}
