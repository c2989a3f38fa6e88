//! Replays what the fuzz targets found worth keeping; see `packages/proxy/fuzz`.

#![allow(clippy::panic)] // only test functions themselves are excused by clippy.toml

use std::{fs, path::Path};

#[allow(unreachable_pub)] // public for the fuzz targets, which are another crate
#[path = "../../../fuzz/src/http1.rs"]
mod targets;

type Target = fn(&[u8]);

/// Gives each file of the corpus to its target; returns how many there were.
fn replay(name: &str, target: Target) -> usize {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(name);
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    files.map(|file| target(&fs::read(file.expect("a readable folder").path()).expect("a readable file"))).count()
}

#[test]
fn every_corpus_keeps_its_promises() {
    let targets: [(&str, Target); 3] =
        [("http1_requests", targets::http1_requests), ("http1_response", targets::http1_response), ("http1_body", targets::http1_body)];
    for (name, target) in targets {
        assert!(replay(name, target) >= 10, "the corpus of {name} is missing");
    }
}
