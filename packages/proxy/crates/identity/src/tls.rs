//! The handshakes between proxies: TLS 1.3, mutual, ALPN "plait/1".
//!
//! Called by `proxy` for each connection, and by `app` for the one to discovery. Deadlines are the caller's: dropping the future closes the
//! stream.

use std::{
    io,
    sync::{Arc, LazyLock},
    time::SystemTime,
};

use plait_model::SpiffeId;
use rustls::{
    ServerConfig,
    pki_types::ServerName,
    server::{Acceptor, ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{LazyConfigAcceptor, TlsConnector, client, server};

use crate::{
    clock::Clock,
    config, control_plane,
    error::{PeerError, TlsError, Unusable},
    identities::{Identities, State},
    shown::Shown,
    svid::Svid,
};

/// The protocol between proxies.
pub const ALPN: &[u8] = b"plait/1";

/// What gRPC asks for.
pub(crate) const GRPC_ALPN: &[u8] = b"h2";

/// A connection whose both ends are proven.
#[derive(Debug)]
pub struct Accepted<S> {
    /// The bytes.
    pub stream: server::TlsStream<S>,
    /// Who called.
    pub peer: Arc<SpiffeId>,
    /// Which workload of ours was called, "namespace/name".
    pub workload: Arc<str>,
    /// End of the peer's certificate.
    pub not_after: SystemTime,
    /// That certificate, for as long as it is vouched for.
    pub shown: Shown,
}

impl Identities {
    /// The server's side. The leaf shown is that of the workload asked for by SNI (`<workload>.<namespace>.<trust domain>`); a client that
    /// asks for nobody, or for somebody else, is refused before it sees a certificate. It must show a certificate of our trust domain.
    pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> Result<Accepted<S>, TlsError> {
        let start = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
        let state = self.state();
        let chosen = choose(&state, &start.client_hello(), self.clock());
        let (workload, config) = match chosen {
            Ok(chosen) => chosen,
            Err(refused) => {
                // The other end gets an alert instead of a connection that closes without a word.
                let _ = start.into_stream(NOBODY.clone()).await;
                return Err(refused);
            }
        };
        let stream = start.into_stream(config).await?;
        let (_, connection) = stream.get_ref();
        let leaf = connection.peer_certificates().and_then(<[_]>::first).ok_or(PeerError::NoCertificate)?;
        let Svid { identity, not_after, .. } = Svid::parse(leaf).map_err(PeerError::from)?;
        let shown = Shown::by_client(connection, self).ok_or(PeerError::NoCertificate)?;
        Ok(Accepted { stream, peer: Arc::new(identity), workload, not_after, shown })
    }

    /// The client's side, as `workload`; the far end must be exactly `expected`. When it refuses our certificate, the first read says so:
    /// in TLS 1.3 the client is done first.
    pub async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        workload: &str,
        stream: S,
        server_name: &str,
        expected: &SpiffeId,
    ) -> Result<client::TlsStream<S>, TlsError> {
        let config = self.state().client(workload, ALPN, expected, self.clock())?;
        handshake(config.into(), stream, server_name, ALPN).await
    }

    /// The connection to the control plane, for gRPC. It must be the control plane of our own trust domain.
    pub async fn connect_control_plane<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        workload: &str,
        stream: S,
    ) -> Result<client::TlsStream<S>, TlsError> {
        let state = self.state();
        let unknown = |_| TlsError::OurIdentity { workload: workload.into(), why: Unusable::NoRoots };
        let expected = control_plane::identity(&state.trust.domain).map_err(unknown)?;
        let config = state.client(workload, GRPC_ALPN, &expected, self.clock())?;
        handshake(config.into(), stream, &control_plane::server_name(&state.trust.domain), GRPC_ALPN).await
    }
}

pub(crate) async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(
    connector: TlsConnector,
    stream: S,
    server_name: &str,
    alpn: &[u8],
) -> Result<client::TlsStream<S>, TlsError> {
    let name = ServerName::try_from(server_name.to_owned())
        .map_err(|_| TlsError::Handshake(io::Error::new(io::ErrorKind::InvalidInput, format!("{server_name:?} is no server name"))))?;
    let stream = connector.connect(name, stream).await?;
    // A server that chose nothing is let pass by rustls.
    if stream.get_ref().1.alpn_protocol() != Some(alpn) {
        return Err(TlsError::Protocol);
    }
    Ok(stream)
}

/// The workload that a client asks for, with what we show as it.
fn choose(state: &State, hello: &ClientHello<'_>, clock: &Clock) -> Result<(Arc<str>, Arc<ServerConfig>), TlsError> {
    let name = hello.server_name().unwrap_or_default();
    let workload = state.workload(name).ok_or_else(|| TlsError::UnknownName(name.to_owned()))?;
    // A client that offers nothing is let pass by rustls.
    if !hello.alpn().is_some_and(|mut offered| offered.any(|protocol| protocol == ALPN)) {
        return Err(TlsError::Protocol);
    }
    Ok((workload.clone(), state.server(workload, clock)?))
}

/// Ends a handshake with an alert: it has no certificate to show.
static NOBODY: LazyLock<Arc<ServerConfig>> =
    LazyLock::new(|| Arc::new(config::server(&Arc::default(), Arc::new(Nobody), &Clock::system())));

#[derive(Debug)]
struct Nobody;

impl ResolvesServerCert for Nobody {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        None
    }
}
