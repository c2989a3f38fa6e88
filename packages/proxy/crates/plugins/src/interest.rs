//! What loaded plugins said that they want to see and may change, joined for a chain: what crosses to a worker, and whether.

use std::{collections::HashMap, sync::Arc, time::Duration};

use plait_frames::{Effect, MAX_PLUGINS, Outcome as WorkerOutcome, Phase, Section};
use serde::Deserialize;

use crate::{
    ChainId, GroupSpec,
    load::{LoadedPlugin, Writes},
    spec::PluginSpec,
};

/// The hook that is shown the backends of a rule.
const CHOOSES: &str = "choose_backend";

/// Names of headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Names {
    /// Every one.
    All,
    /// These, in lower case; may be none.
    Some(Vec<Box<str>>),
}

impl Default for Names {
    fn default() -> Self {
        Self::Some(Vec::new())
    }
}

impl Names {
    /// This name is among them.
    pub fn contains(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Some(names) => names.iter().any(|one| **one == *name),
        }
    }

    fn join(&mut self, other: &Self) {
        match (&mut *self, other) {
            (Self::All, _) => {}
            (_, Self::All) => *self = Self::All,
            (Self::Some(names), Self::Some(more)) => {
                for name in more {
                    if !names.contains(name) {
                        names.push(name.clone());
                    }
                }
            }
        }
    }
}

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Star(String),
            Names(Vec<String>),
        }
        match Written::deserialize(deserializer)? {
            Written::Star(star) if star == "*" => Ok(Self::All),
            Written::Star(_) => Err(serde::de::Error::custom("names are a list or \"*\"")),
            Written::Names(names) => Ok(Self::Some(names.into_iter().map(|name| name.to_ascii_lowercase().into()).collect())),
        }
    }
}

/// How much of a body crosses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum BodyInterest {
    /// Nothing.
    #[default]
    None,
    /// So many bytes of its beginning, once.
    Peek(usize),
    /// Every piece as it comes.
    Stream,
    /// The whole, up to so many bytes.
    Buffer(usize),
}

/// What the plugins of a chain want to see.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ChainInterest {
    phases: u32,
    /// Headers of the request.
    pub headers: Names,
    /// Headers of the answer.
    pub response_headers: Names,
    /// `Field::Method`.
    pub method: bool,
    /// `Field::Path`.
    pub path: bool,
    /// `Field::Query`.
    pub query: bool,
    /// `Field::Authority` and `Scheme`.
    pub authority: bool,
    /// The fields of the peer.
    pub peer: bool,
    /// Workload, service, port and route.
    pub destination: bool,
    /// The backends of the rule: somebody picks one of them.
    pub candidates: bool,
    /// Trace context and the id of the request.
    pub trace: bool,
    /// The request's body.
    pub body: BodyInterest,
    /// The answer's body.
    pub response_body: BodyInterest,
    /// Somebody may change the request's body.
    pub changes_body: bool,
    /// Somebody may change the answer's body.
    pub changes_response_body: bool,
}

impl ChainInterest {
    /// The chain must be asked in this phase.
    pub fn wants(&self, phase: Phase) -> bool {
        self.phases & bit(phase) != 0
    }

    fn join(&mut self, plugin: &LoadedPlugin) {
        let reads = &plugin.reads;
        self.phases |= plugin.phases.iter().filter_map(|name| Phase::from_name(name)).fold(0, |all, phase| all | bit(phase));
        self.headers.join(&reads.headers);
        self.response_headers.join(&reads.response_headers);
        // What a plugin writes it sees as well: appending needs to know what is there.
        if let Names::Some(_) = plugin.writes.headers {
            self.headers.join(&plugin.writes.headers);
        }
        if let Names::Some(_) = plugin.writes.response_headers {
            self.response_headers.join(&plugin.writes.response_headers);
        }
        self.method |= reads.method;
        self.path |= reads.path;
        self.query |= reads.query;
        self.authority |= reads.authority;
        self.peer |= reads.peer;
        self.destination |= reads.destination;
        self.candidates |= plugin.hooks.iter().any(|hook| hook == CHOOSES);
        self.trace |= reads.trace;
        self.changes_body |= plugin.writes.body;
        self.changes_response_body |= plugin.writes.response_body;
        self.body = self.body.max(reads.body.interest());
        self.response_body = self.response_body.max(reads.response_body.interest());
    }
}

fn bit(phase: Phase) -> u32 {
    // Phases of calls have numbers below 32; what is cancelled is nobody's interest.
    1u32.checked_shl(u32::from(phase as u8)).unwrap_or(0)
}

/// A chain of a loaded group.
#[derive(Debug)]
pub(crate) struct ChainInfo {
    pub(crate) interest: ChainInterest,
    pub(crate) members: Vec<Member>,
    /// The sum of its plugins' deadlines.
    pub(crate) deadline: Duration,
}

/// A plugin in a chain.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) spec: PluginSpec,
    pub(crate) phases: u32,
    writes: Writes,
}

impl Member {
    pub(crate) fn wants(&self, phase: Phase) -> bool {
        self.phases & bit(phase) != 0
    }
}

impl ChainInfo {
    pub(crate) fn name(&self, index: u8) -> Option<&Arc<str>> {
        self.members.get(usize::from(index)).map(|member| &member.spec.name)
    }

    /// The first effect that its plugin did not declare, or that names a plugin which is not there.
    pub(crate) fn undeclared(&self, verdict: &plait_frames::Verdict) -> Option<(u8, String)> {
        if let Some(plugin) = verdict.plugin().filter(|plugin| self.name(*plugin).is_none()) {
            return Some((plugin, "a verdict of a plugin that is not in the chain".to_owned()));
        }
        let ended = verdict.outcome() != WorkerOutcome::Continue;
        verdict.effects().find_map(|(index, effect)| {
            let Some(member) = self.members.get(usize::from(index)) else {
                return Some((index, "an effect of a plugin that is not in the chain".to_owned()));
            };
            let what = member.writes.refused(&effect, ended)?;
            Some((index, format!("{what} was not declared: add it to the plugin's writes")))
        })
    }
}

impl Writes {
    fn refused(&self, effect: &Effect<'_>, ended: bool) -> Option<String> {
        match effect {
            Effect::SetHeader { section, name, .. }
            | Effect::AppendHeader { section, name, .. }
            | Effect::RemoveHeader { section, name } => {
                let names = if *section == Section::Request { &self.headers } else { &self.response_headers };
                (!names.contains(name)).then(|| format!("header {name}"))
            }
            Effect::Method(_) => (!self.method).then(|| "the method".to_owned()),
            Effect::Path(_) | Effect::Query(_) => (!self.path).then(|| "the path".to_owned()),
            Effect::Authority(_) => (!self.authority).then(|| "the authority".to_owned()),
            // The body of a reply is the plugin's own.
            Effect::Body(_) => (!ended && !self.body && !self.response_body).then(|| "the body".to_owned()),
            Effect::Label(name, _) => (!self.labels.contains(name)).then(|| format!("label {name}")),
            _ => None,
        }
    }
}

/// The chains of a loaded group; None when the report does not fit what was asked for.
pub(crate) fn chains(
    spec: &GroupSpec,
    plugins: &HashMap<String, LoadedPlugin>,
    reported: &HashMap<String, Vec<String>>,
) -> Option<HashMap<ChainId, Arc<ChainInfo>>> {
    let mut chains = HashMap::new();
    for chain in &spec.chains {
        let names = reported.get(&chain.id.0.to_string())?;
        // The host may order, neither add nor leave out.
        let same = names.len() == chain.plugins.len() && chain.plugins.iter().all(|name| names.iter().any(|other| *other == **name));
        if !same || names.len() > MAX_PLUGINS {
            return None;
        }
        let mut info = ChainInfo { interest: ChainInterest::default(), members: Vec::new(), deadline: Duration::ZERO };
        for name in names {
            let (loaded, plugin) = (plugins.get(name)?, spec.plugin(name)?);
            info.interest.join(loaded);
            info.deadline += plugin.deadline;
            let phases = loaded.phases.iter().filter_map(|name| Phase::from_name(name)).fold(0, |all, phase| all | bit(phase));
            info.members.push(Member { spec: plugin.clone(), phases, writes: loaded.writes.clone() });
        }
        chains.insert(chain.id, Arc::new(info));
    }
    Some(chains)
}
