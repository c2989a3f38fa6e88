//! The direction of dependencies between our crates, as docs/layers.md writes it down.

use std::{collections::BTreeSet, process::Command};

const ALLOWED: &[(&str, &[&str])] = &[
    ("plait-rules", &[]),
    ("plait-frames", &[]),
    ("plait-wire", &[]),
    ("plait-http1", &[]),
    ("plait-net", &[]),
    ("plait-model", &["plait-rules"]),
    ("plait-decide", &["plait-model", "plait-rules"]),
    ("plait-discovery", &["plait-model", "plait-rules", "plait-wire"]),
    ("plait-identity", &["plait-model", "plait-wire"]),
    ("plait-telemetry", &["plait-model"]),
    ("plait-plugins", &["plait-frames"]),
    (
        "plait-proxy-core",
        &["plait-model", "plait-decide", "plait-http1", "plait-net", "plait-identity", "plait-telemetry", "plait-plugins"],
    ),
    (
        "plait-app",
        &[
            "plait-model",
            "plait-decide",
            "plait-http1",
            "plait-net",
            "plait-identity",
            "plait-telemetry",
            "plait-plugins",
            "plait-discovery",
            "plait-proxy-core",
            "plait-wire",
        ],
    ),
    // For tests alone: nobody but they may depend on it.
    ("plait-testkit", &["plait-model", "plait-discovery", "plait-identity", "plait-telemetry", "plait-proxy-core", "plait-wire"]),
    ("plait-sdk-native", &["plait-frames", "plait-rules"]),
    ("plait-wiregen", &[]),
    // It loads proxies from outside: what it used of ours could hide our faults.
    ("plait-load", &[]),
];

#[test]
fn every_arrow_between_crates_is_written_down() {
    let output = Command::new(env!("CARGO")).args(["metadata", "--format-version=1", "--no-deps", "--offline"]).output().unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    let ours: BTreeSet<_> = packages.iter().map(|package| package["name"].as_str().unwrap()).collect();
    let listed: BTreeSet<_> = ALLOWED.iter().map(|(name, _)| *name).collect();
    assert_eq!(ours, listed, "a crate without a layer, or a layer without a crate");
    for package in packages {
        let name = package["name"].as_str().unwrap();
        let (_, allowed) = ALLOWED.iter().find(|(layer, _)| *layer == name).unwrap();
        for dependency in package["dependencies"].as_array().unwrap() {
            let to = dependency["name"].as_str().unwrap();
            let development = dependency["kind"].as_str() == Some("dev");
            assert!(development || !to.starts_with("plait-") || allowed.contains(&to), "{name} may not depend on {to}: see docs/layers.md");
        }
    }
}
