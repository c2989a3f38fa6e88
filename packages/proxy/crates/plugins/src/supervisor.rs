//! The thread that starts, loads and buries processes; one task a group. I/O threads never wait for it.

use std::{collections::HashMap, sync::Arc};

use tokio::{
    sync::{mpsc, oneshot},
    task::{JoinHandle, LocalSet},
};

use crate::{
    ChainId, GroupSpec, LogRecord,
    channel::ToChannel,
    group::{Group, ToGroup},
    host::Shared,
    interest::ChainInfo,
};

/// What the supervisor is told.
#[derive(Debug)]
pub(crate) enum Command {
    /// All groups that are wanted.
    Apply(Vec<Arc<GroupSpec>>),
    /// A group whose code may have changed.
    Reload(Arc<str>),
    /// A new I/O thread.
    Channel(usize, mpsc::UnboundedSender<ToChannel>),
    /// A worker serves its thread no more; `died`: it was needed.
    Ended { group: Arc<str>, worker: u64, died: bool },
    /// End everything.
    Stop(oneshot::Sender<()>),
}

/// What a loaded generation is, for those who ask it.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) spec: Arc<GroupSpec>,
    pub(crate) chains: HashMap<ChainId, Arc<ChainInfo>>,
}

struct Supervisor {
    shared: Arc<Shared>,
    channels: HashMap<usize, mpsc::UnboundedSender<ToChannel>>,
    groups: HashMap<Arc<str>, (mpsc::UnboundedSender<ToGroup>, JoinHandle<()>)>,
    /// Groups that are wanted no more and have not ended yet.
    closing: HashMap<Arc<str>, JoinHandle<()>>,
}

/// The thread.
pub(crate) fn run(shared: &Arc<Shared>, commands: mpsc::UnboundedReceiver<Command>) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return (shared.settings.log)(&LogRecord::own("error", format!("no runtime for plugins: {error}"))),
    };
    let supervisor = Supervisor { shared: shared.clone(), channels: HashMap::new(), groups: HashMap::new(), closing: HashMap::new() };
    LocalSet::new().block_on(&runtime, supervisor.serve(commands));
}

impl Supervisor {
    async fn serve(mut self, mut commands: mpsc::UnboundedReceiver<Command>) {
        while let Some(command) = commands.recv().await {
            match command {
                Command::Apply(groups) => self.apply(groups),
                Command::Reload(group) => {
                    if let Some((group, _)) = self.groups.get(&group) {
                        let _ = group.send(ToGroup::Reload);
                    }
                }
                Command::Channel(id, channel) => {
                    for (group, _) in self.groups.values() {
                        let _ = group.send(ToGroup::Channel(id, channel.clone()));
                    }
                    self.channels.insert(id, channel);
                }
                Command::Ended { group, worker, died } => {
                    if let Some((group, _)) = self.groups.get(&group) {
                        let _ = group.send(ToGroup::Ended { worker, died });
                    }
                }
                Command::Stop(done) => {
                    self.apply(Vec::new());
                    for (_, task) in self.closing.drain() {
                        let _ = task.await;
                    }
                    let _ = done.send(());
                    return;
                }
            }
        }
    }

    fn apply(&mut self, wanted: Vec<Arc<GroupSpec>>) {
        self.closing.retain(|_, task| !task.is_finished());
        let closed = self.groups.extract_if(|name, _| !wanted.iter().any(|spec| spec.name == *name));
        for (name, (group, task)) in closed {
            let _ = group.send(ToGroup::Close);
            self.closing.insert(name, task);
        }
        for spec in wanted {
            if self.groups.get(&spec.name).is_some_and(|(group, _)| group.send(ToGroup::Want(spec.clone())).is_ok()) {
                continue;
            }
            // One that comes back begins when the one before has ended: what that says in the end must not be said of this one.
            let before = self.closing.remove(&spec.name);
            let (name, started) = (spec.name.clone(), Group::start(self.shared.clone(), self.channels.clone(), spec, before));
            self.groups.insert(name, started);
        }
    }
}
