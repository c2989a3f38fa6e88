//! Ports that are free, and stay so until the one for whom they are kept takes them.

use std::net::{Ipv4Addr, SocketAddr};

use socket2::{Domain, Socket, Type};

/// A port of 127.0.0.1 that is bound and not listened on: nobody else gets it, dials are refused, and a proxy can open it at any time.
#[derive(Debug)]
pub struct Port {
    _held: Socket,
    /// Its address.
    pub address: SocketAddr,
}

impl Port {
    /// A free one.
    #[expect(clippy::new_without_default, reason = "each is another")]
    pub fn new() -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        // With the option set before, the port could be one that somebody else keeps.
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
        // Now a listener with the same option may share it with us, who do not listen.
        socket.set_reuse_address(true).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        Self { _held: socket, address }
    }
}
