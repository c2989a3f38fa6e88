//! What the path of a request is told.

use std::sync::Arc;

use bytes::Bytes;
use plait_frames::Effect;

use crate::interest::ChainInfo;

/// How the plugins of a chain, and the policies of those that failed, answered one call.
#[derive(Debug)]
pub struct Verdict {
    /// How the request goes on.
    pub outcome: Outcome,
    frame: Option<(plait_frames::Verdict, Arc<ChainInfo>)>,
    failures: Vec<Failure>,
}

/// How the request goes on. Plugins stand here by their names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// On, with the effects.
    Continue,
    /// The plugin answered it; the headers are effects `ReplyHeader`.
    Reply {
        /// Who.
        plugin: Arc<str>,
        /// 200 to 599.
        status: u16,
        /// May be empty.
        body: Bytes,
    },
    /// The plugin refused it.
    Deny {
        /// Who.
        plugin: Arc<str>,
        /// 200 to 599, mostly 403.
        status: u16,
        /// For the caller.
        reason: Box<str>,
    },
    /// A plugin failed and its policy is Closed.
    Refused {
        /// Who, where it is known.
        plugin: Option<Arc<str>>,
        /// In what way.
        cause: Cause,
    },
}

/// In what way a plugin failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// A hook raised.
    Error,
    /// It did not answer in time.
    Timeout,
    /// Its worker died.
    Crash,
    /// It answered what may not be.
    Junk,
    /// Too much is asked of its worker.
    Overload,
    /// It is not loaded.
    NotLoaded,
    /// It failed too often and is left out for a while.
    Breaker,
}

impl Cause {
    /// As metrics and logs spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Timeout => "timeout",
            Self::Crash => "crash",
            Self::Junk => "junk",
            Self::Overload => "overload",
            Self::NotLoaded => "not_loaded",
            Self::Breaker => "breaker",
        }
    }
}

/// A plugin that was passed over, its policy being Open, or that was the reason of a refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Who, where it is known.
    pub plugin: Option<Arc<str>>,
    /// In what way.
    pub cause: Cause,
    /// What it said.
    pub text: Box<str>,
}

impl Verdict {
    pub(crate) fn on(failures: Vec<Failure>) -> Self {
        Self { outcome: Outcome::Continue, frame: None, failures }
    }

    pub(crate) fn refused(failure: Failure, mut failures: Vec<Failure>) -> Self {
        let outcome = Outcome::Refused { plugin: failure.plugin.clone(), cause: failure.cause };
        failures.push(failure);
        Self { outcome, frame: None, failures }
    }

    pub(crate) fn answered(outcome: Outcome, frame: plait_frames::Verdict, chain: Arc<ChainInfo>, failures: Vec<Failure>) -> Self {
        Self { outcome, frame: Some((frame, chain)), failures }
    }

    /// What plugins changed, in order, each with the plugin's name. Failures, reasons and tracebacks are not among them.
    pub fn effects(&self) -> impl Iterator<Item = (&Arc<str>, Effect<'_>)> {
        self.frame.iter().flat_map(|(frame, chain)| {
            let wanted = |effect: &Effect<'_>| !matches!(effect, Effect::Failure(_) | Effect::Text(_) | Effect::Traceback(_));
            frame.effects().filter(move |(_, effect)| wanted(effect)).filter_map(|(index, effect)| Some((chain.name(index)?, effect)))
        })
    }

    /// The body that stands in place of the one that was sent, without a copy.
    pub fn body(&self) -> Option<Bytes> {
        self.frame.as_ref()?.0.body()
    }

    /// Who failed on the way.
    pub fn failures(&self) -> &[Failure] {
        &self.failures
    }
}
