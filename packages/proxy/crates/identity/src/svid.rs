//! What a certificate says about its owner: exactly one SPIFFE ID, and the time in which it holds. Pure; reads bytes of strangers.
//!
//! Called by `verify` for peers and by `leaf` for our own. Says nothing about who signed it: that is `verify`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use plait_model::{SpiffeError, SpiffeId};
use x509_parser::{
    certificate::X509Certificate,
    extensions::{GeneralName, ParsedExtension, SubjectAlternativeName},
    prelude::FromDer,
    time::ASN1Time,
};

/// The contents of a leaf that matter to us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Svid {
    /// The one SPIFFE ID.
    pub identity: SpiffeId,
    /// Valid from then on.
    pub not_before: SystemTime,
    /// Valid until then.
    pub not_after: SystemTime,
}

/// Why a certificate is no identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SvidError {
    /// Not X.509, or with an extension that cannot be read.
    #[error("the certificate cannot be read")]
    Unreadable,
    /// It may sign other certificates.
    #[error("the certificate is one of an authority, not of a workload")]
    Authority,
    /// Its key may not sign handshakes.
    #[error("the certificate's key usage lacks digital signature")]
    Usage,
    /// None or several URIs.
    #[error("the certificate names {0} URIs; exactly one is an identity")]
    Uris(usize),
    /// A name that is neither URI nor DNS.
    #[error("the certificate has a name that is neither a URI nor a DNS name")]
    ForeignName,
    /// The URI is no SPIFFE ID of ours.
    #[error(transparent)]
    Spiffe(#[from] SpiffeError),
}

impl Svid {
    /// Reads a certificate in DER. Never panics, whatever the bytes.
    pub fn parse(der: &[u8]) -> Result<Self, SvidError> {
        let (rest, certificate) = X509Certificate::from_der(der).map_err(|_| SvidError::Unreadable)?;
        if !rest.is_empty() {
            return Err(SvidError::Unreadable);
        }
        let validity = certificate.validity();
        Ok(Self {
            identity: SpiffeId::parse(uri(&certificate)?)?,
            not_before: system_time(validity.not_before),
            not_after: system_time(validity.not_after),
        })
    }

    /// Whether `now` lies in its life. The end is exclusive, as at the CA.
    pub fn is_valid(&self, now: SystemTime) -> bool {
        self.not_before <= now && now < self.not_after
    }
}

/// The one URI of a certificate that is a leaf. An extension that cannot be read counts as against us, never as absent.
fn uri<'a>(certificate: &'a X509Certificate<'_>) -> Result<&'a str, SvidError> {
    let mut names = None;
    for extension in certificate.extensions() {
        match extension.parsed_extension() {
            ParsedExtension::ParseError { .. } => return Err(SvidError::Unreadable),
            ParsedExtension::BasicConstraints(constraints) if constraints.ca => return Err(SvidError::Authority),
            ParsedExtension::KeyUsage(usage) if usage.key_cert_sign() || usage.crl_sign() => return Err(SvidError::Authority),
            ParsedExtension::KeyUsage(usage) if !usage.digital_signature() => return Err(SvidError::Usage),
            // A second list of names would be read by some and not by others.
            ParsedExtension::SubjectAlternativeName(_) if names.is_some() => return Err(SvidError::Unreadable),
            ParsedExtension::SubjectAlternativeName(found) => names = Some(found),
            _ => {}
        }
    }
    names.map_or(Err(SvidError::Uris(0)), one_uri)
}

/// DNS names beside the URI are let pass, since nothing here ever reads them: no host is matched, so they can prove nothing. Peers that know
/// hosts only want one in the same leaf. Names of other kinds are refused: no CA of ours writes them, and somebody might take them for a proof.
fn one_uri<'a>(names: &'a SubjectAlternativeName<'_>) -> Result<&'a str, SvidError> {
    let mut uris = Vec::new();
    for name in &names.general_names {
        match name {
            GeneralName::URI(uri) => uris.push(*uri),
            GeneralName::DNSName(_) => {}
            GeneralName::OtherName(..)
            | GeneralName::RFC822Name(_)
            | GeneralName::X400Address(_)
            | GeneralName::DirectoryName(_)
            | GeneralName::EDIPartyName(_)
            | GeneralName::IPAddress(_)
            | GeneralName::RegisteredID(_)
            | GeneralName::Invalid(..) => return Err(SvidError::ForeignName),
        }
    }
    match uris.as_slice() {
        [uri] => Ok(uri),
        _ => Err(SvidError::Uris(uris.len())),
    }
}

/// Times before 1970 become 1970: long past either way.
fn system_time(time: ASN1Time) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(u64::try_from(time.timestamp()).unwrap_or(0))
}
