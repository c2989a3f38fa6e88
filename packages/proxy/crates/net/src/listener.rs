//! Opens listening sockets and connections, both without delay of small writes.
//! Called by `app` for listeners, by `proxy` for upstreams.

use std::{
    io,
    net::{Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket},
    time::Duration,
};

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;

/// A silent peer is asked after this whether it is still there,
const SILENT: Duration = Duration::from_secs(10);
/// then again after each such pause,
const AGAIN: Duration = Duration::from_secs(5);
/// and is gone when it did not answer so many times: after 20 seconds.
const TIMES: u32 = 2;

fn keepalive() -> TcpKeepalive {
    TcpKeepalive::new().with_time(SILENT).with_interval(AGAIN).with_retries(TIMES)
}

/// Listens on an address; with `shared`, several workers may listen on the same (SO_REUSEPORT).
pub fn listen(address: SocketAddr, shared: bool) -> io::Result<TcpListener> {
    open(Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?, address, shared)
}

/// The same for an address of IPv6, where somebody else listens on the same port of IPv4.
pub fn listen_beside_ipv4(address: SocketAddrV6, shared: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_only_v6(true)?;
    open(socket, address.into(), shared)
}

/// Whether this machine, or its network namespace, has IPv6 at all.
pub fn has_ipv6() -> bool {
    UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok()
}

fn open(socket: Socket, address: SocketAddr, shared: bool) -> io::Result<TcpListener> {
    socket.set_reuse_address(true)?;
    if shared {
        socket.set_reuse_port(true)?;
    }
    // Each connection inherits it.
    socket.set_tcp_keepalive(&keepalive())?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Connects within `limit`.
pub async fn connect(address: SocketAddr, limit: Duration) -> io::Result<TcpStream> {
    let stream = tokio::time::timeout(limit, TcpStream::connect(address)).await.map_err(|_| io::ErrorKind::TimedOut)??;
    stream.set_nodelay(true)?;
    SockRef::from(&stream).set_tcp_keepalive(&keepalive())?;
    Ok(stream)
}

/// What was sent is acknowledged by then, or its reader's machine is gone.
const VANISHED: Duration = Duration::from_secs(20);

/// Breaks the connection when its peer's machine does not answer any more, also while something waits to be acknowledged: else it would be kept
/// for a quarter of an hour. For peers on other machines.
pub fn notice_vanished(stream: &TcpStream) -> io::Result<()> {
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&keepalive())?;
    socket.set_tcp_user_timeout(Some(VANISHED))
}

/// Lets the peer see a reset instead of an end when the connection is closed. What waits to be sent is lost.
pub fn reset_when_closed(stream: &TcpStream) {
    // It fails only for a socket that is closed already.
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}
