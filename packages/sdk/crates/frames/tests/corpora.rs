//! Replays what the fuzz targets found worth keeping; see `packages/proxy/fuzz`.

#![allow(clippy::panic)] // only test functions themselves are excused by clippy.toml

use std::path::Path;

#[allow(unreachable_pub)] // public for the fuzz targets, which are another crate
#[path = "../../../../proxy/fuzz/src/frames.rs"]
mod frames;

fn replay(name: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../proxy/fuzz/corpus").join(name);
    let mut seen = 0;
    for entry in std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        check(&std::fs::read(entry.expect("an entry").path()).expect("a file"));
        seen += 1;
    }
    assert!(seen > 2, "{} is next to empty", folder.display());
}

#[test]
fn the_corpora_hold() {
    replay("frames_verdict", frames::frames_verdict);
    replay("frames_call", frames::frames_call);
    replay("frames_ring", frames::frames_ring);
}
