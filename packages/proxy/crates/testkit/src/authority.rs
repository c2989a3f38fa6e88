//! The CA of a test's mesh.

use std::time::{Duration, SystemTime};

use plait_identity::Leaf;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};

/// The trust domain of every test's mesh.
pub const DOMAIN: &str = "shop.example";

const HOUR: Duration = Duration::from_secs(3600);

/// Signs leaves of service accounts in the namespace "shop".
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate, DER.
    pub root: Vec<u8>,
}

impl Authority {
    /// One with a new key.
    #[expect(clippy::new_without_default, reason = "each is another")]
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "root");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        (params.not_before, params.not_after) = ((SystemTime::now() - HOUR).into(), (SystemTime::now() + 100 * HOUR).into());
        let key = KeyPair::generate().unwrap();
        let root = params.self_signed(&key).unwrap().der().to_vec();
        Self { issuer: Issuer::new(params, key), root }
    }

    /// A leaf of `spiffe://shop.example/ns/shop/sa/<account>`, valid for an hour.
    pub fn leaf(&self, account: &str) -> Leaf {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = vec![SanType::URI(identity(account).as_str().try_into().unwrap())];
        (params.not_before, params.not_after) = ((SystemTime::now() - HOUR).into(), (SystemTime::now() + HOUR).into());
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.is_ca = IsCa::ExplicitNoCa;
        let key = KeyPair::generate().unwrap();
        let chain = vec![CertificateDer::from(params.signed_by(&key, &self.issuer).unwrap().der().to_vec())];
        Leaf::new(chain, PrivatePkcs8KeyDer::from(key.serialize_der()).into()).unwrap()
    }
}

/// The identity of a service account.
pub(crate) fn identity(account: &str) -> String {
    format!("spiffe://{DOMAIN}/ns/shop/sa/{account}")
}
