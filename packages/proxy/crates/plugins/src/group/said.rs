//! What a group's zygotes and workers say over their control sockets, and what follows from it.

use std::{collections::HashMap, sync::Arc, time::Instant};

use super::{Group, Said, ToGroup};
use crate::{
    LoadFailure, PluginInfo, Stage,
    interest::chains,
    load::{FromPython, LoadedPlugin},
    supervisor::Loaded,
    zygote::record,
};

/// What a stranger may fill our memory and the status of an object with.
const LONGEST_TEXT: usize = 16 << 10;

impl Group {
    pub(super) async fn zygote_said(&mut self, generation: u64, said: Said) {
        let loading = self.next.as_ref().is_some_and(|zygote| zygote.generation == generation);
        match said {
            Said::Gone(error) if loading => self.ended_loading(&error),
            Said::Gone(_) => self.zygote_died(generation),
            Said::Message(message) => match *message {
                FromPython::Loaded { plugins, chains } if loading => self.loaded(plugins, chains).await,
                FromPython::Failed { plugin, stage, message, traceback } if loading => {
                    self.state.failures.push(failure(plugin, stage, message, traceback));
                }
                FromPython::Forked { worker, pid } => {
                    let forked = self.zygote(generation).map(|zygote| zygote.forked(worker, pid));
                    if let Some(Err(error)) = forked {
                        self.log("error", format!("worker {pid}: {error}"));
                    }
                    self.hand_over(generation, worker);
                }
                FromPython::Exited { pid, status, signal } => {
                    self.log("debug", format!("worker {pid} ended: status {status:?}, signal {signal:?}"))
                }
                other => self.log_of(&other),
            },
        }
    }

    fn ended_loading(&mut self, error: &str) {
        if self.state.failures.is_empty() {
            self.fail_for_now(Stage::Start, format!("the process ended before it had loaded: {error}"));
        } else {
            self.give_up();
        }
    }

    /// Its workers end with it, by the kernel's doing.
    pub(super) fn zygote_died(&mut self, generation: u64) {
        if self.live.as_ref().is_some_and(|zygote| zygote.generation == generation) {
            self.live = None;
            self.state.restarts += 1;
            let pause = self.pauses.after_death(Instant::now());
            self.later(pause, ToGroup::Again { generation: self.generation });
        }
        self.old.retain(|zygote| zygote.generation != generation);
    }

    async fn loaded(&mut self, plugins: HashMap<String, LoadedPlugin>, reported: HashMap<String, Vec<String>>) {
        let Some(zygote) = &mut self.next else { return };
        let Some(chains) = chains(&zygote.spec, &plugins, &reported) else {
            return self.fail(Stage::Hooks, "what was loaded is not what was asked for".to_owned());
        };
        zygote.loaded = Some(Arc::new(Loaded { spec: zygote.spec.clone(), chains }));
        let mut told: Vec<_> = plugins
            .into_iter()
            .map(|(name, plugin)| PluginInfo { name: name.into(), version: plugin.version, hooks: plugin.hooks })
            .collect();
        told.sort_by(|one, other| one.name.cmp(&other.name));
        self.state.plugins = told;
        let generation = zygote.generation;
        let channels: Vec<_> = self.channels.keys().copied().collect();
        for channel in channels {
            self.fork(generation, channel).await;
        }
        self.promote();
    }

    pub(super) fn worker_said(&mut self, generation: u64, worker: u64, said: Said) {
        match said {
            Said::Gone(error) => self.worker_gone(generation, worker, &error),
            Said::Message(message) => match *message {
                FromPython::Ready { sandbox } => {
                    self.state.sandbox = sandbox;
                    if let Some(one) = self.zygote(generation).and_then(|zygote| zygote.workers.get_mut(&worker)) {
                        one.ready = true;
                    }
                    self.hand_over(generation, worker);
                }
                FromPython::Failed { plugin, stage, message, traceback } => {
                    let loading = self.next.as_ref().is_some_and(|zygote| zygote.generation == generation);
                    self.log("error", format!("a worker is not fit to serve: {}", clipped(message.clone())));
                    if loading {
                        self.state.failures.push(failure(plugin, stage, message, traceback));
                        self.give_up();
                    }
                }
                // Its memory is measured from outside; what it says of it is its own word.
                FromPython::Stats {} => {}
                other => self.log_of(&other),
            },
        }
    }

    /// The death of a worker that serves is seen by its thread. One that never came to it is followed by another.
    fn worker_gone(&mut self, generation: u64, worker: u64, error: &str) {
        let Some(zygote) = self.zygote(generation) else { return };
        if zygote.workers.get(&worker).is_none_or(|one| one.serving) {
            return;
        }
        let channel = zygote.workers.remove(&worker).map(|one| one.channel);
        if self.next.as_ref().is_some_and(|next| next.generation == generation) {
            self.ended_loading(error);
        } else if let Some(channel) = channel.filter(|_| self.live.as_ref().is_some_and(|live| live.generation == generation)) {
            let pause = self.pauses.after_death(Instant::now());
            self.later(pause, ToGroup::Fork { generation, channel });
        }
    }

    fn log_of(&self, message: &FromPython) {
        if let Some(record) = record(&self.state.name, message) {
            self.log.write(&record);
        }
    }
}

fn failure(plugin: Option<String>, stage: Stage, message: String, traceback: String) -> LoadFailure {
    LoadFailure { plugin: plugin.map(Arc::from), stage, message: clipped(message), traceback: clipped(traceback) }
}

fn clipped(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().take_while(|(at, _)| *at <= LONGEST_TEXT).last().filter(|_| text.len() > LONGEST_TEXT) {
        text.truncate(end);
        text.push('…');
    }
    text
}
