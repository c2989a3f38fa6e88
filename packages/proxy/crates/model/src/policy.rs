//! AuthorizationPolicies as `decide/authorize` judges them. Literals only.

use std::sync::Arc;

use crate::{ObjectRef, SpiffeId};

/// An AuthorizationPolicy.
#[derive(Debug)]
pub struct Policy {
    /// The user's object; shared with every permit that it gives.
    pub object: Arc<ObjectRef>,
    /// What a match means.
    pub action: Action,
    /// Counted and logged, never enforced, never "present".
    pub dry_run: bool,
    /// OR; none: an Allow that allows nobody.
    pub rules: Vec<PolicyRule>,
    /// It could not be read and there is no last good version: denies everything it covers.
    pub invalid: bool,
}

/// `spec.action`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// What matches may pass; with any Allow present, what none allows is denied.
    Allow,
    /// What matches is denied, whatever else allows it.
    Deny,
}

/// `spec.rules[i]`.
#[derive(Debug, Default)]
pub struct PolicyRule {
    /// OR; empty = anybody.
    pub from: Vec<Source>,
    /// OR; empty = anything.
    pub to: Vec<Operation>,
}

/// `from[i]`: fields AND, values OR, an empty field does not restrict.
#[derive(Debug, Default)]
pub struct Source {
    /// SPIFFE IDs.
    pub identities: Vec<SpiffeId>,
    /// Namespaces of the caller.
    pub namespaces: Vec<Box<str>>,
    /// (namespace, service account) of the caller.
    pub service_accounts: Vec<(Box<str>, Box<str>)>,
    /// Address ranges: (network, prefix length).
    pub cidrs: Vec<(std::net::IpAddr, u8)>,
}

/// `to[i]`: fields AND, values OR, an empty field does not restrict.
#[derive(Debug, Default)]
pub struct Operation {
    /// Ports of the workload.
    pub ports: Vec<u16>,
    /// Upper case.
    pub methods: Vec<Box<str>>,
    /// Exact, or with a trailing "/*" the segment prefix.
    pub paths: Vec<Box<str>>,
    /// Lower case, without port.
    pub hosts: Vec<Box<str>>,
    /// All must match.
    pub headers: Vec<PolicyHeader>,
}

impl Operation {
    /// True when it restricts anything that only HTTP has.
    pub fn needs_http(&self) -> bool {
        !(self.methods.is_empty() && self.paths.is_empty() && self.hosts.is_empty() && self.headers.is_empty())
    }
}

/// `headers[i]`.
#[derive(Debug)]
pub struct PolicyHeader {
    /// Lower case.
    pub name: Box<str>,
    /// Empty = present with any value.
    pub values: Vec<Box<str>>,
}
