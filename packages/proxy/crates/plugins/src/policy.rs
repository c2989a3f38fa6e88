//! What a failure means for the request: who is to blame, what that plugin's object says, and who is still to be asked. Pure.

use plait_frames::Phase;

use crate::{
    OnFailure,
    interest::ChainInfo,
    spec::PluginSpec,
    verdict::{Cause, Failure},
};

/// How a call goes on after a failure.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// The request is refused.
    Refuse(Failure),
    /// The others are asked, without those in `skip`.
    Ask { skip: u64, failure: Failure },
    /// Nobody is left: the request goes on.
    Pass(Vec<Failure>),
}

/// After `cause`; `culprit` is the index of the plugin where it is known.
pub(crate) fn after(chain: &ChainInfo, phase: Phase, skip: u64, culprit: Option<u8>, cause: Cause, text: &str) -> Next {
    let Some(index) = culprit.filter(|index| chain.name(*index).is_some()) else {
        return unknown(chain, phase, skip, cause, text);
    };
    let spec = &chain.members[usize::from(index)].spec;
    let failure = Failure { plugin: Some(spec.name.clone()), cause, text: text.into() };
    if policy(spec, cause) == OnFailure::Closed {
        return Next::Refuse(failure);
    }
    let skip = skip | 1 << index;
    if asked(chain, phase, skip).next().is_none() { Next::Pass(vec![failure]) } else { Next::Ask { skip, failure } }
}

/// The plugins that a call of this phase asks, by index.
pub(crate) fn asked(chain: &ChainInfo, phase: Phase, skip: u64) -> impl Iterator<Item = u8> {
    let wanted = chain.members.iter().enumerate().filter(move |(index, member)| skip >> index & 1 == 0 && member.wants(phase));
    wanted.map(|(index, _)| index as u8)
}

/// Nobody knows who failed: all that were asked did, and one that is Closed is enough.
fn unknown(chain: &ChainInfo, phase: Phase, skip: u64, cause: Cause, text: &str) -> Next {
    let specs = || asked(chain, phase, skip).map(|index| &chain.members[usize::from(index)].spec);
    let failed = |spec: &PluginSpec| Failure { plugin: Some(spec.name.clone()), cause, text: text.into() };
    match specs().find(|spec| policy(spec, cause) == OnFailure::Closed) {
        Some(closed) => Next::Refuse(failed(closed)),
        None => Next::Pass(specs().map(failed).collect()),
    }
}

/// What the plugin's object says about this way to fail.
pub(crate) fn policy(spec: &PluginSpec, cause: Cause) -> OnFailure {
    match cause {
        Cause::Timeout => spec.on_timeout,
        Cause::NotLoaded => spec.on_load_failure,
        Cause::Error | Cause::Crash | Cause::Junk | Cause::Overload | Cause::Breaker => spec.on_error,
    }
}
