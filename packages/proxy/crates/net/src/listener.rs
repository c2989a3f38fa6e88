//! Opens listening sockets and connections, both without delay of small writes.
//! Called by `app` for listeners, by `proxy` for upstreams.

use std::{io, net::SocketAddr, time::Duration};

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;

/// Listens on an address; with `shared`, several workers may listen on the same (SO_REUSEPORT).
pub fn listen(address: SocketAddr, shared: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if shared {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Connects within `limit`.
pub async fn connect(address: SocketAddr, limit: Duration) -> io::Result<TcpStream> {
    let stream = tokio::time::timeout(limit, TcpStream::connect(address)).await.map_err(|_| io::ErrorKind::TimedOut)??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Lets the peer see a reset instead of an end when the connection is closed. What waits to be sent is lost.
pub fn reset_when_closed(stream: &TcpStream) {
    // It fails only for a socket that is closed already.
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}
