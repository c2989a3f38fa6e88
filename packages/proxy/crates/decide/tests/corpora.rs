//! Replays what the fuzz targets found worth keeping; see `packages/proxy/fuzz`.

#![allow(clippy::panic)] // only test functions themselves are excused by clippy.toml

use std::{fs, path::Path};

use proptest::prelude::*;

#[allow(unreachable_pub)] // public for the fuzz targets, which are another crate
#[path = "../../../fuzz/src/decide.rs"]
mod targets;

/// The files of a corpus.
fn files(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(name);
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    files.map(|file| fs::read(file.expect("a readable folder").path()).expect("a readable file")).collect()
}

#[test]
fn every_corpus_keeps_its_promises() {
    let (first_bytes, rules) = (files("decide_detection"), files("decide_routing"));
    assert!(first_bytes.len() >= 10 && rules.len() >= 10, "a corpus is missing");
    first_bytes.iter().for_each(|bytes| targets::decide_detection(bytes));
    rules.iter().for_each(|bytes| targets::decide_routing(bytes));
    // Most of what was found says something: a change of the text's form would turn all of it into nothing.
    assert!(rules.iter().filter(|bytes| targets::routing(bytes)).count() >= 10);
}

proptest! {
    #[test]
    fn routing_holds_for_any_text(matches in prop::collection::vec("[=~]?/[ab/*.]{0,3}( GET)?( h:a=[12])?( q:b=[12])?", 1..5), request in "(GET|PUT) [/*][ab/]{0,3}(\\?b=[12])?( a=[12]){0,2}") {
        targets::routing(format!("{}\n{request}", matches.join("\n")).as_bytes());
    }
}
