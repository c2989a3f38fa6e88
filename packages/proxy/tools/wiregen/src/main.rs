//! Generates the Rust half of the contract: `packages/sdk/proto` in, `packages/proxy/crates/wire/src/gen` out.
//! Called by `nox -s proto`; needs no protoc. Must not be a build script: generated code is checked in, and read in reviews.

use std::{env, error::Error, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    // Asked when it runs: clones share what was built, and where it was built is not where it is wanted.
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../../../..");
    let proto = root.join("packages/sdk/proto");
    let out = root.join("packages/proxy/crates/wire/src/gen");
    let mut files: Vec<_> = std::fs::read_dir(proto.join("plait/v1"))?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "proto"))
        .collect();
    files.sort(); // the order of a directory is no order
    let descriptors = protox::compile(&files, [&proto])?;
    std::fs::create_dir_all(&out)?;
    tonic_prost_build::configure().out_dir(&out).bytes(".plait.v1.Resource.body").emit_rerun_if_changed(false).compile_fds(descriptors)?;
    Ok(())
}
