//! The listeners of the origin. Called by `main`; what is spoken on a connection is the matter of the file of its protocol.

use std::{io, net::SocketAddr};

use tokio::net::{TcpListener, TcpStream};

use crate::{bytes, grpc, websocket};

/// Serves until the process ends.
pub(crate) async fn serve(grpc: SocketAddr, websocket: SocketAddr, bytes: SocketAddr) -> io::Result<String> {
    let calls = accept(grpc, |stream| async { drop(grpc::serve(stream).await) });
    let messages = accept(websocket, |stream| async { drop(websocket::serve(stream).await) });
    let plain = accept(bytes, |stream| async { drop(bytes::serve(stream).await) });
    tokio::try_join!(calls, messages, plain)?;
    Ok(String::new())
}

/// A connection that breaks is the caller's to notice.
async fn accept<F>(address: SocketAddr, serve: impl Fn(TcpStream) -> F) -> io::Result<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind(address).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(serve(stream));
    }
}
