//! The TLS configurations of all our handshakes, made in one place: TLS 1.3, the cryptography, no resumption.
//!
//! Called by `identities` when keys or trust change, and for each call to the CA. Decides nothing about peers: that is `verify`.

use std::sync::{Arc, LazyLock};

use rustls::{
    ClientConfig, ServerConfig,
    client::{ResolvesClientCert, Resumption, danger::ServerCertVerifier},
    crypto::{
        CryptoProvider,
        aws_lc_rs::{self, cipher_suite, kx_group},
    },
    server::{NoServerSessionStorage, ResolvesServerCert},
    version::TLS13,
};

use crate::{
    clock::Clock,
    tls::ALPN,
    verify::{AnyOfOurs, Trust},
};

/// The cryptography of all our handshakes.
pub(crate) static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
    Arc::new(CryptoProvider {
        // AES-128 first: as strong as the signatures, with ten rounds a block where AES-256 has fourteen.
        cipher_suites: vec![
            cipher_suite::TLS13_AES_128_GCM_SHA256,
            cipher_suite::TLS13_AES_256_GCM_SHA384,
            cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ],
        // What is recorded today must stay secret from a quantum computer; the other two are for peers that do not know the first.
        kx_groups: vec![kx_group::X25519MLKEM768, kx_group::X25519, kx_group::SECP256R1],
        ..aws_lc_rs::default_provider()
    })
});

const TLS13_WORKS: &str = "the provider has suites and groups of TLS 1.3";

/// Our server side: shows a certificate, demands one of our trust domain, speaks "plait/1".
///
/// No session is ever resumed, here and below: a ticket would outlive the leaf, the roots and the check of both. Giving none and finding none
/// would each do; with both, no default that changes brings them back.
pub(crate) fn server(trust: &Arc<Trust>, shown: Arc<dyn ResolvesServerCert>, clock: &Clock) -> ServerConfig {
    let mut config = ServerConfig::builder_with_details(PROVIDER.clone(), Arc::new(clock.clone()))
        .with_protocol_versions(&[&TLS13])
        .expect(TLS13_WORKS)
        .with_client_cert_verifier(Arc::new(AnyOfOurs(trust.clone())))
        .with_cert_resolver(shown);
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.alpn_protocols = vec![ALPN.to_vec()];
    config
}

/// Our client side, complete but for the protocol. `shown` is our certificate, when there is one to show.
pub(crate) fn client(verifier: Arc<dyn ServerCertVerifier>, shown: Option<Arc<dyn ResolvesClientCert>>, clock: &Clock) -> ClientConfig {
    let builder = ClientConfig::builder_with_details(PROVIDER.clone(), Arc::new(clock.clone()))
        .with_protocol_versions(&[&TLS13])
        .expect(TLS13_WORKS)
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match shown {
        Some(shown) => builder.with_client_cert_resolver(shown),
        None => builder.with_no_client_auth(),
    };
    config.resumption = Resumption::disabled();
    config
}
