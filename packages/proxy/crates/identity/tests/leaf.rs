//! Leaves as an operator puts them into a folder.

#![allow(clippy::unwrap_used)] // only test functions themselves are excused by clippy.toml

mod authority;

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use authority::{Authority, HOUR, Profile, now, spiffe, uri};
use plait_identity::Leaf;
use rcgen::{KeyPair, PublicKeyData};
use tempfile::TempDir;

fn pem(label: &str, der: &[u8]) -> String {
    use base64::{Engine, prelude::BASE64_STANDARD};
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", BASE64_STANDARD.encode(der))
}

fn put(folder: &Path, chain: &str, key: &str) {
    fs::write(folder.join("leaf.pem"), chain).unwrap();
    fs::write(folder.join("leaf.key"), key).unwrap();
    fs::set_permissions(folder.join("leaf.key"), Permissions::from_mode(0o600)).unwrap();
}

fn certificate(authority: &Authority, profile: &Profile, key: &impl PublicKeyData) -> String {
    pem("CERTIFICATE", &authority.sign(profile, key))
}

#[test]
fn a_folder_holds_a_leaf() {
    let (authority, place, key) = (Authority::new("root"), TempDir::new().unwrap(), KeyPair::generate().unwrap());
    let chain = certificate(&authority, &Profile::default(), &key) + &pem("CERTIFICATE", &authority.root);
    put(place.path(), &chain, &key.serialize_pem());
    let leaf = Leaf::load(place.path()).unwrap();
    assert_eq!((leaf.identity().as_str(), leaf.chain().len()), (&*spiffe("web"), 2));
    assert_eq!((leaf.not_before(), leaf.renew_at(), leaf.not_after()), (now() - HOUR, now(), now() + HOUR));
    assert_eq!(leaf.derive_key("a"), Leaf::load(place.path()).unwrap().derive_key("a"));
    assert_ne!(leaf.derive_key("a"), leaf.derive_key("b"));
    let secret = key.serialize_der();
    assert!(!format!("{leaf:?}").contains(&format!("{:?}", &secret[..8])), "a key must not reach a log");
}

#[test]
fn a_folder_with_something_wrong_is_refused_and_says_what() {
    let (authority, key) = (Authority::new("root"), KeyPair::generate().unwrap());
    let (good, secret) = (certificate(&authority, &Profile::default(), &key), key.serialize_pem());
    let two = Profile::named(vec![uri(&spiffe("web")), uri(&spiffe("ledger"))]);
    let p384 = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    for (what, chain, key, why) in [
        ("no certificate", "", &*secret, "the chain is empty"),
        ("noise", "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n", &secret, "no certificate in PEM"),
        ("no key", &good, "", "no private key in PEM"),
        ("a certificate as key", &good, &good, "no private key in PEM"),
        ("another's key", &good, &KeyPair::generate().unwrap().serialize_pem(), "the key does not fit"),
        ("a key of another kind", &good, &p384.serialize_pem(), "the key does not fit"),
        ("two identities", &certificate(&authority, &two, &key), &secret, "2 URIs"),
        ("an authority", &pem("CERTIFICATE", &authority.root), &secret, "authority"),
    ] {
        let place = TempDir::new().unwrap();
        put(place.path(), chain, key);
        let refused = Leaf::load(place.path()).expect_err(what).to_string();
        assert!(refused.contains(why), "{what}: {refused}");
    }
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    let (authority, place, key) = (Authority::new("root"), TempDir::new().unwrap(), KeyPair::generate().unwrap());
    put(place.path(), &certificate(&authority, &Profile::default(), &key), &key.serialize_pem());
    for mode in [0o644, 0o640, 0o604, 0o660] {
        fs::set_permissions(place.path().join("leaf.key"), Permissions::from_mode(mode)).unwrap();
        assert!(Leaf::load(place.path()).unwrap_err().to_string().contains("run chmod 600"), "{mode:o}");
    }
    fs::set_permissions(place.path().join("leaf.key"), Permissions::from_mode(0o400)).unwrap();
    Leaf::load(place.path()).unwrap();
    fs::remove_file(place.path().join("leaf.key")).unwrap();
    assert!(Leaf::load(place.path()).unwrap_err().to_string().contains("leaf.key cannot be read"));
}

#[test]
fn a_leaf_with_an_older_kind_of_key_file_is_taken() {
    // SEC 1, as `openssl ecparam -genkey` writes it: the private key octets and the curve, cut out of PKCS#8.
    let (authority, place, key) = (Authority::new("root"), TempDir::new().unwrap(), KeyPair::generate().unwrap());
    let pkcs8 = key.serialize_der();
    let at = pkcs8.windows(3).position(|window| window == [0x02, 0x01, 0x01]).unwrap();
    put(place.path(), &certificate(&authority, &Profile::default(), &key), &pem("EC PRIVATE KEY", &pkcs8[at - 2..]));
    Leaf::load(place.path()).unwrap();
}
