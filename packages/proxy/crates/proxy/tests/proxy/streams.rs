//! TCPRoutes and TLSRoutes: connections of opaque bytes, shared by weight, or chosen by the server name that a real client of TLS asks for.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use plait_testkit::{End, Origin, Peer, Sent, Stage, Way, endpoints, in_time, object};
use plait_wire as wire;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{
    TlsAcceptor, TlsConnector,
    rustls::{ClientConfig, RootCertStore, ServerConfig, crypto::aws_lc_rs, pki_types::ServerName},
};

fn share(service: &str, port: u32, weight: u32) -> wire::Backend {
    wire::Backend { service: format!("shop/{service}"), port, weight, ..wire::Backend::default() }
}

/// The route "shop/<name>" for connections to a Service.
fn route(name: &str, service: &str, hostnames: &[&str], backends: Vec<wire::Backend>) -> wire::Resource {
    let (kind, object_kind) = match hostnames {
        [] => (wire::RouteKind::Tcp, "TCPRoute"),
        _ => (wire::RouteKind::Tls, "TLSRoute"),
    };
    let parent = wire::RouteParent { service: format!("shop/{service}"), ..wire::RouteParent::default() };
    let route = wire::Route {
        object: Some(object(object_kind, name)),
        parents: vec![parent],
        rules: vec![wire::RouteRule { backends, ..wire::RouteRule::default() }],
        kind: kind.into(),
        hostnames: hostnames.iter().map(|name| (*name).into()).collect(),
        ..wire::Route::default()
    };
    route.resource()
}

/// Greets whoever connects, and counts.
fn greets(origin: Origin, word: &'static str) -> Arc<AtomicUsize> {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    tokio::spawn(async move {
        loop {
            let mut process = origin.accept().await;
            counted.fetch_add(1, Ordering::Relaxed);
            process.reads("?").await;
            process.sends(word).await;
            process.says_goodbye().await;
        }
    });
    count
}

#[tokio::test]
async fn connections_are_shared_by_weight() {
    for way in Way::ALL {
        let stage = Stage::new(way).await;
        let shares = vec![share("ledger", 7000, 3), share("any", 9000, 1), share("reviews", 80, 0)];
        stage.apply(vec![route("split", "ledger", &[], shares)]).await;
        let (one, other) = (greets(stage.origin("ledger-1"), "ledger"), greets(stage.origin("any-1"), "any"));
        for _ in 0..200 {
            let mut caller = Peer::connect(stage.binds["ledger"].address).await;
            caller.sends("?").await;
            let (came, end) = caller.rest().await;
            assert!(matches!(&came[..], b"ledger" | b"any") && end == End::Closed, "{way:?} {came:?} {end:?}");
        }
        let (one, other) = (one.load(Ordering::Relaxed), other.load(Ordering::Relaxed));
        assert_eq!(one + other, 200, "{way:?}");
        // One in four, within six standard deviations.
        assert!((14..=86).contains(&other), "{way:?} {other} of 200");
        stage.origin("reviews-1").is_untouched();
        let log = stage.web.log(200).await;
        let told = |backend: &str| {
            log.iter().filter(|line| line.contains(&format!("\"route\":\"shop/split#0\",\"backend\":\"{backend}\""))).count()
        };
        assert_eq!((told("shop/ledger:7000"), told("shop/any:9000")), (one, other), "{way:?}");
    }
}

#[tokio::test]
async fn a_share_that_cannot_serve_is_closed_and_a_caller_of_connect_is_told() {
    let invalid = wire::Backend { invalid: "Service shop/x does not exist".into(), ..share("x", 1, 1) };
    for way in Way::ALL {
        for (backends, reason, status) in [
            (vec![invalid.clone()], "backend_not_found", 500),
            (vec![share("gone", 1, 1)], "backend_not_found", 500),
            (vec![share("ledger", 7000, 0)], "backend_not_found", 500),
            (vec![share("reviews", 80, 1)], "no_ready_endpoint", 503),
        ] {
            let stage = Stage::new(way).await;
            stage.apply(vec![route("broken", "ledger", &[], backends), endpoints("reviews", 80, Vec::new()).resource()]).await;
            let mut raw = Peer::connect(stage.binds["ledger"].address).await;
            raw.sends("?").await;
            raw.is_over().await;
            let mut caller = stage.caller_connects().await;
            caller.sends("CONNECT ledger:7000 HTTP/1.1\r\nhost: ledger:7000\r\n\r\n").await;
            let response = caller.response().await;
            assert_eq!((response.status(), response.field("plait-reason")), (status, Some(reason)), "{way:?}");
            stage.origin("ledger-1").is_untouched();
            stage.web.counts("plait_rejects_total", &[&format!("reason=\"{reason}\"")], 2.0).await;
        }
    }
}

#[tokio::test]
async fn a_route_for_connections_takes_requests_too_and_sends_them_as_bytes() {
    for way in Way::ALL {
        let stage = Stage::new(way).await;
        stage.apply(vec![route("opaque", "reviews", &[], vec![share("ledger", 7000, 1)])]).await;
        let origin = stage.origin("ledger-1");
        let mut caller = stage.caller_connects().await;
        caller.sends("GET /a HTTP/1.1\r\nhost: reviews\r\n\r\n").await;
        let mut process = origin.accept().await;
        assert_eq!(process.request().await.start, "GET /a HTTP/1.1", "{way:?}");
        process.sends("whatever").await;
        caller.reads("whatever").await;
    }
}

/// A server of TLS with a certificate of its own, which answers "?" with its name.
struct Secure {
    certificate: CertifiedKey<rcgen::KeyPair>,
}

impl Secure {
    fn new(names: &[&str]) -> Self {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        Self { certificate: generate_simple_self_signed(names).unwrap() }
    }

    fn serves(&self, origin: Origin, word: &'static str) {
        let (chain, key) = (vec![self.certificate.cert.der().clone()], self.certificate.signing_key.serialize_der());
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key.try_into().unwrap())
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        tokio::spawn(async move {
            loop {
                let accepting = acceptor.accept(origin.accept().await.into_stream());
                tokio::spawn(async move {
                    let mut stream = accepting.await.unwrap();
                    assert_eq!(stream.read_u8().await.unwrap(), b'?');
                    stream.write_all(word.as_bytes()).await.unwrap();
                    stream.shutdown().await.unwrap();
                });
            }
        });
    }

    /// What this server says to a client that asks for `name`: the handshake ends with its certificate, so nobody stands in between.
    async fn says(&self, stream: TcpStream, name: &str) -> String {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.cert.der().clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connecting = TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(name.to_owned()).unwrap(), stream);
        let mut stream = in_time("a handshake", connecting).await.unwrap();
        stream.write_all(b"?").await.unwrap();
        let mut said = String::new();
        in_time("a word", stream.read_to_string(&mut said)).await.unwrap();
        said
    }
}

const EXACT: &str = "exact.shop.example";
const WILD: &str = "some.deep.shop.example";

async fn passed_through(way: Way) -> (Stage, Secure, Secure) {
    let stage = Stage::new(way).await;
    let exact = route("exact", "any", &[EXACT], vec![share("ledger", 7000, 1)]);
    let wild = route("wild", "any", &["*.shop.example"], vec![share("any", 9000, 1)]);
    stage.apply(vec![exact, wild]).await;
    let (ledger, any) = (Secure::new(&[EXACT]), Secure::new(&[WILD, EXACT]));
    ledger.serves(stage.origin("ledger-1"), "ledger");
    any.serves(stage.origin("any-1"), "any");
    (stage, ledger, any)
}

#[tokio::test]
async fn tls_passes_through_to_the_server_that_its_client_asks_for() {
    for way in Way::ALL {
        let (stage, ledger, any) = passed_through(way).await;
        let bind = stage.binds["any"].address;
        for _ in 0..2 {
            assert_eq!(ledger.says(Peer::connect(bind).await.into_stream(), EXACT).await, "ledger", "{way:?}");
            assert_eq!(any.says(Peer::connect(bind).await.into_stream(), WILD).await, "any", "{way:?}");
        }
        // In a tunnel that a forward proxy was asked for.
        let mut caller = stage.caller_connects().await;
        caller.sends("CONNECT any:9000 HTTP/1.1\r\nhost: any:9000\r\n\r\n").await;
        caller.reads("HTTP/1.1 200 Connection Established\r\n\r\n").await;
        assert_eq!(ledger.says(caller.into_stream(), EXACT).await, "ledger", "{way:?}");
        let log = stage.web.log(5).await;
        let told = |route: &str| log.iter().filter(|line| line.contains(&format!("\"route\":\"{route}\""))).count();
        assert_eq!((told("shop/exact#0"), told("shop/wild#0")), (3, 2), "{way:?}");
    }
}

#[tokio::test]
async fn what_names_no_server_of_a_route_is_closed() {
    for way in Way::ALL {
        let (stage, _, any) = passed_through(way).await;
        let bind = stage.binds["any"].address;
        for said in
            ["GET / HTTP/1.1\r\nhost: any\r\n\r\n", "\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", "\x16\x03\x01\x00\x00", "EHLO a\r\n"]
        {
            let mut caller = Peer::connect(bind).await;
            caller.sends(said).await;
            caller.is_over().await;
        }
        // It goes before it has named anybody.
        let mut silent = Peer::connect(bind).await;
        silent.sends("\x16\x03").await;
        silent.says_goodbye().await;
        silent.is_over().await;
        // A request through the forward proxy is told what a raw client cannot be.
        let mut caller = stage.caller_connects().await;
        caller.sends("GET / HTTP/1.1\r\nhost: any:9000\r\n\r\n").await;
        let response = caller.response().await;
        assert_eq!((response.status(), response.field("plait-reason")), (404, Some("route_not_found")), "{way:?}");
        stage.web.counts("plait_rejects_total", &["reason=\"route_not_found\""], 6.0).await;
        assert_eq!(any.says(Peer::connect(bind).await.into_stream(), WILD).await, "any", "{way:?}");
    }
}

#[tokio::test]
async fn a_first_message_may_come_byte_by_byte() {
    for way in Way::ALL {
        let (stage, ledger, _) = passed_through(way).await;
        // A relay that never passes on more than one byte at a time.
        let relay = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, bind) = (relay.local_addr().unwrap(), stage.binds["any"].address);
        tokio::spawn(async move {
            let (near, far) = (relay.accept().await.unwrap().0, TcpStream::connect(bind).await.unwrap());
            far.set_nodelay(true).unwrap();
            let ((mut from_client, mut to_client), (mut from_proxy, mut to_proxy)) = (near.into_split(), far.into_split());
            tokio::spawn(async move { tokio::io::copy(&mut from_proxy, &mut to_client).await });
            while let Ok(byte) = from_client.read_u8().await {
                to_proxy.write_u8(byte).await.unwrap();
            }
        });
        assert_eq!(ledger.says(TcpStream::connect(address).await.unwrap(), EXACT).await, "ledger", "{way:?}");
    }
}
