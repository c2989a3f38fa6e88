//! What goes over control sockets: a closed set of messages each way.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use crate::{BodyInterest, GroupSpec, Names, OnFailure, Stage};

/// To a zygote.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum ToZygote<'a> {
    Load(Box<Load<'a>>),
    Fork { worker: u64, memory: Memory, transport: &'static str },
}

#[derive(Debug, Serialize)]
pub(crate) struct Memory {
    pub(crate) ring_bytes: usize,
}

/// All that a zygote must know.
#[derive(Debug, Serialize)]
pub(crate) struct Load<'a> {
    api: u32,
    group: &'a str,
    generation: u64,
    plugins: Vec<LoadPlugin<'a>>,
    chains: Vec<LoadChain<'a>>,
    sandbox: LoadSandbox<'a>,
    memory_bytes: u64,
}

#[derive(Debug, Serialize)]
struct LoadPlugin<'a> {
    name: &'a str,
    package: &'a str,
    version: &'a str,
    entry: &'a str,
    path: &'a [std::path::PathBuf],
    config: &'a serde_json::Value,
    on_error: &'static str,
    deadline_ms: u64,
}

#[derive(Debug, Serialize)]
struct LoadChain<'a> {
    id: u32,
    direction: &'static str,
    plugins: Vec<&'a str>,
}

#[derive(Debug, Serialize)]
struct LoadSandbox<'a> {
    network: bool,
    processes: bool,
    scratch: &'a std::path::Path,
    read: &'a [std::path::PathBuf],
    user: Option<u32>,
    files: u64,
}

impl<'a> Load<'a> {
    pub(crate) fn new(spec: &'a GroupSpec, generation: u64, scratch: &'a std::path::Path) -> Self {
        let plugins = spec.plugins.iter().map(|plugin| LoadPlugin {
            name: &plugin.name,
            package: &plugin.package,
            version: &plugin.version,
            entry: &plugin.entry,
            path: &plugin.path,
            config: &plugin.config,
            on_error: if plugin.on_error == OnFailure::Open { "open" } else { "closed" },
            deadline_ms: plugin.deadline.as_millis() as u64,
        });
        let chains = spec.chains.iter().map(|chain| LoadChain {
            id: chain.id.0,
            direction: chain.direction.name(),
            plugins: chain.plugins.iter().map(|name| &**name).collect(),
        });
        let sandbox = &spec.sandbox;
        Self {
            api: 1,
            group: &spec.name,
            generation,
            plugins: plugins.collect(),
            chains: chains.collect(),
            sandbox: LoadSandbox {
                network: sandbox.network,
                processes: sandbox.processes,
                scratch,
                read: &sandbox.read,
                user: sandbox.user,
                files: sandbox.files,
            },
            memory_bytes: spec.memory_bytes,
        }
    }
}

/// From a zygote or a worker.
#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum FromPython {
    Loaded {
        plugins: HashMap<String, LoadedPlugin>,
        chains: HashMap<String, Vec<String>>,
    },
    Failed {
        plugin: Option<String>,
        stage: Stage,
        message: String,
        #[serde(default)]
        traceback: String,
    },
    Forked {
        worker: u64,
        pid: i32,
    },
    Exited {
        pid: i32,
        status: Option<i32>,
        signal: Option<i32>,
    },
    Ready {
        /// What of the sandbox holds, by name.
        #[serde(default)]
        sandbox: BTreeMap<String, String>,
    },
    Stats {},
    Log {
        plugin: Option<String>,
        level: String,
        text: String,
    },
}

/// What a plugin said about itself.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct LoadedPlugin {
    pub(crate) version: String,
    pub(crate) hooks: Vec<String>,
    pub(crate) phases: Vec<String>,
    pub(crate) reads: Reads,
    pub(crate) writes: Writes,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Reads {
    pub(crate) headers: Names,
    pub(crate) response_headers: Names,
    pub(crate) method: bool,
    pub(crate) path: bool,
    pub(crate) query: bool,
    pub(crate) authority: bool,
    pub(crate) peer: bool,
    pub(crate) destination: bool,
    pub(crate) trace: bool,
    pub(crate) body: Body,
    pub(crate) response_body: Body,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Writes {
    pub(crate) headers: Names,
    pub(crate) response_headers: Names,
    pub(crate) method: bool,
    pub(crate) path: bool,
    pub(crate) authority: bool,
    pub(crate) body: bool,
    pub(crate) response_body: bool,
    pub(crate) labels: Names,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Body {
    mode: Mode,
    bytes: usize,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Mode {
    #[default]
    None,
    Peek,
    Stream,
    Buffer,
}

impl Body {
    pub(crate) fn interest(&self) -> BodyInterest {
        match self.mode {
            Mode::None => BodyInterest::None,
            Mode::Peek => BodyInterest::Peek(self.bytes),
            Mode::Stream => BodyInterest::Stream,
            Mode::Buffer => BodyInterest::Buffer(self.bytes),
        }
    }
}
