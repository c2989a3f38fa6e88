//! What the caller gets instead of an answer of the destination, when a plugin, or the policy of one that failed, says so.

use bytes::Bytes;
use plait_model::{ObjectRef, Reason, ResponseHead};
use plait_plugins::{Cause, Effect, Outcome, Verdict};

use super::effects::is_free;
use crate::reject::Reject;

/// Instead of the destination's answer.
#[derive(Debug)]
pub(crate) enum Instead {
    /// The mesh refuses.
    Reject(Box<Reject>),
    /// The plugin answers.
    Reply(Box<Reply>),
}

/// An answer of a plugin's own.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) head: ResponseHead,
    pub(crate) body: Bytes,
}

impl From<Reject> for Instead {
    fn from(reject: Reject) -> Self {
        Self::Reject(Box::new(reject))
    }
}

/// Whether the call goes on.
pub(super) fn judge(verdict: &Verdict, generation: u64) -> Result<(), Instead> {
    match &verdict.outcome {
        Outcome::Continue => Ok(()),
        Outcome::Reply { plugin: _, status, body } => {
            let mut head = ResponseHead { status: *status, ..ResponseHead::default() };
            for (_, effect) in verdict.effects() {
                match effect {
                    Effect::ReplyHeader(name, value) if is_free(name) => head.headers.append(name, value),
                    _ => {}
                }
            }
            Err(Instead::Reply(Box::new(Reply { head, body: body.clone() })))
        }
        Outcome::Deny { plugin, status, reason } => {
            let reject = refusal(Reason::PluginDenied, plugin, reason.to_string(), generation);
            Err(Reject { status: Some(*status), ..reject }.into())
        }
        Outcome::Refused { plugin, cause } => {
            let said = verdict.failures().last().map(|failure| &*failure.text).unwrap_or_default();
            let name = plugin.as_deref().unwrap_or_default();
            Err(refusal(reason(*cause), name, words(*cause, said), generation).into())
        }
    }
}

/// A reject that names the Plugin object; nothing of the call was delivered.
pub(super) fn refusal(reason: Reason, plugin: &str, detail: String, generation: u64) -> Reject {
    let object =
        plugin.split_once('/').map(|(namespace, name)| ObjectRef { kind: "Plugin".into(), namespace: namespace.into(), name: name.into() });
    Reject { object, detail, ..Reject::new(reason, generation) }
}

fn reason(cause: Cause) -> Reason {
    match cause {
        Cause::Error | Cause::Junk => Reason::PluginError,
        Cause::Timeout => Reason::PluginTimeout,
        Cause::Crash | Cause::NotLoaded | Cause::Breaker => Reason::PluginUnavailable,
        Cause::Overload => Reason::PluginQueueFull,
    }
}

/// For the caller: in what way it failed, and nothing of its code, which may speak of what callers must not know.
fn words(cause: Cause, said: &str) -> String {
    match cause {
        Cause::Error => "its code failed".into(),
        Cause::Junk => format!("it said what cannot be: {said}"),
        Cause::Timeout => "it did not answer within limits.deadline".into(),
        Cause::Crash => "its process ended".into(),
        Cause::NotLoaded => "no version of it is loaded".into(),
        Cause::Breaker => "it failed too often and is left out for a while".into(),
        Cause::Overload => "more is asked of it than it can answer".into(),
    }
}
