//! Figures for metrics: what each plugin was asked and how it failed, by phase. Written by I/O threads without locks, read by the admin thread.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use plait_frames::Phase;

use crate::Cause;

/// Upper bounds of the histograms, in microseconds: from a compiled hook to a deadline.
const BOUNDS: [u64; 10] = [10, 25, 50, 100, 250, 1_000, 5_000, 25_000, 100_000, 1_000_000];

/// All figures.
#[derive(Debug, Default)]
pub struct Counters {
    plugins: RwLock<BTreeMap<Arc<str>, Arc<PluginCounters>>>,
}

/// The figures of one plugin, whatever generations of it there were.
#[derive(Debug, Default)]
pub struct PluginCounters {
    phases: [PhaseCounts; Phase::CALLS.len()],
    /// I/O threads that leave it out now, because it failed too often.
    pub open_breakers: AtomicU64,
}

/// Whether a plugin is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// It is asked.
    Closed,
    /// Some threads leave it out.
    Open,
}

/// What happened to a plugin in one phase.
#[derive(Debug, Default)]
pub struct PhaseCounts {
    /// Calls of chains that it is in and whose phase it wants.
    pub calls: AtomicU64,
    /// It answered the request or refused it.
    pub verdicts: AtomicU64,
    /// Failures by `Cause`, in the order of `Counters::CAUSES`.
    pub failures: [AtomicU64; Counters::CAUSES.len()],
    /// Requests that went on without it, its policy being Open.
    pub bypasses: AtomicU64,
    /// How long the chain's hooks took, as its worker says.
    pub duration: Histogram,
    /// How long its calls waited beside that: for the worker, and for the way there and back.
    pub wait: Histogram,
}

/// A histogram of durations.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BOUNDS.len() + 1],
    micros: AtomicU64,
}

impl Counters {
    /// Every way to fail.
    pub const CAUSES: [Cause; 7] =
        [Cause::Error, Cause::Timeout, Cause::Crash, Cause::Junk, Cause::Overload, Cause::NotLoaded, Cause::Breaker];

    /// The figures of every plugin that was ever asked.
    pub fn plugins(&self) -> Vec<(Arc<str>, Arc<PluginCounters>)> {
        let plugins = self.plugins.read().unwrap_or_else(PoisonError::into_inner);
        plugins.iter().map(|(name, counters)| (name.clone(), counters.clone())).collect()
    }

    /// The figures of one plugin.
    pub fn plugin(&self, name: &Arc<str>) -> Arc<PluginCounters> {
        if let Some(known) = self.plugins.read().unwrap_or_else(PoisonError::into_inner).get(name) {
            return known.clone();
        }
        self.plugins.write().unwrap_or_else(PoisonError::into_inner).entry(name.clone()).or_default().clone()
    }
}

impl PluginCounters {
    /// The figures of one phase.
    pub fn phase(&self, phase: Phase) -> Option<&PhaseCounts> {
        Phase::CALLS.iter().position(|one| *one == phase).map(|at| &self.phases[at])
    }

    /// Whether it is left out.
    pub fn breaker(&self) -> BreakerState {
        if self.open_breakers.load(Relaxed) > 0 { BreakerState::Open } else { BreakerState::Closed }
    }
}

impl PhaseCounts {
    pub(crate) fn failed(&self, cause: Cause) {
        if let Some(at) = Counters::CAUSES.iter().position(|one| *one == cause) {
            self.failures[at].fetch_add(1, Relaxed);
        }
    }
}

impl Histogram {
    pub(crate) fn record(&self, duration: Duration) {
        let micros = duration.as_micros() as u64;
        let at = BOUNDS.iter().position(|bound| micros <= *bound).unwrap_or(BOUNDS.len());
        self.buckets[at].fetch_add(1, Relaxed);
        self.micros.fetch_add(micros, Relaxed);
    }

    /// Upper bounds in microseconds, None for the last, each with how many were no longer than it, and the sum of all in microseconds.
    pub fn read(&self) -> (Vec<(Option<u64>, u64)>, u64) {
        let bounds = BOUNDS.iter().copied().map(Some).chain([None]);
        let mut total = 0;
        let buckets = bounds.zip(&self.buckets).map(|(bound, count)| {
            total += count.load(Relaxed);
            (bound, total)
        });
        (buckets.collect(), self.micros.load(Relaxed))
    }
}
