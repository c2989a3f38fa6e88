//! Peers that must not get through, over real TCP. Each runs rustls without any check of its own: what refuses it is ours.

#![allow(clippy::unwrap_used, clippy::panic)] // clippy's own exemption ends at #[test] functions; helpers beside them are tests too

mod authority;
mod pair;
mod stranger;

use std::sync::Arc;

use authority::{Authority, HOUR, Profile, dns, now, san, spiffe, uri};
use pair::{CATALOG, Connected, id, in_time, proxy, tcp};
use plait_identity::{PeerError, Svid, SvidError, TlsError};
use plait_model::{Reason, SpiffeId};
use rcgen::{CustomExtension, ExtendedKeyUsagePurpose, KeyPair, SanType};
use rustls::{
    CertificateError, HandshakeKind,
    pki_types::{PrivatePkcs8KeyDer, ServerName},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::{TlsAcceptor, TlsConnector};

const PLAIT: &[&[u8]] = &[b"plait/1"];

/// Our shop/web calls a stranger that shows this.
async fn call(authority: &Authority, pair: stranger::Pair, alpn: &[&[u8]]) -> Connected {
    let (client, server) = tcp().await;
    let acceptor = TlsAcceptor::from(Arc::new(stranger::server(pair, alpn)));
    let (web, expected) = (proxy("web", &[authority]), id("catalog"));
    let both = async { tokio::join!(web.connect("shop/web", client, CATALOG, &expected), acceptor.accept(server)) };
    in_time(both).await.0
}

/// A stranger that shows this calls our shop/catalog. Returns also whether it got a single byte of an answer.
async fn be_called(authority: &Authority, config: rustls::ClientConfig, server_name: &str) -> (Result<Arc<SpiffeId>, TlsError>, bool) {
    let (client, server) = tcp().await;
    let catalog = proxy("catalog", &[authority]);
    let name = ServerName::try_from(server_name.to_owned()).unwrap();
    let stranger = async {
        let Ok(mut stream) = TlsConnector::from(Arc::new(config)).connect(name, client).await else { return false };
        stream.read_u8().await.is_ok()
    };
    let called = async { catalog.accept(server).await.map(|accepted| accepted.peer) }; // and closes it
    in_time(async { tokio::join!(called, stranger) }).await
}

/// What is wrong, the certificate, and whether the verdict is the right one.
type Bad = (&'static str, Profile, fn(&PeerError) -> bool);

/// What is wrong with a certificate, whichever side shows it. The account named is the right one where a right name is shown at all.
fn bad_certificates(account: &str) -> Vec<Bad> {
    let right = || uri(&spiffe(account));
    let named = |names| Profile { names, ..Profile::default() };
    let of = |profile: Profile| Profile { names: vec![right()], ..profile };
    let unknown = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
    let mut unknown_critical = unknown;
    unknown_critical.set_criticality(true);
    vec![
        ("expired", of(Profile { not_before: now() - 3 * HOUR, not_after: now() - HOUR, ..Profile::default() }), |error| {
            matches!(error, PeerError::Certificate(CertificateError::ExpiredContext { .. }))
        }),
        ("not yet valid", of(Profile { not_before: now() + HOUR, not_after: now() + 3 * HOUR, ..Profile::default() }), |error| {
            matches!(error, PeerError::Certificate(CertificateError::NotValidYetContext { .. }))
        }),
        ("two URIs", named(vec![right(), uri(&spiffe("ledger"))]), |error| *error == PeerError::Svid(SvidError::Uris(2))),
        ("no name", named(vec![]), |error| *error == PeerError::Svid(SvidError::Uris(0))),
        ("a DNS name alone", named(vec![dns(CATALOG)]), |error| *error == PeerError::Svid(SvidError::Uris(0))),
        ("an e-mail beside", named(vec![right(), SanType::Rfc822Name("a@b".try_into().unwrap())]), |error| {
            *error == PeerError::Svid(SvidError::ForeignName)
        }),
        ("another trust domain", named(vec![uri(&format!("spiffe://elsewhere.example/ns/shop/sa/{account}"))]), |error| {
            matches!(error, PeerError::ForeignTrustDomain(_))
        }),
        ("a longer trust domain", named(vec![uri(&format!("spiffe://bookshop.example.evil/ns/shop/sa/{account}"))]), |error| {
            matches!(error, PeerError::ForeignTrustDomain(_))
        }),
        ("no SPIFFE", named(vec![uri("https://bookshop.example/ns/shop/sa/web")]), |error| {
            matches!(error, PeerError::Svid(SvidError::Spiffe(_)))
        }),
        ("a NUL in the name", named(vec![uri(&format!("{}\0.evil", spiffe(account)))]), |error| {
            matches!(error, PeerError::Svid(SvidError::Spiffe(_)))
        }),
        ("an authority", of(Profile { authority: true, ..Profile::default() }), |error| matches!(error, PeerError::Certificate(_))),
        ("an unknown critical extension", of(Profile { extensions: vec![unknown_critical], ..Profile::default() }), |error| {
            matches!(error, PeerError::Certificate(_))
        }),
        ("names that cannot be read", Profile { names: vec![], extensions: vec![san(b"\x30\x80")], ..Profile::default() }, |error| {
            matches!(error, PeerError::Svid(SvidError::Unreadable) | PeerError::Certificate(_))
        }),
    ]
}

#[tokio::test]
async fn a_server_with_a_bad_certificate_is_refused_within_the_handshake() {
    let authority = Authority::new("root");
    for (what, profile, is_expected) in bad_certificates("catalog") {
        let refused = call(&authority, authority.pair(&profile), PLAIT).await.expect_err(what);
        assert!(matches!(&refused, TlsError::PeerIdentity(error) if is_expected(error)), "{what}: {refused:?}");
        assert_eq!(refused.reason(), Reason::UpstreamIdentity, "{what}");
    }
    call(&authority, authority.pair(&Profile::of("catalog")), PLAIT).await.expect("the same with nothing wrong");
}

#[tokio::test]
async fn a_client_with_a_bad_certificate_is_refused() {
    let authority = Authority::new("root");
    for (what, profile, is_expected) in bad_certificates("web") {
        let (called, answered) = be_called(&authority, stranger::client(Some(authority.pair(&profile)), PLAIT), CATALOG).await;
        let refused = called.expect_err(what);
        assert!(matches!(&refused, TlsError::PeerIdentity(error) if is_expected(error)), "{what}: {refused:?}");
        assert!(!answered, "{what}");
    }
    let (called, _) = be_called(&authority, stranger::client(Some(authority.pair(&Profile::of("web"))), PLAIT), CATALOG).await;
    assert_eq!(*called.expect("the same with nothing wrong"), id("web"));
}

#[tokio::test]
async fn a_certificate_for_the_other_end_is_refused() {
    let authority = Authority::new("root");
    let only = |account, purpose| authority.pair(&Profile { purposes: vec![purpose], ..Profile::of(account) });
    let wrong_purpose =
        |error: &TlsError| matches!(error, TlsError::PeerIdentity(PeerError::Certificate(CertificateError::InvalidPurpose)));

    let refused = call(&authority, only("catalog", ExtendedKeyUsagePurpose::ClientAuth), PLAIT).await.unwrap_err();
    assert!(wrong_purpose(&refused), "{refused:?}");
    call(&authority, only("catalog", ExtendedKeyUsagePurpose::ServerAuth), PLAIT).await.unwrap();

    let config = stranger::client(Some(only("web", ExtendedKeyUsagePurpose::ServerAuth)), PLAIT);
    let refused = be_called(&authority, config, CATALOG).await.0.unwrap_err();
    assert!(wrong_purpose(&refused), "{refused:?}");
    be_called(&authority, stranger::client(Some(only("web", ExtendedKeyUsagePurpose::ClientAuth)), PLAIT), CATALOG).await.0.unwrap();
}

#[tokio::test]
async fn a_chain_to_another_root_is_refused() {
    // The impostor's root has the name of ours: only its key tells them apart.
    let (authority, impostor) = (Authority::new("root"), Authority::new("root"));
    let refused = call(&authority, impostor.pair(&Profile::of("catalog")), PLAIT).await.unwrap_err();
    assert_eq!(refused.reason(), Reason::UpstreamIdentity, "{refused}");
    let refused = be_called(&authority, stranger::client(Some(impostor.pair(&Profile::of("web"))), PLAIT), CATALOG).await.0.unwrap_err();
    assert!(matches!(refused, TlsError::PeerIdentity(PeerError::Certificate(_))), "{refused:?}");
}

#[tokio::test]
async fn a_server_that_is_somebody_else_of_our_mesh_is_refused() {
    let authority = Authority::new("root");
    for account in ["ledger", "catalog2", "catalo", "Catalog", "catalog.evil"] {
        let refused = call(&authority, authority.pair(&Profile::of(account)), PLAIT).await.expect_err(account);
        let expected = PeerError::Unexpected { found: id(account), expected: id("catalog") };
        assert!(matches!(&refused, TlsError::PeerIdentity(error) if *error == expected), "{refused:?}");
        assert_eq!(refused.reason(), Reason::UpstreamIdentity);
    }
}

#[tokio::test]
async fn a_certificate_without_its_key_proves_nothing() {
    let authority = Authority::new("root");
    let (chain, _) = authority.pair(&Profile::of("catalog"));
    let other = || PrivatePkcs8KeyDer::from(KeyPair::generate().unwrap().serialize_der()).into();
    let refused = call(&authority, (chain, other()), PLAIT).await.unwrap_err();
    let bad_signature = |error: &TlsError| matches!(error, TlsError::PeerIdentity(PeerError::Certificate(CertificateError::BadSignature)));
    assert!(bad_signature(&refused), "{refused:?}");
    let (chain, _) = authority.pair(&Profile::of("web"));
    let refused = be_called(&authority, stranger::client(Some((chain, other())), PLAIT), CATALOG).await.0.unwrap_err();
    assert!(bad_signature(&refused), "{refused:?}");
}

#[tokio::test]
async fn a_client_without_a_certificate_is_refused() {
    let authority = Authority::new("root");
    let (called, answered) = be_called(&authority, stranger::client(None, PLAIT), CATALOG).await;
    assert!(matches!(called, Err(TlsError::PeerIdentity(PeerError::NoCertificate))), "{called:?}");
    assert!(!answered);
}

#[tokio::test]
async fn a_peer_of_another_protocol_is_refused() {
    let authority = Authority::new("root");
    for alpn in [&[][..], &[&b"h2"[..]], &[&b"plait/2"[..]], &[&b"plait/1x"[..], &b"http/1.1"[..]]] {
        let refused = call(&authority, authority.pair(&Profile::of("catalog")), alpn).await.unwrap_err();
        assert_eq!(refused.reason(), Reason::UpstreamUnreachable, "{alpn:?}: {refused:?}");
        let config = stranger::client(Some(authority.pair(&Profile::of("web"))), alpn);
        let (called, answered) = be_called(&authority, config, CATALOG).await;
        assert!(matches!(called, Err(TlsError::Protocol)), "{alpn:?}: {called:?}");
        assert!(!answered);
    }
}

#[tokio::test]
async fn a_client_that_asks_for_somebody_else_sees_no_certificate() {
    let authority = Authority::new("root");
    for name in [
        "web.shop.bookshop.example",
        "catalog.shop2.bookshop.example",
        "catalog.shop.bookshop.example.evil",
        "catalog.shop",
        "shop.bookshop.example",
        "xcatalog.shop.bookshop.example",
        "127.0.0.1", // an address is not sent as a name: it asks for nobody
    ] {
        let config = stranger::client(Some(authority.pair(&Profile::of("web"))), PLAIT);
        let (called, answered) = be_called(&authority, config, name).await;
        let asked = if name == "127.0.0.1" { "" } else { name };
        assert!(matches!(&called, Err(TlsError::UnknownName(found)) if found == asked), "{name}: {called:?}");
        assert!(!answered);
    }
}

#[tokio::test]
async fn only_the_control_plane_of_our_mesh_is_taken_for_it() {
    let authority = Authority::new("root");
    let system = |domain: &str, account: &str| uri(&format!("spiffe://{domain}/ns/plait-system/sa/{account}"));
    let grpc: &[&[u8]] = &[b"h2"];
    for (what, name, alpn, works) in [
        ("itself", system("bookshop.example", "plait-controlplane"), grpc, true),
        ("one that speaks another protocol", system("bookshop.example", "plait-controlplane"), PLAIT, false),
        ("another account", system("bookshop.example", "plait-injector"), grpc, false),
        ("that of another mesh", system("elsewhere.example", "plait-controlplane"), grpc, false),
        ("a workload", uri(&spiffe("catalog")), grpc, false),
    ] {
        let (client, server) = tcp().await;
        let acceptor = TlsAcceptor::from(Arc::new(stranger::server(authority.pair(&Profile::named(vec![name])), alpn)));
        let web = proxy("web", &[&authority]);
        let (connected, accepted) =
            in_time(async { tokio::join!(web.connect_control_plane("shop/web", client), acceptor.accept(server)) }).await;
        assert_eq!(connected.is_ok(), works, "{what}: {connected:?}");
        if let (Ok(mut connected), Ok(mut accepted)) = (connected, accepted) {
            pair::talk(&mut connected, &mut accepted).await;
            let shown = accepted.get_ref().1.peer_certificates().map(|chain| Svid::parse(&chain[0]).unwrap().identity);
            assert_eq!(shown, Some(id("web")), "discovery sees who asks");
        }
    }
}

#[tokio::test]
async fn a_peer_that_knows_no_ml_kem_is_served_with_x25519() {
    let authority = Authority::new("root");
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.kx_groups = vec![rustls::crypto::aws_lc_rs::kx_group::X25519];
    let config = stranger::client_with(provider, Some(authority.pair(&Profile::of("web"))), PLAIT);
    let (called, _) = be_called(&authority, config, CATALOG).await;
    assert_eq!(*called.unwrap(), id("web"));
}

#[tokio::test]
async fn tickets_are_neither_given_nor_used() {
    let authority = Authority::new("root");
    // A stranger that keeps tickets, twice to our server.
    let catalog = proxy("catalog", &[&authority]);
    let connector = TlsConnector::from(Arc::new(stranger::client(Some(authority.pair(&Profile::of("web"))), PLAIT)));
    for _ in 0..2 {
        let (client, server) = tcp().await;
        let name = ServerName::try_from(CATALOG).unwrap();
        let (stream, called) = in_time(async { tokio::join!(connector.connect(name, client), catalog.accept(server)) }).await;
        let (mut stream, mut called) = (stream.unwrap(), called.unwrap());
        pair::talk(&mut stream, &mut called.stream).await;
        assert_eq!(stream.get_ref().1.handshake_kind(), Some(HandshakeKind::Full));
        assert_eq!(stream.get_ref().1.tls13_tickets_received(), 0);
    }
    // Our client, twice to a stranger that gives tickets.
    let acceptor = TlsAcceptor::from(Arc::new(stranger::server(authority.pair(&Profile::of("catalog")), PLAIT)));
    let (web, expected) = (proxy("web", &[&authority]), id("catalog"));
    for _ in 0..2 {
        let (client, server) = tcp().await;
        let both = async { tokio::join!(web.connect("shop/web", client, CATALOG, &expected), acceptor.accept(server)) };
        let (connected, accepted) = in_time(both).await;
        let (mut connected, mut accepted) = (connected.unwrap(), accepted.unwrap());
        pair::talk(&mut connected, &mut accepted).await;
        assert_eq!(accepted.get_ref().1.handshake_kind(), Some(HandshakeKind::Full));
    }
}

/// A ClientHello of TLS 1.2 as any old client sends it: no supported_versions, suites that it has in common with nobody here.
fn tls12_hello() -> Vec<u8> {
    let name = CATALOG.as_bytes();
    let name_length = u16::try_from(name.len()).unwrap();
    let mut extensions = Vec::new();
    extensions.extend([0, 0]);
    extensions.extend((name_length + 5).to_be_bytes());
    extensions.extend((name_length + 3).to_be_bytes());
    extensions.push(0);
    extensions.extend(name_length.to_be_bytes());
    extensions.extend(name);
    extensions.extend([0, 10, 0, 4, 0, 2, 0, 23]); // groups: P-256
    extensions.extend([0, 13, 0, 4, 0, 2, 4, 3]); // signatures: ECDSA P-256
    extensions.extend([0, 16, 0, 10, 0, 8, 7]); // ALPN
    extensions.extend(b"plait/1");
    let mut body = vec![3, 3];
    body.extend([7; 32]); // random
    body.extend([0, 0, 2, 0xc0, 0x2b, 1, 0]); // no session, ECDHE-ECDSA-AES128-GCM-SHA256, no compression
    body.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
    body.extend(extensions);
    let mut hello = vec![22, 3, 1];
    hello.extend(u16::try_from(body.len() + 4).unwrap().to_be_bytes());
    hello.extend([1, 0]);
    hello.extend(u16::try_from(body.len()).unwrap().to_be_bytes());
    hello.extend(body);
    hello
}

#[tokio::test]
async fn what_is_no_tls_13_is_refused_with_an_alert() {
    let authority = Authority::new("root");
    const PROTOCOL_VERSION: u8 = 70;
    for (what, bytes, alert) in [
        ("TLS 1.2", tls12_hello(), Some(PROTOCOL_VERSION)),
        ("HTTP", b"GET / HTTP/1.1\r\nHost: catalog\r\n\r\n".to_vec(), None),
        ("a record that claims to be long", vec![22, 3, 1, 0xff, 0xff, 1], None),
        ("noise", (0..=255).collect(), None),
        ("an alert", vec![21, 3, 3, 0, 2, 2, 40], None),
    ] {
        let (mut client, server) = tcp().await;
        let catalog = proxy("catalog", &[&authority]);
        client.write_all(&bytes).await.unwrap();
        client.shutdown().await.unwrap();
        let (called, mut answer) = (in_time(catalog.accept(server)).await, Vec::new());
        assert!(matches!(called, Err(TlsError::Handshake(_))), "{what}: {called:?}");
        let _ = in_time(client.read_to_end(&mut answer)).await;
        if let Some(alert) = alert {
            assert_eq!(answer, [21, 3, 3, 0, 2, 2, alert], "{what}");
        }
    }
}
