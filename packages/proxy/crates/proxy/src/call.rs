//! One request on its way: who asks, what is asked, what goes back. The storage is that of a connection or stream and reused by its requests.
//! Made by `http1` and `mesh::server`; read and filled by every stage of `request`.

use std::{pin::Pin, rc::Rc, sync::Arc};

use plait_http1::Framing;
use plait_model::{DestinationKey, Peer, Protocol, RequestHead, ResponseHead, Workload};
use plait_telemetry::{Direction, Record};
use tokio::time::Sleep;

use crate::{
    answer::Answer,
    filters::Passing,
    heads::{Next, write_request},
    onlooker::Onlooker,
    pump::Kept,
    source::Source,
    spoken::FirstWord,
    worker::Worker,
};

/// One request on its way.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) worker: Rc<Worker>,
    /// The workload beside us, as the newest snapshot has it.
    pub(crate) workload: Arc<Workload>,
    pub(crate) direction: Direction,
    /// Who asks.
    pub(crate) peer: Peer,
    /// What is asked.
    pub(crate) head: Box<RequestHead>,
    pub(crate) wish: Wish,
    /// Inbound: the port of the process. Outbound: that of the destination, where a bind or CONNECT fixed it.
    pub(crate) port: Option<u16>,
    /// Outbound: the destination that a bind or CONNECT fixed; else the head's authority names it.
    pub(crate) fixed: Option<DestinationKey>,
    pub(crate) body: Source,
    pub(crate) answer: Answer,
    /// The head of the answer, as it came from upstream and as filters left it.
    pub(crate) response: Box<ResponseHead>,
    /// The beginning of the body, for another try and for mirrors.
    pub(crate) kept: Kept,
    /// Counts the bytes of a tunnel while it is open.
    pub(crate) onlooker: Option<Rc<Onlooker>>,
    /// Learns who speaks first in a tunnel whose client was silent.
    pub(crate) first_word: Option<Rc<FirstWord>>,
    /// The last authority and what it stands for.
    pub(crate) named: Option<Named>,
    /// The plugins that it passes.
    pub(crate) passing: Option<Rc<Passing>>,
    /// Rings when a try takes too long; see `patience`.
    pub(crate) alarm: Option<Pin<Box<Sleep>>>,
}

/// An authority, and the destination and port that it stands for.
pub(crate) type Named = (String, DestinationKey, u16);

/// The storage of requests, to be used again by the next on the same connection.
#[derive(Debug, Default)]
pub(crate) struct Storage {
    head: Box<RequestHead>,
    response: Box<ResponseHead>,
    kept: Kept,
    named: Option<Named>,
    alarm: Option<Pin<Box<Sleep>>>,
}

/// What the caller wants beside an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wish {
    /// An answer.
    Answer {
        /// How the body ends.
        framing: Framing,
        /// It waits for 100 before it sends the body.
        expects_continue: bool,
    },
    /// To go on in another protocol; its name.
    Upgrade(Box<str>),
    /// Opaque bytes both ways.
    Tunnel,
}

impl Wish {
    /// How the body of the request ends, as far as the upstream is told.
    pub(crate) fn framing(&self) -> Framing {
        match self {
            Self::Answer { framing, .. } => *framing,
            Self::Upgrade(_) => Framing::None,
            Self::Tunnel => Framing::UntilClose,
        }
    }

    /// Length of the body where it is known.
    pub(crate) fn length(&self) -> Option<u64> {
        match self.framing() {
            Framing::Length(length) => Some(length),
            Framing::None | Framing::Chunked | Framing::UntilClose => None,
        }
    }
}

impl Call {
    /// Takes what the newest snapshot says of the workload beside us; a workload that is gone stays as it was.
    pub(crate) fn refresh(&mut self) {
        if let Some(newest) = self.worker.newest(&self.workload) {
            self.workload = newest;
        }
    }

    /// Whether the caller speaks gRPC.
    pub(crate) fn is_grpc(&self) -> bool {
        self.head.headers.first("content-type").is_some_and(|kind| kind.starts_with(b"application/grpc"))
    }

    /// Whether it is sent in HTTP/2 to a process that is declared to speak so: gRPC is, where nothing is declared; opaque bytes are what they are.
    pub(crate) fn speaks_http2(&self, declared: Protocol) -> bool {
        self.wish != Wish::Tunnel
            && match declared {
                Protocol::Http2 => true,
                Protocol::Auto => self.is_grpc(),
                Protocol::Http | Protocol::Tcp | Protocol::Tls => false,
            }
    }

    /// What was read as a request of HTTP goes to a port that speaks something else: head and all that follows are bytes.
    pub(crate) fn tunnel_the_rest(&mut self) {
        let mut head = Vec::new();
        let next = match &self.wish {
            Wish::Upgrade(protocol) => Next::Upgraded(protocol),
            // Nobody else will tell the far end that its answer must end with the connection.
            Wish::Answer { .. } | Wish::Tunnel if self.answer.closes() => Next::Closed,
            Wish::Answer { .. } | Wish::Tunnel => Next::GoesOn,
        };
        write_request(&mut head, &self.head, self.wish.framing(), next);
        self.kept.begin_with(&head);
        self.wish = Wish::Tunnel;
        self.body.restart(Framing::UntilClose);
        self.answer.tunnel_silently();
    }

    /// `storage`: new, or that of an earlier request of the connection.
    pub(crate) fn new(
        worker: Rc<Worker>,
        workload: Arc<Workload>,
        (direction, peer): (Direction, Peer),
        (body, answer): (Source, Answer),
        storage: Storage,
    ) -> Self {
        let Storage { head, response, kept, named, alarm } = storage;
        Self {
            worker,
            workload,
            direction,
            peer,
            head,
            wish: Wish::Tunnel,
            port: None,
            fixed: None,
            body,
            answer,
            response,
            kept,
            onlooker: None,
            first_word: None,
            named,
            passing: None,
            alarm,
        }
    }

    /// Leaves the storage for the next request of the connection.
    pub(crate) fn retire(self) -> Storage {
        Storage { head: self.head, response: self.response, kept: self.kept, named: self.named, alarm: self.alarm }
    }

    /// The record of its connection's requests.
    pub(crate) fn record(&self, protocol: plait_telemetry::Protocol) -> Record {
        let source = match (self.direction, &self.peer.identity) {
            (Direction::Outbound, _) => self.workload.key.clone(),
            (Direction::Inbound, Some(identity)) => format!("{}/{}", identity.namespace(), identity.service_account()).into(),
            (Direction::Inbound, None) => "".into(),
        };
        let mut record = Record::new(self.direction, protocol, source);
        if self.direction == Direction::Inbound {
            record.tls = self.peer.identity.is_some();
            record.peer.clone_from(&self.peer.identity);
        }
        record
    }
}
