//! The application's probes, asked on behalf of a kubelet: it has no certificate, so that a strict workload would refuse it, and its address
//! proves nothing. Its probes come to the admin port instead, by a path for each, and exactly the checks that the pod was written with are made.
//!
//! Called by `admin`. What the application answers stays here but for whether that is well: anybody may knock at that port.

mod grpc;
mod http;

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use axum::http::StatusCode;
use serde::Deserialize;
use tokio::{net::TcpStream, time::timeout};

/// Every probe, by its path: what `--probes` holds, as JSON.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(transparent)]
pub(crate) struct Probes(BTreeMap<String, Probe>);

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Probe {
    #[serde(flatten)]
    check: Check,
    timeout_seconds: u64,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Check {
    Tcp { port: u16 },
    Http(http::Request),
    Grpc { port: u16, service: String },
}

/// Why a probe failed, for who asked.
#[derive(Debug, thiserror::Error)]
enum Ill {
    #[error("{0}")]
    Connection(#[from] io::Error),
    #[error("it answers {0}")]
    Status(u16),
    #[error("{0}")]
    Answer(String),
}

impl Probes {
    /// Reads the table; what is wrong with it would otherwise be told by a pod that never gets ready.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let found: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        for (path, probe) in &found.0 {
            if let Check::Http(request) = &probe.check {
                request.check().map_err(|why| format!("{path}: {why}"))?;
            }
        }
        Ok(found)
    }

    /// Makes the check of that path, against the application at `host`; `None` = there is no such probe.
    pub(crate) async fn ask(&self, path: &str, host: IpAddr) -> Option<(StatusCode, String)> {
        let Probe { check, timeout_seconds } = self.0.get(path)?;
        let patience = Duration::from_secs(*timeout_seconds);
        Some(match timeout(patience, check.make(host)).await {
            Ok(Ok(())) => (StatusCode::OK, "well\n".to_owned()),
            Ok(Err(ill)) => (StatusCode::SERVICE_UNAVAILABLE, format!("{ill}\n")),
            Err(_) => (StatusCode::GATEWAY_TIMEOUT, format!("no answer within {timeout_seconds} s\n")),
        })
    }
}

impl Check {
    async fn make(&self, host: IpAddr) -> Result<(), Ill> {
        match self {
            Self::Tcp { port } => TcpStream::connect(SocketAddr::new(host, *port)).await.map(drop).map_err(Ill::from),
            Self::Http(request) => request.ask(host).await,
            Self::Grpc { port, service } => grpc::ask(SocketAddr::new(host, *port), service).await,
        }
    }
}
