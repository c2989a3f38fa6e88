//! Why there is no connection, and whose fault it is. Made by `verify` and `tls`, read by `proxy`, which chooses its answer by it.

use std::{io, sync::Arc};

use plait_model::{Reason, SpiffeId};

use crate::svid::SvidError;

/// Why a handshake gave no connection.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// Ours: nothing to show, or nobody to trust.
    #[error("{workload} cannot prove its identity: {why}")]
    OurIdentity {
        /// The workload, "namespace/name".
        workload: Arc<str>,
        /// What is missing.
        why: Unusable,
    },
    /// The far end is not who it must be, or could not prove it.
    #[error("the peer's identity is refused: {0}")]
    PeerIdentity(#[from] PeerError),
    /// The far end asked for a workload that is not ours. It knows an old address, or it probes.
    #[error("no workload here is called {0:?}")]
    UnknownName(String),
    /// The far end speaks TLS, but not our protocol.
    #[error("the peer does not speak {}", String::from_utf8_lossy(crate::tls::ALPN))]
    Protocol,
    /// The connection broke, or the far end broke the rules of TLS.
    #[error("the handshake broke: {0}")]
    Handshake(#[source] io::Error),
}

/// Why a workload of ours cannot prove its identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// It never got a leaf.
    #[error("it has no certificate")]
    NoLeaf,
    /// Its leaf is for a later time.
    #[error("its certificate is not valid yet")]
    NotYetValid,
    /// Its leaf was not renewed in time.
    #[error("its certificate has expired")]
    Expired,
    /// The leaf is for another trust domain than the mesh's.
    #[error("its certificate is for another trust domain")]
    ForeignTrustDomain,
    /// No root is trusted.
    #[error("no trusted root is known yet")]
    NoRoots,
}

/// Why the far end is not who it must be.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PeerError {
    /// It showed no certificate.
    #[error("it showed no certificate")]
    NoCertificate,
    /// Unknown root, expired, wrong usage, bad signature.
    #[error("its certificate is not valid: {}", in_words(.0))]
    Certificate(rustls::CertificateError),
    /// The certificate names nobody, or too many.
    #[error(transparent)]
    Svid(#[from] SvidError),
    /// It belongs to another mesh.
    #[error("it is {0}, of another trust domain")]
    ForeignTrustDomain(SpiffeId),
    /// It is somebody else of our mesh.
    #[error("it is {found}, not {expected}")]
    Unexpected {
        /// Who it proved to be.
        found: SpiffeId,
        /// Who it must be.
        expected: SpiffeId,
    },
}

impl TlsError {
    /// The reason that a caller is told when the connection was to an upstream.
    pub fn reason(&self) -> Reason {
        match self {
            Self::OurIdentity { .. } => Reason::IdentityUnavailable,
            Self::PeerIdentity(_) => Reason::UpstreamIdentity,
            Self::UnknownName(_) | Self::Protocol | Self::Handshake(_) => Reason::UpstreamUnreachable,
        }
    }
}

/// What tokio-rustls reports, told apart: our own verdicts travel through rustls inside its errors.
impl From<io::Error> for TlsError {
    fn from(error: io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(rustls::Error::InvalidCertificate(refused)) => Self::PeerIdentity(verdict(refused)),
            Some(rustls::Error::NoCertificatesPresented) => Self::PeerIdentity(PeerError::NoCertificate),
            _ => Self::Handshake(error),
        }
    }
}

fn verdict(refused: &rustls::CertificateError) -> PeerError {
    let ours = match refused {
        rustls::CertificateError::Other(other) => other.0.downcast_ref::<PeerError>().cloned(),
        _ => None,
    };
    ours.unwrap_or_else(|| PeerError::Certificate(refused.clone()))
}

/// rustls has words for some and a variant's name for the rest.
fn in_words(refused: &rustls::CertificateError) -> String {
    match refused {
        rustls::CertificateError::UnknownIssuer => "it was signed by no root that is trusted here".to_owned(),
        rustls::CertificateError::BadSignature => "the peer does not hold its key, or its issuer did not sign it".to_owned(),
        rustls::CertificateError::InvalidPurpose => "it is not for this end of a connection".to_owned(),
        rustls::CertificateError::Other(cause) => cause.0.to_string(),
        other => other.to_string(),
    }
}

/// The way of our verdict into rustls.
impl From<PeerError> for rustls::Error {
    fn from(error: PeerError) -> Self {
        rustls::CertificateError::Other(rustls::OtherError(Arc::new(error))).into()
    }
}
