//! Active health checks: of which endpoints, when, and what follows. Checks run on timers of their own, never for a request, and one worker makes
//! them for the whole proxy. Called by `worker`; `check` makes a single one, `plait-decide::health` judges.

use std::{
    rc::Rc,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use plait_decide::{balance, health};
use plait_model::{Backend, Endpoint, HealthCheck, Map, Protocol};
use plait_telemetry::Checked;
use tokio::{
    sync::{Notify, Semaphore},
    task::JoinHandle,
};

use crate::{
    check::{self, Verdict},
    worker::Worker,
};

/// Checks under way at a time; the next wait for one to end.
const MOST: usize = 64;
/// Everything is looked through this often: ejections end, and backends fall out of use, by themselves.
const ROUND: Duration = Duration::from_secs(1);

/// Of why a check did not pass, so many characters are kept for people: a part of it was written by the far end.
const WHY: usize = 200;

/// What a proxy's workers share about checks.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    /// A worker makes them.
    taken: AtomicBool,
    /// Something is to be checked, or has turned.
    pub(crate) wake: Notify,
}

/// How the endpoints of a backend are checked. Another setting begins anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    /// "namespace/service:port".
    pub(crate) backend: Arc<str>,
    pub(crate) rules: HealthCheck,
    /// What the processes speak.
    pub(crate) protocol: Protocol,
    pub(crate) connect_timeout: Duration,
    /// "namespace/name" of the workload in whose name it is asked.
    pub(crate) by: Arc<str>,
}

/// A backend under check.
#[derive(Debug)]
struct Watched {
    backend: Arc<Backend>,
    settings: Rc<Settings>,
    checked: Vec<Watch>,
}

/// An endpoint under check, until it is dropped: then nothing is known of it any more.
#[derive(Debug)]
struct Watch {
    endpoint: Arc<Endpoint>,
    checking: JoinHandle<()>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.checking.abort();
        health::forget(&self.endpoint);
    }
}

/// Checks what is called, until the drain begins.
pub(crate) async fn run(worker: Rc<Worker>) {
    if worker.shared.checks.taken.swap(true, Relaxed) {
        return;
    }
    let mut changes = worker.shared.world.changes();
    let places = Rc::new(Semaphore::new(MOST));
    let mut watched = Map::default();
    loop {
        follow(&worker, &places, &mut watched);
        tokio::select! {
            // The world lives as long as we do.
            _ = changes.changed() => {}
            () = worker.shared.checks.wake.notified() => {}
            () = tokio::time::sleep(ROUND) => {}
            () = worker.shared.drain.begun() => return,
        }
    }
}

/// Begins and ends checks as the snapshot and the calls want it, and counts anew.
fn follow(worker: &Rc<Worker>, places: &Rc<Semaphore>, watched: &mut Map<Arc<str>, Watched>) {
    let snapshot = worker.shared.world.load_full();
    let now = worker.now();
    let mut wanted = Map::default();
    for backend in snapshot.backends.values() {
        if let Some(settings) = Settings::of(backend, now.as_secs()) {
            wanted.insert(backend.key.clone(), (backend, settings));
        }
    }
    watched.retain(|key, held| {
        let stays = wanted.contains_key(key);
        if !stays {
            held.checked.clear();
            note_count(worker, &held.backend, now);
        }
        stays
    });
    for (key, (backend, settings)) in wanted {
        let held = watched.entry(key).or_insert_with(|| Watched {
            backend: backend.clone(),
            settings: Rc::new(settings.clone()),
            checked: Vec::new(),
        });
        held.adapt(worker, places, (backend, settings));
        note_count(worker, &held.backend, now);
    }
}

fn note_count(worker: &Worker, backend: &Backend, now: Duration) {
    let count = health::count(backend, now.as_nanos() as u64);
    worker.shared.telemetry.set_health(&backend.key, count.unhealthy.into(), health::panics(backend));
}

impl Settings {
    /// `None`: the backend is not checked.
    fn of(backend: &Backend, now_seconds: u64) -> Option<Self> {
        let by = health::checked_by(backend, now_seconds)?;
        let traffic = &backend.traffic;
        let (rules, connect_timeout) = (traffic.health_check.clone()?, traffic.connect_timeout);
        Some(Self { backend: backend.key.clone(), rules, protocol: backend.protocol, connect_timeout, by })
    }
}

impl Watched {
    /// Checks the endpoints of `backend`, no others.
    fn adapt(&mut self, worker: &Rc<Worker>, places: &Rc<Semaphore>, (backend, settings): (&Arc<Backend>, Settings)) {
        if *self.settings != settings {
            self.checked.clear();
            self.settings = Rc::new(settings);
        }
        // A check that panicked is a bug of ours: it is counted, and the endpoint checked anew.
        let before = self.checked.len();
        self.checked.retain(|watch| !watch.checking.is_finished());
        (self.checked.len()..before).for_each(|_| worker.shared.telemetry.panicked());
        if Arc::ptr_eq(&self.backend, backend) && self.checked.len() == backend.endpoints.len() {
            return;
        }
        let mut kept: Map<u64, Watch> = self.checked.drain(..).map(|watch| (watch.endpoint.id, watch)).collect();
        let watch = |endpoint: &Arc<Endpoint>| {
            kept.remove(&endpoint.id).unwrap_or_else(|| {
                let checking = keep_checking(worker.clone(), self.settings.clone(), endpoint.clone(), places.clone());
                Watch { endpoint: endpoint.clone(), checking: tokio::task::spawn_local(checking) }
            })
        };
        self.checked = backend.endpoints.iter().map(watch).collect();
        self.backend = backend.clone();
    }
}

/// Checks an endpoint until it is aborted. The first checks of a backend are spread over a tenth of the interval, later ones drift apart.
async fn keep_checking(worker: Rc<Worker>, settings: Rc<Settings>, endpoint: Arc<Endpoint>, places: Rc<Semaphore>) {
    let interval = settings.rules.interval;
    tokio::time::sleep(interval.mul_f64(fastrand::f64() / 10.0)).await;
    loop {
        let place = places.acquire().await;
        // Boxed: between checks its room is not needed.
        let verdict = Box::pin(check::make(&worker, &settings, &endpoint)).await;
        drop(place);
        learn(&worker, &settings, &endpoint, verdict);
        tokio::time::sleep(interval.mul_f64(0.9 + fastrand::f64() / 5.0)).await;
    }
}

/// What the end of a check says of its endpoint.
fn learn(worker: &Worker, settings: &Settings, endpoint: &Endpoint, verdict: Verdict) {
    let (outcome, passed, why) = match verdict {
        Verdict::Passed => (Checked::Passed, Some(true), None),
        Verdict::Failed { why, undelivered } => {
            if undelivered {
                // As after a request: whoever asks in this moment goes elsewhere.
                balance::refused(endpoint, worker.now_nanos());
            }
            (Checked::Failed, Some(false), Some(why))
        }
        Verdict::None(why) => (Checked::NoVerdict, None, Some(why)),
    };
    worker.shared.telemetry.checked(&settings.backend, outcome);
    *endpoint.state.health.failure.lock().unwrap_or_else(PoisonError::into_inner) = why.map(|why| why.chars().take(WHY).collect());
    let turned = passed.and_then(|passed| health::note(&settings.rules, endpoint, passed, worker.now_nanos()));
    if turned.is_some() {
        worker.shared.checks.wake.notify_one();
    }
}

/// A request for the backend was decided, in the name of `by`: it is checked from now on, while it is called.
pub(crate) fn called(worker: &Worker, backend: &Backend, by: &Arc<str>) {
    if health::used(backend, by, worker.now().as_secs()) {
        worker.shared.checks.wake.notify_one();
    }
}
