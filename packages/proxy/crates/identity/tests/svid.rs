//! Certificates as strangers may send them: which names an identity, and that no bytes do harm.

#![allow(clippy::unwrap_used)] // only test functions themselves are excused by clippy.toml

mod authority;

use authority::{Authority, HOUR, Profile, dns, now, san, spiffe, uri};
use plait_identity::{Svid, SvidError};
use proptest::prelude::*;
use rcgen::{KeyPair, KeyUsagePurpose, SanType};

fn certificate(profile: &Profile) -> Vec<u8> {
    Authority::new("root").sign(profile, &KeyPair::generate().unwrap())
}

/// A URI entry of a list of names.
fn entry(tag: u8, text: &[u8]) -> Vec<u8> {
    [&[tag, u8::try_from(text.len()).unwrap()], text].concat()
}

/// The list itself.
fn list(entries: &[Vec<u8>]) -> Vec<u8> {
    entry(0x30, &entries.concat())
}

#[test]
fn one_uri_is_an_identity_and_dns_names_beside_it_do_not_matter() {
    for names in [
        vec![uri(&spiffe("web"))],
        vec![uri(&spiffe("web")), dns("web.shop.bookshop.example")],
        vec![dns("*.example"), uri(&spiffe("web")), dns("evil.example")],
    ] {
        let svid = Svid::parse(&certificate(&Profile::named(names))).unwrap();
        assert_eq!(svid.identity.as_str(), spiffe("web"));
        assert_eq!((svid.not_before, svid.not_after), (now() - HOUR, now() + HOUR));
    }
}

#[test]
fn what_is_no_identity_is_refused() {
    let web = entry(0x86, spiffe("web").as_bytes());
    let custom = |ders: &[&[u8]]| Profile { names: vec![], extensions: ders.iter().map(|der| san(der)).collect(), ..Profile::default() };
    let spiffe_error = |text: &str| matches!(Svid::parse(&certificate(&Profile::named(vec![uri(text)]))), Err(SvidError::Spiffe(_)));
    for (what, profile, expected) in [
        ("no name", Profile::named(vec![]), SvidError::Uris(0)),
        ("a DNS name alone", Profile::named(vec![dns("web.shop.bookshop.example")]), SvidError::Uris(0)),
        ("two URIs", Profile::named(vec![uri(&spiffe("web")), uri(&spiffe("ledger"))]), SvidError::Uris(2)),
        ("the same URI twice", Profile::named(vec![uri(&spiffe("web")), uri(&spiffe("web"))]), SvidError::Uris(2)),
        ("a second URI of no SPIFFE", Profile::named(vec![uri(&spiffe("web")), uri("https://bookshop.example")]), SvidError::Uris(2)),
        ("an e-mail", Profile::named(vec![uri(&spiffe("web")), SanType::Rfc822Name("a@b".try_into().unwrap())]), SvidError::ForeignName),
        ("an address", Profile::named(vec![uri(&spiffe("web")), SanType::IpAddress([127, 0, 0, 1].into())]), SvidError::ForeignName),
        ("an empty list", custom(&[&list(&[])]), SvidError::Uris(0)),
        (
            "two lists",
            custom(&[&list(std::slice::from_ref(&web)), &list(&[entry(0x86, spiffe("ledger").as_bytes())])]),
            SvidError::Unreadable,
        ),
        ("a URI that is no ASCII", custom(&[&list(&[web.clone(), entry(0x86, b"\xff\xfe")])]), SvidError::ForeignName),
        ("a list that is none", custom(&[b"\x04\x00"]), SvidError::Unreadable),
        ("a list that ends early", custom(&[&list(std::slice::from_ref(&web))[..20]]), SvidError::Unreadable),
        ("an authority", Profile { authority: true, ..Profile::default() }, SvidError::Authority),
        ("a key that signs certificates", usages(&[KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign]), SvidError::Authority),
        ("a key that signs lists", usages(&[KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::CrlSign]), SvidError::Authority),
        ("a key that does not sign", usages(&[KeyUsagePurpose::KeyEncipherment]), SvidError::Usage),
    ] {
        assert_eq!(Svid::parse(&certificate(&profile)), Err(expected), "{what}");
    }
    for text in [
        "spiffe://bookshop.example/ns/shop/sa/web\0.evil",
        "spiffe://bookshop.example/ns/shop/sa/we%62",
        "spiffe://bookshop.example/ns/shop/sa/web/",
        "spiffe://bookshop.example:443/ns/shop/sa/web",
        "SPIFFE://bookshop.example/ns/shop/sa/web",
        "",
    ] {
        assert!(spiffe_error(text), "{text:?}");
    }
}

fn usages(usages: &[KeyUsagePurpose]) -> Profile {
    Profile { usages: usages.to_vec(), ..Profile::default() }
}

#[test]
fn a_certificate_with_a_tail_or_cut_short_is_refused() {
    let good = certificate(&Profile::default());
    for length in 0..good.len() {
        assert_eq!(Svid::parse(&good[..length]), Err(SvidError::Unreadable), "{length} bytes");
    }
    assert_eq!(Svid::parse(&[&good[..], b"\0"].concat()), Err(SvidError::Unreadable));
}

#[test]
fn a_leaf_is_valid_from_its_first_second_to_the_one_before_its_last() {
    let svid = Svid::parse(&certificate(&Profile::default())).unwrap();
    let second = std::time::Duration::from_secs(1);
    for (at, valid) in [(now() - HOUR - second, false), (now() - HOUR, true), (now() + HOUR - second, true), (now() + HOUR, false)] {
        assert_eq!(svid.is_valid(at), valid, "{at:?}");
    }
}

proptest! {
    #[test]
    fn no_bytes_do_harm(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = Svid::parse(&bytes);
    }

    /// What is nearly a certificate reaches deeper than noise does. Signatures are not looked at here, so changed bytes get all the way.
    #[test]
    fn no_damage_to_a_certificate_does_harm(damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        thread_local!(static GOOD: Vec<u8> = certificate(&Profile::named(vec![uri(&spiffe("web")), dns("web.shop")])));
        let mut bytes = GOOD.with(Clone::clone);
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(svid) = Svid::parse(&bytes) {
            let again = plait_model::SpiffeId::parse(svid.identity.as_str());
            prop_assert_eq!(again, Ok(svid.identity));
        }
    }
}
