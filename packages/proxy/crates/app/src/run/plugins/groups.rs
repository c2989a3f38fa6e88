//! The plugins of a snapshot as their host is told of them: trust groups, and the chains in which calls pass them. Pure.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use plait_model::{FailurePolicy, Plugin, Run, Snapshot};
use plait_plugins::{ChainSpec, Direction, GroupSpec, Host, OnFailure, PluginSpec, SandboxSpec};
use plait_proxy_core::chain_id;

use super::wheel::Unpacked;

/// All groups, in the order of their names. What cannot be run is in none: calls that would pass it are refused before.
pub(super) fn groups(host: &Host, snapshot: &Snapshot, unpacked: &Unpacked) -> Vec<GroupSpec> {
    let mut found: BTreeMap<Arc<str>, GroupSpec> = BTreeMap::new();
    for run in runs(snapshot) {
        let group = found.entry(run.group.clone()).or_insert_with(|| empty(&run.group));
        for plugin in &run.plugins {
            if group.plugins.iter().all(|known| known.name != plugin.name) {
                group.memory_bytes += plugin.memory_bytes;
                group.plugins.push(spec(plugin, unpacked));
            }
        }
        let id = chain_id(host, &run);
        if group.chains.iter().all(|known| known.id != id) {
            let direction = if run.inbound { Direction::Inbound } else { Direction::Outbound };
            group.chains.push(ChainSpec { id, direction, plugins: run.plugins.iter().map(|plugin| plugin.name.clone()).collect() });
        }
    }
    for group in found.values_mut() {
        // A map has no order, and the same groups must look the same.
        group.plugins.sort_by(|a, b| a.name.cmp(&b.name));
        group.chains.sort_by_key(|chain| chain.id);
    }
    found.into_values().collect()
}

fn runs(snapshot: &Snapshot) -> impl Iterator<Item = Arc<Run>> {
    let chains = snapshot.workloads.values().flat_map(|workload| workload.arrivals.all().chain(workload.calls.all()));
    chains.filter(|chain| chain.broken().is_none()).flat_map(|chain| chain.runs.clone())
}

fn empty(name: &Arc<str>) -> GroupSpec {
    GroupSpec { name: name.clone(), plugins: Vec::new(), chains: Vec::new(), sandbox: SandboxSpec::default(), memory_bytes: 0 }
}

/// A version that no package has: where the wheel is missing nothing is loaded, and above all not what the environment has of that name.
const NO_WHEEL: &str = "===no-wheel-of-this-digest";

fn spec(plugin: &Plugin, unpacked: &Unpacked) -> PluginSpec {
    let folder = unpacked.folder(plugin);
    let missing = plugin.digest.is_some() && folder.is_none();
    PluginSpec {
        name: plugin.name.clone(),
        package: plugin.package.to_string(),
        version: if missing { NO_WHEEL.to_owned() } else { plugin.version.to_string() },
        entry: plugin.entry_point.as_deref().unwrap_or_default().to_owned(),
        path: folder.map(Path::to_owned).into_iter().collect(),
        // What is no JSON is told by the plugin's own schema.
        config: serde_json::from_str(&plugin.config).unwrap_or_default(),
        deadline: plugin.deadline,
        on_error: policy(plugin.on_error),
        on_timeout: policy(plugin.on_timeout),
        on_load_failure: policy(plugin.on_load_failure),
    }
}

fn policy(policy: FailurePolicy) -> OnFailure {
    match policy {
        FailurePolicy::Open => OnFailure::Open,
        FailurePolicy::Closed => OnFailure::Closed,
    }
}
