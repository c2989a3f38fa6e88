//! Follows one control plane for as long as the proxy lives: connects, drives `session`, publishes what comes of it, and comes back when a
//! stream ends. Run by `app` on the control thread. What the messages mean stands in `session`.

use std::{
    fmt,
    future::Future,
    io,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use hyper_util::rt::TokioIo;
use plait_model::{Demand, DestinationKey, PluginReport, World};
use plait_wire::{ChangeSet, WatchRequest, WatchResponse, discovery_client::DiscoveryClient};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{mpsc, watch},
    time::{sleep, sleep_until, timeout},
};
use tonic::{
    Status, Streaming,
    codegen::tokio_stream::Stream,
    transport::{Endpoint, Uri},
};

use crate::{
    apply::{Rejected, Resources},
    session::{Action, Proxy, SILENCE, Session},
};

/// A connection to a control plane that was proven to be ours takes milliseconds; one that takes longer will not come.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// The first wait after a stream ended; doubled each time.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// The longest: a control plane that comes back is found soon, and one that is overloaded is not beaten by a thousand proxies.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// A stream that lived this long was a good one: the next wait is short again.
const GOOD_STREAM: Duration = Duration::from_secs(10);
/// Ten thousand destinations with a hundred endpoints come to less; more is no configuration of ours.
const LONGEST_MESSAGE: usize = 64 * 1024 * 1024;
/// Demands taken at once.
const DEMANDS: usize = 256;

/// The bytes of a connection.
pub trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

/// Opens a connection to the control plane and proves both ends.
pub type Connect = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = io::Result<Box<dyn Connection>>> + Send>> + Send + Sync>;

/// What happens, for people and for the disk.
#[derive(Debug)]
pub enum Event {
    /// The control plane spoke: what is in force is what it says.
    Current,
    /// There is no stream, and why; what is in force stays.
    Away(String),
    /// Resources that are not in force as the control plane has them.
    Rejected(Vec<Rejected>),
    /// A whole change set was refused.
    Refused(String),
    /// What is in force changed, to be kept on disk. Comes twice a second at most.
    Keep(ChangeSet),
}

/// Follows one control plane.
pub struct Client {
    session: Session,
    world: Arc<World>,
    demands: mpsc::UnboundedReceiver<Demand>,
    reports: watch::Receiver<Vec<PluginReport>>,
    connect: Connect,
    tell: Box<dyn FnMut(Event) + Send>,
    /// Of the stream that lives. Unbounded: each destination is asked for once, and their number is limited.
    outbound: Option<mpsc::UnboundedSender<WatchRequest>>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("session", &self.session).finish_non_exhaustive()
    }
}

/// The control plane said nothing for too long.
struct Silent;

impl Client {
    /// `demands` is the other end of `world`; `resources` is what is in force already (last known good), else empty.
    pub fn new(
        proxy: Proxy,
        resources: Resources,
        (world, demands): (Arc<World>, mpsc::UnboundedReceiver<Demand>),
        connect: Connect,
        tell: impl FnMut(Event) + Send + 'static,
    ) -> Self {
        let session = Session::new(proxy, resources, now());
        let reports = world.reports();
        Self { session, world, demands, reports, connect, tell: Box::new(tell), outbound: None }
    }

    /// Never returns; may be dropped at any time.
    pub async fn run(mut self) {
        let mut wait = FIRST_WAIT;
        loop {
            let began = now();
            let why = self.follow().await;
            self.outbound = None;
            self.session.end();
            (self.tell)(Event::Away(why));
            if now() >= began + GOOD_STREAM {
                wait = FIRST_WAIT;
            }
            // Half of it at random, so that proxies which lost their control plane together do not come back together.
            let _ = self.meanwhile(sleep(wait.mul_f64(0.5 + 0.5 * fastrand::f64()))).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// One stream, to its end; returns why it ended.
    async fn follow(&mut self) -> String {
        let mut stream = match self.open().await {
            Ok(stream) => stream,
            Err(why) => return why,
        };
        loop {
            match self.meanwhile(stream.message()).await {
                Ok(Ok(Some(response))) => {
                    let actions = self.session.receive(response, now());
                    if self.perform(actions).is_err() {
                        return silent();
                    }
                }
                Ok(Ok(None)) => return "it ended the stream".to_owned(),
                Ok(Err(status)) => return said(&status),
                Err(Silent) => return silent(),
            }
        }
    }

    async fn open(&mut self) -> Result<Streaming<WatchResponse>, String> {
        let connect = self.connect.clone();
        let connector = tower::service_fn(move |_: Uri| {
            let connecting = connect();
            async move { connecting.await.map(TokioIo::new) }
        });
        // The name is for the HTTP/2 head alone: where the control plane is, and who, is the business of `connect`.
        let endpoint = Endpoint::from_static("http://control-plane");
        let dial = timeout(CONNECT_LIMIT, endpoint.connect_with_connector(connector));
        let channel = match self.meanwhile(dial).await {
            Ok(Ok(Ok(channel))) => channel,
            Ok(Ok(Err(error))) => return Err(root_cause(&error)),
            Ok(Err(_)) => return Err(format!("no connection within {} s", CONNECT_LIMIT.as_secs())),
            Err(Silent) => return Err(silent()),
        };
        let (outbound, requests) = mpsc::unbounded_channel();
        // In the stream before it is opened: the server's first word is an answer to it.
        let _ = outbound.send(self.session.begin(now()));
        self.outbound = Some(outbound);
        if !self.reports.borrow().is_empty() {
            // A control plane that came back knows nothing of them.
            self.reports.mark_changed();
        }
        let mut client = DiscoveryClient::new(channel).max_decoding_message_size(LONGEST_MESSAGE);
        let watch = client.watch(Requests(requests));
        match self.meanwhile(watch).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(said(&status)),
            Err(Silent) => Err(silent()),
        }
    }

    /// Waits for `io` while demands come and time goes on.
    async fn meanwhile<T>(&mut self, io: impl Future<Output = T>) -> Result<T, Silent> {
        let mut io = pin!(io);
        let mut demands = Vec::new();
        loop {
            let wake = self.session.wake();
            let actions = tokio::select! {
                biased;
                done = &mut io => return Ok(done),
                // Never closed: we hold the world, which holds the other end.
                _ = self.demands.recv_many(&mut demands, DEMANDS) => {
                    let keys: Vec<DestinationKey> = demands.drain(..).map(|Demand(key)| key).collect();
                    self.session.demand(&keys, now())
                }
                // Never closed, as the demands. Without a stream they wait for the next.
                Ok(()) = self.reports.changed(), if self.outbound.is_some() => vec![Session::report(&self.reports.borrow_and_update())],
                () = sleep_until(wake.into()) => self.session.tick(now()),
            };
            self.perform(actions)?;
        }
    }

    fn perform(&mut self, actions: Vec<Action>) -> Result<(), Silent> {
        for action in actions {
            match action {
                Action::Send(request) => {
                    if let Some(outbound) = &self.outbound {
                        // A stream that is gone says so on its other half.
                        let _ = outbound.send(request);
                    }
                }
                Action::Publish(snapshot) => self.world.publish(snapshot),
                Action::Current => (self.tell)(Event::Current),
                Action::Rejected(rejected) => (self.tell)(Event::Rejected(rejected)),
                Action::Refused(why) => (self.tell)(Event::Refused(why)),
                Action::Keep(changes) => (self.tell)(Event::Keep(changes)),
                Action::Silent => return Err(Silent),
            }
        }
        Ok(())
    }
}

/// By the clock that our timers run on, which a test holds still.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

fn silent() -> String {
    format!("it said nothing for {} s", SILENCE.as_secs())
}

/// What the control plane said when it ended a stream; what broke, when it said nothing.
fn said(status: &Status) -> String {
    match std::error::Error::source(status) {
        Some(cause) => root_cause(cause),
        None if status.message().is_empty() => status.code().to_string(),
        None => status.message().to_owned(),
    }
}

/// What a chain of errors began with: the layers above it say only that something failed.
fn root_cause(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source()).last().map_or_else(String::new, ToString::to_string)
}

/// The requests of a stream, as tonic takes them.
struct Requests(mpsc::UnboundedReceiver<WatchRequest>);

impl Stream for Requests {
    type Item = WatchRequest;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<WatchRequest>> {
        self.0.poll_recv(context)
    }
}
