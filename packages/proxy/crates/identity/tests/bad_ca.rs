//! A CA that fails us: garbage, somebody else's certificate, impostors, refusals, silence. The old leaf stays in force throughout.

#![allow(clippy::unwrap_used, clippy::panic)] // clippy's own exemption ends at #[test] functions; helpers beside them are tests too

mod authority;
mod ca;
mod pair;
mod sidecar;
mod stranger;

use std::{fs, sync::Arc, time::Duration};

use authority::{Authority, DOMAIN, HOUR, Profile, dns, now, spiffe, uri};
use ca::{Ca, LIFE, Trick, token};
use pair::CATALOG;
use plait_identity::Clock;
use plait_wire::{SignResponse, sign_request::Proof};
use rcgen::{CertificateSigningRequestParams, ExtendedKeyUsagePurpose};
use sidecar::{Sidecar, WORKLOAD, stage};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tonic::Code;

/// What it is, how it is made of a good answer, and what is said of it.
type Garbage = (&'static str, ca::Change, &'static str);

/// What the CA can send that must not be taken.
fn garbage() -> Vec<Garbage> {
    fn change(change: impl FnOnce(&mut SignResponse, &Ca) + Send + 'static) -> ca::Change {
        Box::new(change)
    }
    vec![
        ("nothing", change(|answer, _| *answer = SignResponse::default()), "0 certificates"),
        ("no chain", change(|answer, _| answer.chain.clear()), "0 certificates"),
        ("no roots", change(|answer, _| answer.trust_bundle.clear()), "0 roots"),
        ("a long chain", change(|answer, _| answer.chain = vec![answer.chain[0].clone(); 9]), "9 certificates"),
        ("many roots", change(|answer, _| answer.trust_bundle = vec![answer.trust_bundle[0].clone(); 65]), "65 roots"),
        ("noise", change(|answer, _| answer.chain[0] = b"noise".to_vec()), "cannot be read"),
        ("a certificate cut short", change(|answer, _| answer.chain[0].truncate(100)), "cannot be read"),
        ("a root of noise", change(|answer, _| answer.trust_bundle.push(b"noise".to_vec())), "a root that cannot be read"),
        ("a root instead of a leaf", change(|answer, ca| answer.chain[0] = ca.authority().root.clone()), "authority"),
        (
            "another's key",
            change(|answer, ca| answer.chain[0] = ca.authority().sign(&Profile::of("web"), &rcgen::KeyPair::generate().unwrap())),
            "key",
        ),
        (
            "another's name in the text",
            change(|answer, _| answer.identity = spiffe("ledger")),
            "answered for spiffe://bookshop.example/ns/shop/sa/ledger",
        ),
        ("no name in the text", change(|answer, _| answer.identity.clear()), "answered for"),
        ("roots that did not sign", change(|answer, _| answer.trust_bundle = vec![Authority::new("other root").root]), "do not vouch"),
    ]
}

#[tokio::test]
async fn an_answer_that_is_not_exactly_right_is_refused_and_the_old_leaf_stays() {
    let (ca, address, clock, place) = stage().await;
    let mut sidecar = Sidecar::start(&clock, place.path(), &address, Some(token("web", &[ca.authority()], &address, HOUR)));
    sidecar.says("a new certificate").await;
    let (leaf, kept) = (sidecar.leaf(), fs::read(place.path().join("identity.pem")).unwrap());
    let changes = sidecar.identities.changes();

    clock.advance(LIFE * 56 / 100);
    for (what, change, why) in garbage() {
        ca.trick(Trick::Change(change));
        sidecar.fails(why).await;
        assert!(Arc::ptr_eq(&leaf, &sidecar.leaf()) && !changes.has_changed().unwrap(), "{what}");
        assert_eq!(fs::read(place.path().join("identity.pem")).unwrap(), kept, "{what}");
    }
    sidecar.says("a new certificate").await;
    assert!(!Arc::ptr_eq(&leaf, &sidecar.leaf()));
}

#[tokio::test]
async fn a_leaf_for_somebody_else_is_refused_with_a_token_too() {
    let (ca, address, clock, place) = stage().await;
    let cases = [
        ((|| Profile::of("ledger")) as fn() -> Profile, "answered for spiffe://bookshop.example/ns/shop/sa/ledger"),
        (|| Profile::named(vec![uri("spiffe://elsewhere.example/ns/shop/sa/web")]), "answered for spiffe://elsewhere.example"),
        (|| Profile::named(vec![uri(&spiffe("web")), uri(&spiffe("ledger"))]), "2 URIs"),
        (|| Profile::named(vec![dns(CATALOG)]), "0 URIs"),
        (|| Profile { not_after: now() - HOUR, not_before: now() - 2 * HOUR, ..Profile::of("web") }, "do not vouch"),
        (|| Profile { not_before: now() + HOUR, ..Profile::of("web") }, "do not vouch"),
        (|| Profile { purposes: vec![ExtendedKeyUsagePurpose::ClientAuth], ..Profile::of("web") }, "do not vouch"),
    ];
    for (profile, _) in cases {
        ca.trick(Trick::Change(Box::new(move |answer, ca| {
            let asked = ca.asked();
            let csr = CertificateSigningRequestParams::from_der(&asked[asked.len() - 1].csr.as_slice().into()).unwrap();
            answer.chain = vec![ca.authority().sign(&profile(), &csr.public_key)];
        })));
    }
    let mut sidecar = Sidecar::start(&clock, place.path(), &address, Some(token("web", &[ca.authority()], &address, HOUR)));
    for (_, why) in cases {
        sidecar.fails(why).await;
        assert!(sidecar.identities.leaf(WORKLOAD).is_none(), "{why}");
        assert!(!place.path().join("identity.pem").exists(), "{why}");
    }
    sidecar.says("a new certificate").await;
}

#[tokio::test]
async fn a_token_is_shown_to_the_control_plane_alone() {
    let clock = Clock::manual(now());
    let (ours, other) = (Authority::new("root"), Authority::new("root"));
    let control_plane = || vec![uri(&format!("spiffe://{DOMAIN}/ns/plait-system/sa/plait-controlplane"))];
    let elsewhere = || vec![uri("spiffe://elsewhere.example/ns/plait-system/sa/plait-controlplane")];
    for (what, authority, names, why) in [
        ("a root that the token does not name", &other, control_plane(), "signed by no root that is trusted here"),
        ("a workload", &ours, vec![uri(&spiffe("web"))], "it is spiffe://bookshop.example/ns/shop/sa/web, not"),
        ("the control plane of another mesh", &ours, elsewhere(), "of another trust domain"),
        ("a host", &ours, vec![dns("localhost")], "0 URIs"),
    ] {
        let (ca, place) = (Ca::new(Authority::new("unused"), &clock), TempDir::new().unwrap());
        let address = ca.serve_as("127.0.0.1:0", names, authority).await;
        let mut sidecar = Sidecar::start(&clock, place.path(), &address, Some(token("web", &[&ours], &address, HOUR)));
        sidecar.says("is not the control plane").await;
        clock.advance(Duration::from_secs(1));
        sidecar.says(why).await;
        assert!(ca.asked().is_empty(), "{what} was shown the token");
    }
}

#[tokio::test]
async fn a_renewal_that_is_refused_is_followed_by_the_token_while_that_is_valid() {
    let (ca, address, clock, place) = stage().await;
    let mut sidecar = Sidecar::start(&clock, place.path(), &address, Some(token("web", &[ca.authority()], &address, LIFE)));
    sidecar.says("a new certificate").await;

    ca.trick(Trick::Refuse(Code::PermissionDenied));
    clock.advance(LIFE * 56 / 100);
    sidecar.says("a new certificate").await;
    let proofs: Vec<_> = ca.asked().iter().map(|request| matches!(request.proof, Some(Proof::JoinToken(_)))).collect();
    assert_eq!(proofs, [true, false, true]);

    ca.trick(Trick::Refuse(Code::Unauthenticated));
    clock.advance(LIFE * 56 / 100);
    sidecar.fails("the CA refuses: as told").await;
    sidecar.says("a new certificate").await;
    let proofs: Vec<_> = ca.asked()[3..].iter().map(|request| matches!(request.proof, Some(Proof::JoinToken(_)))).collect();
    assert_eq!(proofs, [false, false], "the token has expired");
}

#[tokio::test]
async fn a_ca_that_cannot_answer_is_asked_again_in_the_same_way() {
    let (ca, address, clock, place) = stage().await;
    let mut sidecar = Sidecar::start(&clock, place.path(), &address, Some(token("web", &[ca.authority()], &address, 2 * LIFE)));
    sidecar.says("a new certificate").await;
    clock.advance(LIFE * 56 / 100);
    for code in [Code::Unavailable, Code::Internal, Code::Unknown, Code::DeadlineExceeded] {
        ca.trick(Trick::Refuse(code));
        sidecar.fails("the CA cannot answer").await;
    }
    sidecar.says("a new certificate").await;
    assert!(ca.asked()[1..].iter().all(|request| matches!(request.proof, Some(Proof::Leaf(_)))));
}

#[tokio::test]
async fn a_ca_with_a_new_root_is_known_by_a_token_that_names_it() {
    let (ca, address, clock, place) = stage().await;
    let mut sidecar = Sidecar::start(&clock, place.path(), &address, Some(token("web", &[ca.authority()], &address, HOUR)));
    sidecar.says("a new certificate").await;
    drop(sidecar);

    let rotated = Ca::new(Authority::new("new root"), &clock);
    let address = rotated.serve("127.0.0.1:0").await;
    clock.advance(LIFE * 56 / 100);
    let mut sidecar = Sidecar::start(&clock, place.path(), &address, None);
    sidecar.says("the certificate on disk is in force").await;
    sidecar.says("is not the control plane").await;
    drop(sidecar);

    let mut sidecar =
        Sidecar::start(&clock, place.path(), &address, Some(token("web", &[ca.authority(), rotated.authority()], &address, LIFE)));
    sidecar.says("the certificate on disk is in force").await;
    sidecar.says("a new certificate").await;
    assert!(sidecar.connects(&[rotated.authority()]).await);
}

#[tokio::test]
async fn a_ca_that_signs_for_a_moment_is_not_asked_in_a_loop() {
    let (ca, address, clock, place) = stage().await;
    ca.trick(Trick::Change(Box::new(|answer, ca| {
        let csr = CertificateSigningRequestParams::from_der(&ca.asked()[0].csr.as_slice().into()).unwrap();
        let moment = Profile { not_after: now() + Duration::from_secs(1), ..Profile::of("web") };
        answer.chain = vec![ca.authority().sign(&moment, &csr.public_key)];
    })));
    let mut sidecar = Sidecar::start(&clock, place.path(), &address, Some(token("web", &[ca.authority()], &address, HOUR)));
    sidecar.says("a new certificate").await;
    clock.advance(Duration::from_millis(900));
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(ca.asked().len(), 1);
    clock.advance(Duration::from_millis(100));
    sidecar.says("a new certificate").await;
}

#[tokio::test]
async fn a_ca_that_is_silent_is_given_up_in_time() {
    let clock = Clock::manual(now());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, root) = (listener.local_addr().unwrap().to_string(), Authority::new("root"));
    let place = TempDir::new().unwrap();
    tokio::time::pause(); // nothing else is waited for: the deadline is reached at once
    let mut sidecar = Sidecar::start(&clock, place.path(), &address, Some(token("web", &[&root], &address, HOUR)));
    sidecar.says("the CA did not answer within 10 s").await;
}
