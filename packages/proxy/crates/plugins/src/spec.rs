//! What the user wants of plugins, as the snapshot's applier says it to the host.

use std::{path::PathBuf, sync::Arc, time::Duration};

use crate::ChainId;

/// Where workers come from.
#[derive(Clone, Debug)]
pub struct HostSettings {
    /// The interpreter of every worker; it has the SDK.
    pub python: PathBuf,
    /// Arguments in place of `-I -m plait_sdk.host --control 0`; for tests alone.
    pub arguments: Option<Vec<String>>,
    /// Folders of scratch files are made in here, one a group and generation.
    pub scratch: PathBuf,
    /// How long a call waits for a group that loads for the first time.
    pub hold: Duration,
    /// How long a group may load.
    pub load: Duration,
    /// Where what plugins print and log goes.
    pub log: fn(&LogRecord),
}

/// A line that a plugin, or a worker, wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRecord {
    /// The trust group, empty for the host itself.
    pub group: Arc<str>,
    /// `namespace/name` of the object, where it is known.
    pub plugin: Option<Arc<str>>,
    /// debug, info, warning or error.
    pub level: String,
    /// One line or a traceback.
    pub text: String,
}

impl LogRecord {
    pub(crate) fn own(level: &str, text: String) -> Self {
        Self { group: "".into(), plugin: None, level: level.to_owned(), text }
    }
}

impl HostSettings {
    /// Ten seconds to load, three to be waited for, and a log that nobody reads.
    pub fn new(python: PathBuf, scratch: PathBuf) -> Self {
        Self { python, arguments: None, scratch, hold: Duration::from_secs(3), load: Duration::from_secs(10), log: |_| () }
    }
}

/// Plugins that trust each other and share workers.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupSpec {
    /// The group's name.
    pub name: Arc<str>,
    /// Its plugins.
    pub plugins: Vec<PluginSpec>,
    /// The orders in which rules ask them.
    pub chains: Vec<ChainSpec>,
    /// What their workers may do.
    pub sandbox: SandboxSpec,
    /// How much a worker's memory may grow.
    pub memory_bytes: u64,
}

/// One Plugin object.
#[derive(Clone, Debug, PartialEq)]
pub struct PluginSpec {
    /// `namespace/name` of the object.
    pub name: Arc<str>,
    /// The distribution that the user wrote.
    pub package: String,
    /// Which versions of it will do, as PEP 440 says it; empty: any.
    pub version: String,
    /// `module:Class`, an entry point of the package, or empty for its only one.
    pub entry: String,
    /// Folders to import from, before all others.
    pub path: Vec<PathBuf>,
    /// What the plugin's own schema checks.
    pub config: serde_json::Value,
    /// How long its hooks of one phase may take.
    pub deadline: Duration,
    /// When a hook raises, answers junk, or the worker dies in it.
    pub on_error: OnFailure,
    /// When its deadline passes.
    pub on_timeout: OnFailure,
    /// When it cannot be loaded, or is not loaded yet.
    pub on_load_failure: OnFailure,
}

/// What a failed plugin means for the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// The request goes on without it.
    Open,
    /// The request is refused.
    Closed,
}

/// Which way the requests of a chain go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// To a workload of ours.
    Inbound,
    /// From one.
    Outbound,
}

impl Direction {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
        }
    }
}

/// Plugins of one group in the order in which a rule asks them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainSpec {
    /// From `Host::chain_id`: one id always means the same.
    pub id: ChainId,
    /// Which way.
    pub direction: Direction,
    /// Their names, 64 at most.
    pub plugins: Vec<Arc<str>>,
}

/// What a worker may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SandboxSpec {
    /// Open sockets, if a plugin declares that it does.
    pub network: bool,
    /// Start processes.
    pub processes: bool,
    /// Read below these, beside what the interpreter needs.
    pub read: Vec<PathBuf>,
    /// Run as this user where the proxy is root.
    pub user: Option<u32>,
    /// Open files at most.
    pub files: u64,
}

impl Default for SandboxSpec {
    fn default() -> Self {
        Self { network: false, processes: false, read: Vec::new(), user: None, files: 64 }
    }
}

impl GroupSpec {
    /// The plugin of this name.
    pub(crate) fn plugin(&self, name: &str) -> Option<&PluginSpec> {
        self.plugins.iter().find(|plugin| *plugin.name == *name)
    }
}
