//! Figures of plugins, as a scrape shows them. Pure.

use plait_plugins::{BreakerState, Counters, Phase, PhaseCounts};
use plait_telemetry::PluginFigures;

use std::sync::atomic::Ordering::Relaxed;

/// What every plugin was asked, by phase, and whether each is left out.
pub(super) fn figures(counters: &Counters) -> (Vec<PluginFigures>, Vec<(String, bool)>) {
    let plugins = counters.plugins();
    let asked = plugins.iter().flat_map(|(name, counts)| {
        let counted = |phase: &Phase| Some((*phase, counts.phase(*phase)?));
        Phase::CALLS.iter().filter_map(counted).map(move |(phase, counts)| of_phase(name, phase, counts))
    });
    // A phase that nobody asked about in is left out.
    let asked = asked.filter(|one| one.calls > 0 || one.failures.iter().any(|(_, count)| *count > 0)).collect();
    let breakers = plugins.iter().map(|(name, counts)| (name.to_string(), counts.breaker() == BreakerState::Open)).collect();
    (asked, breakers)
}

fn of_phase(name: &str, phase: Phase, counts: &PhaseCounts) -> PluginFigures {
    let (buckets, micros) = counts.duration.read();
    let seconds = |micros: u64| micros as f64 / 1e6;
    PluginFigures {
        plugin: name.to_owned(),
        phase: phase.name(),
        calls: counts.calls.load(Relaxed),
        verdicts: counts.verdicts.load(Relaxed),
        bypasses: counts.bypasses.load(Relaxed),
        failures: Counters::CAUSES.iter().zip(&counts.failures).map(|(cause, count)| (cause.name(), count.load(Relaxed))).collect(),
        buckets: buckets.into_iter().map(|(bound, count)| (bound.map(seconds), count)).collect(),
        sum: seconds(micros),
    }
}
