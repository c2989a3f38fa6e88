//! The way of one I/O thread to its workers. Single-threaded: nothing of it is shared, nothing is locked.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::{Rc, Weak},
    sync::{Arc, PoisonError},
    time::Duration,
};

use plait_frames::{CallWriter, Phase};
use tokio::sync::{Notify, mpsc};

use crate::{
    Cause, ChainId, ChainInterest, Failure, GroupSpec, OnFailure, Verdict,
    asked::{ChainLine, PluginLine},
    call::{Asking, Waiter},
    host::Shared,
    link::{Link, NotTaken, WorkerEnds},
    supervisor::Command,
};

/// One an I/O thread; cheap to clone within it.
#[derive(Clone, Debug)]
pub struct Channel(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    lines: RefCell<HashMap<Arc<str>, Rc<Line>>>,
    plugins: RefCell<HashMap<Arc<str>, Weak<PluginLine>>>,
    writer: RefCell<CallWriter>,
}

/// What the supervisor tells this thread.
#[derive(Debug)]
pub(crate) enum ToChannel {
    /// A worker is ready; it takes the place of the one before.
    Worker(Box<WorkerEnds>),
    /// Nothing of this group serves, and nothing will soon.
    Failed(Arc<str>),
    /// This group loads.
    Loading(Arc<str>),
    /// This group is wanted no more.
    Gone(Arc<str>),
}

/// A group in this thread.
#[derive(Debug, Default)]
pub(crate) struct Line {
    link: RefCell<Option<Rc<Link>>>,
    chains: RefCell<HashMap<ChainId, Rc<ChainLine>>>,
    failed: Cell<bool>,
    changed: Notify,
}

impl Line {
    /// The worker that is asked now; one that was killed and is not buried yet is none.
    pub(crate) fn current(&self) -> Option<Rc<Link>> {
        self.link.borrow().clone().filter(|link| !link.is_dead())
    }

    pub(crate) fn chain(&self, id: ChainId) -> Option<Rc<ChainLine>> {
        self.chains.borrow().get(&id).cloned()
    }

    /// Waits for a worker; false when there is none after `limit`.
    pub(crate) async fn wait(&self, limit: Duration) -> bool {
        self.until(limit, || self.current()).await.is_some()
    }

    async fn until<T>(&self, limit: Duration, there: impl Fn() -> Option<T>) -> Option<T> {
        let waiting = async {
            loop {
                let changed = self.changed.notified();
                if let Some(found) = there() {
                    return Some(found);
                }
                if self.failed.get() {
                    return None;
                }
                changed.await;
            }
        };
        tokio::time::timeout(limit, waiting).await.ok().flatten()
    }
}

/// What was asked, and whether a worker took it; or what is answered without one.
type Begun = Result<(Asking, Result<Waiter, NotTaken>), Box<Verdict>>;

/// A call under way. Dropped, it is given up, and the worker is told so.
#[derive(Debug)]
#[must_use = "its verdict is what it was asked for"]
pub struct Call(Begun);

impl Call {
    /// Waits for the answer, or for what the policies say where there is none.
    pub async fn verdict(self) -> Verdict {
        match self.0 {
            Ok((asking, submitted)) => asking.finish(submitted).await,
            Err(verdict) => *verdict,
        }
    }
}

/// A chain that can be asked.
#[derive(Clone, Debug)]
pub struct Chain {
    channel: Channel,
    line: Rc<Line>,
    chain: Rc<ChainLine>,
    id: ChainId,
}

impl Channel {
    pub(crate) fn open(id: usize, shared: Arc<Shared>) -> Self {
        let (sender, mut events) = mpsc::unbounded_channel();
        let _ = shared.commands.send(Command::Channel(id, sender));
        let inner = Inner { shared, lines: RefCell::default(), plugins: RefCell::default(), writer: RefCell::default() };
        let channel = Self(Rc::new(inner));
        let weak = Rc::downgrade(&channel.0);
        tokio::task::spawn_local(async move {
            while let Some(event) = events.recv().await {
                let Some(inner) = weak.upgrade() else { return };
                Self(inner).take(event);
            }
        });
        channel
    }

    /// The chain, if its group is or was loaded.
    pub fn chain(&self, group: &str, id: ChainId) -> Option<Chain> {
        let line = self.0.lines.borrow().get(group).cloned()?;
        let chain = line.chain(id)?;
        Some(Chain { channel: self.clone(), line, chain, id })
    }

    /// The chain, waiting for a group that loads for the first time; in the end what onLoadFailure says.
    pub async fn wait(&self, group: &str, id: ChainId) -> Result<Chain, Verdict> {
        if let Some(chain) = self.chain(group, id) {
            return Ok(chain);
        }
        let wanted = self.0.shared.wanted.read().unwrap_or_else(PoisonError::into_inner).get(group).cloned();
        let Some(wanted) = wanted else { return Err(not_loaded(None, id)) };
        let line = self.line(&wanted.name);
        match line.until(self.0.shared.settings.hold, || line.chain(id)).await {
            Some(chain) => Ok(Chain { channel: self.clone(), line, chain, id }),
            None => {
                self.count_unloaded(&wanted, id);
                Err(not_loaded(Some(&wanted), id))
            }
        }
    }

    fn line(&self, group: &Arc<str>) -> Rc<Line> {
        self.0.lines.borrow_mut().entry(group.clone()).or_default().clone()
    }

    fn take(&self, event: ToChannel) {
        match event {
            ToChannel::Worker(ends) => self.serve(*ends),
            ToChannel::Failed(group) => {
                let line = self.line(&group);
                line.failed.set(true);
                line.changed.notify_waiters();
            }
            ToChannel::Loading(group) => self.line(&group).failed.set(false),
            ToChannel::Gone(group) => {
                let gone = self.0.lines.borrow_mut().remove(&group);
                if let Some(line) = gone {
                    if let Some(link) = line.link.take() {
                        link.retire();
                    }
                    line.failed.set(true);
                    line.changed.notify_waiters();
                }
            }
        }
    }

    fn serve(&self, ends: WorkerEnds) {
        let (link, wake_proxy) = Link::new(ends);
        let line = self.line(&link.loaded.spec.name);
        let chains = link.loaded.chains.iter().map(|(id, info)| {
            let plugins = info.members.iter().map(|member| self.plugin(&member.spec.name)).collect();
            (*id, Rc::new(ChainLine { info: info.clone(), plugins }))
        });
        *line.chains.borrow_mut() = chains.collect();
        line.failed.set(false);
        if let Some(old) = line.link.replace(Some(link.clone())) {
            old.retire();
        }
        line.changed.notify_waiters();
        let channel = self.clone();
        tokio::task::spawn_local(async move {
            link.run(wake_proxy).await;
            channel.buried(&line, &link);
        });
    }

    fn buried(&self, line: &Line, link: &Rc<Link>) {
        let current = line.link.borrow().as_ref().is_some_and(|current| Rc::ptr_eq(current, link));
        if current {
            line.link.take();
        }
        let (group, worker) = (link.loaded.spec.name.clone(), link.worker);
        let _ = self.0.shared.commands.send(Command::Ended { group, worker, died: current });
    }

    /// Breakers outlive generations: a new configuration does not make a broken plugin well.
    fn plugin(&self, name: &Arc<str>) -> Rc<PluginLine> {
        let mut plugins = self.0.plugins.borrow_mut();
        if let Some(known) = plugins.get(name).and_then(Weak::upgrade) {
            return known;
        }
        let made = Rc::new(PluginLine::new(name.clone(), self.0.shared.counters.plugin(name)));
        plugins.insert(name.clone(), Rc::downgrade(&made));
        made
    }

    fn count_unloaded(&self, wanted: &GroupSpec, id: ChainId) {
        for name in wanted.chains.iter().filter(|chain| chain.id == id).flat_map(|chain| &chain.plugins) {
            if let Some(counts) = self.0.shared.counters.plugin(name).phase(Phase::Request) {
                counts.failed(Cause::NotLoaded);
            }
        }
    }
}

impl Chain {
    /// What it wants to see.
    pub fn interest(&self) -> &ChainInterest {
        &self.chain.info.interest
    }

    /// Asks its plugins; `fill` says what crosses and is run at once, and not at all when nobody is to be asked.
    pub fn call(&self, phase: Phase, fill: impl FnOnce(&mut CallWriter)) -> Call {
        Call(self.begin(phase, fill))
    }

    /// A plugin asked for what cannot be carried out: counted as its failure. What its onError says follows.
    pub fn junk(&self, phase: Phase, plugin: &str) -> OnFailure {
        let members = &self.chain.info.members;
        let Some(index) = members.iter().position(|member| *member.spec.name == *plugin) else { return OnFailure::Closed };
        self.chain.failed(Some(index as u8), phase, 0, Cause::Junk);
        let follows = members[index].spec.on_error;
        if follows == OnFailure::Open {
            self.chain.bypassed(index as u8, phase);
        }
        follows
    }

    fn begin(&self, phase: Phase, fill: impl FnOnce(&mut CallWriter)) -> Begun {
        let mut failures = Vec::new();
        let skip = match self.chain.left_out(phase, &mut failures) {
            Ok(skip) => skip,
            Err(failure) => return Err(Box::new(Verdict::refused(failure, failures))),
        };
        if crate::policy::asked(&self.chain.info, phase, skip).next().is_none() {
            return Err(Box::new(Verdict::on(failures)));
        }
        self.chain.called(phase, skip);
        let mut writer = self.channel.0.writer.borrow_mut();
        writer.clear();
        fill(&mut writer);
        let mut frame = Vec::with_capacity(256);
        let written = writer.finish(0, phase, self.id.0, skip, &mut frame);
        drop(writer);
        let mut asking = Asking::new(self.line.clone(), self.chain.clone(), self.id, phase, frame);
        (asking.skip, asking.failures) = (skip, failures);
        let submitted = written.map_err(|_| NotTaken::TooMuch).and_then(|()| asking.submit());
        Ok((asking, submitted))
    }
}

/// What onLoadFailure of the chain's plugins says; a chain that nobody knows is refused.
fn not_loaded(wanted: Option<&GroupSpec>, id: ChainId) -> Verdict {
    let failure = |plugin: Option<&Arc<str>>| Failure { plugin: plugin.cloned(), cause: Cause::NotLoaded, text: "not loaded".into() };
    let Some((wanted, chain)) = wanted.and_then(|wanted| Some((wanted, wanted.chains.iter().find(|chain| chain.id == id)?))) else {
        return Verdict::refused(failure(None), Vec::new());
    };
    let open = |name: &&Arc<str>| wanted.plugin(name).is_some_and(|plugin| plugin.on_load_failure == OnFailure::Open);
    match chain.plugins.iter().find(|name| !open(name)) {
        Some(closed) => Verdict::refused(failure(Some(closed)), Vec::new()),
        None => Verdict::on(chain.plugins.iter().map(|name| failure(Some(name))).collect()),
    }
}
