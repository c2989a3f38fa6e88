//! Two proxies of ours over real TCP: what connects, when leaves and roots change, and what our side does when it has nothing to show.

#![allow(clippy::unwrap_used, clippy::panic)] // clippy's own exemption ends at #[test] functions; helpers beside them are tests too

mod authority;
mod pair;

use std::time::Duration;

use authority::{Authority, DOMAIN, HOUR, Profile, dns, now, spiffe, uri};
use pair::{CATALOG, id, in_time, proxy, proxy_with, shake, talk, tcp, trust};
use plait_identity::{Clock, Identities, PeerError, TlsError, Unusable};
use plait_model::Reason;
use rustls::{HandshakeKind, NamedGroup, ProtocolVersion};
use tokio::io::AsyncReadExt;

#[tokio::test]
async fn a_right_pair_is_connected_and_safe_from_quantum_computers() {
    let authority = Authority::new("root");
    let (web, catalog) = (proxy("web", &[&authority]), proxy("catalog", &[&authority]));

    let (connected, accepted) = shake(&web, &catalog).await;
    let (mut connected, mut accepted) = (connected.unwrap(), accepted.unwrap());

    assert_eq!((&*accepted.peer, &*accepted.workload), (&id("web"), "shop/catalog"));
    assert_eq!(accepted.not_after, now() + HOUR);
    let ours = &connected.get_ref().1;
    assert_eq!(ours.negotiated_key_exchange_group().unwrap().name(), NamedGroup::X25519MLKEM768);
    assert_eq!((ours.protocol_version(), ours.alpn_protocol()), (Some(ProtocolVersion::TLSv1_3), Some(&b"plait/1"[..])));
    talk(&mut connected, &mut accepted.stream).await;
}

#[tokio::test]
async fn a_leaf_with_a_dns_name_beside_its_identity_is_taken() {
    let authority = Authority::new("root");
    let (web, catalog) = (proxy("web", &[&authority]), proxy("catalog", &[&authority]));
    for (identities, account) in [(&web, "web"), (&catalog, "catalog")] {
        let names = vec![uri(&spiffe(account)), dns("anything.example")];
        identities.set_leaf(format!("shop/{account}").into(), authority.leaf(&Profile::named(names)));
    }
    let (connected, accepted) = shake(&web, &catalog).await;
    assert_eq!((*accepted.unwrap().peer).clone(), id("web"));
    connected.unwrap();
}

#[tokio::test]
async fn one_proxy_shows_each_of_its_workloads_as_itself() {
    let authority = Authority::new("root");
    let (web, node) = (proxy("web", &[&authority]), proxy("catalog", &[&authority]));
    node.set_leaf("shop/reviews.v2-1".into(), authority.leaf(&Profile::of("reviews")));
    for (server_name, account, workload) in
        [(CATALOG, "catalog", "shop/catalog"), ("reviews.v2-1.shop.bookshop.example", "reviews", "shop/reviews.v2-1")]
    {
        let (client, server) = tcp().await;
        let expected = id(account);
        let (connected, accepted) =
            in_time(async { tokio::join!(web.connect("shop/web", client, server_name, &expected), node.accept(server)) }).await;
        connected.unwrap();
        assert_eq!(&*accepted.unwrap().workload, workload);
    }
}

#[tokio::test]
async fn a_client_that_is_refused_learns_it_with_the_first_read() {
    let (ours, other) = (Authority::new("root"), Authority::new("other root"));
    let (web, catalog) = (proxy("web", &[&other, &ours]), proxy("catalog", &[&ours]));

    let (connected, accepted) = shake(&web, &catalog).await;

    assert!(matches!(accepted, Err(TlsError::PeerIdentity(PeerError::Certificate(rustls::CertificateError::UnknownIssuer)))));
    let error = in_time(connected.unwrap().read_u8()).await.unwrap_err();
    assert!(error.to_string().contains("UnknownCA"), "{error}");
}

#[tokio::test]
async fn nothing_is_resumed() {
    let authority = Authority::new("root");
    let (web, catalog) = (proxy("web", &[&authority]), proxy("catalog", &[&authority]));
    for _ in 0..2 {
        let (connected, accepted) = shake(&web, &catalog).await;
        let (mut connected, mut accepted) = (connected.unwrap(), accepted.unwrap());
        talk(&mut connected, &mut accepted.stream).await; // whatever tickets there were have arrived
        assert_eq!(connected.get_ref().1.handshake_kind(), Some(HandshakeKind::Full));
    }
}

#[tokio::test]
async fn roots_are_rotated_without_a_handshake_lost() {
    let (old, new) = (Authority::new("old root"), Authority::new("new root"));
    let (web, catalog) = (proxy("web", &[&old]), proxy("catalog", &[&old]));
    let works = async || {
        let (connected, accepted) = shake(&web, &catalog).await;
        connected.is_ok() && accepted.is_ok()
    };
    assert!(works().await, "before");
    trust(&web, &[&old, &new]);
    assert!(works().await, "one side knows the new root");
    trust(&catalog, &[&old, &new]);
    assert!(works().await, "both know it");
    web.set_leaf("shop/web".into(), new.leaf(&Profile::of("web")));
    assert!(works().await, "one leaf is of the new root");
    catalog.set_leaf("shop/catalog".into(), new.leaf(&Profile::of("catalog")));
    assert!(works().await, "both are");
    trust(&web, &[&new]);
    assert!(works().await, "one side has forgotten the old root");
    trust(&catalog, &[&new]);
    assert!(works().await, "both have");

    catalog.set_leaf("shop/catalog".into(), old.leaf(&Profile::of("catalog")));
    assert!(!works().await, "a leaf of the root that was taken away");
}

#[tokio::test]
async fn a_new_leaf_is_shown_from_the_next_handshake_and_live_connections_stay() {
    let authority = Authority::new("root");
    let (web, catalog) = (proxy("web", &[&authority]), proxy("catalog", &[&authority]));
    let (connected, accepted) = shake(&web, &catalog).await;
    let (mut connected, mut accepted) = (connected.unwrap(), accepted.unwrap());

    let changes = web.changes();
    web.set_leaf("shop/web".into(), authority.leaf(&Profile { not_after: now() + 2 * HOUR, ..Profile::of("web") }));
    assert!(changes.has_changed().unwrap());

    assert_eq!(shake(&web, &catalog).await.1.unwrap().not_after, now() + 2 * HOUR);
    assert_eq!(accepted.not_after, now() + HOUR);
    talk(&mut connected, &mut accepted.stream).await;
}

#[tokio::test]
async fn without_a_leaf_of_ours_that_holds_nothing_connects() {
    let (authority, other) = (Authority::new("root"), Authority::new("other root"));
    let second = Duration::from_secs(1);
    let good = || Some(authority.leaf(&Profile::of("web")));
    let elsewhere = Profile::named(vec![uri("spiffe://elsewhere.example/ns/shop/sa/web")]);
    for (leaf, at, roots, domain, expected) in [
        (None, now(), vec![&authority], DOMAIN, Unusable::NoLeaf),
        (good(), now() - HOUR - second, vec![&authority], DOMAIN, Unusable::NotYetValid),
        (good(), now() + HOUR, vec![&authority], DOMAIN, Unusable::Expired),
        (good(), now() + 1000 * HOUR, vec![&authority], DOMAIN, Unusable::Expired),
        (good(), now(), vec![], DOMAIN, Unusable::NoRoots),
        (good(), now(), vec![], "", Unusable::NoRoots),
        (Some(authority.leaf(&elsewhere)), now(), vec![&authority, &other], DOMAIN, Unusable::ForeignTrustDomain),
    ] {
        let web = Identities::with_clock(Clock::manual(at));
        if let Some(leaf) = leaf {
            web.set_leaf("shop/web".into(), leaf);
        }
        let roots: Vec<_> = roots.iter().map(|root| root.root.clone()).collect();
        web.set_trust(domain, &roots);

        let (client, server) = tcp().await;
        let expected_peer = id("catalog");
        let refused = in_time(web.connect("shop/web", client, CATALOG, &expected_peer)).await.unwrap_err();
        assert!(matches!(&refused, TlsError::OurIdentity { workload, why } if &**workload == "shop/web" && *why == expected), "{refused}");
        assert_eq!(refused.reason(), Reason::IdentityUnavailable);
        let mut sent = Vec::new();
        let mut server = server;
        assert_eq!(in_time(server.read_to_end(&mut sent)).await.unwrap(), 0, "not a byte may leave: {expected}");
        let refused = in_time(web.connect_control_plane("shop/web", tcp().await.0)).await.unwrap_err();
        assert_eq!(refused.reason(), Reason::IdentityUnavailable, "{refused}");
    }
}

#[tokio::test]
async fn a_server_shows_no_leaf_that_does_not_hold() {
    let authority = Authority::new("root");
    let (web, clock) = (proxy("web", &[&authority]), Clock::manual(now()));
    let catalog = proxy_with("catalog", &[&authority], &Profile::of("catalog"), &clock);
    shake(&web, &catalog).await.1.unwrap();

    clock.advance(HOUR);
    let (connected, accepted) = shake(&web, &catalog).await;
    assert!(matches!(accepted, Err(TlsError::OurIdentity { why: Unusable::Expired, .. })), "{accepted:?}");
    let refused = connected.unwrap_err();
    assert_eq!(refused.reason(), Reason::UpstreamUnreachable, "{refused}");
    assert!(refused.to_string().contains("AccessDenied"), "the caller is told: {refused}");
}

#[test]
fn trust_that_did_not_change_changes_nothing() {
    let (authority, other) = (Authority::new("root"), Authority::new("other root"));
    let identities = proxy("web", &[&authority]);
    let mut changes = identities.changes();
    trust(&identities, &[&authority]);
    assert!(!changes.has_changed().unwrap());

    for (domain, roots) in [
        (DOMAIN, vec![authority.root.clone(), other.root.clone()]),
        (DOMAIN, vec![other.root.clone(), authority.root.clone()]),
        ("elsewhere.example", vec![other.root.clone(), authority.root.clone()]),
        (DOMAIN, vec![]),
    ] {
        identities.set_trust(domain, &roots);
        assert!(changes.has_changed().unwrap(), "{domain}");
        changes.mark_unchanged();
    }
}

#[tokio::test]
async fn a_root_that_cannot_be_read_is_counted_and_hurts_only_itself() {
    let authority = Authority::new("root");
    let (web, catalog) = (proxy("web", &[&authority]), proxy("catalog", &[&authority]));
    for _ in 0..2 {
        assert_eq!(web.set_trust(DOMAIN, &[b"junk".to_vec(), authority.root.clone(), vec![]]), 2);
    }
    shake(&web, &catalog).await.0.unwrap();
}
