//! What is known of one request or opaque connection. Filled by the request line in `proxy`, read by `outcome` when it ends.
//! The storage is reused from request to request of a connection or stream, so that none is allocated after warm-up.

use std::{
    fmt::{self, Write},
    ops::Deref,
    sync::{Arc, LazyLock},
};

use http::Method;
use plait_model::{ObjectRef, Reason, SpiffeId};

use crate::{requests::RecentSeries, trace::TraceContext};

/// Bytes that labels of one request may have together.
const LABELS: usize = 1024;

/// Which side of the mesh saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Towards our workload.
    Inbound,
    /// From our workload.
    Outbound,
}

impl Direction {
    /// As labels and logs have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
        }
    }
}

/// What was spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
    /// Opaque bytes.
    Tcp,
}

impl Protocol {
    /// As labels and logs have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http1 => "http1",
            Self::Http2 => "http2",
            Self::Tcp => "tcp",
        }
    }
}

static EMPTY: LazyLock<Arc<str>> = LazyLock::new(|| Arc::from(""));

/// A name that requests of a connection share, so that to note the same again counts no reference: each count is a write that the processor waits for,
/// and a request would make twenty.
pub struct Name {
    noted: Arc<str>,
    is_set: bool,
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl Default for Name {
    fn default() -> Self {
        Self { noted: EMPTY.clone(), is_set: false }
    }
}

impl Name {
    /// Notes a name.
    pub fn set(&mut self, name: &Arc<str>) {
        if !Arc::ptr_eq(&self.noted, name) {
            self.noted = name.clone();
        }
        self.is_set = true;
    }

    fn reset(&mut self) {
        self.is_set = false;
    }
}

impl Deref for Name {
    type Target = Arc<str>;

    fn deref(&self) -> &Arc<str> {
        if self.is_set { &self.noted } else { &EMPTY }
    }
}

/// One request, or one opaque connection (`protocol` is `Tcp`). What is not known stays empty.
#[derive(Debug)]
pub struct Record {
    /// Of the connection: kept by `reset`.
    pub direction: Direction,
    /// Of the connection: kept by `reset`.
    pub protocol: Protocol,
    /// Of the connection: the calling workload "namespace/name" (outbound), or "namespace/service account" of the proven identity (inbound).
    pub source: Arc<str>,
    /// Of the connection: the proven identity of the caller; kept by `reset`.
    pub peer: Option<Arc<SpiffeId>>,
    /// Of the connection: whether it is mutual TLS; kept by `reset`.
    pub tls: bool,
    /// "namespace/service", or the host where the mesh knows none.
    pub destination: Name,
    /// `Rule::label`.
    pub route: Name,
    /// "namespace/service:port".
    pub backend: Name,
    /// Workload of the last endpoint tried.
    pub endpoint: Name,
    /// Method; of no meaning for `Tcp`.
    pub method: Method,
    /// As the caller wrote it.
    pub authority: String,
    /// Canonical, without query: queries carry secrets.
    pub path: String,
    /// What the caller got; 0 = no answer yet.
    pub status: u16,
    /// Why the mesh answered itself, or ended the answer early.
    pub reason: Option<Reason>,
    /// The user's object behind `reason`.
    pub object: Option<ObjectRef>,
    /// The policy that allowed it.
    pub policy: Option<Arc<ObjectRef>>,
    /// Policies in dry run that would have denied it; written by `would_be_denied`.
    pub dry_run: String,
    /// What plugins say of it, "name=value" joined by commas; written by `label`.
    pub labels: String,
    /// The same for metrics, each name once.
    pub(crate) labelled: Vec<(Box<str>, Box<str>)>,
    /// Generation of the snapshot that decided.
    pub generation: u64,
    /// Endpoints tried; 0 = none.
    pub attempts: u32,
    /// Bytes of bodies passed on to the upstream.
    pub sent_bytes: u64,
    /// Bytes of bodies passed on to the caller.
    pub received_bytes: u64,
    /// The trace it belongs to.
    pub trace: TraceContext,
    /// The caller went away before an answer; set by `outcome`.
    pub(crate) cancelled: bool,
    /// Where it was counted before; `None` before the first time, and while it is in use.
    pub(crate) recent: Option<Box<RecentSeries>>,
}

impl Record {
    /// An empty record of a connection; `peer` and `tls` are set on it.
    pub fn new(direction: Direction, protocol: Protocol, source: Arc<str>) -> Self {
        Self {
            direction,
            protocol,
            source,
            peer: None,
            tls: false,
            destination: Name::default(),
            route: Name::default(),
            backend: Name::default(),
            endpoint: Name::default(),
            method: Method::GET,
            authority: String::new(),
            path: String::new(),
            status: 0,
            reason: None,
            object: None,
            policy: None,
            dry_run: String::new(),
            labels: String::new(),
            labelled: Vec::new(),
            generation: 0,
            attempts: 0,
            sent_bytes: 0,
            received_bytes: 0,
            trace: TraceContext::default(),
            cancelled: false,
            recent: None,
        }
    }

    /// The mesh answers itself, for `reason`.
    pub fn rejected(&mut self, reason: Reason, object: Option<ObjectRef>) {
        self.status = reason.status();
        self.reason = Some(reason);
        self.object = object;
    }

    /// A policy allowed it.
    pub fn permitted(&mut self, by: &Arc<ObjectRef>) {
        self.policy = Some(by.clone());
    }

    /// A policy in dry run would have denied it.
    pub fn would_be_denied(&mut self, by: &ObjectRef) {
        let comma = if self.dry_run.is_empty() { "" } else { "," };
        let _ = write!(self.dry_run, "{comma}{by}");
    }

    /// A plugin says something of it; where that would make the line of the log long, the rest is left out.
    pub fn label(&mut self, name: &str, value: &str) {
        if self.labels.len() + name.len() + value.len() <= LABELS {
            let comma = if self.labels.is_empty() { "" } else { "," };
            let _ = write!(self.labels, "{comma}{name}={value}");
            self.labelled.retain(|(known, _)| **known != *name);
            self.labelled.push((name.into(), value.into()));
        }
    }

    /// Forgets the request, keeps the connection and the storage.
    pub(crate) fn reset(&mut self) {
        for name in [&mut self.destination, &mut self.route, &mut self.backend, &mut self.endpoint] {
            name.reset();
        }
        for text in [&mut self.authority, &mut self.path, &mut self.dry_run, &mut self.labels] {
            text.clear();
        }
        self.labelled.clear();
        self.method = Method::GET;
        self.status = 0;
        self.reason = None;
        self.object = None;
        self.policy = None;
        self.generation = 0;
        self.attempts = 0;
        self.sent_bytes = 0;
        self.received_bytes = 0;
        self.trace = TraceContext::default();
        self.cancelled = false;
    }
}
