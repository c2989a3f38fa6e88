//! What became of the plugins that were wanted, for status, `plait plugin list` and `explain`.

use std::{collections::BTreeMap, sync::Arc};

use serde::Deserialize;

/// A group as it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupState {
    /// The group's name.
    pub name: Arc<str>,
    /// The generation that serves; 0: none does.
    pub live: u64,
    /// What it holds.
    pub plugins: Vec<PluginInfo>,
    /// The generation that is being loaded.
    pub loading: Option<u64>,
    /// Why the generation wanted last does not serve; the one before goes on.
    pub failures: Vec<LoadFailure>,
    /// Workers that were started anew because one died or was killed.
    pub restarts: u64,
    /// The memory of its workers, their share of what they have in common included; looked at every 10 s.
    pub memory_bytes: u64,
    /// What of their sandbox holds, by name: an old kernel may lack Landlock.
    pub sandbox: BTreeMap<String, String>,
}

/// A plugin that is loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginInfo {
    /// `namespace/name` of the object.
    pub name: Arc<str>,
    /// The version of its package.
    pub version: String,
    /// The hooks that it implements.
    pub hooks: Vec<String>,
}

/// Why a plugin does not load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadFailure {
    /// Which; None: the group as a whole.
    pub plugin: Option<Arc<str>>,
    /// How far it came.
    pub stage: Stage,
    /// One line.
    pub message: String,
    /// Begins at the author's code; may be empty.
    pub traceback: String,
}

/// How far loading came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The process itself.
    Start,
    /// Found, imported.
    Import,
    /// Its configuration.
    Config,
    /// Its hooks.
    Hooks,
    /// Its own test.
    Selftest,
    /// It started threads, which do not survive a fork.
    Threads,
    /// The limits of a worker.
    Sandbox,
}

impl Stage {
    /// As status shows it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Import => "import",
            Self::Config => "config",
            Self::Hooks => "hooks",
            Self::Selftest => "selftest",
            Self::Threads => "threads",
            Self::Sandbox => "sandbox",
        }
    }
}
