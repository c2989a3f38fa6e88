//! The guard over an open connection: counted when made, its bytes as they flow, closed when dropped.
//! `proxy` makes one for each connection once it knows both ends.

use std::sync::{
    Arc,
    atomic::{AtomicI64, AtomicU64, Ordering::Relaxed},
};

use crate::{
    Direction, Protocol,
    requests::names_host,
    series::{Family, Labels, Series, label},
};

/// All series of connections.
pub(crate) type Connections = Family<ConnectionLabels, ConnectionCounters>;

/// What tells series of connections apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ConnectionLabels {
    pub(crate) direction: Direction,
    pub(crate) protocol: Protocol,
    pub(crate) tls: bool,
    pub(crate) source: Arc<str>,
    pub(crate) destination: Arc<str>,
}

impl Labels for ConnectionLabels {
    fn values(&self) -> impl Iterator<Item = &str> {
        [&*self.source, &*self.destination].into_iter()
    }

    fn names_host(&self) -> bool {
        names_host(&self.destination)
    }

    fn overflow(&self, other: &Arc<str>) -> Self {
        Self { source: other.clone(), destination: other.clone(), ..self.clone() }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        label(&mut text, "direction", self.direction.as_str());
        label(&mut text, "source", &self.source);
        label(&mut text, "destination", &self.destination);
        label(&mut text, "protocol", self.protocol.as_str());
        label(&mut text, "tls", if self.tls { "TLSv1.3" } else { "none" }); // we speak no other version
        text
    }
}

/// The counters of one series.
#[derive(Debug, Default)]
pub(crate) struct ConnectionCounters {
    pub(crate) opened: AtomicU64,
    pub(crate) open: AtomicI64,
    pub(crate) sent: AtomicU64,
    pub(crate) received: AtomicU64,
}

/// An open connection.
#[derive(Debug)]
pub struct Connection {
    series: Arc<Series<ConnectionCounters>>,
}

impl Connection {
    pub(crate) fn open(series: Arc<Series<ConnectionCounters>>) -> Self {
        series.counters.opened.fetch_add(1, Relaxed);
        series.counters.open.fetch_add(1, Relaxed);
        Self { series }
    }

    /// Bytes were passed on towards the destination.
    pub fn sent(&self, bytes: u64) {
        self.series.counters.sent.fetch_add(bytes, Relaxed);
    }

    /// Bytes were passed on towards the caller.
    pub fn received(&self, bytes: u64) {
        self.series.counters.received.fetch_add(bytes, Relaxed);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.series.counters.open.fetch_sub(1, Relaxed);
    }
}
