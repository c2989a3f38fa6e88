//! Contract messages into model types, one file a kind. Each message is taken apart field by field, so that a new field stops the build here
//! until somebody decides what it means. What cannot be right is refused with its path.

mod endpoint;
mod health;
mod mesh;
mod plugin;
mod policy;
mod route;
mod service;
mod workload;

use std::time::Duration;

use plait_model::ObjectRef;

pub(crate) use endpoint::{PortEndpoints, direct, endpoints};
pub(crate) use mesh::mesh;
pub(crate) use plugin::{Named, plugin};
pub(crate) use policy::policy;
pub(crate) use route::{Parent, Route, route};
pub(crate) use service::{Service, service};
pub(crate) use workload::{Workload, connection_limit, workload};

/// A resource that cannot be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {reason}")]
pub struct Refused {
    /// Field path within the resource, `rules[2].matches[0].path`.
    pub path: String,
    /// Why.
    pub reason: String,
}

impl Refused {
    pub(crate) fn new(path: impl Into<String>, reason: impl std::fmt::Display) -> Self {
        Self { path: path.into(), reason: reason.to_string() }
    }

    /// The same, seen from one level up.
    pub(crate) fn within(mut self, outer: impl std::fmt::Display) -> Self {
        self.path = if self.path.is_empty() { outer.to_string() } else { format!("{outer}.{}", self.path) };
        self
    }
}

/// Converts each item, naming the index in the path of a refusal.
pub(crate) fn each<T, U>(name: &str, items: Vec<T>, convert: impl Fn(T) -> Result<U, Refused>) -> Result<Vec<U>, Refused> {
    items.into_iter().enumerate().map(|(at, item)| convert(item).map_err(|refused| refused.within(format_args!("{name}[{at}]")))).collect()
}

pub(crate) fn port(path: &str, number: u32) -> Result<u16, Refused> {
    u16::try_from(number).ok().filter(|port| *port > 0).ok_or_else(|| Refused::new(path, format_args!("{number} is no port")))
}

pub(crate) fn address<T: std::str::FromStr>(path: &str, text: &str) -> Result<T, Refused> {
    text.parse().map_err(|_| Refused::new(path, format_args!("{text:?} is no address")))
}

pub(crate) fn duration(path: &str, duration: prost_types::Duration) -> Result<Duration, Refused> {
    Duration::try_from(duration).map_err(|_| Refused::new(path, "a negative duration"))
}

pub(crate) fn percent(path: &str, number: u32) -> Result<u32, Refused> {
    if number <= 100 { Ok(number) } else { Err(Refused::new(path, format_args!("{number} is no percentage"))) }
}

/// A span that must be there, and longer than nothing.
pub(crate) fn positive(path: &str, value: Option<prost_types::Duration>) -> Result<Duration, Refused> {
    match duration(path, value.unwrap_or_default())? {
        Duration::ZERO => Err(Refused::new(path, "it must be longer than nothing")),
        span => Ok(span),
    }
}

pub(crate) fn object(object: Option<plait_wire::ObjectRef>) -> Result<ObjectRef, Refused> {
    let plait_wire::ObjectRef { kind, namespace, name } = object.ok_or_else(|| Refused::new("object", "absent"))?;
    Ok(ObjectRef { kind: kind.into(), namespace: namespace.into(), name: name.into() })
}

pub(crate) fn protocol(path: &str, value: i32) -> Result<plait_model::Protocol, Refused> {
    match plait_wire::Protocol::try_from(value) {
        Ok(plait_wire::Protocol::Auto) => Ok(plait_model::Protocol::Auto),
        Ok(plait_wire::Protocol::Http) => Ok(plait_model::Protocol::Http),
        Ok(plait_wire::Protocol::Http2) => Ok(plait_model::Protocol::Http2),
        Ok(plait_wire::Protocol::Tcp) => Ok(plait_model::Protocol::Tcp),
        Ok(plait_wire::Protocol::Tls) => Ok(plait_model::Protocol::Tls),
        Ok(plait_wire::Protocol::Unspecified) | Err(_) => Err(Refused::new(path, format_args!("unknown protocol {value}"))),
    }
}
