//! Join tokens: what a workload shows the first time. Written by the CA, carried here as text; reads bytes that an operator put in a file.
//!
//! `plait1.<base64url of JSON>.<base64url of a signature>`. The signature is for the CA: the root that made it is known to us from the token alone,
//! so that checking it would prove nothing.

use std::{
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use plait_model::SpiffeId;
use rustls::{pki_types::CertificateDer, time_provider::TimeProvider};
use serde::Deserialize;
use webpki::KeyUsage;

use super::request::Grant;
use crate::{
    clock::Clock,
    verify::{Fingerprint, Trust},
};

const PREFIX: &str = "plait1";
/// As at the CA: a token of the longest names and a dozen roots has about 2,000 characters.
const LONGEST: usize = 8192;

/// A join token, read but not proven: only the CA can tell whether it is good.
#[derive(Clone)]
pub struct JoinToken {
    text: Box<str>,
    /// The workload that it is for, "namespace/name".
    pub workload: Box<str>,
    /// Who that workload is.
    pub identity: SpiffeId,
    /// When it stops to be a proof.
    pub expires: SystemTime,
    /// Where the CA serves, "host:port".
    pub identity_address: Box<str>,
    pub(super) roots: Vec<Fingerprint>,
}

/// Why a text is no join token. The text itself is a secret and not repeated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is no join token: {0}; make a new one: plait join-token create")]
pub struct JoinTokenError(String);

/// Fields that a later control plane adds are let pass.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Claims {
    workload: String,
    service_account: String,
    trust_domain: String,
    exp: u64,
    roots: Vec<String>,
    identity: String,
}

impl JoinToken {
    /// Reads the text of a token; white space around it does not matter.
    pub fn parse(text: &str) -> Result<Self, JoinTokenError> {
        let refuse = |why: &str| JoinTokenError(why.to_owned());
        let text = text.trim();
        if text.len() > LONGEST {
            return Err(refuse("it is too long"));
        }
        let [PREFIX, payload, _signature] = text.split('.').collect::<Vec<_>>()[..] else {
            return Err(refuse("it must be \"plait1.\" and two parts with a dot between them"));
        };
        let json = BASE64_URL_SAFE_NO_PAD.decode(payload).map_err(|_| refuse("its middle is not base64url"))?;
        let claims: Claims = serde_json::from_slice(&json).map_err(|error| JoinTokenError(error.to_string()))?;
        let namespace = match claims.workload.split_once('/') {
            Some((namespace, name)) if !name.is_empty() && !name.contains('/') => namespace,
            _ => return Err(refuse("its workload is not namespace/name")),
        };
        let identity =
            SpiffeId::new(&claims.trust_domain, namespace, &claims.service_account).map_err(|error| JoinTokenError(error.to_string()))?;
        let expires = UNIX_EPOCH.checked_add(Duration::from_secs(claims.exp)).ok_or_else(|| refuse("its end is out of range"))?;
        let roots: Vec<_> = claims.roots.iter().map(|hex| fingerprint(hex)).collect::<Option<_>>().unwrap_or_default();
        if roots.is_empty() {
            return Err(refuse("it names no root, or one that is no SHA-256"));
        }
        Ok(Self { text: text.into(), workload: claims.workload.into(), identity, expires, identity_address: claims.identity.into(), roots })
    }

    /// Whether a leaf is for the same identity and vouched for, now, by a root that the token names. A mesh that was set up anew has the old
    /// names and another root.
    pub(super) fn agrees(&self, grant: &Grant, clock: &Clock) -> bool {
        let Grant { leaf, roots } = grant;
        let [shown, rest @ ..] = leaf.chain() else { return false };
        let Some(now) = clock.current_time() else { return false };
        let known: Vec<_> = rest.iter().cloned().chain(roots.iter().map(|root| CertificateDer::from(root.as_slice()))).collect();
        let trust = Trust::by_fingerprint(self.identity.trust_domain(), self.roots.clone());
        let owner = trust.owner(shown, &known, KeyUsage::client_auth(), now);
        owner.is_ok_and(|owner| owner.identity == self.identity)
    }

    /// How roots are named where none is known: 64 hexadecimal digits of SHA-256.
    pub fn fingerprint(hex: &str) -> Option<[u8; 32]> {
        fingerprint(hex)
    }

    /// As it was read; a secret.
    pub(super) fn text(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for JoinToken {
    /// Without the text, which is as good as a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken").field("workload", &self.workload).field("identity", &self.identity).finish_non_exhaustive()
    }
}

/// 64 hexadecimal digits.
fn fingerprint(hex: &str) -> Option<Fingerprint> {
    let mut bytes = [0; 32];
    if hex.len() != 64 || !hex.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = r#"{"workload":"shop/web-1","serviceAccount":"web","trustDomain":"shop.example","exp":1900000000,"#;

    fn token(json: &str) -> String {
        format!("plait1.{}.c2lnbmF0dXJl", BASE64_URL_SAFE_NO_PAD.encode(json))
    }

    fn good(roots: &str) -> String {
        format!(r#"{GOOD}"roots":[{roots}],"identity":"127.0.0.1:15013"}}"#)
    }

    #[test]
    fn a_token_says_who_and_where() {
        let text = token(&good(&format!("\"{}\"", "0f".repeat(32))));
        let read = JoinToken::parse(&format!("  {text}\n")).unwrap();
        assert_eq!(read.identity.as_str(), "spiffe://shop.example/ns/shop/sa/web");
        assert_eq!((&*read.workload, &*read.identity_address), ("shop/web-1", "127.0.0.1:15013"));
        assert_eq!(read.expires, UNIX_EPOCH + Duration::from_secs(1_900_000_000));
        assert_eq!((read.text(), read.roots.as_slice()), (&*text, [[0x0f; 32]].as_slice()));
        assert!(!format!("{read:?}").contains("c2lnbmF0dXJl"), "a token must not reach a log");
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let root = format!("\"{}\"", "0f".repeat(32));
        let with = |from: &str, to: &str| token(&good(&root).replacen(from, to, 1));
        for (text, why) in [
            (String::new(), "two parts"),
            ("plait1.e30".into(), "two parts"),
            ("plait2.e30.e30".into(), "two parts"),
            ("plait1.e30.e30.e30".into(), "two parts"),
            ("plait1.e30=.e30".into(), "base64url"),
            ("plait1.+/+/.e30".into(), "base64url"),
            (token("{}"), "missing field"),
            (token("[1"), "invalid"),
            (with("shop/web-1", "web-1"), "namespace/name"),
            (with("shop/web-1", "shop/"), "namespace/name"),
            (with("shop/web-1", "shop/a/b"), "namespace/name"),
            (with("shop/web-1", "../web-1"), "namespace"),
            (with("shop.example", "Shop.example"), "trust domain"),
            (with("1900000000", "-1"), "invalid"),
            (with("1900000000", "18446744073709551615"), "out of range"),
            (token(&good("")), "no root"),
            (token(&good("\"0f\"")), "no root"),
            (token(&good(&format!("\"{}\"", "+f".repeat(32)))), "no root"),
            (token(&good(&format!("{root},\"\""))), "no root"),
            ("x".repeat(LONGEST + 1), "too long"),
        ] {
            let refused = JoinToken::parse(&text).expect_err(&text).to_string();
            assert!(refused.contains(why), "{text}: {refused}");
        }
    }

    proptest! {
        #[test]
        fn no_text_and_no_json_panics(text in any::<String>(), json in any::<String>()) {
            let _ = JoinToken::parse(&text);
            let _ = JoinToken::parse(&token(&json));
        }
    }
}
