//! A CA that serves plait.v1.Identity over TLS as the control plane does, and misbehaves when told to.

#![allow(dead_code)] // each test binary uses its part
#![allow(clippy::unwrap_used)] // only test functions themselves are excused by clippy.toml

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use plait_identity::{Clock, JoinToken};
use plait_wire::{
    LeafProof, SignRequest, SignResponse,
    identity_server::{Identity, IdentityServer},
    sign_request::Proof,
};
use rcgen::{CertificateSigningRequestParams, SanType};
use rustls::pki_types::CertificateDer;
use tokio::{net::TcpListener, sync::mpsc};
use tokio_rustls::TlsAcceptor;
use tonic::{Code, Request, Response, Status, codegen::tokio_stream::wrappers::UnboundedReceiverStream};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::{
    authority::{Authority, DOMAIN, Profile, now, spiffe, uri},
    stranger,
};

/// How long its leaves live.
pub(crate) const LIFE: Duration = Duration::from_secs(24 * 3600);

/// What becomes of a good answer.
pub(crate) type Change = Box<dyn FnOnce(&mut SignResponse, &Ca) + Send>;

/// The CA; clones are one.
#[derive(Clone)]
pub(crate) struct Ca(Arc<Shared>);

struct Shared {
    authority: Authority,
    clock: Clock,
    tricks: Mutex<VecDeque<Trick>>,
    asked: Mutex<Vec<SignRequest>>,
}

/// What it does instead of answering as it should, once.
pub(crate) enum Trick {
    Refuse(Code),
    Change(Change),
}

impl Ca {
    pub(crate) fn new(authority: Authority, clock: &Clock) -> Self {
        Self(Arc::new(Shared { authority, clock: clock.clone(), tricks: Mutex::default(), asked: Mutex::default() }))
    }

    pub(crate) fn authority(&self) -> &Authority {
        &self.0.authority
    }

    /// Serves on `address` as the control plane; returns where.
    pub(crate) async fn serve(&self, address: &str) -> String {
        let names = vec![uri(&format!("spiffe://{DOMAIN}/ns/plait-system/sa/plait-controlplane"))];
        self.serve_as(address, names, self.authority()).await
    }

    /// Serves with these names in its certificate, signed by `authority`, whose root it sends along.
    pub(crate) async fn serve_as(&self, address: &str, names: Vec<SanType>, authority: &Authority) -> String {
        let profile = Profile { names, not_after: now() + 1000 * LIFE, ..Profile::default() };
        let (mut chain, key) = authority.pair(&profile);
        chain.push(CertificateDer::from(authority.root.clone()));
        let acceptor = TlsAcceptor::from(Arc::new(stranger::server((chain, key), &[b"h2"])));
        let listener = TcpListener::bind(address).await.unwrap();
        let served = listener.local_addr().unwrap().to_string();

        let (accepted, connections) = mpsc::unbounded_channel();
        let server = tonic::transport::Server::builder();
        tokio::spawn(server.serve_with_incoming(IdentityServer::new(self.clone()), UnboundedReceiverStream::new(connections)));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // tonic knows this kind of stream, and not that of tokio-rustls.
                let (near, mut far) = tokio::io::duplex(64 * 1024);
                let (acceptor, accepted) = (acceptor.clone(), accepted.clone());
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    accepted.send(Ok::<_, io::Error>(near)).unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut stream, &mut far).await;
                });
            }
        });
        served
    }

    /// Does this with the next request that is good.
    pub(crate) fn trick(&self, trick: Trick) {
        self.0.tricks.lock().unwrap().push_back(trick);
    }

    /// How it was asked so far.
    pub(crate) fn asked(&self) -> Vec<SignRequest> {
        self.0.asked.lock().unwrap().clone()
    }

    /// A leaf of `csr`'s key for shop/`account`.
    pub(crate) fn sign_for(&self, account: &str, csr: &[u8]) -> Vec<u8> {
        let csr = CertificateSigningRequestParams::from_der(&csr.into()).unwrap();
        let now = self.0.clock.now();
        let profile = Profile { not_before: now, not_after: now + LIFE, ..Profile::of(account) };
        self.authority().sign(&profile, &csr.public_key)
    }
}

#[tonic::async_trait]
impl Identity for Ca {
    async fn sign(&self, request: Request<SignRequest>) -> Result<Response<SignResponse>, Status> {
        let request = request.into_inner();
        self.0.asked.lock().unwrap().push(request.clone());
        match &request.proof {
            Some(Proof::JoinToken(_) | Proof::ServiceAccountToken(_)) => {}
            Some(Proof::Leaf(proof)) => proven(proof, &request.csr).map_err(Status::unauthenticated)?,
            None => return Err(Status::unauthenticated("no proof")),
        }
        let mut answer = SignResponse {
            chain: vec![self.sign_for("web", &request.csr)],
            trust_bundle: vec![self.authority().root.clone()],
            identity: spiffe("web"),
        };
        match self.0.tricks.lock().unwrap().pop_front() {
            Some(Trick::Refuse(code)) => return Err(Status::new(code, "as told")),
            Some(Trick::Change(change)) => change(&mut answer, self),
            None => {}
        }
        Ok(Response::new(answer))
    }
}

/// As the real CA looks at it: the old leaf's key has signed the new request.
fn proven(proof: &LeafProof, csr: &[u8]) -> Result<(), String> {
    let (_, leaf) = X509Certificate::from_der(&proof.chain[0]).map_err(|error| error.to_string())?;
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &leaf.public_key().subject_public_key.data);
    key.verify(csr, &proof.signature).map_err(|_| "the request is not signed by the leaf's key".to_owned())
}

/// A join token for shop/web-1 that names these roots and ends then.
pub(crate) fn token(account: &str, roots: &[&Authority], address: &str, life: Duration) -> JoinToken {
    let roots: Vec<String> = roots.iter().map(|authority| authority.fingerprint()).collect();
    let exp = (now() + life).duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let claims = serde_json::json!({
        "workload": "shop/web-1", "serviceAccount": account, "trustDomain": DOMAIN, "exp": exp, "roots": roots, "identity": address,
    });
    JoinToken::parse(&format!("plait1.{}.c2lnbmVk", BASE64_URL_SAFE_NO_PAD.encode(claims.to_string()))).unwrap()
}
