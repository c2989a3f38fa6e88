//! Bytes that no proxy understands: a request of 100 bytes begins with the length of the answer that it wants. Called by `origin` and `main`.

use std::io;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::exchange::Exchange;

const REQUEST_BYTES: usize = 100;
/// Answers leave in pieces of at most this.
const PIECE_BYTES: usize = 64 << 10;

pub(crate) async fn serve(mut stream: TcpStream) -> io::Result<()> {
    static PIECE: [u8; PIECE_BYTES] = [b'x'; PIECE_BYTES];
    let mut request = [0; REQUEST_BYTES];
    loop {
        stream.read_exact(&mut request).await?;
        let [a, b, c, d, ..] = request;
        let mut left = u32::from_be_bytes([a, b, c, d]) as usize;
        while left > 0 {
            let piece = left.min(PIECE_BYTES);
            stream.write_all(&PIECE[..piece]).await?;
            left -= piece;
        }
    }
}

/// The caller's side.
pub(crate) fn exchange(answer: u32) -> Exchange {
    let mut request = vec![b'x'; REQUEST_BYTES];
    request[..4].copy_from_slice(&answer.to_be_bytes());
    Exchange { opening: None, request, answer: vec![b'x'; answer as usize] }
}
