//! A CA for tests, and leaves with all that can be wrong with them.

#![allow(dead_code)] // each test binary uses its part
#![allow(clippy::unwrap_used)] // only test functions themselves are excused by clippy.toml

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use plait_identity::Leaf;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

pub(crate) const DOMAIN: &str = "bookshop.example";
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// When tests take place.
pub(crate) fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_900_000_000)
}

pub(crate) fn spiffe(account: &str) -> String {
    format!("spiffe://{DOMAIN}/ns/shop/sa/{account}")
}

/// What stands in a leaf; the default is a good one of shop/web.
#[derive(Clone)]
pub(crate) struct Profile {
    pub(crate) names: Vec<SanType>,
    pub(crate) not_before: SystemTime,
    pub(crate) not_after: SystemTime,
    pub(crate) purposes: Vec<ExtendedKeyUsagePurpose>,
    pub(crate) usages: Vec<KeyUsagePurpose>,
    pub(crate) authority: bool,
    pub(crate) extensions: Vec<CustomExtension>,
}

impl Default for Profile {
    fn default() -> Self {
        Self {
            names: vec![uri(&spiffe("web"))],
            not_before: now() - HOUR,
            not_after: now() + HOUR,
            purposes: vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth],
            usages: vec![KeyUsagePurpose::DigitalSignature],
            authority: false,
            extensions: Vec::new(),
        }
    }
}

impl Profile {
    pub(crate) fn named(names: Vec<SanType>) -> Self {
        Self { names, ..Self::default() }
    }

    pub(crate) fn of(account: &str) -> Self {
        Self { names: vec![uri(&spiffe(account))], ..Self::default() }
    }
}

pub(crate) fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

pub(crate) fn dns(text: &str) -> SanType {
    SanType::DnsName(text.try_into().unwrap())
}

/// A list of names as it stands in a certificate, whatever the bytes.
pub(crate) fn san(der: &[u8]) -> CustomExtension {
    CustomExtension::from_oid_content(&[2, 5, 29, 17], der.to_vec())
}

pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) root: Vec<u8>,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.not_before = (now() - 100 * HOUR).into();
        params.not_after = (now() + 100 * HOUR).into();
        let key = KeyPair::generate().unwrap();
        let root = params.self_signed(&key).unwrap().der().to_vec();
        Self { issuer: Issuer::new(params, key), root }
    }

    /// Hex SHA-256 of the root.
    pub(crate) fn fingerprint(&self) -> String {
        digest(&SHA256, &self.root).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// A certificate of `key`, in DER.
    pub(crate) fn sign(&self, profile: &Profile, key: &impl rcgen::PublicKeyData) -> Vec<u8> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = profile.names.clone();
        params.not_before = profile.not_before.into();
        params.not_after = profile.not_after.into();
        params.extended_key_usages = profile.purposes.clone();
        params.key_usages = profile.usages.clone();
        params.custom_extensions = profile.extensions.clone();
        params.is_ca = if profile.authority { IsCa::Ca(BasicConstraints::Unconstrained) } else { IsCa::ExplicitNoCa };
        params.signed_by(key, &self.issuer).unwrap().der().to_vec()
    }

    /// A leaf with a fresh key, as chain and key in DER. Good or not.
    pub(crate) fn pair(&self, profile: &Profile) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let key = KeyPair::generate().unwrap();
        let chain = vec![CertificateDer::from(self.sign(profile, &key))];
        (chain, PrivatePkcs8KeyDer::from(key.serialize_der()).into())
    }

    pub(crate) fn leaf(&self, profile: &Profile) -> Leaf {
        let (chain, key) = self.pair(profile);
        Leaf::new(chain, key).unwrap()
    }
}
