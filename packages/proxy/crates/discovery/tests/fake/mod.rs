//! A control plane in this process that does what a test tells it, over connections in memory that can be refused or cut.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll},
};

use plait_discovery::{Connect, Connection};
use plait_wire::{
    ChangeSet, WatchRequest, WatchResponse,
    discovery_server::{Discovery, DiscoveryServer},
    watch_request::Message as Said,
    watch_response::Message as Says,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf},
    sync::mpsc,
};
use tonic::{Request, Response, Status, Streaming, codegen::tokio_stream::Stream, transport::server::Connected};

/// The control plane.
pub(crate) struct Fake {
    streams: mpsc::UnboundedReceiver<Watch>,
    dials: Arc<AtomicUsize>,
    /// Bytes that a new connection carries towards the proxy before it breaks; 0 = it is refused.
    budget: Arc<AtomicUsize>,
}

/// One stream.
pub(crate) struct Watch {
    requests: Streaming<WatchRequest>,
    responses: mpsc::UnboundedSender<Result<WatchResponse, Status>>,
}

impl Fake {
    pub(crate) fn start() -> (Self, Connect) {
        let (dialled, connections) = mpsc::unbounded_channel::<Cut>();
        let (accepted, streams) = mpsc::unbounded_channel();
        let (dials, budget) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(usize::MAX)));
        let (fake, left, count) = (Self { streams, dials: dials.clone(), budget: budget.clone() }, budget, dials);
        tokio::spawn(
            tonic::transport::Server::builder().serve_with_incoming(DiscoveryServer::new(Service(accepted)), Incoming(connections)),
        );
        let connect = move || {
            count.fetch_add(1, SeqCst);
            let bytes = left.load(SeqCst);
            let (near, far) = tokio::io::duplex(64 * 1024);
            let opened = match bytes {
                0 => Err(io::Error::new(io::ErrorKind::ConnectionRefused, "nobody listens")),
                _ => Ok(Box::new(near) as Box<dyn Connection>),
            };
            let _ = dialled.send(Cut { stream: far, left: bytes });
            Box::pin(async move { opened }) as Pin<Box<_>>
        };
        (fake, Arc::new(connect))
    }

    /// The next stream that a proxy opens.
    pub(crate) async fn accept(&mut self) -> Watch {
        self.streams.recv().await.unwrap()
    }

    /// New connections carry this many bytes towards the proxy.
    pub(crate) fn allow(&self, bytes: usize) {
        self.budget.store(bytes, SeqCst);
    }

    /// How often it was dialled.
    pub(crate) fn dials(&self) -> usize {
        self.dials.load(SeqCst)
    }
}

impl Watch {
    pub(crate) async fn hears(&mut self) -> Said {
        self.requests.message().await.unwrap().unwrap().message.unwrap()
    }

    pub(crate) fn says(&self, says: Says) {
        let _ = self.responses.send(Ok(WatchResponse { message: Some(says) }));
    }

    pub(crate) fn change(&self, changes: ChangeSet) {
        self.says(Says::ChangeSet(changes));
    }

    pub(crate) fn ends(self, status: Status) {
        let _ = self.responses.send(Err(status));
    }
}

struct Service(mpsc::UnboundedSender<Watch>);

#[tonic::codegen::async_trait]
impl Discovery for Service {
    type WatchStream = Responses;

    async fn watch(&self, request: Request<Streaming<WatchRequest>>) -> Result<Response<Responses>, Status> {
        let (responses, receiver) = mpsc::unbounded_channel();
        let _ = self.0.send(Watch { requests: request.into_inner(), responses });
        Ok(Response::new(Responses(receiver)))
    }
}

struct Responses(mpsc::UnboundedReceiver<Result<WatchResponse, Status>>);

impl Stream for Responses {
    type Item = Result<WatchResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context)
    }
}

struct Incoming(mpsc::UnboundedReceiver<Cut>);

impl Stream for Incoming {
    type Item = io::Result<Cut>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context).map(|next| next.map(Ok))
    }
}

/// The server's end of a connection that breaks after some bytes.
struct Cut {
    stream: DuplexStream,
    left: usize,
}

impl Connected for Cut {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Cut {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Cut {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.left == 0 {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let bytes = &bytes[..bytes.len().min(self.left)];
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        if let Poll::Ready(Ok(count)) = written {
            self.left -= count;
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
