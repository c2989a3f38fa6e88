//! One worker: a thread with its own sockets, pools and connections to other proxies. Nothing of it is shared with another worker.

use std::{
    cell::{Cell, OnceCell, RefCell},
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    sync::{Arc, atomic::Ordering::Relaxed},
    task::Poll,
    time::{Duration, Instant, SystemTime},
};

use plait_model::{Destination, Seen, Snapshot, Workload};
use tokio::sync::{Notify, watch};

use crate::{
    Shared, budgets::Budgets, desk::Desk, filters::Runner, health, http2::Taken, listener, multiplex::Connections, pool::Pool,
    windows::Streams,
};

/// Idle connections are looked through this often.
const SWEEP: Duration = Duration::from_secs(5);

/// One worker.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) shared: Arc<Shared>,
    pub(crate) pool: Pool,
    pub(crate) connections: Connections,
    /// Tasks that wait for a stream.
    pub(crate) streams: Desk<Box<Taken>>,
    /// Those who run plugins, once a call passed one.
    pub(crate) runner: OnceCell<Option<Runner>>,
    /// Streams of HTTP/2 on which requests came in.
    pub(crate) incoming: Streams,
    pub(crate) budgets: Budgets,
    trust: watch::Receiver<u64>,
    /// The snapshot as it was seen last.
    seen: RefCell<Seen>,
    /// The clock as it was read last.
    clock: Cell<Instant>,
    /// When the clock of the wall was read, and what it said: seconds since 1970.
    wall: Cell<(Instant, u64)>,
    /// Connections, streams and copies under way.
    active: Cell<usize>,
    ended: Notify,
}

/// Opens listeners for every workload of the snapshot, follows its changes, serves, and returns when the drain has ended all connections.
/// To be run inside a `LocalSet` of a current-thread runtime. `share_ports`: several workers listen on the same ports.
pub async fn serve(shared: Arc<Shared>, share_ports: bool) {
    let worker = Worker::new(shared);
    let sweeping = tokio::task::spawn_local(sweep(worker.clone()));
    let checking = tokio::task::spawn_local(health::run(worker.clone()));
    listener::follow(&worker, share_ports).await;
    // Checks would keep connections busy that are to end.
    checking.abort();
    worker.drained().await;
    sweeping.abort();
}

async fn sweep(worker: Rc<Worker>) {
    let mut short = worker.shared.short.subscribe();
    let mut sweeps = tokio::time::interval(SWEEP);
    sweeps.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = sweeps.tick() => {
                worker.pool.sweep(Instant::now());
                worker.connections.sweep();
                worker.streams.sweep();
                worker.budgets.sweep(worker.now());
            }
            Ok(()) = short.changed() => worker.pool.give_way(),
        }
    }
}

impl Worker {
    fn new(shared: Arc<Shared>) -> Rc<Self> {
        Rc::new(Self {
            pool: Pool::default(),
            connections: Connections::default(),
            streams: Desk::default(),
            runner: OnceCell::new(),
            incoming: Streams::default(),
            budgets: Budgets::default(),
            trust: shared.identities.changes(),
            seen: RefCell::new(shared.world.seen()),
            clock: Cell::new(Instant::now()),
            wall: Cell::new((Instant::now(), 0)),
            active: Cell::new(0),
            ended: Notify::new(),
            shared,
        })
    }

    /// Runs a connection or stream. One that panics is counted and gone; the others do not notice.
    pub(crate) fn spawn(self: &Rc<Self>, task: impl Future<Output = ()> + 'static) {
        let active = Active::begin(self);
        // Boxed before it is moved in: an async block holds what it pins twice.
        let mut task = Box::pin(task);
        tokio::task::spawn_local(async move {
            let outcome = poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| task.as_mut().poll(cx))) {
                Ok(poll) => poll.map(Ok),
                Err(_) => Poll::Ready(Err(())),
            });
            if outcome.await.is_err() {
                active.0.shared.telemetry.panicked();
            }
        });
    }

    /// Resolves when nothing is under way any more.
    async fn drained(&self) {
        self.pool.clear();
        self.connections.clear();
        self.streams.close();
        while self.active.get() > 0 {
            self.ended.notified().await;
        }
    }

    /// Reads the clock.
    pub(crate) fn tick(&self) -> Instant {
        self.note(Instant::now())
    }

    /// The clock was read.
    pub(crate) fn note(&self, now: Instant) -> Instant {
        self.clock.set(now);
        now
    }

    /// The clock as it was read last, for what follows such a reading and has waited for nothing: a request would read it eight times.
    pub(crate) fn recent(&self) -> Instant {
        self.clock.get()
    }

    pub(crate) fn recent_nanos(&self) -> u64 {
        self.at(self.recent()).as_nanos() as u64
    }

    /// The snapshot in force.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.seen.borrow_mut().now().clone()
    }

    /// What the snapshot in force says of something.
    pub(crate) fn look<T>(&self, at: impl FnOnce(&Snapshot) -> T) -> T {
        at(self.seen.borrow_mut().now())
    }

    /// What the snapshot in force says of a workload, if that is something new; one that is gone stays as it was.
    pub(crate) fn newest(&self, workload: &Arc<Workload>) -> Option<Arc<Workload>> {
        self.look(|snapshot| snapshot.workloads.get(&*workload.key).filter(|newest| !Arc::ptr_eq(newest, workload)).cloned())
    }

    /// The clock of everything that decides.
    pub(crate) fn now(&self) -> Duration {
        self.shared.now()
    }

    /// The same for a moment that was noted.
    pub(crate) fn at(&self, moment: Instant) -> Duration {
        self.shared.at(moment)
    }

    pub(crate) fn now_nanos(&self) -> u64 {
        self.now().as_nanos() as u64
    }

    /// The state of our keys and trust: connections made under another are not used for new requests.
    pub(crate) fn trust(&self) -> u64 {
        *self.trust.borrow()
    }

    /// A destination was dialled: it is kept. The clock of the wall is looked at once a second.
    pub(crate) fn used(&self, destination: &Destination, now: Instant) {
        let (mut read, mut seconds) = self.wall.get();
        if now.saturating_duration_since(read) >= Duration::from_secs(1) || seconds == 0 {
            (read, seconds) = (now, unix_seconds());
            self.wall.set((read, seconds));
        }
        if destination.last_used.load(Relaxed) != seconds {
            destination.last_used.store(seconds, Relaxed);
        }
    }

    /// Limits on heads.
    pub(crate) fn limits(&self) -> plait_http1::Limits {
        let limits = self.look(|snapshot| snapshot.mesh.limits);
        plait_http1::Limits { head_bytes: limits.head_bytes, headers: limits.headers }
    }
}

/// Seconds since 1970.
pub(crate) fn unix_seconds() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs())
}

/// Counts what is under way.
struct Active(Rc<Worker>);

impl Active {
    fn begin(worker: &Rc<Worker>) -> Self {
        worker.active.set(worker.active.get() + 1);
        Self(worker.clone())
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.active.set(self.0.active.get() - 1);
        self.0.ended.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use plait_identity::Identities;
    use plait_model::{Reason, World};
    use plait_telemetry::{Direction, Outcome, Protocol, Record, Telemetry};
    use tokio::{sync::oneshot, task::LocalSet};

    use super::*;

    /// A request that a bug ends.
    async fn bug(telemetry: Arc<Telemetry>) {
        let mut record = Record::new(Direction::Outbound, Protocol::Http1, "shop/web".into());
        let _outcome = Outcome::begin(&telemetry, &mut record);
        tokio::task::yield_now().await;
        panic!("a bug");
    }

    #[tokio::test]
    async fn a_panic_costs_its_own_connection_and_is_counted() {
        let shared = Shared::new(World::new().0, Identities::new(), Telemetry::new(std::io::sink()));
        let worker = Worker::new(shared.clone());
        let local = LocalSet::new();
        let (sender, lives) = oneshot::channel();
        local
            .run_until(async {
                worker.spawn(bug(shared.telemetry.clone()));
                worker.drained().await;
                worker.spawn(async { sender.send(()).unwrap() });
                lives.await.unwrap();
                worker.drained().await;
            })
            .await;
        let metrics = shared.telemetry.render();
        assert!(metrics.contains("plait_panics_total 1\n"), "{metrics}");
        assert!(metrics.contains(&format!("reason=\"{}\"}} 1\n", Reason::Internal.as_str())), "{metrics}");
    }

    /// Size of the future that a function makes; the function is never called.
    fn size<F>(_: impl FnOnce() -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    #[allow(unreachable_code, clippy::diverging_sub_expression)]
    fn a_connection_costs_no_more_than_it_needs() {
        // What every idle connection holds: a goal of 8 KB for each leaves room for its heads.
        assert!(size(|| crate::connection::serve(unreachable!(), unreachable!(), unreachable!(), unreachable!())) <= 5 * 1024 + 896);
        // What every request through the mesh adds.
        assert!(size(|| crate::request::serve(unreachable!(), unreachable!())) <= 4 * 1024 + 256);
    }
}
