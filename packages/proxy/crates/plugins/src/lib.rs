//! Plugins in Python, from the proxy's side: their processes, what is asked of them, and what happens when they fail.
//!
//! `proxy` asks on the path of a request, through one [`Channel`] an I/O thread; `app` says which plugins there are, through the [`Host`].
//! No Python in here and no part of a plugin: a worker is a stranger whose every byte is checked, whose every call has a deadline, and whose death
//! costs nobody but those who waited for the plugin that caused it. Processes are started, loaded and buried on a thread of the host's own.

mod asked;
mod breaker;
mod call;
mod chains;
mod channel;
mod control;
mod counters;
mod group;
mod host;
mod interest;
mod link;
mod load;
mod log;
mod policy;
mod slots;
mod spec;
mod state;
mod supervisor;
mod sweep;
mod verdict;
mod zygote;

pub use chains::ChainId;
pub use channel::{Call, Chain, Channel};
pub use counters::{BreakerState, Counters, Histogram, PhaseCounts, PluginCounters};
pub use host::Host;
pub use interest::{BodyInterest, ChainInterest, Names};
pub use plait_frames::{CallWriter, Effect, Field, Phase, Section};
pub use spec::{ChainSpec, Direction, GroupSpec, HostSettings, LogRecord, OnFailure, PluginSpec, SandboxSpec};
pub use state::{GroupState, LoadFailure, PluginInfo, Stage};
pub use verdict::{Cause, Failure, Outcome, Verdict};
