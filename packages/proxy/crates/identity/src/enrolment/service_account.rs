//! Service-account tokens of a cluster: what a pod shows to the CA. The cluster renews the file; it is read again each time it is shown.
//!
//! The signature is for the cluster. What the token says of us only tells whom the CA's answer must name: a token that lies gets an answer that
//! is refused, or none.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use plait_model::{SpiffeError, SpiffeId};
use serde::Deserialize;

use super::request::Grant;
use crate::verify::Fingerprint;

/// As at the CA; a projected token has some 1,200 characters.
const LONGEST: usize = 16 * 1024;

/// Where a cluster's mesh is, and how its CA is known: what a token does not say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    /// Of every identity.
    pub trust_domain: Box<str>,
    /// Where the CA serves, "host:port".
    pub identity_address: Box<str>,
    /// SHA-256 of the roots that may vouch for it.
    pub roots: Vec<[u8; 32]>,
}

/// The token file of a pod, and who it said that we are.
#[derive(Clone)]
pub struct ServiceAccountToken {
    path: PathBuf,
    /// The pod, "namespace/name".
    pub workload: Arc<str>,
    /// Who it is.
    pub identity: SpiffeId,
    home: Home,
}

/// Why a file holds no token of ours. The text itself is a secret and not repeated.
#[derive(Debug, thiserror::Error)]
pub enum ServiceAccountError {
    /// No file, or not for us.
    #[error("{0} cannot be read: {1}")]
    Unreadable(PathBuf, io::Error),
    /// No JSON Web Token, or one without what a projected one says.
    #[error("{0} is no service-account token of a pod: {1}")]
    Token(PathBuf, String),
    /// A name in it is none.
    #[error("{0}: {1}")]
    Name(PathBuf, SpiffeError),
    /// It is another pod's, or another account's.
    #[error("{0} is now for {1}, and we are {2}")]
    Another(PathBuf, String, Arc<str>),
}

/// Claims of others, and what later versions add, are let pass.
#[derive(Deserialize)]
struct Claims {
    #[serde(rename = "kubernetes.io")]
    bound: Bound,
}

#[derive(Deserialize)]
struct Bound {
    namespace: String,
    pod: Named,
    serviceaccount: Named,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

impl ServiceAccountToken {
    /// Reads the file for who we are. Reads files.
    pub fn read(path: &Path, home: Home) -> Result<Self, ServiceAccountError> {
        let Bound { namespace, pod, serviceaccount } = claims(path, &text(path)?)?.bound;
        let identity = SpiffeId::new(&home.trust_domain, &namespace, &serviceaccount.name);
        let identity = identity.map_err(|error| ServiceAccountError::Name(path.to_owned(), error))?;
        Ok(Self { path: path.to_owned(), workload: format!("{namespace}/{}", pod.name).into(), identity, home })
    }

    /// The token as it is now; it must still be ours. Reads files.
    pub(super) fn text(&self) -> Result<String, ServiceAccountError> {
        let text = text(&self.path)?;
        let Bound { namespace, pod, serviceaccount } = claims(&self.path, &text)?.bound;
        let (workload, account) = (format!("{namespace}/{}", pod.name), serviceaccount.name);
        let identity = SpiffeId::new(&self.home.trust_domain, &namespace, &account);
        if *workload != *self.workload || identity.as_ref() != Ok(&self.identity) {
            return Err(ServiceAccountError::Another(self.path.clone(), format!("{workload} as {account}"), self.workload.clone()));
        }
        Ok(text)
    }

    /// Whether a leaf is for who we are. By which root it is vouched for does not matter: what is on a pod's disk is of this pod's life, and the
    /// roots that it was started with may have been exchanged since.
    pub(super) fn agrees(&self, grant: &Grant) -> bool {
        *grant.leaf.identity() == self.identity
    }

    pub(super) fn identity_address(&self) -> &str {
        &self.home.identity_address
    }

    pub(super) fn roots(&self) -> &[Fingerprint] {
        &self.home.roots
    }
}

impl fmt::Debug for ServiceAccountToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceAccountToken").field("path", &self.path).field("identity", &self.identity).finish_non_exhaustive()
    }
}

fn text(path: &Path) -> Result<String, ServiceAccountError> {
    let text = fs::read_to_string(path).map_err(|error| ServiceAccountError::Unreadable(path.to_owned(), error))?;
    Ok(text.trim().to_owned())
}

fn claims(path: &Path, text: &str) -> Result<Claims, ServiceAccountError> {
    let refuse = |why: String| ServiceAccountError::Token(path.to_owned(), why);
    if text.len() > LONGEST {
        return Err(refuse("it is too long".to_owned()));
    }
    let [_header, payload, _signature] = text.split('.').collect::<Vec<_>>()[..] else {
        return Err(refuse("it must be three parts with dots between them".to_owned()));
    };
    let json = BASE64_URL_SAFE_NO_PAD.decode(payload).map_err(|_| refuse("its middle is not base64url".to_owned()))?;
    serde_json::from_slice(&json).map_err(|error| refuse(error.to_string()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token(json: &str) -> String {
        format!("e30.{}.c2lnbmF0dXJl", BASE64_URL_SAFE_NO_PAD.encode(json))
    }

    fn home() -> Home {
        Home { trust_domain: "shop.example".into(), identity_address: "cp:15013".into(), roots: vec![[7; 32]] }
    }

    fn of(pod: &str, account: &str) -> String {
        token(&format!(
            r#"{{"aud":["plait"],"kubernetes.io":{{"namespace":"shop","pod":{{"name":"{pod}","uid":"u"}},"serviceaccount":{{"name":"{account}"}}}}}}"#
        ))
    }

    #[test]
    fn a_token_says_who_and_is_read_again() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("token");
        fs::write(&path, of("web-1", "web") + "\n").unwrap();
        let read = ServiceAccountToken::read(&path, home()).unwrap();
        assert_eq!((&*read.workload, read.identity.as_str()), ("shop/web-1", "spiffe://shop.example/ns/shop/sa/web"));
        assert!(!format!("{read:?}").contains("c2lnbmF0dXJl"), "a token must not reach a log");

        fs::write(&path, of("web-1", "web").replace("c2lnbmF0dXJl", "bmV3")).unwrap();
        assert!(read.text().unwrap().ends_with("bmV3"));
        for other in [of("web-2", "web"), of("web-1", "root")] {
            fs::write(&path, other).unwrap();
            assert!(matches!(read.text(), Err(ServiceAccountError::Another(..))));
        }
        fs::remove_file(&path).unwrap();
        assert!(matches!(read.text(), Err(ServiceAccountError::Unreadable(..))));
    }

    #[test]
    fn what_is_no_token_of_a_pod_is_refused() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("token");
        for (text, why) in [
            (String::new(), "three parts"),
            ("a.b".into(), "three parts"),
            ("a.+/.c".into(), "base64url"),
            (token("{}"), "kubernetes.io"),
            (token(r#"{"kubernetes.io":{"namespace":"shop","serviceaccount":{"name":"web"}}}"#), "pod"),
            (of("web-1", "a/b"), "a/b"),
            ("x".repeat(LONGEST + 1), "too long"),
        ] {
            fs::write(&path, &text).unwrap();
            let refused = ServiceAccountToken::read(&path, home()).expect_err(&text).to_string();
            assert!(refused.contains(why), "{text}: {refused}");
        }
    }

    proptest! {
        #[test]
        fn no_text_and_no_json_panics(text in any::<String>(), json in any::<String>()) {
            let path = Path::new("token");
            let _ = claims(path, &text);
            let _ = claims(path, &token(&json));
        }
    }
}
