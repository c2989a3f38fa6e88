//! The admin server: what people and the command `plait` ask a proxy, over a Unix socket of mode 0600; where the mesh wants it, `/metrics`
//! and `/ready` over TCP too; in a pod the application's probes beside them. It only reads, and GET alone is answered. Called by each form of `run`; lives on the control thread.

mod config;
mod explain;
mod tap;
mod tcp;

use std::{
    fs,
    io::{self, ErrorKind},
    os::unix::{self, fs::PermissionsExt},
    path::Path,
    time::SystemTime,
};

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use plait_proxy_core::ConnectionInfo;
use tokio::net::UnixListener;

pub(crate) use tcp::{metrics_port, open_door};

use super::{RunError, ready::Readiness, status::say};

/// Opens the socket and serves it until the process ends.
pub(crate) fn start(socket: &Path, asked: Readiness) -> Result<(), RunError> {
    let listener = listen(socket).map_err(|error| RunError::Admin(socket.to_owned(), error))?;
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router(asked)).await {
            say(format_args!("✗ the admin socket is gone: {error}"));
        }
    });
    Ok(())
}

/// Replaces the socket of a process that is gone, never that of one that listens.
fn listen(socket: &Path) -> io::Result<UnixListener> {
    match unix::net::UnixStream::connect(socket) {
        Ok(_) => return Err(io::Error::new(ErrorKind::AddrInUse, "another process answers there")),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(socket)?,
        Err(_) => {}
    }
    // Made under another name, closed to others, then moved: nobody ever finds it open.
    let fresh = socket.with_extension(format!("new-{}", std::process::id()));
    let _ = fs::remove_file(&fresh);
    let listener = UnixListener::bind(&fresh)?;
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o600))?;
    fs::rename(&fresh, socket)?;
    Ok(listener)
}

fn router(asked: Readiness) -> Router {
    open_to_all()
        .route("/config", get(config::config))
        .route("/connections", get(connections))
        .route("/explain", get(explain::explain))
        .route("/tap", get(tap::tap))
        .with_state(asked)
}

/// What says nothing about whom anybody calls but in numbers.
fn open_to_all() -> Router<Readiness> {
    Router::new().route("/ready", get(ready)).route("/metrics", get(metrics))
}

async fn ready(State(asked): State<Readiness>) -> Response {
    match asked.reasons(SystemTime::now()).as_slice() {
        [] => "ready\n".into_response(),
        reasons => refusal(StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n")),
    }
}

async fn metrics(State(asked): State<Readiness>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], asked.shared.telemetry.render())
}

async fn connections(State(asked): State<Readiness>) -> Json<Vec<ConnectionInfo>> {
    Json(asked.shared.connections.list())
}

/// An answer that says why there is no other.
fn refusal(status: StatusCode, why: impl std::fmt::Display) -> Response {
    (status, format!("{why}\n")).into_response()
}
