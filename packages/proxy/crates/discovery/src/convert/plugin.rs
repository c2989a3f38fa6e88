//! Plugin, and what names it. Chains are joined where all resources are known.

use std::sync::Arc;

use plait_model::{CallChains, CallScope, FailurePolicy, ObjectRef, Plugin};
use plait_wire as wire;

use super::{Refused, each, object, port, positive};

/// Plugins of a workload as its message names them, before they are joined.
#[derive(Debug)]
pub(crate) struct Named<T> {
    pub(crate) name: Arc<str>,
    pub(crate) what: Vec<T>,
}

pub(crate) fn plugin(name: &str, revision: &[u8], message: wire::Plugin) -> Result<Plugin, Refused> {
    let wire::Plugin {
        object: from,
        package,
        entry_point,
        version,
        digest,
        config,
        deadline,
        memory_bytes,
        body_bytes,
        on_error,
        on_timeout,
        on_load_failure,
        group,
        invalid,
    } = message;
    let some = |text: String| (!text.is_empty()).then(|| text.into_boxed_str());
    Ok(Plugin {
        name: name.into(),
        revision: revision.into(),
        object: object(from)?.into(),
        package: package.into(),
        entry_point: some(entry_point),
        version: version.into(),
        digest: some(digest).map(|text| sha256(&text)).transpose()?,
        config: config.into(),
        deadline: positive("deadline", deadline)?,
        memory_bytes,
        body_bytes: usize::try_from(body_bytes).map_err(|error| Refused::new("body_bytes", error))?,
        on_error: policy("on_error", on_error)?,
        on_timeout: policy("on_timeout", on_timeout)?,
        on_load_failure: policy("on_load_failure", on_load_failure)?,
        group: group.into(),
        invalid: some(invalid),
    })
}

fn policy(path: &str, value: i32) -> Result<FailurePolicy, Refused> {
    match wire::FailurePolicy::try_from(value) {
        Ok(wire::FailurePolicy::Open) => Ok(FailurePolicy::Open),
        Ok(wire::FailurePolicy::Closed) => Ok(FailurePolicy::Closed),
        Ok(wire::FailurePolicy::Unspecified) | Err(_) => Err(Refused::new(path, format_args!("unknown policy {value}"))),
    }
}

fn sha256(text: &str) -> Result<[u8; 32], Refused> {
    let digits = text.strip_prefix("sha256:").filter(|digits| digits.len() == 64 && digits.is_ascii());
    let byte = |digits: &str, at: usize| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).ok();
    let read = digits.and_then(|digits| {
        let mut bytes = [0; 32];
        for (at, place) in bytes.iter_mut().enumerate() {
            *place = byte(digits, at)?;
        }
        Some(bytes)
    });
    read.ok_or_else(|| Refused::new("digest", format_args!("{text:?} is no sha256:<64 hex digits>")))
}

pub(crate) fn inbound(messages: Vec<wire::InboundPlugin>) -> Result<Vec<Named<u16>>, Refused> {
    few("inbound_plugins", &messages)?;
    each("inbound_plugins", messages, |wire::InboundPlugin { name, ports }| {
        Ok(Named { name: name.into(), what: each("ports", ports, |number| port("", number))? })
    })
}

pub(crate) fn outbound(messages: Vec<wire::OutboundPlugin>) -> Result<Vec<Named<CallScope>>, Refused> {
    few("outbound_plugins", &messages)?;
    each("outbound_plugins", messages, |wire::OutboundPlugin { name, scopes }| {
        Ok(Named { name: name.into(), what: each("scopes", scopes, scope)? })
    })
}

fn few<T>(path: &str, messages: &[T]) -> Result<(), Refused> {
    if messages.len() > CallChains::MOST {
        return Err(Refused::new(path, format_args!("{} plugins, and {} are the most", messages.len(), CallChains::MOST)));
    }
    Ok(())
}

fn scope(message: wire::CallScope) -> Result<CallScope, Refused> {
    let wire::CallScope { service, route, rule } = message;
    if route.is_empty() && !service.is_empty() {
        return Ok(CallScope::Service(service.into()));
    }
    let mut parts = route.splitn(3, '/').filter(|part| !part.is_empty()).map(Box::from);
    match (service.is_empty(), parts.next(), parts.next(), parts.next()) {
        (true, Some(kind), Some(namespace), Some(name)) => {
            Ok(CallScope::Route { route: ObjectRef { kind, namespace, name }, rule: rule.into() })
        }
        _ => Err(Refused::new("route", format_args!("{route:?} is no kind/namespace/name, or stands beside a service"))),
    }
}
