//! `--resources`: what it answers, how it stops, what it refuses.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use plait_testkit::{Origin, Peer, until};
use prost::Message;
use tempfile::TempDir;
use tokio::net::TcpListener;

use crate::{
    authority::Authority,
    sidecar::Sidecar,
    world::{Ports, WORKLOAD, world},
};

/// A folder with resources and an identity, a world to go with them, and an origin.
struct Stage {
    folder: TempDir,
    ports: Ports,
    origin: Origin,
}

impl Stage {
    async fn new() -> Self {
        let (folder, ports) = (tempfile::tempdir().unwrap(), Ports::new());
        let origin = Origin::new(&ports.origin).await;
        let authority = Authority::new();
        fs::write(folder.path().join("resources"), world(&authority, &ports, origin.address()).encode_to_vec()).unwrap();
        identity(&authority, "shop/web", &folder.path().join("web"));
        identity(&authority, "shop/other", &folder.path().join("other"));
        Self { folder, ports, origin }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn start(&self) -> Sidecar {
        Sidecar::start(self.folder.path(), &["--resources", &self.path("resources"), "--identity-dir", &self.path("")])
    }
}

fn identity(authority: &Authority, account: &str, folder: &Path) {
    let key = rcgen::KeyPair::generate().unwrap();
    fs::create_dir(folder).unwrap();
    fs::write(folder.join("leaf.pem"), authority.sign(account, &key).pem()).unwrap();
    fs::write(folder.join("leaf.key"), key.serialize_pem()).unwrap();
    fs::set_permissions(folder.join("leaf.key"), fs::Permissions::from_mode(0o600)).unwrap();
}

#[tokio::test]
async fn it_serves_and_answers_what_people_ask() {
    let stage = Stage::new().await;
    let sidecar = stage.start();
    sidecar.ready().await;
    assert_eq!(fs::metadata(stage.path("admin.sock")).unwrap().permissions().mode() & 0o777, 0o600);

    let config = sidecar.config().await;
    assert_eq!((&config["generation"], &config["source"]), (&1.into(), &"static".into()));
    assert_eq!(config["workloads"][0]["name"], WORKLOAD);
    let certificate = &config["workloads"][0]["certificate"];
    assert_eq!(certificate["issuer"], "CN=root");
    assert!(certificate["renew_at_unix"].as_u64().unwrap() < certificate["not_after_unix"].as_u64().unwrap());
    assert_eq!(config["destinations"], serde_json::json!(["shop/origin"]));

    let explain = sidecar.get("/explain?from=shop/web-1&method=GET&url=http://origin/a&header=x-a:%20b").await;
    let decision: serde_json::Value = serde_json::from_str(&explain.body).unwrap();
    assert_eq!((&decision["destination"]["service"], &decision["answer"]), (&"shop/origin".into(), &serde_json::Value::Null));
    let seen = stage.origin.answers(|_| "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_owned());
    let mut caller = Peer::connect(stage.ports.outbound.address).await;
    caller.sends("GET http://origin/a HTTP/1.1\r\nhost: origin\r\n\r\n").await;
    assert_eq!((caller.response().await.status(), seen.count()), (200, 1));
    let metrics = sidecar.says("/metrics", "plait_requests_total{").await;
    assert!(metrics.head.contains("text/plain; version=0.0.4"), "{metrics:?}");
    assert_eq!(sidecar.get("/connections").await.body, "[]");
}

#[tokio::test]
async fn who_looks_on_sees_each_request_as_it_ends_and_makes_room_when_gone() {
    let stage = Stage::new().await;
    let sidecar = stage.start();
    sidecar.ready().await;
    stage.origin.answers(|_| "HTTP/1.1 204 No Content\r\n\r\n".to_owned());
    let mut views = Vec::new();
    for _ in 0..8 {
        let mut view = sidecar.looks_at("/tap").await;
        view.line("HTTP/1.1 200").await;
        views.push(view);
    }
    assert_eq!(sidecar.get("/tap").await.status, 429);
    let mut caller = Peer::connect(stage.ports.outbound.address).await;
    caller.sends("GET http://origin/seen?secret HTTP/1.1\r\nhost: origin\r\n\r\n").await;
    caller.response().await;
    for view in &mut views {
        let line: serde_json::Value = serde_json::from_str(&view.line("{").await).unwrap();
        let told = (&line["direction"], &line["destination"], &line["path"], &line["status"]);
        assert_eq!(told, (&"outbound".into(), &"shop/origin".into(), &"/seen".into(), &204.into()));
    }
    drop(views);
    loop {
        let answer = sidecar.looks_at("/tap").await.line("HTTP/1.1").await;
        if answer.starts_with("HTTP/1.1 200") {
            return;
        }
        assert!(answer.starts_with("HTTP/1.1 429"), "{answer}");
    }
}

#[tokio::test]
async fn the_admin_socket_answers_nothing_else() {
    let stage = Stage::new().await;
    let sidecar = stage.start();
    for (method, path, status) in [
        ("GET", "/", 404),
        ("GET", "/shutdown", 404),
        ("POST", "/ready", 405),
        ("PUT", "/config", 405),
        ("DELETE", "/metrics", 405),
        ("POST", "/explain?from=shop/web-1&method=GET&url=http://origin/", 405),
        ("GET", "/explain", 400),
        ("GET", "/explain?from=shop/web-1&method=GET&url=origin", 400),
        ("GET", "/explain?from=shop/web-1&method=GET&url=http://origin/&header=x", 400),
        ("GET", "/explain?from=shop/nobody&method=GET&url=http://origin/", 404),
    ] {
        assert_eq!(sidecar.ask(method, path).await.status, status, "{method} {path}");
    }
}

#[tokio::test]
async fn a_port_that_is_taken_keeps_it_from_being_ready_until_it_is_free() {
    let stage = Stage::new().await;
    let thief = TcpListener::bind(stage.ports.inbound.address).await.unwrap();
    let sidecar = stage.start();
    let answer = sidecar.readiness(&format!("cannot listen on {}", stage.ports.inbound.address)).await;
    assert_eq!(answer.status, 503);
    until("it tells people", || sidecar.said().contains("cannot listen").then_some(())).await;
    drop(thief);
    sidecar.ready().await;
}

#[tokio::test]
async fn it_ends_when_what_is_in_flight_has_ended() {
    let stage = Stage::new().await;
    let mut sidecar = stage.start();
    sidecar.ready().await;
    let mut caller = Peer::connect(stage.ports.outbound.address).await;
    caller.sends("GET http://origin/a HTTP/1.1\r\nhost: origin\r\n\r\n").await;
    let mut origin = stage.origin.accept().await;
    origin.request().await;
    sidecar.signal("-TERM");
    sidecar.readiness("stopping").await;
    origin.sends("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    assert_eq!(caller.response().await.status(), 200);
    assert_eq!(sidecar.ends().await.code(), Some(0));
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let stage = Stage::new().await;
    let mut sidecar = stage.start();
    sidecar.ready().await;
    let mut caller = Peer::connect(stage.ports.outbound.address).await;
    caller.sends("GET http://origin/a HTTP/1.1\r\nhost: origin\r\n\r\n").await;
    let mut origin = stage.origin.accept().await;
    origin.request().await;
    sidecar.signal("-TERM");
    sidecar.readiness("stopping").await;
    sidecar.signal("-INT");
    assert_eq!(sidecar.ends().await.code(), Some(3));
    assert!(sidecar.said().contains("ending with connections open"), "{}", sidecar.said());
}

#[tokio::test]
async fn what_cannot_run_says_why() {
    let stage = Stage::new().await;
    let (resources, all, other) = (stage.path("resources"), stage.path(""), stage.path("other"));
    let running = stage.start();
    running.ready().await;
    fs::write(stage.path("garbage"), b"\xff\xff").unwrap();
    fs::write(stage.path("empty"), b"").unwrap();
    let config = stage.path("config.toml");
    fs::write(&config, "resources = 'r'\ntokenfile = 't'").unwrap();
    for (arguments, words) in [
        (vec!["--resources", &resources, "--identity-dir", &all], "another process answers there"),
        (vec!["--resources", &resources, "--identity-dir", &other], "no certificate for shop/web-1: the one in"),
        (vec!["--resources", &resources, "--identity-dir", "/nowhere"], "no certificate for shop/web-1: /nowhere/leaf.pem cannot be read"),
        (vec!["--resources", "/nowhere", "--identity-dir", &all], "/nowhere cannot be read"),
        (vec!["--resources", &stage.path("garbage"), "--identity-dir", &all], "not a serialised plait.v1.ChangeSet"),
        (vec!["--resources", &stage.path("empty"), "--identity-dir", &all], "there is nothing to serve"),
        (vec!["--resources", &resources], "--identity-dir: is needed with resources"),
        (vec!["--workers", "2"], "--join: is missing"),
    ] {
        let said = refused(&[&arguments[..], &["--admin", &stage.path("admin.sock")]].concat()).await;
        assert!(said.contains(words), "{arguments:?}: {said}");
    }
    let said = refused(&["--config", &config]).await;
    assert!(said.contains("config.toml") && said.contains("unknown field `tokenfile`"), "{said}");
    running.ready().await;
}

/// What a command says that ends with 2, as wrong usage does.
async fn refused(arguments: &[&str]) -> String {
    let command = std::process::Command::new(env!("CARGO_BIN_EXE_plait-proxy")).arg("run").args(arguments).output().unwrap();
    assert_eq!(command.status.code(), Some(2), "{arguments:?}");
    String::from_utf8(command.stderr).unwrap()
}

#[tokio::test]
async fn a_socket_left_by_a_process_that_is_gone_is_replaced() {
    let stage = Stage::new().await;
    let mut first = stage.start();
    first.ready().await;
    first.signal("-KILL");
    first.ends().await;
    assert!(Path::new(&stage.path("admin.sock")).exists());
    let second = stage.start();
    until("the new one says so", || second.said().contains("ready: shop/web-1 at generation 1").then_some(())).await;
    second.ready().await;
}
