//! Everything that is counted, and the way to the access log. Shared by all workers.

use std::{
    io::Write,
    sync::Arc,
    time::{Duration, SystemTime},
};

use plait_model::{Mesh, ObjectRef};

use crate::{Connection, Direction, Protocol, Record};

/// What became of a mirrored request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mirrored {
    /// It was answered.
    Sent,
    /// It was not.
    Failed,
    /// It was never sent: too many in flight, or its body too long.
    Skipped,
}

/// The counters of this process and its access log.
#[derive(Debug)]
pub struct Telemetry;

impl Telemetry {
    /// `log` gets the lines of the access log, from a thread of its own.
    pub fn new(log: impl Write + Send + 'static) -> Arc<Self> {
        drop(log);
        Arc::new(Self)
    }

    /// Puts the settings of the mesh in force.
    pub fn configure(&self, mesh: &Mesh) {
        let _ = mesh;
    }

    /// A connection was opened; it counts as open until the guard is dropped.
    pub fn connection(&self, direction: Direction, protocol: Protocol, source: &Arc<str>, destination: &Arc<str>, tls: bool) -> Connection {
        let _ = (direction, protocol, source, destination, tls);
        Connection
    }

    /// A policy in dry run would have denied a call to `workload`.
    pub fn dry_run_denied(&self, policy: &ObjectRef, workload: &Arc<str>) {
        let _ = (policy, workload);
    }

    /// A request was mirrored to `backend`, "namespace/service:port".
    pub fn mirrored(&self, backend: &Arc<str>, outcome: Mirrored) {
        let _ = (backend, outcome);
    }

    /// The task of a connection panicked.
    pub fn panicked(&self) {}

    /// The snapshot in force.
    pub fn set_generation(&self, generation: u64) {
        let _ = generation;
    }

    /// When the certificate of `workload` ends; `None` = it has none.
    pub fn set_certificate(&self, workload: &Arc<str>, not_after: Option<SystemTime>) {
        let _ = (workload, not_after);
    }

    /// All metrics as Prometheus text.
    pub fn render(&self) -> String {
        String::new()
    }

    /// Waits until what was logged is written, at most `patience`; false = it is not. Called before the process ends.
    pub fn flush(&self, patience: Duration) -> bool {
        let _ = patience;
        true
    }

    pub(crate) fn ended(&self, record: &Record, took: Duration) {
        let _ = (record, took);
    }
}
