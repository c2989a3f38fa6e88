//! Where a connection was going before the kernel redirected it here. Called by `proxy/redirected.rs`. Changes nothing.

use std::net::SocketAddr;

use socket2::SockRef;
use tokio::net::TcpStream;

/// The address that was dialled, when it is not the one that accepted: `None` = nobody redirected the connection.
pub fn original_destination(stream: &TcpStream) -> Option<SocketAddr> {
    let local = stream.local_addr().ok()?;
    let socket = SockRef::from(stream);
    // The kernel refuses where it does not keep track of connections: then it redirects none either.
    let original = if local.is_ipv4() { socket.original_dst_v4() } else { socket.original_dst_v6() };
    let original = original.ok()?.as_socket()?;
    (original.ip() != local.ip() || original.port() != local.port()).then_some(original)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_was_dialled_was_not_redirected() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = crate::listen(address.parse().unwrap(), false) else { continue };
            let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (server, _) = listener.accept().await.unwrap();
            assert_eq!(original_destination(&server), None, "{address}");
        }
    }
}
