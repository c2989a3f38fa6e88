//! Handshakes over real TCP: those that must work, and those that must not.

mod authority;

use std::{sync::Arc, time::Duration};

use authority::{Authority, DOMAIN, HOUR, Profile, now, spiffe};
use plait_identity::{Accepted, Clock, Identities, TlsError};
use plait_model::SpiffeId;
use rustls::NamedGroup;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

type Connected = Result<tokio_rustls::client::TlsStream<TcpStream>, TlsError>;

/// Far more than a handshake on loopback takes; a hang becomes a failure.
const DEADLINE: Duration = Duration::from_secs(20);

/// Both ends of a TCP connection.
async fn tcp() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (client, listener.accept().await.unwrap().0)
}

fn id(account: &str) -> SpiffeId {
    SpiffeId::parse(&spiffe(account)).unwrap()
}

/// A proxy of workload shop/`account` with this leaf that trusts these roots.
fn proxy(account: &str, authority: &Authority, profile: &Profile, roots: &[&Authority]) -> Arc<Identities> {
    let identities = Identities::with_clock(Clock::manual(now()));
    trust(&identities, roots);
    identities.set_leaf(format!("shop/{account}").into(), authority.leaf(profile));
    identities
}

fn trust(identities: &Identities, roots: &[&Authority]) {
    let roots: Vec<Vec<u8>> = roots.iter().map(|authority| authority.root.clone()).collect();
    assert_eq!(identities.set_trust(DOMAIN, &roots), 0);
}

/// web calls catalog; what each end came to.
async fn shake(web: &Identities, catalog: &Identities) -> (Connected, Result<Accepted<TcpStream>, TlsError>) {
    shake_with(web, catalog, "catalog.shop.bookshop.example", "catalog").await
}

async fn shake_with(
    web: &Identities,
    catalog: &Identities,
    server_name: &str,
    expected: &str,
) -> (Connected, Result<Accepted<TcpStream>, TlsError>) {
    let (client, server) = tcp().await;
    let expected = id(expected);
    let both = async { tokio::join!(web.connect("shop/web", client, server_name, &expected), catalog.accept(server)) };
    timeout(DEADLINE, both).await.expect("the handshake hangs")
}

#[tokio::test]
async fn a_right_pair_is_connected_and_safe_from_quantum_computers() {
    let authority = Authority::new("root");
    let web = proxy("web", &authority, &Profile::of("web"), &[&authority]);
    let catalog = proxy("catalog", &authority, &Profile::of("catalog"), &[&authority]);

    let (connected, accepted) = shake(&web, &catalog).await;
    let (mut connected, mut accepted) = (connected.unwrap(), accepted.unwrap());

    assert_eq!((&*accepted.peer, &*accepted.workload), (&id("web"), "shop/catalog"));
    assert_eq!(accepted.not_after, now() + HOUR);
    let group = connected.get_ref().1.negotiated_key_exchange_group().unwrap();
    assert_eq!(group.name(), NamedGroup::X25519MLKEM768);
    assert_eq!(connected.get_ref().1.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));

    connected.write_all(b"ping").await.unwrap();
    connected.flush().await.unwrap();
    let mut said = [0; 4];
    accepted.stream.read_exact(&mut said).await.unwrap();
    assert_eq!(&said, b"ping");
}
