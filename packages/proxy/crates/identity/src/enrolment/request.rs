//! One request for a certificate: the fresh key, the CSR, the proof; and the check of what the CA answers. Pure but for randomness.
//!
//! The CA was authenticated before it was asked, and is believed no more than that: an answer that is not exactly what was asked for is refused.

use plait_model::SpiffeId;
use plait_wire::{LeafProof, SignRequest, SignResponse, sign_request::Proof};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, UnixTime};
use webpki::KeyUsage;

use super::token::Shown;
use crate::{
    leaf::{Leaf, LeafError},
    verify::Trust,
};

/// A leaf has an intermediate or two above it; a rotation has two roots, federation some more.
const LONGEST_CHAIN: usize = 8;
const MOST_ROOTS: usize = 64;

/// A key that nobody has seen, with a request for its certificate.
pub(super) struct Request {
    key: KeyPair,
    csr: Vec<u8>,
}

/// What the CA gives, and what is kept of it.
pub(super) struct Grant {
    pub(super) leaf: Leaf,
    /// Every root to be trusted, DER.
    pub(super) roots: Vec<Vec<u8>>,
}

/// Why an answer of the CA is refused.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// Too short or too long.
    #[error("the CA sent {0} certificates in the chain and {1} roots")]
    Size(usize, usize),
    /// Garbage, or for another key.
    #[error("the CA sent a certificate that cannot be used: {0}")]
    Leaf(#[from] LeafError),
    /// The certificate is for somebody else, or the CA says so.
    #[error("the CA answered for {found}, not for {expected}")]
    Identity {
        /// As the answer says.
        found: String,
        /// Who we are.
        expected: SpiffeId,
    },
    /// A root is garbage.
    #[error("the CA sent a root that cannot be read")]
    Root,
    /// Nobody who trusts these roots would believe the certificate.
    #[error("the CA sent a certificate that its own roots do not vouch for: {0}")]
    Chain(rustls::Error),
}

impl Request {
    pub(super) fn new() -> Result<Self, rcgen::Error> {
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new(); // names come from the proof
        let csr = params.serialize_request(&key)?.der().to_vec();
        Ok(Self { key, csr })
    }

    /// The message that shows a token.
    pub(super) fn by_token(&self, workload: &str, token: Shown) -> SignRequest {
        let proof = match token {
            Shown::Join(text) => Proof::JoinToken(text),
            Shown::ServiceAccount(text) => Proof::ServiceAccountToken(text),
        };
        SignRequest { csr: self.csr.clone(), workload: workload.to_owned(), proof: Some(proof) }
    }

    /// The message that shows the leaf to be renewed. `None` when its key is not one that the CA takes.
    pub(super) fn by_leaf(&self, workload: &str, leaf: &Leaf) -> Option<SignRequest> {
        let chain = leaf.chain().iter().map(|certificate| certificate.to_vec()).collect();
        let proof = LeafProof { chain, signature: leaf.sign(&self.csr)? };
        Some(SignRequest { csr: self.csr.clone(), workload: workload.to_owned(), proof: Some(Proof::Leaf(proof)) })
    }

    /// Takes an answer, when it is a certificate of our key for exactly `expected`, good for both ends of a connection at `now`.
    pub(super) fn granted(self, answer: SignResponse, expected: &SpiffeId, now: UnixTime) -> Result<Grant, AnswerError> {
        let SignResponse { chain, trust_bundle, identity } = answer;
        if !(1..=LONGEST_CHAIN).contains(&chain.len()) || !(1..=MOST_ROOTS).contains(&trust_bundle.len()) {
            return Err(AnswerError::Size(chain.len(), trust_bundle.len()));
        }
        let secret = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.key.serialize_der()));
        let leaf = Leaf::new(chain.into_iter().map(CertificateDer::from).collect(), secret)?;
        if leaf.identity() != expected || identity != expected.as_str() {
            let found = if leaf.identity() == expected { identity } else { leaf.identity().to_string() };
            return Err(AnswerError::Identity { found, expected: expected.clone() });
        }
        let trust = Trust::new(expected.trust_domain(), &trust_bundle);
        if trust.unreadable() > 0 {
            return Err(AnswerError::Root);
        }
        for usage in [KeyUsage::server_auth(), KeyUsage::client_auth()] {
            trust.owner(&leaf.chain()[0], &leaf.chain()[1..], usage, now).map_err(AnswerError::Chain)?;
        }
        Ok(Grant { leaf, roots: trust_bundle })
    }
}
