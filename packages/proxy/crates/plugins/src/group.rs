//! One group: which generation serves, which one loads, and who gets a new worker. A new generation takes over when every one of its workers is
//! ready; one that fails changes nothing.

mod pauses;
mod said;

use std::{
    collections::HashMap,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::mpsc::{self, UnboundedReceiver, UnboundedSender},
    task::JoinHandle,
};

use crate::{
    GroupSpec, GroupState, LoadFailure, LogRecord, Stage,
    channel::ToChannel,
    host::Shared,
    load::FromPython,
    log::Log,
    zygote::{Worker, Zygote},
};
use pauses::Pauses;

/// An old generation ends after this, whatever still waits for it.
const DRAIN: Duration = Duration::from_secs(60);

/// Between looks at the memory of workers.
const MEASURE: Duration = Duration::from_secs(10);

/// What a group's task is told.
#[derive(Debug)]
pub(crate) enum ToGroup {
    Want(Arc<GroupSpec>),
    Channel(usize, UnboundedSender<ToChannel>),
    Ended {
        worker: u64,
        died: bool,
    },
    Zygote {
        generation: u64,
        said: Said,
    },
    Worker {
        generation: u64,
        worker: u64,
        said: Said,
    },
    Fork {
        generation: u64,
        channel: usize,
    },
    /// Load what is wanted again, if nothing newer was begun since this generation.
    Again {
        generation: u64,
    },
    /// Load what is wanted anew: its code may have changed.
    Reload,
    Overdue {
        generation: u64,
    },
    Drained {
        generation: u64,
    },
    /// Look at the memory of what serves.
    Measure,
    Close,
}

/// What came over a control socket.
#[derive(Debug)]
pub(crate) enum Said {
    Message(Box<FromPython>),
    Gone(String),
}

/// A group.
pub(crate) struct Group {
    shared: Arc<Shared>,
    channels: HashMap<usize, UnboundedSender<ToChannel>>,
    inbox: UnboundedSender<ToGroup>,
    wanted: Arc<GroupSpec>,
    next: Option<Zygote>,
    live: Option<Zygote>,
    old: Vec<Zygote>,
    generation: u64,
    workers: u64,
    pauses: Pauses,
    log: Rc<Log>,
    state: GroupState,
}

impl Group {
    /// Starts the group's task, and with it the first generation; `before` is a task of the same group that ends first.
    pub(crate) fn start(
        shared: Arc<Shared>,
        channels: HashMap<usize, UnboundedSender<ToChannel>>,
        wanted: Arc<GroupSpec>,
        before: Option<JoinHandle<()>>,
    ) -> (UnboundedSender<ToGroup>, JoinHandle<()>) {
        let (inbox, received) = mpsc::unbounded_channel();
        let state = GroupState { name: wanted.name.clone(), ..GroupState::default() };
        let settings_log = shared.settings.log;
        let group = Self {
            shared,
            channels,
            inbox: inbox.clone(),
            wanted,
            next: None,
            live: None,
            old: Vec::new(),
            generation: 0,
            workers: 0,
            pauses: Pauses::default(),
            log: Rc::new(Log::new(settings_log)),
            state,
        };
        let task = async move {
            if let Some(before) = before {
                let _ = before.await;
            }
            group.serve(received).await;
        };
        (inbox, tokio::task::spawn_local(task))
    }

    async fn serve(mut self, mut received: UnboundedReceiver<ToGroup>) {
        self.later(MEASURE, ToGroup::Measure);
        self.load_anew().await;
        while let Some(told) = received.recv().await {
            match told {
                ToGroup::Want(spec) => {
                    if self.wanted != spec {
                        self.wanted = spec;
                        self.load_anew().await;
                    }
                }
                ToGroup::Channel(id, channel) => self.join(id, channel).await,
                ToGroup::Ended { worker, died } => self.ended(worker, died),
                ToGroup::Zygote { generation, said } => self.zygote_said(generation, said).await,
                ToGroup::Worker { generation, worker, said } => self.worker_said(generation, worker, said),
                ToGroup::Fork { generation, channel } => self.fork(generation, channel).await,
                ToGroup::Again { generation } => {
                    if generation == self.generation {
                        self.load().await;
                    }
                }
                ToGroup::Reload => self.load_anew().await,
                ToGroup::Overdue { generation } => self.overdue(generation),
                ToGroup::Drained { generation } => self.old.retain(|zygote| zygote.generation != generation),
                ToGroup::Measure => self.measure(),
                ToGroup::Close => break,
            }
        }
        self.tell(ToChannel::Gone);
        self.shared.states.send_modify(|states| {
            *states = Arc::new(states.iter().filter(|state| state.name != self.state.name).cloned().collect());
        });
    }

    /// As `load`, and calls wait for it where nothing serves.
    async fn load_anew(&mut self) {
        self.pauses.begin();
        if self.live.is_none() {
            self.tell(ToChannel::Loading);
        }
        self.load().await;
    }

    /// Begins a new generation of what is wanted now.
    async fn load(&mut self) {
        self.generation += 1;
        self.next = None;
        self.state.failures.clear();
        self.state.loading = Some(self.generation);
        self.publish();
        match Zygote::start(&self.shared.settings, self.wanted.clone(), self.generation, (&self.inbox, &self.log)).await {
            Ok(zygote) => {
                self.next = Some(zygote);
                self.later(self.shared.settings.load, ToGroup::Overdue { generation: self.generation });
            }
            Err(error) => self.fail_for_now(Stage::Start, format!("{}: {error}", self.shared.settings.python.display())),
        }
    }

    /// The generation that loads has failed for this reason, whatever else is to come.
    fn fail(&mut self, stage: Stage, message: String) {
        self.state.failures.push(LoadFailure { plugin: None, stage, message, traceback: String::new() });
        self.give_up();
    }

    /// It failed for no reason of a plugin's: the machine may have been too busy, so that it is tried again.
    fn fail_for_now(&mut self, stage: Stage, message: String) {
        self.fail(stage, message);
        let pause = self.pauses.after_start();
        self.later(pause, ToGroup::Again { generation: self.generation });
    }

    fn give_up(&mut self) {
        self.next = None;
        self.state.loading = None;
        // First: whoever is told may look why.
        self.publish();
        if self.live.is_none() {
            self.tell(ToChannel::Failed);
        }
    }

    /// A worker of the serving generation goes to its thread at once; those of the next wait for each other.
    fn hand_over(&mut self, generation: u64, worker: u64) {
        let Some(live) = self.live.as_mut().filter(|zygote| zygote.generation == generation) else { return self.promote() };
        let Some((channel, ends)) = live.hand_over(worker) else { return };
        if let Some(channel) = self.channels.get(&channel) {
            let _ = channel.send(ToChannel::Worker(ends));
        }
    }

    /// The next generation serves when each thread has a worker of it.
    fn promote(&mut self) {
        let ready = |zygote: &Zygote| {
            let has = |id: &usize| zygote.workers.values().any(|worker| worker.channel == *id && worker.ready && worker.is_known());
            zygote.loaded.is_some() && self.channels.keys().all(has)
        };
        let Some(mut next) = self.next.take_if(|next| ready(next)) else { return };
        let workers: Vec<_> = next.workers.keys().copied().collect();
        for (channel, ends) in workers.into_iter().filter_map(|worker| next.hand_over(worker)).collect::<Vec<_>>() {
            if let Some(channel) = self.channels.get(&channel) {
                let _ = channel.send(ToChannel::Worker(ends));
            }
        }
        self.state.live = next.generation;
        self.state.loading = None;
        if let Some(old) = self.live.replace(next) {
            self.later(DRAIN, ToGroup::Drained { generation: old.generation });
            if !old.workers.is_empty() {
                self.old.push(old);
            }
        }
        self.publish();
    }

    async fn join(&mut self, id: usize, channel: UnboundedSender<ToChannel>) {
        self.channels.insert(id, channel);
        for generation in [&self.live, &self.next]
            .into_iter()
            .flatten()
            .filter(|zygote| zygote.loaded.is_some())
            .map(|zygote| zygote.generation)
            .collect::<Vec<_>>()
        {
            self.fork(generation, id).await;
        }
    }

    async fn fork(&mut self, generation: u64, channel: usize) {
        self.workers += 1;
        let worker = self.workers;
        let Some(zygote) = self.zygote(generation) else { return };
        if let Err(error) = zygote.fork(worker, channel).await {
            self.log("error", format!("no worker was forked: {error}"));
            // The process is gone, or will be: then all begins anew.
            self.zygote_died(generation);
        }
    }

    fn ended(&mut self, worker: u64, died: bool) {
        let mut all = self.live.iter_mut().chain(&mut self.old);
        let Some((generation, gone)) = all.find_map(|zygote| Some((zygote.generation, zygote.workers.remove(&worker)?))) else { return };
        self.old.retain(|zygote| !zygote.workers.is_empty());
        if died && self.live.as_ref().is_some_and(|zygote| zygote.generation == generation) {
            self.state.restarts += 1;
            self.publish();
            let pause = self.pauses.after_death(Instant::now());
            self.later(pause, ToGroup::Fork { generation, channel: gone.channel });
        }
    }

    fn overdue(&mut self, generation: u64) {
        if self.next.as_ref().is_some_and(|zygote| zygote.generation == generation) {
            self.fail_for_now(Stage::Import, format!("not loaded after {} s", self.shared.settings.load.as_secs_f32()));
        }
    }

    fn later(&self, pause: Duration, told: ToGroup) {
        if pause.is_zero() {
            let _ = self.inbox.send(told);
            return;
        }
        let inbox = self.inbox.clone();
        tokio::task::spawn_local(async move {
            tokio::time::sleep(pause).await;
            let _ = inbox.send(told);
        });
    }

    fn zygote(&mut self, generation: u64) -> Option<&mut Zygote> {
        let all = self.live.iter_mut().chain(&mut self.next).chain(&mut self.old);
        all.into_iter().find(|zygote| zygote.generation == generation)
    }

    fn measure(&mut self) {
        let workers = self.live.iter().flat_map(|zygote| zygote.workers.values());
        let memory_bytes = workers.filter_map(Worker::memory_bytes).sum();
        if memory_bytes != self.state.memory_bytes {
            self.state.memory_bytes = memory_bytes;
            self.publish();
        }
        self.later(MEASURE, ToGroup::Measure);
    }

    fn tell(&self, what: impl Fn(Arc<str>) -> ToChannel) {
        for channel in self.channels.values() {
            let _ = channel.send(what(self.state.name.clone()));
        }
    }

    fn publish(&self) {
        self.shared.states.send_modify(|states| {
            let mut all: Vec<_> = states.iter().filter(|state| state.name != self.state.name).cloned().collect();
            all.push(self.state.clone());
            all.sort_by(|one, other| one.name.cmp(&other.name));
            *states = Arc::new(all);
        });
    }

    fn log(&self, level: &str, text: String) {
        self.log.write(&LogRecord { group: self.state.name.clone(), plugin: None, level: level.to_owned(), text });
    }
}
