//! A host with real processes, one I/O thread, and plugins that do as they are told.
#![allow(clippy::panic, clippy::unwrap_used, unreachable_pub, dead_code)] // each test crate uses its part

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use plait_plugins::*;
use serde_json::json;

/// For what must happen, on a machine however loaded.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The interpreter that has the SDK: that of the checkout, or the one that PLAIT_TEST_PYTHON names.
pub fn python() -> PathBuf {
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../../.venv/bin/python");
    let python = std::env::var_os("PLAIT_TEST_PYTHON").map_or(checkout, PathBuf::from);
    let works = std::process::Command::new(&python).args(["-I", "-c", "import plait_sdk.host"]).status();
    assert!(works.is_ok_and(|status| status.success()), "{} cannot import plait_sdk.host: run ./dev setup", python.display());
    python
}

pub fn plugin(name: &str, entry: &str) -> PluginSpec {
    PluginSpec {
        name: name.into(),
        package: String::new(),
        version: String::new(),
        entry: entry.to_owned(),
        path: vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plugins")],
        config: json!({}),
        // Long enough for a worker that waits for a core; what hangs is waited for once a test.
        deadline: Duration::from_secs(2),
        on_error: OnFailure::Closed,
        on_timeout: OnFailure::Closed,
        on_load_failure: OnFailure::Closed,
    }
}

pub fn scripted(name: &str) -> PluginSpec {
    plugin(name, "scripted:Scripted")
}

pub struct Rig {
    pub host: Host,
    pub channel: Channel,
    pub chain: ChainId,
    group: Arc<str>,
    scratch: tempfile::TempDir,
}

impl Rig {
    /// One group with one chain of these plugins, in order.
    pub fn new(plugins: Vec<PluginSpec>) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let mut settings = HostSettings::new(python(), scratch.path().to_owned());
        (settings.hold, settings.load) = (PATIENCE, PATIENCE);
        settings.log = |record| eprintln!("{} {:?}: {}", record.group, record.plugin, record.text);
        let host = Host::new(settings);
        let group: Arc<str> = "test/group".into();
        let channel = host.channel();
        let names: Vec<_> = plugins.iter().map(|plugin| plugin.name.clone()).collect();
        let chain = host.chain_id(&group, Direction::Inbound, &names);
        let rig = Self { host, channel, chain, group, scratch };
        rig.apply(plugins);
        rig
    }

    pub fn apply(&self, plugins: Vec<PluginSpec>) {
        let names = plugins.iter().map(|plugin| plugin.name.clone()).collect();
        let chains = vec![ChainSpec { id: self.chain, direction: Direction::Inbound, plugins: names }];
        let (name, sandbox) = (self.group.clone(), SandboxSpec::default());
        self.host.apply(vec![GroupSpec { name, plugins, chains, sandbox, memory_bytes: 256 << 20 }]);
    }

    /// The chain; or what is answered without it.
    pub async fn wait(&self) -> Result<Chain, Verdict> {
        self.channel.wait(&self.group, self.chain).await
    }

    /// Asks the chain to do something with a request.
    pub async fn ask(&self, path: &str, act: &str) -> Verdict {
        match self.wait().await {
            Ok(chain) => call(&chain, path, act).verdict().await,
            Err(verdict) => verdict,
        }
    }

    /// Until the group's state is so.
    pub async fn until(&self, what: &str, so: impl Fn(&GroupState) -> bool) -> GroupState {
        let mut states = self.host.states();
        let seen = tokio::time::timeout(PATIENCE, states.wait_for(|states| states.iter().any(&so))).await;
        match seen {
            Ok(Ok(states)) => states[0].clone(),
            _ => panic!("never {what}: {:?}", self.host.states().borrow()),
        }
    }

    pub fn counts(&self, name: &str, read: impl Fn(&PhaseCounts) -> u64) -> u64 {
        read(self.host.counters().plugin(&name.into()).phase(Phase::Request).unwrap())
    }
}

pub fn call(chain: &Chain, path: &str, act: &str) -> Call {
    chain.call(Phase::Request, |writer| {
        writer.text(Field::Path, path);
        writer.header(Section::Request, "x-do", act.as_bytes());
    })
}

/// The value that a plugin set for a header of the request.
pub fn header<'a>(verdict: &'a Verdict, wanted: &str) -> Option<&'a str> {
    verdict.effects().find_map(|(_, effect)| match effect {
        Effect::SetHeader { name, value, .. } if name == wanted => std::str::from_utf8(value).ok(),
        _ => None,
    })
}

pub fn refused(verdict: &Verdict) -> Option<(Option<&str>, Cause)> {
    match &verdict.outcome {
        Outcome::Refused { plugin, cause } => Some((plugin.as_deref(), *cause)),
        _ => None,
    }
}

/// Whether a process exists that is not a zombie.
pub fn alive(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

pub async fn gone(pid: &str) {
    let since = Instant::now();
    while alive(pid) {
        assert!(since.elapsed() < PATIENCE, "process {pid} lives on");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Runs a test as an I/O thread runs.
pub fn on_a_thread(test: impl AsyncFnOnce()) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, test());
}
