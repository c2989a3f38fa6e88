//! The proxy's side of the discovery protocol without I/O: messages, demands and time in, actions out. Driven by `client`, and by scripts
//! in tests. Outlives streams: what is in force stays when one ends, and the next begins with it.

use std::{
    net::IpAddr,
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use plait_model::{DestinationKey, PluginReport, PluginStage, Snapshot};
use plait_wire::{
    Ack, ChangeSet, Hello, Nack, PluginReports, PluginState, Rejection, ResourceKey, Subscribe, Unsubscribe, WatchRequest, WatchResponse,
    watch_request, watch_response,
};

use crate::{
    apply::{Answer, Applied, Rejected, Resources},
    destinations::{Destinations, Todo},
};

/// The control plane sends a heartbeat every 10 s. One that is silent for longer hangs, whatever its connection says.
pub(crate) const SILENCE: Duration = Duration::from_secs(15);
/// How often it is looked at which Services are used.
const SWEEP: Duration = Duration::from_secs(60);
/// What changes within this time is written to disk once.
pub(crate) const KEEP_AFTER: Duration = Duration::from_millis(500);

/// Who asks.
#[derive(Debug, Clone)]
pub struct Proxy {
    /// Unique in the mesh: "namespace/name" of its first workload.
    pub name: String,
    /// Of the build, "0.1.0".
    pub version: String,
    /// "namespace/name" of each workload; the leaf shown to the control plane must carry the identity of each.
    pub workloads: Vec<String>,
    /// Where other proxies reach this one, when only this machine knows.
    pub address: Option<IpAddr>,
}

/// What the driver has to do.
#[derive(Debug)]
pub(crate) enum Action {
    Send(WatchRequest),
    Publish(Snapshot),
    /// The control plane spoke: what is in force is what it says now.
    Current,
    /// Tell people.
    Rejected(Vec<Rejected>),
    /// Tell people: a whole change set was refused.
    Refused(String),
    Keep(ChangeSet),
    /// Give the stream up.
    Silent,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Session {
    proxy: Proxy,
    resources: Resources,
    destinations: Destinations,
    /// When the control plane spoke last; `None` = no stream.
    heard: Option<Instant>,
    swept: Instant,
    /// When something changed that is not on disk yet.
    unkept: Option<Instant>,
}

impl Session {
    /// `resources`: what is in force already.
    pub(crate) fn new(proxy: Proxy, resources: Resources, now: Instant) -> Self {
        let mut destinations = Destinations::default();
        destinations.held(resources.known().map(str::to_owned), now);
        Self { proxy, resources, destinations, heard: None, swept: now, unkept: None }
    }

    /// A stream begins: its first message.
    pub(crate) fn begin(&mut self, now: Instant) -> WatchRequest {
        self.heard = Some(now);
        request(watch_request::Message::Hello(Hello {
            proxy: self.proxy.name.clone(),
            proxy_version: self.proxy.version.clone(),
            protocol: plait_wire::PROTOCOL,
            workloads: self.proxy.workloads.clone(),
            destinations: self.destinations.begin(),
            held: self.resources.versions(),
            generation: self.resources.generation(),
            address: self.proxy.address.map(|address| address.to_string()).unwrap_or_default(),
        }))
    }

    /// The stream is gone.
    pub(crate) fn end(&mut self) {
        self.heard = None;
    }

    /// A message of the control plane.
    pub(crate) fn receive(&mut self, response: WatchResponse, now: Instant) -> Vec<Action> {
        self.heard = Some(now);
        match response.message {
            Some(watch_response::Message::ChangeSet(changes)) => self.change(changes, now),
            Some(watch_response::Message::Heartbeat(heartbeat)) => self.heartbeat(heartbeat.generation, now),
            // Of a newer protocol: it shows that the control plane lives.
            None => Vec::new(),
        }
    }

    /// What became of the plugins: told as a whole.
    pub(crate) fn report(plugins: &[PluginReport]) -> Action {
        let plugins = plugins.iter().map(plugin_report).collect();
        Action::Send(request(watch_request::Message::Plugins(PluginReports { plugins })))
    }

    /// Requests wait for these destinations.
    pub(crate) fn demand<'a>(&mut self, keys: impl IntoIterator<Item = &'a DestinationKey>, now: Instant) -> Vec<Action> {
        let mut todo = Todo::default();
        for key in keys {
            self.destinations.demand(key.as_str(), self.heard.is_some(), now, &mut todo);
        }
        self.perform(todo)
    }

    /// Time went on.
    pub(crate) fn tick(&mut self, now: Instant) -> Vec<Action> {
        if self.heard.is_some_and(|heard| now >= heard + SILENCE) {
            return vec![Action::Silent];
        }
        let mut todo = Todo::default();
        let used = |key: &str| self.resources.destination(key).is_some_and(|destination| destination.last_used.swap(0, Relaxed) != 0);
        self.destinations.elapse(self.heard.is_some(), now, used, &mut todo);
        if now >= self.swept + SWEEP {
            self.swept = now;
        }
        let mut actions = self.perform(todo);
        if self.unkept.is_some_and(|since| now >= since + KEEP_AFTER) {
            self.unkept = None;
            actions.push(Action::Keep(self.resources.to_change_set()));
        }
        actions
    }

    /// When `tick` is due.
    pub(crate) fn wake(&self) -> Instant {
        let silence = self.heard.map(|heard| heard + SILENCE);
        let keep = self.unkept.map(|since| since + KEEP_AFTER);
        [silence, keep, self.destinations.next()].into_iter().flatten().min().map_or(self.swept + SWEEP, |at| at.min(self.swept + SWEEP))
    }

    fn change(&mut self, mut changes: ChangeSet, now: Instant) -> Vec<Action> {
        let (nonce, generation) = (changes.nonce, changes.generation);
        changes.known.retain(|key| self.destinations.wants(key));
        changes.unknown.retain(|key| self.destinations.wants(key));
        let (known, unknown) = (changes.known.clone(), changes.unknown.clone());
        match self.resources.apply(changes) {
            Err(stale) => {
                let (held, reason) = (self.resources.generation(), stale.to_string());
                let nack = Nack { nonce, generation: held, reason: reason.clone() };
                vec![Action::Send(request(watch_request::Message::Nack(nack))), Action::Refused(reason)]
            }
            Ok(Applied { snapshot, rejected }) => {
                self.destinations.answered(&known, true, now);
                self.destinations.answered(&unknown, false, now);
                self.unkept.get_or_insert(now);
                let ack = Ack { nonce, generation, rejections: rejected.iter().map(rejection).collect() };
                // Published first: what is acked is in force.
                let mut actions = vec![Action::Publish(snapshot), Action::Send(request(watch_request::Message::Ack(ack))), Action::Current];
                if !rejected.is_empty() {
                    actions.push(Action::Rejected(rejected));
                }
                actions
            }
        }
    }

    fn heartbeat(&mut self, generation: u64, now: Instant) -> Vec<Action> {
        let held = self.resources.generation();
        if held == 0 {
            // Nothing was ever applied: a number alone is no configuration.
            return Vec::new();
        }
        if generation <= held {
            return vec![Action::Current];
        }
        self.resources.move_to(generation);
        self.unkept.get_or_insert(now);
        vec![Action::Publish(self.resources.snapshot()), Action::Current]
    }

    fn perform(&mut self, todo: Todo) -> Vec<Action> {
        let Todo { subscribe, unsubscribe, show, hide } = todo;
        let mut actions = Vec::new();
        if !show.is_empty() || !hide.is_empty() {
            self.resources.answer(hide, Answer::Forgotten);
            self.resources.answer(show, Answer::Unknown);
            actions.push(Action::Publish(self.resources.snapshot()));
        }
        if !unsubscribe.is_empty() {
            actions.push(Action::Send(request(watch_request::Message::Unsubscribe(Unsubscribe { destinations: unsubscribe }))));
        }
        if !subscribe.is_empty() {
            actions.push(Action::Send(request(watch_request::Message::Subscribe(Subscribe { destinations: subscribe }))));
        }
        actions
    }
}

fn request(message: watch_request::Message) -> WatchRequest {
    WatchRequest { message: Some(message) }
}

fn rejection(rejected: &Rejected) -> Rejection {
    let Rejected { kind, name, refused } = rejected;
    Rejection {
        resource: Some(ResourceKey { kind: *kind, name: name.clone() }),
        path: refused.path.clone(),
        reason: refused.reason.clone(),
    }
}

fn plugin_report(report: &PluginReport) -> plait_wire::PluginReport {
    let PluginReport { name, revision, stage, earlier_serves } = report;
    let (state, reason) = match stage {
        PluginStage::Loading => (PluginState::Loading, ""),
        PluginStage::Live => (PluginState::Live, ""),
        PluginStage::Failed(reason) => (PluginState::Failed, &**reason),
    };
    plait_wire::PluginReport {
        name: name.to_string(),
        version: revision.to_vec(),
        state: state.into(),
        reason: reason.to_owned(),
        earlier_serves: *earlier_serves,
    }
}

#[cfg(test)]
mod tests;
