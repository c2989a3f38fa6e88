//! `plait-load`: what the benchmark of integration/load needs and no package of Debian has: an origin for gRPC, WebSocket and plain bytes, and
//! callers of WebSocket, plain bytes, TLS handshakes and HTTP at a fixed rate.
//!
//! Called by `bench.py`, which measures. Knows nothing of Plait, so that a fault of ours cannot hide itself.

mod bytes;
mod exchange;
mod grpc;
mod handshake;
mod latency;
mod origin;
mod websocket;

use std::{io, net::SocketAddr, process::ExitCode, time::Duration};

use clap::{Parser, Subcommand};

/// An origin and callers for benchmarks; callers print one line of JSON.
#[derive(Debug, Parser)]
#[command(name = "plait-load", arg_required_else_help = true)]
enum Arguments {
    /// Serves until it is killed
    Origin {
        /// Where to answer unary calls of gRPC, HTTP/2 by prior knowledge
        #[arg(long)]
        grpc: SocketAddr,
        /// Where to echo messages of WebSocket
        #[arg(long)]
        websocket: SocketAddr,
        /// Where to answer requests that begin with the length of their answer
        #[arg(long)]
        bytes: SocketAddr,
    },
    /// Sends the next request when the answer has come, on each of some connections
    Exchange {
        /// What is spoken
        #[command(subcommand)]
        spoken: Spoken,
    },
    /// Makes full mutual handshakes of TLS 1.3, a connection each
    Handshake(handshake::Handshakes),
    /// Sends requests of HTTP/1.1 at a fixed rate, and counts each one's time from when it was due
    Latency(latency::Latency),
}

#[derive(Debug, Subcommand)]
enum Spoken {
    /// Binary messages, echoed
    Websocket(exchange::Load),
    /// 100 bytes that ask for an answer of some length
    Bytes {
        #[command(flatten)]
        load: exchange::Load,
        /// How long the answers are
        #[arg(long, default_value_t = 100)]
        answer: u32,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("plait-load: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> io::Result<String> {
    // One thread, like each of the proxies: the other core is theirs.
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build();
    let line = match arguments {
        Arguments::Origin { grpc, websocket, bytes } => return runtime()?.block_on(origin::serve(grpc, websocket, bytes)),
        Arguments::Exchange { spoken: Spoken::Websocket(load) } => {
            let host = load.host.clone();
            serde_json::to_string(&runtime()?.block_on(exchange::run(&load, websocket::exchange(&host))))
        }
        Arguments::Exchange { spoken: Spoken::Bytes { load, answer } } => {
            serde_json::to_string(&runtime()?.block_on(exchange::run(&load, bytes::exchange(answer))))
        }
        Arguments::Handshake(handshakes) => serde_json::to_string(&runtime()?.block_on(handshake::run(&handshakes))?),
        Arguments::Latency(latency) => serde_json::to_string(&latency::run(&latency)?),
    };
    line.map_err(io::Error::other)
}

/// What an open connection may wait for an answer before it counts as failed.
const PATIENCE: Duration = Duration::from_secs(10);
