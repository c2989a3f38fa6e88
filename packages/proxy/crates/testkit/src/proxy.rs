//! A whole proxy: one worker on a thread of its own, with a control plane that is the test.

use std::{
    io,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use plait_discovery::Resources;
use plait_identity::Identities;
use plait_model::{Demand, World};
use plait_proxy_core::Shared;
use plait_telemetry::Telemetry;
use plait_wire as wire;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::LocalSet,
};

use crate::deadline::{in_time, until};

/// A running proxy. Dropped, it is gone at once, with all its connections.
#[derive(Debug)]
pub struct Proxy {
    /// What its worker shares with its control plane.
    pub shared: Arc<Shared>,
    log: Log,
    resources: Mutex<Resources>,
    demands: tokio::sync::Mutex<mpsc::UnboundedReceiver<Demand>>,
    clock: mpsc::UnboundedSender<Turn>,
    running: watch::Receiver<bool>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

/// The access log as it is written.
#[derive(Debug, Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(line)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Proxy {
    /// Starts one that knows nothing of the world yet.
    pub fn start(identities: Arc<Identities>) -> Self {
        let (world, demands) = World::new();
        let log = Log::default();
        let shared = Shared::new(world, identities, Telemetry::new(log.clone()));
        let (stop, stopped) = oneshot::channel();
        let (clock, turns) = mpsc::unbounded_channel();
        let (ended, running) = watch::channel(true);
        let serving = shared.clone();
        let work = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            LocalSet::new().block_on(&runtime, async move {
                tokio::task::spawn_local(turn(turns));
                tokio::select! {
                    () = plait_proxy_core::serve(serving, false) => drop(ended.send(false)),
                    _ = stopped => {}
                }
            });
        };
        // Named, so that a test can tell what its proxies spend.
        let thread = Some(thread::Builder::new().name("proxy".to_owned()).spawn(work).unwrap());
        let (resources, demands) = (Mutex::default(), tokio::sync::Mutex::new(demands));
        Self { shared, log, resources, demands, clock, running, stop: Some(stop), thread }
    }

    /// Puts resources in force, as a control plane does, and waits until the listeners are as they say.
    pub async fn apply(&self, changes: wire::ChangeSet) {
        let generation = changes.generation;
        {
            let mut resources = self.resources.lock().unwrap();
            let applied = resources.apply(changes).unwrap();
            assert!(applied.rejected.is_empty(), "{:?}", applied.rejected);
            let mesh = &applied.snapshot.mesh;
            self.shared.telemetry.configure(mesh);
            assert_eq!(self.shared.identities.set_trust(&mesh.trust_domain, &mesh.trust_bundle), 0);
            self.shared.world.publish(applied.snapshot);
        }
        let open = |listening: &plait_proxy_core::Listening| listening.generation >= generation && listening.failed.is_empty();
        let mut listening = self.shared.listening.subscribe();
        drop(in_time("listeners", listening.wait_for(open)).await.unwrap());
    }

    /// The next destination that it asks its control plane for.
    pub async fn demand(&self) -> String {
        let mut demands = self.demands.lock().await;
        in_time("a demand", demands.recv()).await.unwrap().0.as_str().to_owned()
    }

    /// Turns the clock of its timers forward, step by step, until `done` resolves.
    pub async fn pass_time<T>(&self, step: Duration, done: impl Future<Output = T>) -> T {
        let turning = async {
            loop {
                self.turns(step).await;
                // It needs a moment of real time to see what is ready before the clock goes on.
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::select! {
            result = done => result,
            () = turning => unreachable!("it turns for ever"),
        }
    }

    /// Turns the clock of its timers forward once, and gives it a moment of real time to see what is due.
    pub async fn passes(&self, by: Duration) {
        self.turns(by).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }

    /// Turns the clock and waits until it stands there: turns that pile up would pass in what a test does next.
    async fn turns(&self, by: Duration) {
        let (done, turned) = oneshot::channel();
        if self.clock.send(Turn { by, done }).is_ok() {
            let _ = turned.await;
        }
    }

    /// As SIGTERM: begins the drain.
    pub fn drain(&self) {
        self.shared.drain.begin();
    }

    /// Waits until the drain has ended.
    pub async fn is_drained(&self) {
        let mut running = self.running.clone();
        drop(in_time("a drain", running.wait_for(|running| !running)).await.unwrap());
    }

    /// Whether the worker still runs.
    pub fn is_running(&self) -> bool {
        *self.running.borrow()
    }

    /// The metric's value, over all series with these labels (`key="value"`).
    pub fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        crate::metrics::value(&self.shared.telemetry.render(), name, labels)
    }

    /// Waits until the metric has that value.
    pub async fn counts(&self, name: &str, labels: &[&str], wanted: f64) {
        let what = format!("{name} {labels:?} = {wanted}");
        until(&what, || (self.metric(name, labels) == wanted).then_some(())).await;
    }

    /// Waits until so many lines of the access log are written; gives all.
    pub async fn log(&self, lines: usize) -> Vec<String> {
        until("lines of the access log", || {
            let text = String::from_utf8(self.log.0.lock().unwrap().clone()).unwrap();
            (text.lines().count() >= lines && text.ends_with('\n')).then(|| text.lines().map(Into::into).collect())
        })
        .await
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Both fail only when the worker has ended before.
        let _ = self.stop.take().map(|stop| stop.send(()));
        let ended = self.thread.take().map(thread::JoinHandle::join);
        if !thread::panicking() {
            assert!(ended.is_none_or(|ended| ended.is_ok()), "the worker panicked");
        }
    }
}

/// A turn of the clock, and who waits for it.
struct Turn {
    by: Duration,
    done: oneshot::Sender<()>,
}

/// Turns the clock of the worker's timers by hand.
async fn turn(mut turns: mpsc::UnboundedReceiver<Turn>) {
    while let Some(Turn { by, done }) = turns.recv().await {
        tokio::time::pause();
        tokio::time::advance(by).await;
        tokio::time::resume();
        let _ = done.send(());
    }
}
