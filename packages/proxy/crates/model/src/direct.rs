//! A workload that is called at its own address instead of through a Service: no route and no traffic setting shapes such a call.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use crate::{Backend, BackendState, BackendTraffic, Endpoint, EndpointState, Protocol, Sessions, SpiffeId};

/// One workload, as callers of its own address see it.
#[derive(Debug)]
pub struct Direct {
    /// Its address.
    pub address: IpAddr,
    /// "namespace/name".
    pub workload: Arc<str>,
    /// Its proxy, and whom that must prove to be; `None` = it has none, and its process is called in plaintext.
    pub proxy: Option<(SocketAddr, Arc<SpiffeId>)>,
    /// SNI of a connection to its proxy, `<workload>.<namespace>.<trust domain>`.
    pub server_name: Arc<str>,
    /// Zone, may be empty.
    pub zone: Box<str>,
    /// Ports of which something is known; any other may be called too.
    pub ports: Vec<(u16, Protocol)>,
    /// Unique in this process: no other endpoint has it.
    pub id: u64,
    /// What was learnt about it.
    pub state: Arc<EndpointState>,
}

impl Direct {
    /// What is spoken on a port.
    pub fn protocol(&self, port: u16) -> Protocol {
        self.ports.iter().find(|(number, _)| *number == port).map_or(Protocol::Auto, |(_, protocol)| *protocol)
    }

    /// A port of its process, as a call finds it that has no choice.
    pub fn backend(&self, port: u16) -> Backend {
        let (address, identity) = match &self.proxy {
            Some((address, identity)) => (*address, Some(identity.clone())),
            None => (SocketAddr::new(self.address, port), None),
        };
        let endpoint = Endpoint {
            id: self.id,
            workload: self.workload.clone(),
            address,
            identity,
            server_name: self.server_name.clone(),
            target_port: port,
            zone: self.zone.clone(),
            state: self.state.clone(),
        };
        Backend {
            key: self.workload.clone(),
            service: (*self.workload).into(),
            port,
            protocol: self.protocol(port),
            endpoints: vec![Arc::new(endpoint)],
            traffic: BackendTraffic::default(),
            hash_table: None,
            sessions: Sessions::default(),
            zones: None,
            state: Arc::new(BackendState::default()),
        }
    }
}
