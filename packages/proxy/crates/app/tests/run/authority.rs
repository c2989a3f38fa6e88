//! The CA of these tests: certificates and keys as bytes, since the binary reads them from files and connections.

use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PublicKeyData, SanType,
};

pub(crate) const DOMAIN: &str = "shop.example";
const HOUR: Duration = Duration::from_secs(3600);

pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// DER.
    pub(crate) root: Vec<u8>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = params();
        params.distinguished_name.push(DnType::CommonName, "root");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        let root = params.self_signed(&key).unwrap().der().to_vec();
        Self { issuer: Issuer::new(params, key), root }
    }

    /// A certificate of `key` for `namespace/account`.
    pub(crate) fn sign(&self, account: &str, key: &impl PublicKeyData) -> rcgen::Certificate {
        let (namespace, account) = account.split_once('/').unwrap();
        let mut params = params();
        let identity = format!("spiffe://{DOMAIN}/ns/{namespace}/sa/{account}");
        params.subject_alt_names = vec![SanType::URI(identity.as_str().try_into().unwrap())];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.is_ca = IsCa::ExplicitNoCa;
        params.signed_by(key, &self.issuer).unwrap()
    }
}

fn params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    (params.not_before, params.not_after) = ((SystemTime::now() - HOUR).into(), (SystemTime::now() + HOUR).into());
    params
}
