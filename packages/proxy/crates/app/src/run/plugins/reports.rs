//! What became of the plugins of a snapshot, as the control plane is told. Pure.

use std::sync::Arc;

use plait_model::{Plugin, PluginReport, PluginStage, Snapshot};
use plait_plugins::{GroupState, LoadFailure};

use super::wheel::Unpacked;

/// One for each plugin.
pub(super) fn reports(snapshot: &Snapshot, states: &[GroupState], unpacked: &Unpacked) -> Vec<PluginReport> {
    snapshot.plugins.values().map(|plugin| report(plugin, states, unpacked)).collect()
}

fn report(plugin: &Arc<Plugin>, states: &[GroupState], unpacked: &Unpacked) -> PluginReport {
    let group = states.iter().find(|state| state.name == plugin.group);
    let serves = group.is_some_and(|group| group.live > 0 && group.plugins.iter().any(|live| live.name == plugin.name));
    let stage = match (unpacked.failure(plugin), plugin.invalid.as_deref(), group) {
        (Some(why), ..) | (None, Some(why), _) => PluginStage::Failed(why.into()),
        (None, None, Some(group)) => stage(plugin, group, serves),
        (None, None, None) => PluginStage::Loading,
    };
    let earlier_serves = serves && stage != PluginStage::Live;
    PluginReport { name: plugin.name.clone(), revision: plugin.revision.clone(), stage, earlier_serves }
}

fn stage(plugin: &Plugin, group: &GroupState, serves: bool) -> PluginStage {
    if group.loading.is_some() {
        return PluginStage::Loading;
    }
    let own = |failure: &&LoadFailure| failure.plugin.as_ref().is_none_or(|name| *name == plugin.name);
    match (group.failures.iter().find(own), group.failures.first()) {
        (Some(failure), _) => PluginStage::Failed(words(failure).into()),
        // A generation is whole or not at all.
        (None, Some(other)) if !serves => {
            let name = other.plugin.as_deref().unwrap_or_default();
            PluginStage::Failed(format!("{name}, of the same trust group, was not loaded: {}", other.message).into())
        }
        (None, _) if serves => PluginStage::Live,
        (None, _) => PluginStage::Loading,
    }
}

fn words(failure: &LoadFailure) -> String {
    let LoadFailure { plugin: _, stage, message, traceback } = failure;
    let said = format!("{}: {message}", stage.name());
    if traceback.is_empty() { said } else { format!("{said}\n{traceback}") }
}

#[cfg(test)]
mod tests {
    use plait_model::{FailurePolicy, ObjectRef};
    use plait_plugins::{PluginInfo, Stage};

    use super::*;

    fn snapshot() -> Snapshot {
        let plugin = |name: &str| {
            let object = ObjectRef { kind: "Plugin".into(), namespace: "shop".into(), name: name.into() };
            Arc::new(Plugin {
                name: format!("shop/{name}").into(),
                revision: (*b"2").into(),
                object: object.into(),
                package: "plait-one".into(),
                entry_point: None,
                version: "".into(),
                digest: None,
                config: "{}".into(),
                deadline: std::time::Duration::from_millis(50),
                memory_bytes: 1,
                body_bytes: 1,
                on_error: FailurePolicy::Closed,
                on_timeout: FailurePolicy::Closed,
                on_load_failure: FailurePolicy::Closed,
                group: "shop/default".into(),
                invalid: None,
            })
        };
        Snapshot {
            plugins: ["a", "b"].map(plugin).into_iter().map(|plugin| (plugin.name.clone(), plugin)).collect(),
            ..Snapshot::default()
        }
    }

    fn group(live: &[&str], failed: &[&str], loading: bool) -> GroupState {
        let info = |name: &&str| PluginInfo { name: (*name).into(), version: "1".into(), hooks: Vec::new() };
        let failure = |name: &&str| LoadFailure {
            plugin: Some((*name).into()),
            stage: Stage::Import,
            message: "no such module".into(),
            traceback: "line 1".into(),
        };
        GroupState {
            name: "shop/default".into(),
            live: u64::from(!live.is_empty()),
            plugins: live.iter().map(info).collect(),
            loading: loading.then_some(2),
            failures: failed.iter().map(failure).collect(),
            ..GroupState::default()
        }
    }

    #[test]
    fn each_plugin_is_told_of_by_what_its_group_came_to() {
        for (state, a, b) in [
            (None, "loading", "loading"),
            (Some(group(&[], &[], true)), "loading", "loading"),
            (Some(group(&["shop/a", "shop/b"], &[], false)), "live", "live"),
            (Some(group(&["shop/a"], &[], true)), "loading, earlier serves", "loading"),
            (Some(group(&["shop/a"], &["shop/a"], false)), "failed, earlier serves", "failed"),
            (Some(group(&["shop/a"], &["shop/b"], false)), "live", "failed"),
            (Some(group(&[], &["shop/b"], false)), "failed", "failed"),
        ] {
            let found = reports(&snapshot(), state.as_slice(), &Unpacked::default());
            let told = |report: &PluginReport| {
                let stage = match &report.stage {
                    PluginStage::Loading => "loading",
                    PluginStage::Live => "live",
                    PluginStage::Failed(_) => "failed",
                };
                format!("{stage}{}", if report.earlier_serves { ", earlier serves" } else { "" })
            };
            assert_eq!(found.iter().map(told).collect::<Vec<_>>(), [a, b], "{state:?}");
        }
    }

    #[test]
    fn a_failure_is_told_with_its_stage_and_traceback() {
        let found = reports(&snapshot(), &[group(&[], &["shop/a"], false)], &Unpacked::default());
        assert_eq!(found[0].stage, PluginStage::Failed("import: no such module\nline 1".into()));
    }
}
