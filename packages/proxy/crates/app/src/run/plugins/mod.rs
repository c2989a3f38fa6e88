//! Plugins of this proxy: says to their host which are wanted when the snapshot changes, and to the control plane what became of them. Runs on the
//! control thread; the request path finds the host in `Shared`. Without an interpreter nothing is run, and that is told.

mod figures;
mod groups;
mod reports;
mod wheel;

use std::{path::PathBuf, sync::Arc};

use plait_model::{Plugin, PluginReport, PluginStage, Snapshot};
use plait_plugins::{GroupSpec, Host, HostSettings, LogRecord};
use plait_proxy_core::Shared;

use super::status::say;
use wheel::Wheels;

/// What plugins are run with.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Settings {
    /// The interpreter of their workers; `None` = none are run.
    pub(crate) python: Option<PathBuf>,
    /// A folder of wheels, for those that are named by their digest.
    pub(crate) wheels: Option<PathBuf>,
    /// For scratch files and unpacked wheels.
    pub(crate) folder: PathBuf,
}

/// Follows the snapshot until the process ends. To be called before the workers start.
pub(crate) fn start(shared: &Arc<Shared>, settings: Settings) {
    let Settings { python, wheels, folder } = settings;
    let Some(python) = python else {
        tokio::spawn(refuse(shared.clone()));
        return;
    };
    let host = Host::new(HostSettings { log, ..HostSettings::new(python, folder.join("scratch")) });
    shared.run_plugins(host.clone());
    let counters = host.counters();
    shared.telemetry.set_plugins(move || figures::figures(&counters));
    tokio::spawn(follow(shared.clone(), host, Wheels { index: wheels, folder: folder.join("unpacked") }));
}

fn log(record: &LogRecord) {
    let who = record.plugin.as_ref().map_or_else(|| format!("group {}", record.group), |name| format!("plugin {name}"));
    for line in record.text.lines() {
        say(format_args!("· {who}: {}: {line}", record.level));
    }
}

async fn follow(shared: Arc<Shared>, host: Host, wheels: Wheels) {
    let mut changes = shared.world.changes();
    let mut states = host.states();
    let mut before: Vec<GroupSpec> = Vec::new();
    let mut unpacked = wheel::Unpacked::default();
    loop {
        let snapshot = shared.world.load_full();
        unpacked = unpack(&wheels, &snapshot, unpacked).await;
        let groups = groups::groups(&host, &snapshot, &unpacked);
        let changed = groups != before;
        if changed {
            before.clone_from(&groups);
            // A host that was never told of a plugin has no thread, and needs none.
            host.apply(groups);
        } else {
            shared.world.report(reports::reports(&snapshot, &states.borrow_and_update(), &unpacked));
        }
        loop {
            tokio::select! {
                done = changes.changed() => match done {
                    Ok(()) => break,
                    Err(_) => return,
                },
                Ok(()) = states.changed() => shared.world.report(reports::reports(&snapshot, &states.borrow_and_update(), &unpacked)),
            }
        }
    }
}

/// Disks are slow, and others run on this thread.
async fn unpack(wheels: &Wheels, snapshot: &Snapshot, before: wheel::Unpacked) -> wheel::Unpacked {
    let wanted: Vec<Arc<Plugin>> = snapshot.plugins.values().filter(|plugin| plugin.digest.is_some()).cloned().collect();
    if wanted.is_empty() {
        return wheel::Unpacked::default();
    }
    let wheels = wheels.clone();
    let kept = before.clone();
    // The task does not panic and is never cancelled.
    tokio::task::spawn_blocking(move || wheels.unpack(&wanted, &before)).await.unwrap_or(kept)
}

/// Tells that nothing runs plugins here.
async fn refuse(shared: Arc<Shared>) {
    let mut changes = shared.world.changes();
    loop {
        let report = |plugin: &Arc<Plugin>| PluginReport {
            name: plugin.name.clone(),
            revision: plugin.revision.clone(),
            stage: PluginStage::Failed("this proxy was started without --python, and runs no plugins".into()),
            earlier_serves: false,
        };
        let reports = shared.world.load().plugins.values().map(report).collect();
        shared.world.report(reports);
        if changes.changed().await.is_err() {
            return;
        }
    }
}
