//! `--join`: with a control plane, without it, and with what was kept of it.

use std::{fs, os::unix::fs::PermissionsExt};

use plait_testkit::{Origin, Peer, until};
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::{
    authority::Authority,
    mesh::Mesh,
    sidecar::Sidecar,
    world::{Ports, world},
};

/// A mesh, a folder for the proxy, and where its world has its ports.
struct Stage {
    folder: TempDir,
    ports: Ports,
    origin: Origin,
    mesh: Mesh,
}

impl Stage {
    async fn new() -> Self {
        let (folder, ports, authority) = (tempfile::tempdir().unwrap(), Ports::new(), Authority::new());
        let origin = Origin::new(&ports.origin).await;
        let world = world(&authority, &ports, origin.address());
        let mesh = Mesh::new(authority, world);
        fs::write(folder.path().join("token"), mesh.token()).unwrap();
        Self { folder, ports, origin, mesh }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn start(&self) -> Sidecar {
        let address = self.mesh.discovery.address.to_string();
        let arguments = ["--join", &address, "--token-file", &self.path("token"), "--state", &self.path("state")];
        Sidecar::start(self.folder.path(), &arguments)
    }

    /// Its certificate is renewed, and the one before is kept, as at half life.
    fn renew(&self) {
        let (path, before) = (self.path("state/identity/identity.pem"), self.path("state/identity/before.pem"));
        fs::copy(&path, before).unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        fs::write(&path, key.serialize_pem() + &self.mesh.sign("shop/web", &key).pem()).unwrap();
    }

    /// A proxy that has had its world, has called the origin, and has kept both.
    async fn joined(&self) {
        let _running = self.mesh.start().await;
        let mut sidecar = self.start();
        sidecar.ready().await;
        assert_eq!(sidecar.get("/explain?from=shop/web-1&method=GET&url=http://origin/").await.status, 200, "it is asked for");
        let kept = || fs::read(self.path("state/resources")).ok().filter(|kept| kept.ends_with(b"shop/origin"));
        until("it is kept", kept).await;
        sidecar.signal("-TERM");
        assert_eq!(sidecar.ends().await.code(), Some(0), "{}", sidecar.said());
    }
}

#[tokio::test]
async fn it_gets_a_certificate_then_a_world_then_opens_its_ports() {
    let stage = Stage::new().await;
    let sidecar = stage.start();
    // Nobody answers yet: nothing may be served.
    let answer = sidecar.readiness("waiting for a certificate from").await;
    assert_eq!(answer.status, 503);
    for port in [&stage.ports.inbound, &stage.ports.outbound] {
        assert!(TcpStream::connect(port.address).await.is_err());
    }
    let config = sidecar.config().await;
    assert_eq!((&config["generation"], &config["source"]), (&0.into(), &serde_json::Value::Null));

    let _running = stage.mesh.start().await;
    sidecar.ready().await;
    let config = sidecar.config().await;
    assert_eq!((&config["generation"], &config["source"]), (&1.into(), &"live".into()));
    let said = sidecar.said();
    assert_eq!(said.matches("waiting for a certificate").count(), 1, "each thing is said once: {said}");
    // The certificate is told of when it is on disk, which may be slower.
    assert!(said.contains("✓ ready: shop/web-1 at generation 1\n"), "{said}");
    for secret in ["state", "state/identity", "state/resources"] {
        let kept = || fs::metadata(stage.path(secret)).ok();
        assert_eq!(until(secret, kept).await.permissions().mode() & 0o077, 0, "{secret}");
    }
}

#[tokio::test]
async fn it_is_restarted_without_control_plane_and_token_and_serves() {
    let stage = Stage::new().await;
    stage.joined().await;
    fs::remove_file(stage.path("token")).unwrap();
    let sidecar = stage.start();
    sidecar.ready().await;
    assert_eq!(sidecar.config().await["source"], "last_known_good");
    let seen = stage.origin.answers(|_| "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_owned());
    let mut caller = Peer::connect(stage.ports.outbound.address).await;
    caller.sends("GET http://origin/ HTTP/1.1\r\nhost: origin\r\n\r\n").await;
    assert_eq!((caller.response().await.status(), seen.count()), (200, 1));

    let _running = stage.mesh.start().await;
    until("it is followed again", || (stage.mesh.hellos.lock().unwrap().len() == 2).then_some(())).await;
    let hello = stage.mesh.hellos.lock().unwrap()[1].clone();
    assert_eq!((hello.generation, hello.held.len(), &hello.destinations[..]), (1, 4, &["shop/origin".to_owned()][..]));
    until("it says so", || sidecar.said().contains("answers").then_some(())).await;
    assert_eq!(sidecar.config().await["source"], "live");
}

#[tokio::test]
async fn what_was_kept_and_is_damaged_is_never_used() {
    let stage = Stage::new().await;
    stage.joined().await;
    let mut kept = fs::read(stage.path("state/resources")).unwrap();
    let middle = kept.len() / 2;
    kept[middle] ^= 1;
    fs::write(stage.path("state/resources"), kept).unwrap();
    let sidecar = stage.start();
    sidecar.readiness("waiting for the control plane").await;
    assert_eq!(sidecar.config().await["generation"], 0);
    assert!(sidecar.said().contains("its seal does not fit"), "{}", sidecar.said());
    assert!(TcpStream::connect(stage.ports.outbound.address).await.is_err());
    let _running = stage.mesh.start().await;
    sidecar.ready().await;
    assert_eq!(stage.mesh.hellos.lock().unwrap()[1].held.len(), 0);
}

#[tokio::test]
async fn what_was_kept_for_another_certificate_is_not_used() {
    let stage = Stage::new().await;
    stage.joined().await;
    fs::remove_dir_all(stage.path("state/identity")).unwrap();
    let before = fs::read(stage.path("state/resources")).unwrap();
    let running = stage.mesh.start().await;
    let sidecar = stage.start();
    sidecar.ready().await;
    assert_eq!(stage.mesh.hellos.lock().unwrap()[1].generation, 0);

    until("it is sealed anew", || (fs::read(stage.path("state/resources")).unwrap() != before).then_some(())).await;
    drop((sidecar, running));
    let sidecar = stage.start();
    sidecar.ready().await;
    assert_eq!(sidecar.config().await["source"], "last_known_good");
}

#[tokio::test]
async fn what_was_not_sealed_anew_when_the_proxy_fell_behind_a_renewal_is_used() {
    let stage = Stage::new().await;
    stage.joined().await;
    stage.renew();
    let sealed = fs::read(stage.path("state/resources")).unwrap();
    let sidecar = stage.start();
    sidecar.ready().await;
    assert_eq!(sidecar.config().await["source"], "last_known_good", "{}", sidecar.said());
    until("it is sealed anew", || (fs::read(stage.path("state/resources")).unwrap() != sealed).then_some(())).await;
}

#[tokio::test]
async fn without_a_token_there_is_nobody_to_be() {
    let stage = Stage::new().await;
    fs::write(stage.path("token"), "plait1.x.y").unwrap();
    let mut sidecar = stage.start();
    assert_eq!(sidecar.ends().await.code(), Some(2));
    assert!(sidecar.said().contains("this is no join token"), "{}", sidecar.said());
    fs::remove_file(stage.path("token")).unwrap();
    let mut sidecar = stage.start();
    assert_eq!(sidecar.ends().await.code(), Some(2));
    assert!(sidecar.said().contains("plait join-token create"), "{}", sidecar.said());
}

#[tokio::test]
async fn a_state_folder_that_others_can_look_into_is_refused() {
    let stage = Stage::new().await;
    fs::create_dir(stage.path("state")).unwrap();
    fs::set_permissions(stage.path("state"), fs::Permissions::from_mode(0o755)).unwrap();
    let mut sidecar = stage.start();
    assert_eq!(sidecar.ends().await.code(), Some(2));
    assert!(sidecar.said().contains("run chmod 700"), "{}", sidecar.said());
}
