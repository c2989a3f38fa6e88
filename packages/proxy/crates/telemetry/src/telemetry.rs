//! Everything that is counted, and the way to the access log. Shared by all workers; counting is a few relaxed atomics.

use std::{
    collections::BTreeMap,
    io::Write,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, AtomicU8, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use plait_model::{AccessLogFilter, Mesh, ObjectRef};

use crate::{
    Connection, Cut, Direction, Protocol, Record,
    attempts::{BackendLabels, Backends, CheckLabels, Checked, Checks, MirrorLabels, Mirrored, Mirrors, Retries, RetryLabels},
    connection::{ConnectionLabels, Connections},
    cut::Cuts,
    denials::Denials,
    dry_run::DryRuns,
    labelled::Labelled,
    log::AccessLog,
    plugins::{PluginFigures, Plugins},
    render,
    requests::Requests,
    tap::{Tap, Taps},
};

const LOG_NOTHING: u8 = 0;
const LOG_ERRORS: u8 = 1;
const LOG_ALL: u8 = 2;

/// The counters of this process and its access log.
#[derive(Debug)]
pub struct Telemetry {
    pub(crate) requests: Requests,
    pub(crate) connections: Connections,
    pub(crate) retries: Retries,
    pub(crate) met_closing: Retries,
    pub(crate) waits: Retries,
    pub(crate) mirrors: Mirrors,
    pub(crate) ejections: Backends,
    pub(crate) checks: Checks,
    pub(crate) unhealthy: Backends,
    pub(crate) panicking: Backends,
    pub(crate) denials: Denials,
    pub(crate) cuts: Cuts,
    pub(crate) sessions: Backends,
    pub(crate) cross_zone: Backends,
    pub(crate) dry_runs: DryRuns,
    pub(crate) labelled: Labelled,
    pub(crate) plugins: Plugins,
    pub(crate) in_flight: [Gauge; 2],
    pub(crate) panics: AtomicU64,
    pub(crate) generation: AtomicU64,
    /// Seconds since 1970 at which the certificate of a workload ends.
    pub(crate) certificates: Mutex<BTreeMap<Arc<str>, u64>>,
    pub(crate) log: AccessLog,
    taps: Arc<Taps>,
    filter: AtomicU8,
}

/// Written by all workers at each request: in a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct Gauge(pub(crate) AtomicI64);

impl Telemetry {
    /// `log` gets the lines of the access log, from a thread of its own. Nothing is logged before `configure` says so.
    pub fn new(log: impl Write + Send + 'static) -> Arc<Self> {
        Arc::new(Self {
            requests: Requests::new(),
            connections: Connections::new(),
            retries: Retries::new(),
            met_closing: Retries::new(),
            waits: Retries::new(),
            mirrors: Mirrors::new(),
            ejections: Backends::new(),
            checks: Checks::new(),
            unhealthy: Backends::new(),
            panicking: Backends::new(),
            denials: Denials::new(),
            cuts: Cuts::default(),
            sessions: Backends::new(),
            cross_zone: Backends::new(),
            dry_runs: DryRuns::default(),
            labelled: Labelled::new(),
            plugins: Plugins::default(),
            in_flight: Default::default(),
            panics: AtomicU64::new(0),
            generation: AtomicU64::new(0),
            certificates: Mutex::default(),
            log: AccessLog::new(log),
            taps: Arc::default(),
            filter: AtomicU8::new(LOG_NOTHING),
        })
    }

    /// Puts the settings of the mesh in force.
    pub fn configure(&self, mesh: &Mesh) {
        let filter = match mesh.access_log.map(|log| log.filter) {
            None => LOG_NOTHING,
            Some(AccessLogFilter::Errors) => LOG_ERRORS,
            Some(AccessLogFilter::All) => LOG_ALL,
        };
        self.filter.store(filter, Relaxed);
    }

    /// A connection was opened; it counts as open until the guard is dropped.
    pub fn connection(&self, direction: Direction, protocol: Protocol, source: &Arc<str>, destination: &Arc<str>, tls: bool) -> Connection {
        let labels = ConnectionLabels { direction, protocol, tls, source: source.clone(), destination: destination.clone() };
        Connection::open(self.connections.series(&labels))
    }

    /// The connection of a caller was ended for what it did, or did not do.
    pub fn cut(&self, direction: Direction, cut: Cut) {
        self.cuts.count(direction, cut);
    }

    /// A policy in dry run would have denied a call to `workload`.
    pub fn dry_run_denied(&self, policy: &ObjectRef, workload: &Arc<str>) {
        self.dry_runs.count(policy, workload);
    }

    /// A request to `destination` is tried once more.
    pub fn retried(&self, destination: &Arc<str>) {
        self.retries.series(&RetryLabels(destination.clone())).counters.fetch_add(1, Relaxed);
    }

    /// A request for `destination` met an idle connection that its server was closing.
    pub fn met_closing(&self, destination: &Arc<str>) {
        self.met_closing.series(&RetryLabels(destination.clone())).counters.fetch_add(1, Relaxed);
    }

    /// A request waited for a connection to `destination`, since there may be no more.
    pub fn waited(&self, destination: &Arc<str>) {
        self.waits.series(&RetryLabels(destination.clone())).counters.fetch_add(1, Relaxed);
    }

    /// An endpoint of `backend`, "namespace/service:port", was ejected because it answered badly.
    pub fn ejected(&self, backend: &Arc<str>) {
        self.ejections.series(&BackendLabels(backend.clone())).counters.fetch_add(1, Relaxed);
    }

    /// A health check of an endpoint of `backend` ended.
    pub fn checked(&self, backend: &Arc<str>, outcome: Checked) {
        self.checks.series(&CheckLabels { backend: backend.clone(), outcome }).counters.fetch_add(1, Relaxed);
    }

    /// So many endpoints of `backend` fail their checks; `panics`: so many that all are used.
    pub fn set_health(&self, backend: &Arc<str>, unhealthy: u64, panics: bool) {
        let labels = BackendLabels(backend.clone());
        self.unhealthy.series(&labels).counters.store(unhealthy, Relaxed);
        self.panicking.series(&labels).counters.store(panics.into(), Relaxed);
    }

    /// A session with an endpoint of `backend` began.
    pub fn session_begun(&self, backend: &Arc<str>) {
        self.sessions.series(&BackendLabels(backend.clone())).counters.fetch_add(1, Relaxed);
    }

    /// A request for `backend`, which prefers the caller's zone, left it.
    pub fn crossed_zones(&self, backend: &Arc<str>) {
        self.cross_zone.series(&BackendLabels(backend.clone())).counters.fetch_add(1, Relaxed);
    }

    /// A request was mirrored to `backend`, "namespace/service:port".
    pub fn mirrored(&self, backend: &Arc<str>, outcome: Mirrored) {
        self.mirrors.series(&MirrorLabels { backend: backend.clone(), outcome }).counters.fetch_add(1, Relaxed);
    }

    /// How the figures of plugins are read, and whether each is left out.
    pub fn set_plugins(&self, read: impl Fn() -> (Vec<PluginFigures>, Vec<(String, bool)>) + Send + Sync + 'static) {
        self.plugins.set(Box::new(read));
    }

    /// The task of a connection panicked.
    pub fn panicked(&self) {
        self.panics.fetch_add(1, Relaxed);
    }

    /// The snapshot in force.
    pub fn set_generation(&self, generation: u64) {
        self.generation.store(generation, Relaxed);
    }

    /// When the certificate of `workload` ends; `None` = it has none.
    pub fn set_certificate(&self, workload: &Arc<str>, not_after: Option<SystemTime>) {
        let mut certificates = self.certificates.lock().unwrap_or_else(PoisonError::into_inner);
        let seconds = |end: SystemTime| end.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        match not_after {
            Some(end) => certificates.insert(workload.clone(), seconds(end)),
            None => certificates.remove(workload),
        };
    }

    /// What ends from now on, for one who looks; None when too many look already.
    pub fn tap(&self) -> Option<Tap> {
        self.taps.open()
    }

    /// All metrics as Prometheus text.
    pub fn render(&self) -> String {
        render::page(self)
    }

    /// Waits until what was logged is written, at most `patience`; false = it is not. Called before the process ends.
    pub fn flush(&self, patience: Duration) -> bool {
        self.log.queue.flush(patience)
    }

    pub(crate) fn in_flight(&self, direction: Direction, change: i64) {
        self.in_flight[direction as usize].0.fetch_add(change, Relaxed);
    }

    /// Counts and logs what ended, once.
    pub(crate) fn ended(&self, record: &mut Record, took: Duration) {
        let mut recent = record.recent.take().unwrap_or_default();
        recent.find(record, &self.requests).count(record, took);
        record.recent = Some(recent);
        self.denials.count(record);
        self.labelled.count(record);
        let logged = match self.filter.load(Relaxed) {
            LOG_NOTHING => false,
            LOG_ALL => true,
            _ => record.status >= 400 || record.reason.is_some(),
        };
        let looked_at = self.taps.is_open();
        if logged || looked_at {
            self.log.line(record, took, |line| {
                if logged {
                    self.log.queue.push(line);
                }
                if looked_at {
                    self.taps.push(line);
                }
            });
        }
    }
}
