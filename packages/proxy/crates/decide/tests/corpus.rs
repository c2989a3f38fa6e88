//! What fuzzing must never find again: each file of `corpus/` through the claim that holds for all bytes.

#![allow(clippy::unwrap_used, clippy::panic)] // clippy's own exemption ends at #[test] functions; helpers beside them are tests too

mod reading;
mod text;

use std::{fs, path::Path};

use plait_decide::{
    detect::{Detected, protocol},
    route,
};
use plait_model::RouteTable;
use proptest::prelude::*;

/// Once a protocol is told, more bytes never change it.
fn detection(bytes: &[u8]) {
    let whole = protocol(bytes);
    for end in 0..bytes.len() {
        let early = protocol(&bytes[..end]);
        assert!(early == Detected::NeedMore || early == whole, "{early:?} after {end} bytes, {whole:?} in the end: {bytes:?}");
    }
}

/// The index finds what reading every rule finds. One match a line, each a route; the last line is the request. False = no such text.
fn routing(bytes: &[u8]) -> bool {
    let Some((matches, request)) = std::str::from_utf8(bytes).ok().and_then(|text| text.trim_end_matches('\n').rsplit_once('\n')) else {
        return false;
    };
    let Some(head) = text::head(request) else { return false };
    let rules: Option<Vec<_>> = matches
        .lines()
        .enumerate()
        .map(|(n, line)| text::matched(line).map(|found| (0, text::rule(&format!("r{n:04}"), 0, vec![found]))))
        .collect();
    let Some(rules) = rules else { return false };
    let table = RouteTable::new(rules.clone());
    let found = route::find(&table, &head).map(|choice| choice.rule.object.name.clone());
    assert_eq!(found, reading::by_reading_all(&rules, &head), "{matches} / {request}");
    true
}

fn files(folder: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(folder);
    let files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect();
    assert!(!files.is_empty());
    files
}

#[test]
fn detection_holds_for_the_corpus() {
    files("detect").iter().for_each(|bytes| detection(bytes));
}

#[test]
fn routing_holds_for_the_corpus() {
    files("route").iter().for_each(|bytes| assert!(routing(bytes), "not read: {}", String::from_utf8_lossy(bytes)));
}

proptest! {
    #[test]
    fn routing_holds_for_any_text(matches in prop::collection::vec("[=~]?/[ab/*.]{0,3}( GET)?( h:a=[12])?( q:b=[12])?", 1..5), request in "(GET|PUT) [/*][ab/]{0,3}(\\?b=[12])?( a=[12]){0,2}") {
        routing(format!("{}\n{request}", matches.join("\n")).as_bytes());
    }
}
