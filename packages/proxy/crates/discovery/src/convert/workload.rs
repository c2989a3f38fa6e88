//! Workload. Its policies are joined where all resources are known.

use std::net::{IpAddr, SocketAddr};

use plait_model::{Bind, DestinationKey, SpiffeId, WorkloadPort};
use plait_wire as wire;

use super::{Refused, address, each, port, protocol};

/// A workload before its policies are joined.
#[derive(Debug)]
pub(crate) struct Workload {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) service_account: String,
    pub(crate) address: IpAddr,
    pub(crate) ports: Vec<(String, u16, plait_model::Protocol, String)>,
    pub(crate) inbound: SocketAddr,
    pub(crate) outbound: Option<SocketAddr>,
    pub(crate) binds: Vec<Bind>,
    pub(crate) zone: String,
    /// Name of the policy, ports it covers.
    pub(crate) policies: Vec<(String, Vec<u16>)>,
}

impl Workload {
    pub(crate) fn model_ports(&self) -> Vec<WorkloadPort> {
        let convert = |(name, port, protocol, service): &(String, u16, plait_model::Protocol, String)| WorkloadPort {
            name: name.as_str().into(),
            port: *port,
            protocol: *protocol,
            service: service.as_str().into(),
        };
        self.ports.iter().map(convert).collect()
    }
}

pub(crate) fn workload(message: wire::Workload) -> Result<Workload, Refused> {
    let wire::Workload { namespace, name, service_account, address: process, ports, inbound, outbound, binds, zone, policies } = message;
    SpiffeId::new("a", &namespace, &service_account).map_err(|error| Refused::new("service_account", error.1))?;
    Ok(Workload {
        namespace,
        name,
        service_account,
        address: address("address", &process)?,
        ports: each("ports", ports, |wire::WorkloadPort { name, port: number, protocol: spoken, service }| {
            Ok((name, port("port", number)?, protocol("protocol", spoken)?, service))
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
        zone,
        policies: each("policies", policies, |wire::PolicyRef { name, ports }| {
            let ports = each("ports", ports, |number| port("", number))?;
            Ok((name, ports))
        })?,
    })
}
