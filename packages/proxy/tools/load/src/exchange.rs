//! The closed loop: each of some connections sends its next request when its answer has come. Called by `main` with what is spoken.

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use serde::Serialize;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};

use crate::{PATIENCE, websocket::read_head};

/// Large enough for what the kernel holds for a connection, so that a bulk answer takes few reads.
const READ_BYTES: usize = 256 << 10;

/// How many connections, and for how long.
#[derive(Debug, clap::Args)]
pub(crate) struct Load {
    /// Where the proxy listens
    address: SocketAddr,
    /// Connections that stay open
    #[arg(long)]
    connections: usize,
    /// How long requests are sent
    #[arg(long)]
    seconds: f64,
    /// Whom to ask for, where the protocol says it
    #[arg(long, default_value = "origin")]
    pub(crate) host: String,
}

/// A request and the whole of its answer.
#[derive(Debug)]
pub(crate) struct Exchange {
    /// What comes first on a connection.
    pub(crate) opening: Option<Opening>,
    pub(crate) request: Vec<u8>,
    pub(crate) answer: Vec<u8>,
}

/// A head, and whether the head that answers it lets the exchange begin.
#[derive(Debug)]
pub(crate) struct Opening {
    pub(crate) head: String,
    pub(crate) accepted: fn(&str) -> bool,
}

/// What came of it. A connection fails once, with its first answer that is late, broken or another than was asked for.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Done {
    pub(crate) requests: u64,
    pub(crate) failed: u64,
    pub(crate) why: Option<String>,
}

/// Runs all connections to the end of the time.
pub(crate) async fn run(load: &Load, exchange: Exchange) -> Done {
    let exchange = Arc::new(exchange);
    let end = Instant::now() + Duration::from_secs_f64(load.seconds);
    let mut connections = JoinSet::new();
    for _ in 0..load.connections {
        connections.spawn(connection(load.address, exchange.clone(), end));
    }
    let mut done = Done::default();
    while let Some(ended) = connections.join_next().await {
        let (requests, end) = ended.unwrap_or_else(|panic| (0, Err(io::Error::other(panic))));
        done.requests += requests;
        if let Err(error) = end {
            done.failed += 1;
            done.why.get_or_insert(error.to_string());
        }
    }
    done
}

/// How many were answered, and why there are no more where that is not the time.
async fn connection(address: SocketAddr, exchange: Arc<Exchange>, end: Instant) -> (u64, io::Result<()>) {
    let mut requests = 0;
    let mut stream = match timeout(PATIENCE, open(address, &exchange)).await.unwrap_or_else(|late| Err(late.into())) {
        Ok(stream) => stream,
        Err(error) => return (requests, Err(error)),
    };
    let mut buffer = vec![0; exchange.answer.len().min(READ_BYTES)];
    while Instant::now() < end {
        let answered = timeout(PATIENCE, once(&mut stream, &exchange, &mut buffer)).await;
        if let Err(error) = answered.unwrap_or_else(|late| Err(late.into())) {
            return (requests, Err(error));
        }
        requests += 1;
    }
    (requests, Ok(()))
}

async fn open(address: SocketAddr, exchange: &Exchange) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    if let Some(opening) = &exchange.opening {
        stream.write_all(opening.head.as_bytes()).await?;
        let head = read_head(&mut stream).await?;
        if !(opening.accepted)(&head) {
            return Err(io::Error::other(format!("refused: {}", head.lines().next().unwrap_or_default())));
        }
    }
    Ok(stream)
}

async fn once(stream: &mut TcpStream, exchange: &Exchange, buffer: &mut [u8]) -> io::Result<()> {
    stream.write_all(&exchange.request).await?;
    let mut wanted = exchange.answer.as_slice();
    while !wanted.is_empty() {
        let most = wanted.len().min(buffer.len());
        let count = stream.read(&mut buffer[..most]).await?;
        let (now, later) = wanted.split_at(count);
        if count == 0 || buffer[..count] != *now {
            return Err(io::Error::other("the answer is cut short or another than was sent"));
        }
        wanted = later;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{bytes, websocket};

    async fn listening() -> (tokio::net::TcpListener, Load) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, Load { address, connections: 2, seconds: 0.05, host: "origin".into() })
    }

    #[tokio::test]
    async fn answers_of_both_origins_are_those_that_were_asked_for() {
        let (listener, load) = listening().await;
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(websocket::serve(stream));
            }
        });
        let done = run(&load, websocket::exchange("origin")).await;
        assert!(done.requests > 0 && done.failed == 0, "{done:?}");
        let (listener, load) = listening().await;
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(bytes::serve(stream));
            }
        });
        let done = run(&load, bytes::exchange(1 << 20)).await;
        assert!(done.requests > 0 && done.failed == 0, "{done:?}");
    }

    #[tokio::test]
    async fn an_answer_cut_short_or_changed_fails_its_connection() {
        for answer in [&b"xxx"[..], &[b'y'; 100]] {
            let (listener, load) = listening().await;
            tokio::spawn(async move {
                while let Ok((mut stream, _)) = listener.accept().await {
                    let mut request = [0; 100];
                    stream.read_exact(&mut request).await.unwrap();
                    stream.write_all(answer).await.unwrap();
                }
            });
            let done = run(&load, bytes::exchange(100)).await;
            assert_eq!((done.requests, done.failed), (0, 2), "{done:?}");
        }
    }
}
