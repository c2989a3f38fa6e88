//! Names: of the user's objects, and of destinations as applications write them.

use std::{fmt, net::IpAddr, sync::Arc};

use serde::Serialize;

/// One of the user's objects, as explain, rejects and logs name it: "HTTPRoute bookshop/reviews".
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Default)]
pub struct ObjectRef {
    /// Kind, "HTTPRoute".
    pub kind: Box<str>,
    /// Namespace; empty for cluster-scoped kinds.
    pub namespace: Box<str>,
    /// Name.
    pub name: Box<str>,
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.namespace {
            "" => write!(f, "{} {}", self.kind, self.name),
            namespace => write!(f, "{} {}/{}", self.kind, namespace, self.name),
        }
    }
}

/// Which object set a value, and where in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Origin {
    /// The setting, "timeouts.request".
    pub field: Box<str>,
    /// The object that set it.
    pub object: ObjectRef,
    /// Field path in the object, "spec.timeouts.request".
    pub path: Box<str>,
}

/// What a destination is asked for by: "namespace/service" where the name can be a Service of the mesh, an address, else
/// the host itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DestinationKey(Arc<str>);

impl DestinationKey {
    /// The key of a host as an application in `namespace` wrote it (no port). Case and a trailing dot do not matter.
    ///
    /// `reviews`, `reviews.bookshop`, `reviews.bookshop.svc` and `reviews.bookshop.svc.cluster.local` can be Services.
    pub fn of_host(host: &str, namespace: &str) -> Self {
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(&host);
        if let Ok(address) = bare.parse() {
            return Self::of_address(address);
        }
        let labels: Vec<&str> = host.split('.').collect();
        match labels.as_slice() {
            [service] => Self(format!("{namespace}/{service}").into()),
            [service, namespace] | [service, namespace, "svc"] | [service, namespace, "svc", "cluster", "local"] => {
                Self(format!("{namespace}/{service}").into())
            }
            _ => Self(host.into()),
        }
    }

    /// The key of an address; those of IPv4 that are written as IPv6 are themselves.
    pub fn of_address(address: IpAddr) -> Self {
        Self(address.to_canonical().to_string().into())
    }

    /// The address, when it is the key of one.
    pub fn address(&self) -> Option<IpAddr> {
        self.0.parse().ok()
    }

    /// A key as the contract carries it.
    pub fn from_contract(key: &str) -> Self {
        Self(key.into())
    }

    /// Host and port for a request that names none but is fixed to this destination: "reviews.bookshop:8080", without the port that is implied.
    pub fn authority(&self, port: u16) -> String {
        let host = match self.0.split_once('/') {
            Some((namespace, service)) => format!("{service}.{namespace}"),
            None if self.0.contains(':') => format!("[{}]", self.0),
            None => self.0.to_string(),
        };
        if port == 80 { host } else { format!("{host}:{port}") }
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The key as shared text, for records.
    pub fn shared(&self) -> &Arc<str> {
        &self.0
    }

    /// True when the key can name a Service.
    pub fn is_service(&self) -> bool {
        self.0.contains('/')
    }
}

impl std::borrow::Borrow<str> for DestinationKey {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DestinationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Bytes that have no place in an authority.
const FOREIGN: [bool; 256] = {
    let mut foreign = [false; 256];
    let mut byte = 0;
    while byte <= 0x7f {
        foreign[byte as usize] = matches!(byte, 0..=b' ' | b'@' | b'/' | b'\\' | b'?' | b'#' | 0x7f);
        byte += 1u8;
    }
    foreign
};

/// Host and port of an authority; `None` when it is malformed (user info, bad port, empty host).
/// IPv6 literals keep their brackets.
pub fn split_authority(authority: &str) -> Option<(&str, Option<u16>)> {
    if authority.is_empty() || authority.bytes().any(|byte| FOREIGN[byte as usize]) {
        return None;
    }
    let port_at = match authority.rfind(']') {
        Some(end) if authority.starts_with('[') => {
            authority[1..end].parse::<std::net::Ipv6Addr>().ok()?;
            match &authority[end + 1..] {
                "" => None,
                rest if rest.starts_with(':') => Some(end + 1),
                _ => return None,
            }
        }
        Some(_) => return None,
        None => authority.find(':'),
    };
    let (host, port) = match port_at {
        None => (authority, None),
        Some(at) => {
            let digits = &authority[at + 1..];
            if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
                return None;
            }
            (&authority[..at], Some(digits.parse().ok()?))
        }
    };
    (!host.is_empty()).then_some((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_becomes_the_key_of_a_service_when_it_can_be_one() {
        for (host, key) in [
            ("reviews", "bookshop/reviews"),
            ("Reviews.", "bookshop/reviews"),
            ("reviews.shop", "shop/reviews"),
            ("reviews.shop.svc", "shop/reviews"),
            ("reviews.shop.svc.cluster.local", "shop/reviews"),
            ("www.example.com", "www.example.com"),
            ("10.0.0.1", "10.0.0.1"),
            ("[::1]", "::1"),
            ("[FD00:0::1]", "fd00::1"),
            ("[::ffff:10.0.0.1]", "10.0.0.1"),
            ("[x]", "bookshop/[x]"),
        ] {
            assert_eq!(DestinationKey::of_host(host, "bookshop").as_str(), key, "{host}");
        }
    }

    #[test]
    fn an_address_is_a_key_and_an_authority() {
        for (address, key, authority) in [
            ("10.0.0.1", "10.0.0.1", "10.0.0.1:81"),
            ("fd00::1", "fd00::1", "[fd00::1]:81"),
            ("::ffff:10.0.0.1", "10.0.0.1", "10.0.0.1:81"),
        ] {
            let found = DestinationKey::of_address(address.parse().unwrap());
            assert_eq!((found.as_str(), found.authority(81).as_str()), (key, authority));
            assert_eq!(found.address(), Some(key.parse().unwrap()));
        }
        assert_eq!(DestinationKey::from_contract("shop/reviews").address(), None);
    }

    #[test]
    fn an_authority_splits_or_is_refused() {
        for (authority, expected) in [
            ("reviews", Some(("reviews", None))),
            ("reviews:80", Some(("reviews", Some(80)))),
            ("[::1]:80", Some(("[::1]", Some(80)))),
            ("[::1]", Some(("[::1]", None))),
            ("reviews:", None),
            ("reviews:+80", None),
            ("reviews:65536", None),
            ("user@reviews", None),
            ("a b", None),
            ("[::1", None),
            ("[x]:1", None),
            (":80", None),
            ("a:1:2", None),
            ("", None),
        ] {
            assert_eq!(split_authority(authority), expected, "{authority}");
        }
    }
}
