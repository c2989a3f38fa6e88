//! Replays what the fuzz target found worth keeping; see `packages/proxy/fuzz`.

#![allow(clippy::panic)] // only test functions themselves are excused by clippy.toml

use std::{fs, path::Path};

#[allow(unreachable_pub)] // public for the fuzz targets, which are another crate
#[path = "../../../fuzz/src/discovery.rs"]
mod targets;

#[test]
fn the_corpus_keeps_its_promises() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/discovery_apply");
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let replayed =
        files.map(|file| targets::discovery_apply(&fs::read(file.expect("a readable folder").path()).expect("a readable file"))).count();
    assert!(replayed >= 10, "the corpus is missing");
}

#[test]
fn what_a_control_plane_sends_keeps_its_promises_whole_and_cut_anywhere() {
    for (kind, body) in targets::bodies().into_iter().enumerate() {
        for end in 0..=body.len() {
            targets::discovery_apply(&[&[kind as u8], &body[..end]].concat());
        }
    }
}
