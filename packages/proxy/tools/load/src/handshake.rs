//! Full mutual handshakes of TLS 1.3, each on a connection of its own. Called by `main`.
//!
//! A handshake counts when the server closed the connection without an alert, after ours was closed: in TLS 1.3 the client is done before the
//! server has looked at its certificate.

use std::{
    io::{self, ErrorKind},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use rustls::{
    ClientConfig, RootCertStore,
    client::Resumption,
    crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use crate::{PATIENCE, exchange::Done};

/// Which handshakes, and for how long.
#[derive(Debug, clap::Args)]
pub(crate) struct Handshakes {
    /// Where the server listens
    address: SocketAddr,
    /// The folder with leaf.pem, leaf.key and roots.pem
    #[arg(long)]
    identity: PathBuf,
    /// The server's name
    #[arg(long)]
    name: String,
    /// The protocol to ask for
    #[arg(long)]
    alpn: String,
    /// The only key exchange that is offered
    #[arg(long, value_enum)]
    group: Group,
    /// Connections at a time
    #[arg(long, default_value_t = 8)]
    connections: usize,
    /// How long handshakes are begun
    #[arg(long)]
    seconds: f64,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Group {
    X25519,
    X25519mlkem768,
}

/// Makes handshakes to the end of the time.
pub(crate) async fn run(handshakes: &Handshakes) -> io::Result<Done> {
    let connector = TlsConnector::from(Arc::new(config(handshakes)?));
    let name = ServerName::try_from(handshakes.name.clone()).map_err(io::Error::other)?;
    let end = Instant::now() + Duration::from_secs_f64(handshakes.seconds);
    let mut callers = JoinSet::new();
    for _ in 0..handshakes.connections {
        callers.spawn(caller(connector.clone(), handshakes.address, name.clone(), end));
    }
    let mut done = Done::default();
    while let Some(ended) = callers.join_next().await {
        let one = ended.map_err(io::Error::other)?;
        done.requests += one.requests;
        done.failed += one.failed;
        done.why = done.why.or(one.why);
    }
    Ok(done)
}

async fn caller(connector: TlsConnector, address: SocketAddr, name: ServerName<'static>, end: Instant) -> Done {
    let mut done = Done::default();
    while Instant::now() < end {
        match timeout(PATIENCE, once(&connector, address, name.clone())).await.unwrap_or_else(|late| Err(late.into())) {
            Ok(()) => done.requests += 1,
            Err(error) => {
                done.failed += 1;
                done.why.get_or_insert(error.to_string());
            }
        }
    }
    done
}

async fn once(connector: &TlsConnector, address: SocketAddr, name: ServerName<'static>) -> io::Result<()> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut stream = connector.connect(name, stream).await?;
    stream.shutdown().await?;
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest).await {
        Ok(_) => Ok(()),
        // A server may close without a word of TLS; an alert would have been another error.
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(()),
        Err(error) => Err(error),
    }
}

fn config(handshakes: &Handshakes) -> io::Result<ClientConfig> {
    let group: &dyn SupportedKxGroup = match handshakes.group {
        Group::X25519 => aws_lc_rs::kx_group::X25519,
        Group::X25519mlkem768 => aws_lc_rs::kx_group::X25519MLKEM768,
    };
    let provider = CryptoProvider {
        // One suite: every server is measured with the same.
        cipher_suites: vec![aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256],
        kx_groups: vec![group],
        ..aws_lc_rs::default_provider()
    };
    let Identity { leaf, key, roots } = identity(&handshakes.identity)?;
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_root_certificates(roots).with_client_auth_cert(leaf, key))
        .map_err(io::Error::other)?;
    config.alpn_protocols = vec![handshakes.alpn.clone().into_bytes()];
    config.resumption = Resumption::disabled();
    Ok(config)
}

struct Identity {
    leaf: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    roots: RootCertStore,
}

fn identity(folder: &Path) -> io::Result<Identity> {
    let certificates = |name| {
        let read = CertificateDer::pem_file_iter(folder.join(name)).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        read.map_err(io::Error::other)
    };
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates("roots.pem")?);
    let key = PrivateKeyDer::from_pem_file(folder.join("leaf.key")).map_err(io::Error::other)?;
    Ok(Identity { leaf: certificates("leaf.pem")?, key, roots })
}
