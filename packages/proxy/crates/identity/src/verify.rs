//! Whether the far end's certificate is good: signed by a root of ours for this use, valid now, and the SPIFFE ID that it must be.
//!
//! Called by rustls in each handshake, before any byte of an application is sent. No host name is ever matched: SNI chooses a leaf, it proves
//! nothing.

use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use plait_model::SpiffeId;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::verify_tls13_signature,
    pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};
use webpki::{EndEntityCert, KeyUsage};

use crate::{config::PROVIDER, error::PeerError, svid::Svid};

/// Whom we trust. Never changed: a new one takes its place.
#[derive(Debug, Default)]
pub(crate) struct Trust {
    pub(crate) domain: Box<str>,
    anchors: Anchors,
}

#[derive(Debug)]
enum Anchors {
    /// As they came, and those of them that can be read.
    Roots(Vec<Vec<u8>>, Vec<TrustAnchor<'static>>),
    /// SHA-256 of roots that are not known yet: the far end must send one along.
    Fingerprints(Vec<Fingerprint>),
}

/// SHA-256 of a certificate's DER.
pub(crate) type Fingerprint = [u8; 32];

impl Default for Anchors {
    fn default() -> Self {
        Self::Roots(Vec::new(), Vec::new())
    }
}

impl Trust {
    /// Roots that cannot be read are not trusted; `unreadable` counts them.
    pub(crate) fn new(domain: &str, roots: &[Vec<u8>]) -> Self {
        let anchor = |root: &Vec<u8>| anchor(&CertificateDer::from(root.as_slice())).map(|anchor| anchor.to_owned());
        Self { domain: domain.into(), anchors: Anchors::Roots(roots.to_vec(), roots.iter().filter_map(anchor).collect()) }
    }

    /// Roots that are known by their hash alone, as a join token names them.
    pub(crate) fn by_fingerprint(domain: &str, fingerprints: Vec<Fingerprint>) -> Self {
        Self { domain: domain.into(), anchors: Anchors::Fingerprints(fingerprints) }
    }

    /// The roots as they came, DER.
    pub(crate) fn roots(&self) -> &[Vec<u8>] {
        match &self.anchors {
            Anchors::Roots(roots, _) => roots,
            Anchors::Fingerprints(_) => &[],
        }
    }

    /// How many roots cannot be read.
    pub(crate) fn unreadable(&self) -> usize {
        match &self.anchors {
            Anchors::Roots(roots, anchors) => roots.len() - anchors.len(),
            Anchors::Fingerprints(_) => 0,
        }
    }

    /// Whether nobody is trusted.
    pub(crate) fn is_empty(&self) -> bool {
        match &self.anchors {
            Anchors::Roots(_, anchors) => anchors.is_empty(),
            Anchors::Fingerprints(fingerprints) => fingerprints.is_empty(),
        }
    }

    /// The owner of a certificate chain that is good for `usage` at `now`.
    pub(crate) fn owner(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        usage: KeyUsage,
        now: UnixTime,
    ) -> Result<Svid, Error> {
        match &self.anchors {
            Anchors::Roots(_, anchors) => verify_chain(anchors, leaf, rest, usage, now)?,
            Anchors::Fingerprints(known) => {
                let pinned = rest.iter().filter(|certificate| known.contains(&fingerprint(certificate)));
                verify_chain(&pinned.filter_map(anchor).collect::<Vec<_>>(), leaf, rest, usage, now)?;
            }
        }
        let svid = Svid::parse(leaf).map_err(PeerError::from)?;
        if svid.identity.trust_domain() != &*self.domain {
            return Err(PeerError::ForeignTrustDomain(svid.identity).into());
        }
        Ok(svid)
    }
}

fn anchor<'a>(root: &'a CertificateDer<'_>) -> Option<TrustAnchor<'a>> {
    webpki::anchor_from_trusted_cert(root).ok()
}

fn fingerprint(certificate: &[u8]) -> Fingerprint {
    digest(&SHA256, certificate).as_ref().try_into().expect("SHA-256 has 32 bytes")
}

fn verify_chain(
    anchors: &[TrustAnchor<'_>],
    leaf: &CertificateDer<'_>,
    rest: &[CertificateDer<'_>],
    usage: KeyUsage,
    now: UnixTime,
) -> Result<(), Error> {
    let algorithms = PROVIDER.signature_verification_algorithms.all;
    EndEntityCert::try_from(leaf)
        .and_then(|leaf| leaf.verify_for_usage(algorithms, anchors, rest, now, usage, None, None).map(|_| ()))
        .map_err(|error| Error::InvalidCertificate(certificate_error(error)))
}

/// Those that have an alert of their own keep it, so that the far end learns what is wrong with it.
fn certificate_error(error: webpki::Error) -> CertificateError {
    match error {
        webpki::Error::CertExpired { time, not_after } => CertificateError::ExpiredContext { time, not_after },
        webpki::Error::CertNotValidYet { time, not_before } => CertificateError::NotValidYetContext { time, not_before },
        webpki::Error::UnknownIssuer => CertificateError::UnknownIssuer,
        webpki::Error::BadDer => CertificateError::BadEncoding,
        webpki::Error::RequiredEkuNotFoundContext(_) => CertificateError::InvalidPurpose,
        other => CertificateError::Other(rustls::OtherError(Arc::new(other))),
    }
}

/// On our server side: any identity of our trust domain. What it may do is for policies to say.
#[derive(Debug)]
pub(crate) struct AnyOfOurs(pub(crate) Arc<Trust>);

impl ClientCertVerifier for AnyOfOurs {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[] // a peer has one certificate to show; names of roots would tell strangers about us
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.0.owner(leaf, rest, KeyUsage::client_auth(), now).map(|_| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, leaf, signature, &PROVIDER.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        PROVIDER.signature_verification_algorithms.supported_schemes()
    }
}

/// On our client side: exactly one identity; with `None` nobody, for a configuration that was not given one yet.
#[derive(Debug)]
pub(crate) struct Exactly {
    pub(crate) trust: Arc<Trust>,
    pub(crate) expected: Option<SpiffeId>,
}

impl ServerCertVerifier for Exactly {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        rest: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let found = self.trust.owner(leaf, rest, KeyUsage::server_auth(), now)?.identity;
        match &self.expected {
            Some(expected) if found == *expected => Ok(ServerCertVerified::assertion()),
            Some(expected) => Err(PeerError::Unexpected { found, expected: expected.clone() }.into()),
            None => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, leaf, signature, &PROVIDER.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        PROVIDER.signature_verification_algorithms.supported_schemes()
    }
}

/// TLS 1.2 is not offered; should it be asked for all the same, nothing passes.
fn no_tls12() -> Error {
    Error::PeerIncompatible(rustls::PeerIncompatible::Tls12NotOfferedOrEnabled)
}
