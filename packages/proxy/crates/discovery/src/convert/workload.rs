//! Workload. Its policies are joined where all resources are known.

use std::{
    net::{IpAddr, SocketAddr},
    num::NonZeroU32,
    sync::Arc,
};

use plait_model::{Bind, CallScope, ConnectionLimit, DestinationKey, Protocol, SpiffeId, WorkloadPort};
use plait_wire as wire;

use super::{Named, Refused, address, each, object, plugin, port, protocol};

/// A workload before its policies are joined.
#[derive(Debug)]
pub(crate) struct Workload {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) service_account: String,
    pub(crate) address: IpAddr,
    pub(crate) ports: Vec<Port>,
    pub(crate) inbound: SocketAddr,
    pub(crate) outbound: Option<SocketAddr>,
    pub(crate) binds: Vec<Bind>,
    pub(crate) redirected: bool,
    pub(crate) zone: String,
    /// Name of the policy, ports it covers.
    pub(crate) policies: Vec<(String, Vec<u16>)>,
    /// With the ports that they cover.
    pub(crate) inbound_plugins: Vec<Named<u16>>,
    /// With the calls that they see.
    pub(crate) outbound_plugins: Vec<Named<CallScope>>,
}

impl Workload {
    /// Names of all its plugins.
    pub(crate) fn plugins(&self) -> impl Iterator<Item = &Arc<str>> {
        self.inbound_plugins.iter().map(|named| &named.name).chain(self.outbound_plugins.iter().map(|named| &named.name))
    }
}

/// A port before it is known what was learnt about it.
#[derive(Debug)]
pub(crate) struct Port {
    name: Box<str>,
    number: u16,
    protocol: Protocol,
    service: Arc<str>,
    connections: Option<ConnectionLimit>,
}

impl Port {
    /// Its connections stay counted when its workload changes.
    pub(crate) fn joined(&self, before: Option<&Arc<plait_model::Workload>>) -> WorkloadPort {
        WorkloadPort {
            name: self.name.clone(),
            port: self.number,
            protocol: self.protocol,
            service: self.service.clone(),
            connections: self.connections.clone(),
            gate: before.and_then(|before| before.port(self.number)).map(|port| port.gate.clone()).unwrap_or_default(),
        }
    }
}

pub(crate) fn workload(message: wire::Workload) -> Result<Workload, Refused> {
    let wire::Workload {
        namespace,
        name,
        service_account,
        address: process,
        ports,
        inbound,
        outbound,
        binds,
        zone,
        policies,
        inbound_plugins,
        outbound_plugins,
        redirected,
    } = message;
    SpiffeId::new("a", &namespace, &service_account).map_err(|error| Refused::new("service_account", error.1))?;
    Ok(Workload {
        namespace,
        name,
        service_account,
        address: address("address", &process)?,
        ports: each("ports", ports, |wire::WorkloadPort { name, port: number, protocol: spoken, service, connections }| {
            Ok(Port {
                name: name.into(),
                number: port("port", number)?,
                protocol: protocol("protocol", spoken)?,
                service: service.into(),
                connections: connections
                    .map(|limit| connection_limit(limit).map_err(|refused| refused.within("connections")))
                    .transpose()?,
            })
        })?,
        inbound: address("inbound", &inbound)?,
        outbound: (!outbound.is_empty()).then(|| address("outbound", &outbound)).transpose()?,
        binds: each("binds", binds, |wire::Bind { listen, destination, port: number, authority }| {
            Ok(Bind {
                listen: address("listen", &listen)?,
                destination: DestinationKey::from_contract(&destination),
                port: port("port", number)?,
                authority: authority.into(),
            })
        })?,
        redirected,
        zone,
        policies: each("policies", policies, |wire::PolicyRef { name, ports }| {
            let ports = each("ports", ports, |number| port("", number))?;
            Ok((name, ports))
        })?,
        inbound_plugins: plugin::inbound(inbound_plugins)?,
        outbound_plugins: plugin::outbound(outbound_plugins)?,
    })
}

pub(crate) fn connection_limit(message: wire::ConnectionLimit) -> Result<ConnectionLimit, Refused> {
    let wire::ConnectionLimit { max, max_pending, object: from } = message;
    let most = NonZeroU32::new(max).ok_or_else(|| Refused::new("max", "none at all would refuse every call"))?;
    Ok(ConnectionLimit { most, pending: max_pending, object: from.map(|from| object(Some(from))).transpose()? })
}
