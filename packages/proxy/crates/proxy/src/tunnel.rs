//! Relays opaque bytes both ways, each direction closing on its own. Used for CONNECT, upgrades and binds.
//! Must not look at the bytes; policy was judged before.

use std::io;

use tokio::io::{AsyncRead, AsyncWrite};

/// What went through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Relayed {
    /// Bytes from the caller.
    pub sent_bytes: u64,
    /// Bytes to the caller.
    pub received_bytes: u64,
}

/// Bytes that one direction holds at most.
const WINDOW: usize = 16 * 1024;

/// Relays until both directions have ended; an end on one side is passed on as a half close.
pub async fn relay<D, U>(downstream: &mut D, upstream: &mut U) -> io::Result<Relayed>
where
    D: AsyncRead + AsyncWrite + Unpin,
    U: AsyncRead + AsyncWrite + Unpin,
{
    let (sent_bytes, received_bytes) = tokio::io::copy_bidirectional_with_sizes(downstream, upstream, WINDOW, WINDOW).await?;
    Ok(Relayed { sent_bytes, received_bytes })
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn one_side_may_end_while_the_other_goes_on() {
        let (mut client, mut near) = duplex(64);
        let (mut far, mut origin) = duplex(64);
        let relaying = tokio::spawn(async move { relay(&mut near, &mut far).await });
        client.write_all(b"question").await.unwrap();
        client.shutdown().await.unwrap();
        let mut question = String::new();
        origin.read_to_string(&mut question).await.unwrap();
        origin.write_all(b"late answer").await.unwrap();
        drop(origin);
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert_eq!((question.as_str(), answer.as_str()), ("question", "late answer"));
        assert_eq!(relaying.await.unwrap().unwrap(), Relayed { sent_bytes: 8, received_bytes: 11 });
    }
}
