//! The command as a user runs it.

#![allow(clippy::unwrap_used, clippy::panic)] // clippy's own exemption ends at #[test] functions; helpers beside them are tests too

use std::process::{Command, Output};

use plait_wire as wire;
use prost::Message;

fn resource(kind: wire::ResourceKind, name: &str, body: &impl Message) -> wire::Resource {
    wire::Resource { kind: kind.into(), name: name.into(), version: vec![], body: body.encode_to_vec().into() }
}

fn world() -> Vec<u8> {
    let mesh = wire::Mesh {
        trust_domain: "example".into(),
        mtls_mode: wire::MtlsMode::Strict.into(),
        default_policy: wire::DefaultPolicy::AllowAuthenticated.into(),
        egress: wire::Egress::Deny.into(),
        ..wire::Mesh::default()
    };
    let workload = wire::Workload {
        namespace: "shop".into(),
        name: "web-1".into(),
        service_account: "web".into(),
        address: "127.0.0.1".into(),
        inbound: "127.0.0.1:1".into(),
        ..wire::Workload::default()
    };
    let port = wire::ServicePort { name: "http".into(), port: 80, protocol: wire::Protocol::Http.into() };
    let service = wire::Service { namespace: "shop".into(), name: "reviews".into(), ports: vec![port], ..wire::Service::default() };
    let upserts = vec![
        resource(wire::ResourceKind::Mesh, "default", &mesh),
        resource(wire::ResourceKind::Workload, "shop/web-1", &workload),
        resource(wire::ResourceKind::Service, "shop/reviews", &service),
    ];
    wire::ChangeSet { generation: 3, upserts, known: vec!["shop/reviews".into()], ..wire::ChangeSet::default() }.encode_to_vec()
}

fn decide(arguments: &[&str]) -> Output {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), world()).unwrap();
    let command = Command::new(env!("CARGO_BIN_EXE_plait-proxy")).args(["decide", "--resources"]).arg(file.path()).args(arguments).output();
    command.unwrap()
}

#[test]
fn a_decision_is_json() {
    let output = decide(&["--from", "shop/web-1", "GET", "http://reviews/a/../b"]);
    let decision: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(decision["generation"], 3);
    assert_eq!(decision["destination"]["service"], "shop/reviews");
    assert_eq!(decision["route"]["implicit"], true);
    assert_eq!(decision["answer"]["reason"], "no_ready_endpoint");
}

#[test]
fn a_destination_outside_the_mesh_is_refused_as_the_mesh_says() {
    for url in ["http://www.example.com/", "http://never-dialled/"] {
        let output = decide(&["--from", "shop/web-1", "GET", url]);
        let decision: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&decision["egress"], &decision["answer"]["status"]), (&"deny".into(), &403.into()), "{url}");
    }
}

#[test]
fn what_cannot_be_answered_says_why() {
    for (arguments, code, words) in [
        (vec!["--from", "shop/nobody", "GET", "http://reviews/"], 1, "does not serve the workload shop/nobody"),
        (vec!["--from", "shop/web-1", "GET", "reviews"], 2, "write http://host[:port]/path"),
        (vec!["--from", "shop/web-1", "GET", "http://reviews/../x"], 2, "climbs above the root"),
        (vec!["--from", "shop/web-1", "G T", "http://reviews/"], 2, "is no method"),
        (vec!["--from", "shop/web-1", "GET", "http://reviews/", "-H", "x"], 2, "write 'name: value'"),
    ] {
        let output = decide(&arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(words), "{arguments:?}: {said}");
    }
}
