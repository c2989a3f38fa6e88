//! A control plane of one small world: a CA that believes every token, and discovery over mutual TLS. Gone when dropped, and can be started again
//! at the same addresses.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use plait_testkit::{Port, until};
use plait_wire::{
    ChangeSet, Hello, SignRequest, SignResponse, WatchRequest, WatchResponse,
    discovery_server::{Discovery, DiscoveryServer},
    identity_server::{Identity, IdentityServer},
    watch_request, watch_response,
};
use rcgen::{CertificateSigningRequestParams, KeyPair};
use tokio::{
    net::TcpListener,
    sync::mpsc,
    task::{AbortHandle, JoinSet},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        RootCertStore, ServerConfig,
        crypto::aws_lc_rs::default_provider,
        pki_types::{CertificateDer, PrivatePkcs8KeyDer},
        server::WebPkiClientVerifier,
    },
};
use tonic::{
    Request, Response, Status, Streaming,
    codegen::tokio_stream::wrappers::{ReceiverStream, UnboundedReceiverStream},
};

use crate::{
    authority::{Authority, DOMAIN},
    world::WORKLOAD,
};

/// The addresses, the CA and the world; what serves them comes and goes.
pub(crate) struct Mesh {
    pub(crate) discovery: Port,
    identity: Port,
    authority: Arc<Authority>,
    world: ChangeSet,
    /// What proxies said first.
    pub(crate) hellos: Arc<Mutex<Vec<Hello>>>,
}

/// A control plane that runs until it is dropped.
pub(crate) struct Running(AbortHandle, AbortHandle);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
        self.1.abort();
    }
}

impl Mesh {
    pub(crate) fn new(authority: Authority, world: ChangeSet) -> Self {
        Self { discovery: Port::new(), identity: Port::new(), authority: Arc::new(authority), world, hellos: Arc::default() }
    }

    /// As an operator writes it to a file.
    pub(crate) fn token(&self) -> String {
        let root: String = digest(&SHA256, &self.authority.root).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let claims = serde_json::json!({
            "workload": WORKLOAD, "serviceAccount": "web", "trustDomain": DOMAIN, "exp": 4_000_000_000_u64, "roots": [root],
            "identity": self.identity.address.to_string(),
        });
        format!("plait1.{}.c2lnbmVk\n", BASE64_URL_SAFE_NO_PAD.encode(claims.to_string()))
    }

    /// A certificate of its CA.
    pub(crate) fn sign(&self, account: &str, key: &KeyPair) -> rcgen::Certificate {
        self.authority.sign(account, key)
    }

    pub(crate) async fn start(&self) -> Running {
        let ca = IdentityServer::new(Ca(self.authority.clone()));
        let watch = DiscoveryServer::new(Control { world: self.world.clone(), hellos: self.hellos.clone() });
        let (open, closed) = (self.tls(false), self.tls(true));
        let serve = tonic::transport::Server::builder;
        Running(
            tokio::spawn(serve().serve_with_incoming(ca, connections(self.identity.address, open).await)).abort_handle(),
            tokio::spawn(serve().serve_with_incoming(watch, connections(self.discovery.address, closed).await)).abort_handle(),
        )
    }

    fn tls(&self, clients: bool) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let leaf = self.authority.sign("plait-system/plait-controlplane", &key);
        let root = CertificateDer::from(self.authority.root.clone());
        let chain = vec![leaf.der().clone(), root.clone()];
        let provider = Arc::new(default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
        let builder = if clients {
            let mut roots = RootCertStore::empty();
            roots.add(root).unwrap();
            builder.with_client_cert_verifier(WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap())
        } else {
            builder.with_no_client_auth()
        };
        let mut config = builder.with_single_cert(chain, PrivatePkcs8KeyDer::from(key.serialize_der()).into()).unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        TlsAcceptor::from(Arc::new(config))
    }
}

/// Accepted and proven connections, until the receiver is dropped; those that live end with it.
async fn connections(address: SocketAddr, tls: TlsAcceptor) -> UnboundedReceiverStream<io::Result<tokio::io::DuplexStream>> {
    let listener = until("the one before closes its port", || std::net::TcpListener::bind(address).ok()).await;
    listener.set_nonblocking(true).unwrap();
    let listener = TcpListener::from_std(listener).unwrap();
    let (accepted, incoming) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut live = JoinSet::new();
        loop {
            let stream = tokio::select! {
                stream = listener.accept() => stream.unwrap().0,
                () = accepted.closed() => return,
            };
            // tonic knows this kind of stream, and not that of tokio-rustls.
            let (near, mut far) = tokio::io::duplex(64 * 1024);
            let (tls, accepted) = (tls.clone(), accepted.clone());
            live.spawn(async move {
                let Ok(mut stream) = tls.accept(stream).await else { return };
                let _ = accepted.send(Ok(near));
                let _ = tokio::io::copy_bidirectional(&mut stream, &mut far).await;
            });
        }
    });
    UnboundedReceiverStream::new(incoming)
}

struct Ca(Arc<Authority>);

#[tonic::async_trait]
impl Identity for Ca {
    async fn sign(&self, request: Request<SignRequest>) -> Result<Response<SignResponse>, Status> {
        let csr = CertificateSigningRequestParams::from_der(&request.into_inner().csr.as_slice().into()).unwrap();
        let leaf = self.0.sign("shop/web", &csr.public_key);
        Ok(Response::new(SignResponse {
            chain: vec![leaf.der().to_vec()],
            trust_bundle: vec![self.0.root.clone()],
            identity: format!("spiffe://{DOMAIN}/ns/shop/sa/web"),
        }))
    }
}

struct Control {
    world: ChangeSet,
    hellos: Arc<Mutex<Vec<Hello>>>,
}

#[tonic::async_trait]
impl Discovery for Control {
    type WatchStream = ReceiverStream<Result<WatchResponse, Status>>;

    async fn watch(&self, request: Request<Streaming<WatchRequest>>) -> Result<Response<Self::WatchStream>, Status> {
        let mut requests = request.into_inner();
        let Some(watch_request::Message::Hello(hello)) = requests.message().await?.and_then(|first| first.message) else {
            return Err(Status::invalid_argument("Hello comes first"));
        };
        let known = hello.destinations.clone();
        self.hellos.lock().unwrap().push(hello);
        let (responses, receiver) = mpsc::channel(8);
        let says = move |changes| Ok(WatchResponse { message: Some(watch_response::Message::ChangeSet(changes)) });
        let _ = responses.send(says(ChangeSet { known, ..self.world.clone() })).await;
        // Held open as long as the proxy holds its half.
        tokio::spawn(async move {
            let mut nonce = 1;
            while let Ok(Some(request)) = requests.message().await {
                if let Some(watch_request::Message::Subscribe(asked)) = request.message {
                    nonce += 1;
                    let answer = ChangeSet { nonce, generation: 1, known: asked.destinations, ..ChangeSet::default() };
                    let _ = responses.send(says(answer)).await;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(receiver)))
    }
}
