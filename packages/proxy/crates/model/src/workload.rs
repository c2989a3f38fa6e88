//! A workload that this proxy serves.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use crate::{CallChains, ConnectionLimit, DestinationKey, Gate, Policy, PortChains, Protocol, SpiffeId};

/// A process beside the proxy.
#[derive(Debug)]
pub struct Workload {
    /// "namespace/name".
    pub key: Arc<str>,
    /// Namespace.
    pub namespace: Box<str>,
    /// Name.
    pub name: Box<str>,
    /// Who it is.
    pub identity: Arc<SpiffeId>,
    /// Where the process listens.
    pub address: IpAddr,
    /// Its ports.
    pub ports: Vec<WorkloadPort>,
    /// Where other proxies reach it.
    pub inbound: SocketAddr,
    /// Where the process sends its calls; `None` = nowhere.
    pub outbound: Option<SocketAddr>,
    /// Local ports for one destination each.
    pub binds: Vec<Bind>,
    /// Connections come to `inbound` and `outbound` by redirection: their original destination says what is called.
    pub redirected: bool,
    /// Zone, may be empty.
    pub zone: Box<str>,
    /// Every policy in force here.
    pub policies: Vec<PolicyBinding>,
    /// Changes exactly when `policies` do: permits given before are then judged again.
    pub policy_epoch: u64,
    /// The plugins that calls to it pass.
    pub arrivals: PortChains,
    /// The plugins that its own calls pass.
    pub calls: CallChains,
}

impl Workload {
    /// The port of that number.
    pub fn port(&self, port: u16) -> Option<&WorkloadPort> {
        self.ports.iter().find(|candidate| candidate.port == port)
    }
}

/// A port of the process.
#[derive(Debug)]
pub struct WorkloadPort {
    /// Name.
    pub name: Box<str>,
    /// Number.
    pub port: u16,
    /// What is spoken there.
    pub protocol: Protocol,
    /// "namespace/name" of the Service that selects it, for metrics; may be empty.
    pub service: Arc<str>,
    /// Connections to it at a time, for all callers together; `None` = no limit.
    pub connections: Option<ConnectionLimit>,
    /// Those connections; survives snapshots.
    pub gate: Arc<Gate>,
}

/// A local port for one destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bind {
    /// Where the proxy listens.
    pub listen: SocketAddr,
    /// The Service.
    pub destination: DestinationKey,
    /// Its port.
    pub port: u16,
    /// As the user wrote it.
    pub authority: Box<str>,
}

/// A policy and the ports that it covers.
#[derive(Debug)]
pub struct PolicyBinding {
    /// Resource name, "namespace/name".
    pub name: Box<str>,
    /// `None`: the control plane named a policy that it did not send; denies everything it covers.
    pub policy: Option<Arc<Policy>>,
    /// Empty = all.
    pub ports: Vec<u16>,
}

impl PolicyBinding {
    /// True when it speaks about that port of the workload.
    pub fn covers(&self, port: u16) -> bool {
        self.ports.is_empty() || self.ports.contains(&port)
    }
}
