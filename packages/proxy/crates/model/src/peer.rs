//! Who is at the other end of a connection.

use std::{fmt, net::IpAddr, sync::Arc};

/// A SPIFFE ID of the form `spiffe://<trust domain>/ns/<namespace>/sa/<service account>`, checked character by character.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SpiffeId {
    text: Box<str>,
    domain_end: u32,
    namespace: (u32, u32),
    account: (u32, u32),
}

/// Why a text is no identity of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no identity of the form spiffe://<trust domain>/ns/<namespace>/sa/<service account>: {1}")]
pub struct SpiffeError(pub String, pub &'static str);

const SCHEME: &str = "spiffe://";

impl SpiffeId {
    /// Checks and takes apart an identity; nothing is normalised, so that equal means equal byte by byte.
    pub fn parse(text: &str) -> Result<Self, SpiffeError> {
        let refuse = |why| SpiffeError(text.chars().take(128).collect(), why);
        if text.len() > 2048 {
            return Err(refuse("longer than 2048 bytes"));
        }
        let rest = text.strip_prefix(SCHEME).ok_or_else(|| refuse("it must start with spiffe://"))?;
        let mut parts = rest.split('/');
        let domain = parts.next().unwrap_or_default();
        let (ns, namespace, sa, account) = match (parts.next(), parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(ns), Some(namespace), Some(sa), Some(account), None) => (ns, namespace, sa, account),
            _ => return Err(refuse("the path must be /ns/<namespace>/sa/<service account>")),
        };
        let lower = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_');
        if domain.is_empty() || domain.len() > 255 || !domain.bytes().all(lower) {
            return Err(refuse("the trust domain may hold a-z, 0-9, '.', '-' and '_' only"));
        }
        if ns != "ns" || sa != "sa" {
            return Err(refuse("the path must be /ns/<namespace>/sa/<service account>"));
        }
        let segment = |s: &str| {
            !s.is_empty() && s != "." && s != ".." && s.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
        };
        if !segment(namespace) || !segment(account) {
            return Err(refuse("namespace and service account may hold letters, digits, '.', '-' and '_' only"));
        }
        let domain_end = (SCHEME.len() + domain.len()) as u32;
        let namespace_at = domain_end + 4;
        let namespace_end = namespace_at + namespace.len() as u32;
        Ok(Self {
            text: text.into(),
            domain_end,
            namespace: (namespace_at, namespace_end),
            account: (namespace_end + 4, text.len() as u32),
        })
    }

    /// The identity of a service account.
    pub fn new(trust_domain: &str, namespace: &str, account: &str) -> Result<Self, SpiffeError> {
        Self::parse(&format!("{SCHEME}{trust_domain}/ns/{namespace}/sa/{account}"))
    }

    /// The whole identity.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its trust domain.
    pub fn trust_domain(&self) -> &str {
        &self.text[SCHEME.len()..self.domain_end as usize]
    }

    /// Its namespace.
    pub fn namespace(&self) -> &str {
        &self.text[self.namespace.0 as usize..self.namespace.1 as usize]
    }

    /// Its service account.
    pub fn service_account(&self) -> &str {
        &self.text[self.account.0 as usize..self.account.1 as usize]
    }
}

impl fmt::Debug for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The downstream of a connection: identity belongs to the connection, never to the process.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Proven by mutual TLS; `None` for a plaintext caller.
    pub identity: Option<Arc<SpiffeId>>,
    /// Where the connection comes from.
    pub address: IpAddr,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_taken_apart() {
        let id = SpiffeId::parse("spiffe://bookshop.example/ns/bookshop/sa/web").unwrap();
        assert_eq!((id.trust_domain(), id.namespace(), id.service_account()), ("bookshop.example", "bookshop", "web"));
        assert_eq!(SpiffeId::new("bookshop.example", "bookshop", "web").unwrap(), id);
    }

    #[test]
    fn what_is_not_exactly_an_identity_is_refused() {
        for text in [
            "",
            "spiffe://",
            "spiffe:///ns/a/sa/b",
            "SPIFFE://d/ns/a/sa/b",
            "spiffe://D/ns/a/sa/b",
            "spiffe://d:80/ns/a/sa/b",
            "spiffe://u@d/ns/a/sa/b",
            "spiffe://d/ns/a/sa/b/",
            "spiffe://d/ns/a/sa/b/c",
            "spiffe://d/ns/a/sa",
            "spiffe://d/ns//sa/b",
            "spiffe://d/ns/../sa/b",
            "spiffe://d/ns/a%2f/sa/b",
            "spiffe://d/ns/a/sa/b?x",
            "spiffe://d/ns/a/sa/b#x",
            "spiffe://d/ns/a/sa/b\0",
            "spiffe://d/sa/a/ns/b",
            "https://d/ns/a/sa/b",
        ] {
            assert!(SpiffeId::parse(text).is_err(), "{text:?}");
        }
    }
}
