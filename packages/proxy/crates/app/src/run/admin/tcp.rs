//! `/metrics` and `/ready` over TCP, where `Mesh.spec.telemetry.metrics.listen` says. Anybody on the network may knock there, so that
//! little is answered, to few at a time, and not for long.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Router,
    http::{StatusCode, Uri},
    response::IntoResponse,
    routing::get,
    serve::Listener,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinHandle,
    time::{Sleep, sleep},
};

use super::open_to_all;
use crate::run::{ready::Readiness, settings::Door, status::Topic};

/// A scraper or two, and a probe; more are no friends.
const CONNECTIONS: usize = 16;
/// Longer than the pause between scrapes of most, so that their connection is reused; a slow one cannot stay.
const LIFETIME: Duration = Duration::from_secs(60);
/// When a port is taken, it is tried again after this.
const AGAIN: Duration = Duration::from_secs(5);

/// The admin port of a pod, from the start and forever: whether there is a configuration is what it is asked for.
pub(crate) async fn open_door(door: Door, asked: Readiness) {
    let Door { port, probes, host } = door;
    let probe = move |uri: Uri| async move {
        match probes.ask(uri.path(), host).await {
            Some(answer) => answer.into_response(),
            None => StatusCode::NOT_FOUND.into_response(),
        }
    };
    let router = open_to_all().route("/probe/{*name}", get(probe)).with_state(asked.clone());
    loop {
        // One socket of both families, where there are two.
        let bound = match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await {
            Ok(listener) => Ok(listener),
            Err(_) => TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await,
        };
        match bound {
            Ok(listener) => {
                asked.status.well(Topic::Metrics, format_args!("✓ metrics and probes are served on port {port}"));
                let capped = Capped { listener, room: Arc::new(Semaphore::new(CONNECTIONS)) };
                let Err(error) = axum::serve(capped, router.clone()).await else { continue };
                asked.status.trouble(Topic::Metrics, format_args!("! port {port} is gone: {error}"));
            }
            Err(error) => {
                asked.status.trouble(Topic::Metrics, format_args!("! probes are not served: cannot listen on port {port}: {error}"))
            }
        }
        sleep(AGAIN).await;
    }
}

/// Follows the setting of the mesh, forever; a port that is `taken` is open already.
pub(crate) async fn metrics_port(asked: Readiness, taken: Option<u16>) {
    let mut changes = asked.shared.world.changes();
    let mut serving: Option<Serving> = None;
    loop {
        let wanted = asked.shared.world.load().mesh.metrics_listen.filter(|listen| Some(listen.port()) != taken);
        if serving.as_ref().map(|serving| serving.address) != wanted {
            serving = None;
            if let Some(address) = wanted {
                serving = open(address, &asked).await;
            }
        }
        let missing = wanted.is_some() && serving.is_none();
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = sleep(AGAIN), if missing => {}
        }
    }
}

/// A server, until it is dropped.
struct Serving {
    address: SocketAddr,
    task: JoinHandle<io::Result<()>>,
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn open(address: SocketAddr, asked: &Readiness) -> Option<Serving> {
    let listener = match TcpListener::bind(address).await {
        Ok(listener) => listener,
        Err(error) => {
            asked.status.trouble(Topic::Metrics, format_args!("! metrics are not served: cannot listen on {address}: {error}"));
            return None;
        }
    };
    asked.status.well(Topic::Metrics, format_args!("✓ metrics are served on {address}"));
    let router: Router = open_to_all().with_state(asked.clone());
    let capped = Capped { listener, room: Arc::new(Semaphore::new(CONNECTIONS)) };
    Some(Serving { address, task: tokio::spawn(async move { axum::serve(capped, router).await }) })
}

/// Accepts no more than there is room for.
struct Capped {
    listener: TcpListener,
    room: Arc<Semaphore>,
}

impl Listener for Capped {
    type Io = Held;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Held, SocketAddr) {
        let permit = self.room.clone().acquire_owned().await.expect("nobody closes the semaphore");
        let (stream, address) = Listener::accept(&mut self.listener).await;
        (Held { stream, end: Box::pin(sleep(LIFETIME)), _permit: permit }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection with its room, until its end.
struct Held {
    stream: TcpStream,
    end: Pin<Box<Sleep>>,
    _permit: OwnedSemaphorePermit,
}

impl Held {
    /// An error when its time is over.
    fn poll_end(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        if self.end.as_mut().poll(context).is_ready() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(()) }
    }
}

impl AsyncRead for Held {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.poll_end(context)?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Held {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_end(context)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
