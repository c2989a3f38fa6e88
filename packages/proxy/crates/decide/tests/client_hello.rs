//! The server name of a client of TLS: each case whole, byte by byte, and with a tail; any bytes; and what fuzzing found worth keeping.

#![allow(clippy::unwrap_used, clippy::panic)] // clippy's own exemption ends at #[test] functions; helpers beside them are tests too

use std::{fs, path::Path};

use plait_decide::client_hello::{
    ClientHello::{self, Malformed, Nameless, NeedMore},
    client_hello,
};
use proptest::prelude::*;

#[allow(unreachable_pub)] // public for the fuzz target, which is another crate
#[path = "../../../fuzz/src/client_hello.rs"]
mod target;

fn names(name: &str) -> ClientHello {
    ClientHello::Names(name.into())
}

fn list8(content: &[u8]) -> Vec<u8> {
    [&[content.len() as u8], content].concat()
}

fn list16(content: &[u8]) -> Vec<u8> {
    [&(content.len() as u16).to_be_bytes(), content].concat()
}

/// An extension.
fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &list16(content)].concat()
}

/// The extension of a server name.
fn asks(name: &str) -> Vec<u8> {
    extension(0, &list16(&[&[0], &list16(name.as_bytes())[..]].concat()))
}

/// The body of a message with these extensions; `None` = it has no list of them.
fn body(extensions: Option<&[Vec<u8>]>) -> Vec<u8> {
    let mut body = [&[3, 3][..], &[7; 32], &list8(&[5; 32]), &list16(&[0x13, 1, 0x13, 2]), &list8(&[0])].concat();
    body.extend(extensions.map(|all| list16(&all.concat())).unwrap_or_default());
    body
}

fn message(body: &[u8]) -> Vec<u8> {
    [&[1], &(body.len() as u32).to_be_bytes()[1..], body].concat()
}

/// In records of at most `size` bytes.
fn records(message: &[u8], size: usize) -> Vec<u8> {
    message.chunks(size).flat_map(|piece| [&[22, 3, 1][..], &list16(piece)].concat()).collect()
}

fn hello(extensions: &[Vec<u8>]) -> Vec<u8> {
    records(&message(&body(Some(extensions))), 1 << 14)
}

fn cases() -> Vec<(&'static str, Vec<u8>, ClientHello)> {
    let plain = message(&body(Some(&[asks("a.example")])));
    let (mut minor, mut kind, mut suites) = (hello(&[asks("a")]), hello(&[asks("a")]), message(&body(Some(&[asks("a")]))));
    (minor[2], kind[5], suites[4 + 2 + 32 + 33 + 1]) = (5, 2, 3);
    let two = [&list16(&[&[0], &list16(b"a")[..], &[0], &list16(b"b")[..]].concat())[..]].concat();
    vec![
        ("a name", hello(&[asks("a.example")]), names("a.example")),
        ("among others", hello(&[extension(43, &[2, 3, 4]), asks("a.example"), extension(0x0a0a, &[])]), names("a.example")),
        ("in capitals", hello(&[asks("A.Example")]), names("a.example")),
        ("with an underline", hello(&[asks("a_b.c-d")]), names("a_b.c-d")),
        ("in tiny records", records(&plain, 1), names("a.example")),
        ("in two records", records(&plain, 40), names("a.example")),
        ("large", hello(&[extension(35, &[0; 12000]), asks("a.example")]), names("a.example")),
        ("no name", hello(&[extension(43, &[2, 3, 4])]), Nameless),
        ("no extensions", records(&message(&body(None)), 1 << 14), Nameless),
        ("an empty list of extensions", hello(&[]), Nameless),
        ("HTTP", b"GET / HTTP/1.1\r\n\r\n".to_vec(), Malformed),
        ("an alert", vec![21, 3, 3, 0, 2, 1, 0], Malformed),
        ("an empty record", vec![22, 3, 1, 0, 0], Malformed),
        ("SSL 2", vec![22, 2, 0, 0, 1, 1], Malformed),
        ("a version to come", minor, Malformed),
        ("another message", kind, Malformed),
        ("more behind the message", records(&[&plain[..], &[1]].concat(), 1 << 14), Malformed),
        ("another record in between", [&records(&plain, 40)[..45], &[23, 3, 3, 0, 1, 0]].concat(), Malformed),
        ("an odd list of suites", records(&suites, 1 << 14), Malformed),
        ("cut inside", records(&message(&body(Some(&[asks("a")]))[..60]), 1 << 14), Malformed),
        ("a tail in the body", records(&message(&[&body(Some(&[asks("a")]))[..], &[0]].concat()), 1 << 14), Malformed),
        ("an extension too long", hello(&[vec![0, 0, 0, 9, 0]]), Malformed),
        ("two names", hello(&[extension(0, &two)]), Malformed),
        ("a name twice", hello(&[asks("a"), asks("a")]), Malformed),
        ("an empty name", hello(&[asks("")]), Malformed),
        ("no name in the list", hello(&[extension(0, &[0, 0])]), Malformed),
        ("a name of another kind", hello(&[extension(0, &list16(&[1, 0, 1, b'a']))]), Malformed),
        ("a dot at the end", hello(&[asks("a.example.")]), Malformed),
        ("a space", hello(&[asks("a b")]), Malformed),
        ("a zero", hello(&[asks("a\0.example")]), Malformed),
        ("a name beyond ASCII", hello(&[asks("ä")]), Malformed),
        ("a name too long", hello(&[asks(&"a".repeat(254))]), Malformed),
        ("a message too long", hello(&[extension(35, &[0; 16300]), asks("a")]), Malformed),
        ("tiny records without end", records(&message(&body(Some(&[extension(35, &[0; 9000])]))), 1), Malformed),
        ("nothing", vec![], NeedMore),
        ("half of it", hello(&[asks("a.example")])[..50].to_vec(), NeedMore),
    ]
}

#[test]
fn each_case_is_told_however_it_arrives() {
    for (case, bytes, expected) in cases() {
        assert_eq!(client_hello(&bytes), expected, "{case}");
        let mut told = None;
        for end in 0..=bytes.len() {
            let verdict = client_hello(&bytes[..end]);
            match &told {
                None if verdict != NeedMore => told = Some(verdict),
                None => {}
                Some(before) => assert_eq!(&verdict, before, "{case} changed after {end} bytes"),
            }
        }
        assert_eq!(told.unwrap_or(NeedMore), expected, "{case}");
        if expected != NeedMore {
            assert_eq!(client_hello(&[&bytes[..], b"\x17\x03\x03\x00\x05early"].concat()), expected, "{case} with a tail");
        }
    }
}

#[test]
fn a_whole_message_is_waited_for() {
    let whole = hello(&[asks("a.example")]);
    for end in 0..whole.len() {
        assert_eq!(client_hello(&whole[..end]), NeedMore, "{end}");
    }
}

/// `PLAIT_UPDATE=1` writes the cases above into the corpus, as seeds.
#[test]
fn the_corpus_keeps_its_promises() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/client_hello");
    if std::env::var_os("PLAIT_UPDATE").is_some() {
        for (case, bytes, _) in cases() {
            fs::write(folder.join(case.replace(' ', "-")), bytes).unwrap();
        }
    }
    let files = fs::read_dir(&folder).unwrap().map(|file| target::client_hello(&fs::read(file.unwrap().path()).unwrap())).count();
    assert!(files >= 30, "the corpus is missing");
}

proptest! {
    #[test]
    fn any_bytes_keep_the_promises(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        target::client_hello(&bytes);
    }

    #[test]
    fn a_damaged_message_keeps_the_promises(name in "[a-zA-Z.]{0,20}", size in 1_usize..300, at in 0_usize..200, byte in any::<u8>()) {
        let mut bytes = records(&message(&body(Some(&[extension(10, &[1, 2, 3]), asks(&name)]))), size);
        let at = at % bytes.len();
        bytes[at] = byte;
        target::client_hello(&bytes);
    }
}
