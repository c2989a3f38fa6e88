//! The host of all plugins of this process: what is wanted goes in, what became of it comes out. Starts a thread with the first group, no sooner.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, RwLock, atomic::AtomicUsize, atomic::Ordering::Relaxed},
};

use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    ChainId, Channel, Counters, Direction, GroupSpec, GroupState, HostSettings,
    chains::Chains,
    supervisor::{self, Command},
};

/// One a process; a handle for any thread.
#[derive(Clone, Debug)]
pub struct Host(Arc<Shared>);

/// What every thread sees.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) settings: HostSettings,
    pub(crate) counters: Arc<Counters>,
    /// What is wanted, for the policies of what is not loaded.
    pub(crate) wanted: RwLock<HashMap<Arc<str>, Arc<GroupSpec>>>,
    pub(crate) states: watch::Sender<Arc<Vec<GroupState>>>,
    pub(crate) commands: mpsc::UnboundedSender<Command>,
    chains: Chains,
    channels: AtomicUsize,
    /// The supervisor's end, until its thread is started.
    unstarted: Mutex<Option<mpsc::UnboundedReceiver<Command>>>,
}

impl Host {
    /// A host without plugins: no thread, no process.
    pub fn new(settings: HostSettings) -> Self {
        let (commands, received) = mpsc::unbounded_channel();
        Self(Arc::new(Shared {
            settings,
            counters: Arc::default(),
            wanted: RwLock::default(),
            states: watch::Sender::default(),
            commands,
            chains: Chains::default(),
            channels: AtomicUsize::new(0),
            unstarted: Mutex::new(Some(received)),
        }))
    }

    /// The number of a chain: the same for as long as the process lives.
    pub fn chain_id(&self, group: &Arc<str>, direction: Direction, plugins: &[Arc<str>]) -> ChainId {
        self.0.chains.id(group, direction, plugins)
    }

    /// All groups that are wanted. One that did not change is left alone; one that did loads beside the old, which serves until it is live.
    pub fn apply(&self, groups: Vec<GroupSpec>) {
        let groups: Vec<_> = groups.into_iter().map(Arc::new).collect();
        let wanted = groups.iter().map(|group| (group.name.clone(), group.clone())).collect();
        *self.0.wanted.write().unwrap_or_else(PoisonError::into_inner) = wanted;
        if !groups.is_empty() {
            self.start();
        }
        let _ = self.0.commands.send(Command::Apply(groups));
    }

    /// Loads a group anew though what is wanted is the same: the code of its plugins changed where it lies.
    pub fn reload(&self, group: &Arc<str>) {
        let _ = self.0.commands.send(Command::Reload(group.clone()));
    }

    /// What became of them.
    pub fn states(&self) -> watch::Receiver<Arc<Vec<GroupState>>> {
        self.0.states.subscribe()
    }

    /// Figures of every plugin that was asked.
    pub fn counters(&self) -> Arc<Counters> {
        self.0.counters.clone()
    }

    /// The way of one I/O thread to its workers. To be called inside its `LocalSet`.
    pub fn channel(&self) -> Channel {
        let id = self.0.channels.fetch_add(1, Relaxed);
        Channel::open(id, self.0.clone())
    }

    /// Ends every process; afterwards no plugin is loaded.
    pub async fn stop(&self) {
        if self.0.unstarted.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
            return;
        }
        let (done, ended) = oneshot::channel();
        if self.0.commands.send(Command::Stop(done)).is_ok() {
            let _ = ended.await;
        }
    }

    fn start(&self) {
        let Some(commands) = self.0.unstarted.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        let shared = self.0.clone();
        // A thread that lives as long as the process: the kernel kills the zygotes when the thread that started them ends.
        let started = std::thread::Builder::new().name("plait-plugins".to_owned()).spawn(move || supervisor::run(&shared, commands));
        if let Err(error) = started {
            (self.0.settings.log)(&crate::LogRecord::own("error", format!("no thread for plugins: {error}")));
        }
    }
}
