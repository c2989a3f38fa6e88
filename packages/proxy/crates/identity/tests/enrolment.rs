//! Enrolment against a CA on loopback: the first time, renewals, restarts, and what is on disk meanwhile.

#![allow(clippy::unwrap_used, clippy::panic)] // clippy's own exemption ends at #[test] functions; helpers beside them are tests too

mod authority;
mod ca;
mod pair;
mod sidecar;
mod stranger;

use std::{
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
    time::Duration,
};

use authority::{Authority, DOMAIN, HOUR, now};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use ca::{Ca, LIFE, token};
use pair::{id, in_time};
use plait_identity::{Clock, Enrolment, Home, ServiceAccountToken, Token};
use plait_wire::sign_request::Proof;
use sidecar::{Sidecar, WORKLOAD, nowhere, stage};
use tempfile::TempDir;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o777
}

#[tokio::test]
async fn a_join_token_gives_a_leaf_that_connects_and_is_kept() {
    let (ca, address, clock, place) = stage().await;
    let folder = place.path().join("new/state");
    let mut sidecar = Sidecar::start(&clock, &folder, &address, Some(token("web", &[ca.authority()], &address, HOUR)));
    sidecar.says("a new certificate is in force: spiffe://bookshop.example/ns/shop/sa/web").await;

    assert_eq!(*sidecar.leaf().identity(), id("web"));
    assert!(sidecar.connects(&[ca.authority()]).await);
    assert!(matches!(&ca.asked()[..], [request] if request.workload == WORKLOAD && matches!(request.proof, Some(Proof::JoinToken(_)))));
    assert_eq!((mode(&folder), mode(&folder.join("identity.pem")), mode(&folder.join("roots.pem"))), (0o700, 0o600, 0o600));
    let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    files.sort();
    assert_eq!(files, ["identity.pem", "roots.pem"], "nothing half-written stays behind");
}

/// A projected token as it lies in a pod, and the proof that it makes.
fn projected(folder: &Path, secret: &str, roots: &[&Authority], address: &str) -> Token {
    let claims = r#"{"kubernetes.io":{"namespace":"shop","pod":{"name":"web-1"},"serviceaccount":{"name":"web"}}}"#;
    fs::write(folder.join("token"), format!("e30.{}.{secret}", BASE64_URL_SAFE_NO_PAD.encode(claims))).unwrap();
    let roots =
        roots.iter().map(|authority| authority.fingerprint()).map(|hex| plait_identity::JoinToken::fingerprint(&hex).unwrap()).collect();
    let home = Home { trust_domain: DOMAIN.into(), identity_address: address.into(), roots };
    Token::ServiceAccount(ServiceAccountToken::read(&folder.join("token"), home).unwrap())
}

#[tokio::test]
async fn a_service_account_token_is_read_anew_each_time_it_is_shown() {
    let (ca, address, clock, place) = stage().await;
    let (folder, token) = (place.path().join("state"), projected(place.path(), "first", &[ca.authority()], &address));
    let mut sidecar = Sidecar::enrol(&clock, &folder, &address, Some(token));
    sidecar.says("a new certificate is in force: spiffe://bookshop.example/ns/shop/sa/web").await;
    assert!(sidecar.connects(&[ca.authority()]).await);

    projected(place.path(), "second", &[ca.authority()], &address);
    clock.advance(LIFE * 2); // too late for a renewal by leaf
    sidecar.says("a new certificate").await;
    let shown: Vec<_> = ca
        .asked()
        .iter()
        .map(|request| match &request.proof {
            Some(Proof::ServiceAccountToken(text)) => text.rsplit('.').next().unwrap().to_owned(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(shown, ["first", "second"]);

    fs::remove_file(place.path().join("token")).unwrap();
    clock.advance(LIFE * 2);
    sidecar.says("cannot be read").await;
    assert!(!sidecar.connects(&[ca.authority()]).await, "without a proof there is no identity");
}

#[tokio::test]
async fn a_service_account_token_is_shown_only_to_a_ca_of_the_roots_that_are_given() {
    let (ca, address, clock, place) = stage().await;
    let token = projected(place.path(), "secret", &[&Authority::new("another")], &address);
    let mut sidecar = Sidecar::enrol(&clock, &place.path().join("state"), &address, Some(token));
    sidecar.says("is not the control plane").await;
    assert!(ca.asked().is_empty());
}

#[tokio::test]
async fn a_leaf_is_renewed_about_half_of_its_life_by_its_own_key() {
    let (ca, address, clock, place) = stage().await;
    let mut sidecar = Sidecar::start(&clock, place.path(), &address, Some(token("web", &[ca.authority()], &address, HOUR)));
    sidecar.says("a new certificate").await;
    let first = sidecar.leaf();

    clock.advance(LIFE * 44 / 100);
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(ca.asked().len(), 1, "too early");
    clock.advance(LIFE * 12 / 100);
    sidecar.says("a new certificate").await;

    let second = sidecar.leaf();
    assert!(matches!(&ca.asked()[1].proof, Some(Proof::Leaf(proof)) if proof.chain == [first.chain()[0].to_vec()]));
    assert_eq!(second.not_after(), clock.now() + LIFE);
    assert_ne!(first.derive_key("seal"), second.derive_key("seal"), "each leaf has a fresh key");
    assert!(first.is_valid(clock.now()) && second.renew_at() == clock.now() + LIFE / 2);
    // Should we fall now, what the first one sealed can still be opened.
    let enrolment =
        Enrolment { workload: WORKLOAD.into(), token: None, folder: place.path().to_owned(), identity_address: (&*address).into() };
    assert_eq!(enrolment.before(&second).unwrap().derive_key("seal"), first.derive_key("seal"));
    assert_eq!(mode(&place.path().join("before.pem")), 0o600);
}

#[tokio::test]
async fn after_a_restart_the_leaf_on_disk_serves_without_the_ca() {
    let (ca, address, clock, place) = stage().await;
    let mut before = Sidecar::start(&clock, place.path(), &address, Some(token("web", &[ca.authority()], &address, HOUR)));
    before.says("a new certificate").await;
    let key = before.leaf().derive_key("seal");
    drop(before);

    let away = nowhere().await;
    clock.advance(2 * HOUR); // the token is no proof any more, and not needed
    let token = token("web", &[ca.authority()], &away, HOUR);
    let mut sidecar = Sidecar::start(&clock, place.path(), &away, Some(token));
    sidecar.says("the certificate on disk is in force: spiffe://bookshop.example/ns/shop/sa/web").await;
    assert!(sidecar.connects(&[ca.authority()]).await);
    assert_eq!(sidecar.leaf().derive_key("seal"), key);
    assert_ne!(sidecar.leaf().derive_key("another label"), key);

    clock.advance(LIFE / 2);
    sidecar.says("cannot be reached").await;
    assert!(sidecar.connects(&[ca.authority()]).await, "the old leaf serves until its end");
    clock.advance(LIFE);
    sidecar.says("there is no valid certificate to renew and no valid join token").await;
    assert!(!sidecar.connects(&[ca.authority()]).await, "and not a moment longer");
}

#[tokio::test]
async fn while_the_ca_is_away_attempts_grow_rare_and_go_on() {
    let clock = Clock::manual(now());
    let (ca, address, place) = (Ca::new(Authority::new("root"), &clock), nowhere().await, TempDir::new().unwrap());
    let mut sidecar = Sidecar::start(&clock, place.path(), &address, Some(token("web", &[ca.authority()], &address, HOUR)));
    let mut pauses = Vec::new();
    for _ in 0..12 {
        let pause = sidecar.says("cannot be reached").await;
        pauses.push(pause);
        clock.advance(pause);
    }
    let (first, last) = (pauses[0], pauses[11]);
    assert!((125..=250).contains(&first.as_millis()), "{pauses:?}");
    assert!((7500..=15000).contains(&last.as_millis()), "a workload without a leaf waits at most 15 s: {pauses:?}");

    ca.serve(&address).await;
    let mut said = in_time(sidecar.events.recv()).await.unwrap();
    while said.1 > Duration::ZERO {
        clock.advance(said.1);
        said = in_time(sidecar.events.recv()).await.unwrap();
    }
    assert!(said.0.contains("a new certificate"), "{}", said.0);
}

#[tokio::test]
async fn roots_that_come_with_the_mesh_are_kept_for_the_next_start() {
    let (ca, address, clock, place) = stage().await;
    let mut before = Sidecar::start(&clock, place.path(), &address, Some(token("web", &[ca.authority()], &address, HOUR)));
    before.says("a new certificate").await;

    let next = Authority::new("next root");
    before.identities.set_trust(DOMAIN, &[ca.authority().root.clone(), next.root.clone()]);
    in_time(async {
        while fs::read_to_string(place.path().join("roots.pem")).unwrap().matches("BEGIN").count() != 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    drop(before);

    let mut sidecar = Sidecar::start(&clock, place.path(), &nowhere().await, None);
    sidecar.says("the certificate on disk is in force").await;
    assert!(sidecar.connects(&[&next, ca.authority()]).await, "the next root vouches for the catalog");
}

#[tokio::test]
async fn what_is_on_disk_is_used_only_whole_and_ours_alone() {
    let (ca, address, clock, place) = stage().await;
    let identity = place.path().join("identity.pem");
    let long = || Some(token("web", &[ca.authority()], &address, HOUR));
    Sidecar::start(&clock, place.path(), &address, long()).says("a new certificate").await;
    let good = fs::read_to_string(&identity).unwrap();
    let certificate = good.find("-----BEGIN CERTIFICATE").unwrap();

    for (what, text, mode, why) in [
        ("readable by the group", good.clone(), 0o640, "can be read by others"),
        ("readable by all", good.clone(), 0o604, "can be read by others"),
        ("empty", String::new(), 0o600, "no private key"),
        ("noise", "noise".into(), 0o600, "no private key"),
        ("without a key", good[certificate..].into(), 0o600, "no private key"),
        ("without a certificate", good[..certificate].into(), 0o600, "the chain is empty"),
        ("cut short", good[..good.len() - 40].into(), 0o600, "no certificate"),
    ] {
        fs::write(&identity, text).unwrap();
        fs::set_permissions(&identity, Permissions::from_mode(mode)).unwrap();
        let mut sidecar = Sidecar::start(&clock, place.path(), &address, long());
        sidecar.says(why).await;
        sidecar.says("a new certificate").await;
        assert_ne!(fs::read_to_string(&identity).unwrap(), good, "{what}");
    }
}

#[tokio::test]
async fn a_leaf_that_cannot_be_kept_serves_all_the_same() {
    let (ca, address, clock, place) = stage().await;
    let folder = place.path().join("a file where the folder should be");
    fs::write(&folder, "").unwrap();
    let mut sidecar = Sidecar::start(&clock, &folder, &address, Some(token("web", &[ca.authority()], &address, HOUR)));
    sidecar.says("the certificate on disk is not used").await;
    sidecar.says("a restart will not find it").await;
    sidecar.says("a new certificate").await;
    assert!(sidecar.connects(&[ca.authority()]).await);
}

#[tokio::test]
async fn a_leaf_on_disk_that_has_expired_gives_way_to_the_token() {
    let (ca, address, clock, place) = stage().await;
    Sidecar::start(&clock, place.path(), &address, Some(token("web", &[ca.authority()], &address, HOUR))).says("a new certificate").await;
    clock.advance(2 * LIFE);
    let mut sidecar = Sidecar::start(&clock, place.path(), &address, Some(token("web", &[ca.authority()], &address, 3 * LIFE)));
    sidecar.says("a new certificate").await;
    assert!(matches!(ca.asked()[1].proof, Some(Proof::JoinToken(_))));
    assert!(sidecar.leaf().is_valid(clock.now()));
}

#[tokio::test]
async fn a_leaf_of_who_we_were_does_not_speak_for_who_we_are() {
    let (ca, address, clock, place) = stage().await;
    let enrolled = || token("web", &[ca.authority()], &address, HOUR);
    Sidecar::start(&clock, place.path(), &address, Some(enrolled())).says("a new certificate").await;
    let (away, again) = (nowhere().await, Authority::new("root"));
    for (what, token) in [
        ("another account", token("shop", &[ca.authority()], &away, HOUR)),
        ("a mesh that was set up anew", token("web", &[&again], &away, HOUR)),
    ] {
        let mut sidecar = Sidecar::start(&clock, place.path(), &away, Some(token));
        sidecar.says("cannot be reached").await;
        assert!(sidecar.identities.leaf(WORKLOAD).is_none(), "{what}");
    }
    let rotating = token("web", &[&again, ca.authority()], &away, HOUR);
    Sidecar::start(&clock, place.path(), &away, Some(rotating)).says("the certificate on disk is in force").await;
}

#[tokio::test]
async fn a_leaf_on_disk_that_has_expired_is_not_used_without_a_token_either() {
    let (ca, address, clock, place) = stage().await;
    Sidecar::start(&clock, place.path(), &address, Some(token("web", &[ca.authority()], &address, HOUR))).says("a new certificate").await;
    clock.advance(2 * LIFE);
    let mut sidecar = Sidecar::start(&clock, place.path(), &address, None);
    sidecar.says("there is no valid certificate to renew").await;
    assert!(!sidecar.connects(&[ca.authority()]).await);
}
