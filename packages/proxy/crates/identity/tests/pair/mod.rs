//! Two proxies of ours and a TCP connection between them: shop/web calls shop/catalog.

#![allow(dead_code)] // each test binary uses its part
#![allow(clippy::unwrap_used)] // only test functions themselves are excused by clippy.toml

use std::{sync::Arc, time::Duration};

use plait_identity::{Accepted, Clock, Identities, TlsError};
use plait_model::SpiffeId;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::authority::{Authority, DOMAIN, Profile, now, spiffe};

pub(crate) type Connected = Result<tokio_rustls::client::TlsStream<TcpStream>, TlsError>;
pub(crate) type Called = Result<Accepted<TcpStream>, TlsError>;

/// The server name of shop/catalog.
pub(crate) const CATALOG: &str = "catalog.shop.bookshop.example";

/// Far more than a handshake on loopback takes; a hang becomes a failure.
const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) async fn in_time<T>(future: impl Future<Output = T>) -> T {
    timeout(DEADLINE, future).await.expect("it hangs")
}

/// Both ends of a TCP connection.
pub(crate) async fn tcp() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (client, listener.accept().await.unwrap().0)
}

pub(crate) fn id(account: &str) -> SpiffeId {
    SpiffeId::parse(&spiffe(account)).unwrap()
}

/// A proxy of workload shop/`account` with a good leaf, that trusts the roots of these authorities. The first signs the leaf.
pub(crate) fn proxy(account: &str, authorities: &[&Authority]) -> Arc<Identities> {
    proxy_with(account, authorities, &Profile::of(account), &Clock::manual(now()))
}

/// The same with this leaf, living by this clock.
pub(crate) fn proxy_with(account: &str, authorities: &[&Authority], profile: &Profile, clock: &Clock) -> Arc<Identities> {
    let identities = Identities::with_clock(clock.clone());
    trust(&identities, authorities);
    identities.set_leaf(format!("shop/{account}").into(), authorities[0].leaf(profile));
    identities
}

pub(crate) fn trust(identities: &Identities, authorities: &[&Authority]) {
    let roots: Vec<Vec<u8>> = authorities.iter().map(|authority| authority.root.clone()).collect();
    assert_eq!(identities.set_trust(DOMAIN, &roots), 0);
}

/// web calls catalog; what each end came to.
pub(crate) async fn shake(web: &Identities, catalog: &Identities) -> (Connected, Called) {
    let (client, server) = tcp().await;
    let expected = id("catalog");
    in_time(async { tokio::join!(web.connect("shop/web", client, CATALOG, &expected), catalog.accept(server)) }).await
}

/// Bytes pass both ways.
pub(crate) async fn talk(
    connected: &mut (impl AsyncReadExt + AsyncWriteExt + Unpin),
    accepted: &mut (impl AsyncReadExt + AsyncWriteExt + Unpin),
) {
    in_time(async {
        let mut said = [0; 4];
        connected.write_all(b"ping").await.unwrap();
        connected.flush().await.unwrap();
        accepted.read_exact(&mut said).await.unwrap();
        assert_eq!(&said, b"ping");
        accepted.write_all(b"pong").await.unwrap();
        accepted.flush().await.unwrap();
        connected.read_exact(&mut said).await.unwrap();
        assert_eq!(&said, b"pong");
    })
    .await;
}
