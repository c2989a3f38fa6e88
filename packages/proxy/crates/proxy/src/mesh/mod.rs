//! Between proxies: HTTP/2 over mutual TLS, one connection for each worker, source workload and peer. ALPN `plait/1`.

pub(crate) mod client;
pub(crate) mod server;

use tokio_rustls::rustls::CommonState;

use crate::http2::FRAME;

/// What may wait encrypted for a socket: the largest frame with room for its records, so that it leaves in one system call.
const ENCRYPTED: usize = 2 * FRAME as usize;

/// Version of TLS and key exchange, for people.
fn cryptography(state: &CommonState) -> (String, String) {
    let version = match state.protocol_version() {
        Some(tokio_rustls::rustls::ProtocolVersion::TLSv1_3) => "TLSv1.3".to_owned(),
        other => format!("{other:?}"),
    };
    let group = state.negotiated_key_exchange_group().map(|group| format!("{:?}", group.name())).unwrap_or_default();
    (version, group)
}
