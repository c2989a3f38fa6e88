//! A chain as one I/O thread knows it: its plugins with their breakers and their figures.

use std::{
    cell::RefCell,
    rc::Rc,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use plait_frames::Phase;

use crate::{
    Cause, Failure, OnFailure, PluginCounters,
    breaker::{Breaker, Change},
    interest::ChainInfo,
    policy::{asked, policy},
};

/// One plugin in this thread, whatever chains it is in.
#[derive(Debug)]
pub(crate) struct PluginLine {
    name: Arc<str>,
    breaker: RefCell<Breaker>,
    counters: Arc<PluginCounters>,
}

/// What a call took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Time {
    pub(crate) all: Duration,
    /// Of that in hooks.
    pub(crate) hooks: Duration,
}

/// A chain in this thread.
#[derive(Debug)]
pub(crate) struct ChainLine {
    pub(crate) info: Arc<ChainInfo>,
    /// In the order of the chain's members.
    pub(crate) plugins: Vec<Rc<PluginLine>>,
}

impl PluginLine {
    pub(crate) fn new(name: Arc<str>, counters: Arc<PluginCounters>) -> Self {
        Self { name, breaker: RefCell::default(), counters }
    }

    fn changed(&self, change: Change) {
        match change {
            Change::Opened => _ = self.counters.open_breakers.fetch_add(1, Relaxed),
            Change::Closed => _ = self.counters.open_breakers.fetch_sub(1, Relaxed),
            Change::None => {}
        }
    }
}

impl Drop for PluginLine {
    fn drop(&mut self) {
        // What is gone is not left out any more.
        let change = self.breaker.get_mut().succeeded();
        self.changed(change);
    }
}

impl ChainLine {
    /// Who must be left out because it failed too often; the failure when one of them is Closed.
    pub(crate) fn left_out(&self, phase: Phase, failures: &mut Vec<Failure>) -> Result<u64, Failure> {
        let mut skip = 0;
        for index in asked(&self.info, phase, 0) {
            let (plugin, spec) = (&self.plugins[usize::from(index)], &self.info.members[usize::from(index)].spec);
            let mut breaker = plugin.breaker.borrow_mut();
            // The clock is read for those alone that are in trouble.
            if breaker.is_closed() || breaker.permits(Instant::now()) {
                continue;
            }
            let failure =
                Failure { plugin: Some(plugin.name.clone()), cause: Cause::Breaker, text: "left out: it failed too often".into() };
            if let Some(counts) = plugin.counters.phase(phase) {
                counts.failed(Cause::Breaker);
            }
            if policy(spec, Cause::Breaker) == OnFailure::Closed {
                return Err(failure);
            }
            self.bypassed(index, phase);
            failures.push(failure);
            skip |= 1 << index;
        }
        Ok(skip)
    }

    pub(crate) fn called(&self, phase: Phase, skip: u64) {
        for index in asked(&self.info, phase, skip) {
            self.count(index, phase, |counts| _ = counts.calls.fetch_add(1, Relaxed));
        }
    }

    /// The chain answered; `failed` are those of it that did not.
    pub(crate) fn answered(&self, phase: Phase, skip: u64, failed: u64, time: Time) {
        for index in asked(&self.info, phase, skip) {
            self.count(index, phase, |counts| {
                counts.duration.record(time.hooks);
                counts.wait.record(time.all.saturating_sub(time.hooks));
            });
            if failed >> index & 1 == 0 {
                let plugin = &self.plugins[usize::from(index)];
                let change = plugin.breaker.borrow_mut().succeeded();
                plugin.changed(change);
            }
        }
    }

    pub(crate) fn ended(&self, index: u8, phase: Phase) {
        self.count(index, phase, |counts| _ = counts.verdicts.fetch_add(1, Relaxed));
    }

    pub(crate) fn bypassed(&self, index: u8, phase: Phase) {
        self.count(index, phase, |counts| _ = counts.bypasses.fetch_add(1, Relaxed));
    }

    /// This plugin failed, or, where nobody knows who did, all that were asked.
    pub(crate) fn failed(&self, culprit: Option<u8>, phase: Phase, skip: u64, cause: Cause) {
        let culprit = culprit.filter(|index| usize::from(*index) < self.plugins.len());
        let Some(index) = culprit else {
            for index in asked(&self.info, phase, skip) {
                self.count(index, phase, |counts| counts.failed(cause));
            }
            return;
        };
        self.count(index, phase, |counts| counts.failed(cause));
        let plugin = &self.plugins[usize::from(index)];
        let change = plugin.breaker.borrow_mut().failed(Instant::now());
        plugin.changed(change);
    }

    fn count(&self, index: u8, phase: Phase, count: impl FnOnce(&crate::PhaseCounts)) {
        if let Some(counts) = self.plugins.get(usize::from(index)).and_then(|plugin| plugin.counters.phase(phase)) {
            count(counts);
        }
    }
}
