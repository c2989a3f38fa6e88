//! Looks at what a new connection brings without taking it.
//! Called by `proxy/connection.rs` to tell TLS from plaintext.

use std::io;

use tokio::net::TcpStream;

/// The first byte, left in the socket; `None` when the other side closed without a word.
pub async fn first_byte(stream: &TcpStream) -> io::Result<Option<u8>> {
    let mut byte = [0];
    let count = stream.peek(&mut byte).await?;
    Ok((count > 0).then_some(byte[0]))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn a_look_takes_nothing() {
        let listener = crate::listen("127.0.0.1:0".parse().unwrap(), false).unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        client.write_all(b"\x16abc").await.unwrap();
        assert_eq!(first_byte(&server).await.unwrap(), Some(0x16));
        let mut whole = [0; 4];
        server.read_exact(&mut whole).await.unwrap();
        assert_eq!(&whole, b"\x16abc");
    }
}
