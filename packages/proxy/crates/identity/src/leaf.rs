//! One of our certificates with its key. Made by `enrolment` or read from a folder; held by `identities`.

use std::{
    fmt, fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use aws_lc_rs::hkdf;
use plait_model::SpiffeId;
use rustls::{
    SignatureScheme,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};

use crate::{
    config::PROVIDER,
    svid::{Svid, SvidError},
};

/// A leaf with the rest of its chain and its key, which belong together. Who signed it was not asked: peers will.
pub struct Leaf {
    svid: Svid,
    secret: PrivateKeyDer<'static>,
    certified: Arc<CertifiedKey>,
}

/// Why there is no leaf.
#[derive(Debug, thiserror::Error)]
pub enum LeafError {
    /// A file is missing or broken.
    #[error("{0} cannot be read: {1}")]
    File(PathBuf, io::Error),
    /// A file is not PEM of the right kind.
    #[error("{0} holds no {1} in PEM: {2}")]
    Pem(PathBuf, &'static str, rustls::pki_types::pem::Error),
    /// A key that others can read may be known to them.
    #[error("{0} can be read by others (mode {1:o}); run chmod 600 {0}")]
    Exposed(PathBuf, u32),
    /// There is no certificate at all.
    #[error("the chain is empty")]
    Empty,
    /// The certificate names nobody.
    #[error(transparent)]
    Svid(#[from] SvidError),
    /// The key is of a kind that we cannot use, or belongs to another certificate.
    #[error("the key does not fit the certificate: {0}")]
    Key(rustls::Error),
}

impl Leaf {
    /// `chain` is leaf first; refuses a key that is not the leaf's.
    pub fn new(chain: Vec<CertificateDer<'static>>, secret: PrivateKeyDer<'static>) -> Result<Self, LeafError> {
        let svid = Svid::parse(chain.first().ok_or(LeafError::Empty)?)?;
        let key = PROVIDER.key_provider.load_private_key(secret.clone_key()).map_err(LeafError::Key)?;
        let certified = CertifiedKey::new(chain, key);
        certified.keys_match().map_err(LeafError::Key)?;
        Ok(Self { svid, secret, certified: Arc::new(certified) })
    }

    /// Reads leaf.pem (the chain, leaf first) and leaf.key of a folder. The key's file must be readable by its owner only.
    pub fn load(folder: &Path) -> Result<Self, LeafError> {
        let (chain, key) = (folder.join("leaf.pem"), folder.join("leaf.key"));
        let certificates = CertificateDer::pem_slice_iter(&read(&chain)?)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| LeafError::Pem(chain, "certificate", error))?;
        let secret = PrivateKeyDer::from_pem_slice(&read_secret(&key)?).map_err(|error| LeafError::Pem(key, "private key", error))?;
        Self::new(certificates, secret)
    }

    /// Whose it is.
    pub fn identity(&self) -> &SpiffeId {
        &self.svid.identity
    }

    /// Valid from then on.
    pub fn not_before(&self) -> SystemTime {
        self.svid.not_before
    }

    /// Valid until then.
    pub fn not_after(&self) -> SystemTime {
        self.svid.not_after
    }

    /// Whether it may be used at `now`.
    pub fn is_valid(&self, now: SystemTime) -> bool {
        self.svid.is_valid(now)
    }

    /// Half of its life, when a new one is due.
    pub fn renew_at(&self) -> SystemTime {
        let life = self.svid.not_after.duration_since(self.svid.not_before).unwrap_or_default();
        self.svid.not_before + life / 2
    }

    /// The chain in DER, leaf first.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.certified.cert
    }

    /// A key for another purpose, named by `label`, that only the holder of this leaf's key can derive. It changes with the leaf.
    pub fn derive_key(&self, label: &str) -> [u8; 32] {
        let mut derived = [0; 32];
        hkdf::Salt::new(hkdf::HKDF_SHA256, b"plait leaf key")
            .extract(self.secret.secret_der())
            .expand(&[label.as_bytes()], hkdf::HKDF_SHA256)
            .and_then(|output| output.fill(&mut derived))
            .expect("32 bytes are one block of HKDF-SHA256");
        derived
    }

    pub(crate) fn certified(&self) -> &Arc<CertifiedKey> {
        &self.certified
    }

    /// The key's signature over `message` (ECDSA P-256, SHA-256, ASN.1); `None` when the key is of another kind.
    pub(crate) fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        self.certified.key.choose_scheme(&[SignatureScheme::ECDSA_NISTP256_SHA256])?.sign(message).ok()
    }

    pub(crate) fn secret(&self) -> &PrivateKeyDer<'static> {
        &self.secret
    }
}

impl fmt::Debug for Leaf {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leaf").field("svid", &self.svid).finish_non_exhaustive()
    }
}

pub(crate) fn read(path: &Path) -> Result<Vec<u8>, LeafError> {
    fs::read(path).map_err(|error| LeafError::File(path.to_owned(), error))
}

pub(crate) fn read_secret(path: &Path) -> Result<Vec<u8>, LeafError> {
    let mode = fs::metadata(path).map_err(|error| LeafError::File(path.to_owned(), error))?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(LeafError::Exposed(path.to_owned(), mode));
    }
    read(path)
}
