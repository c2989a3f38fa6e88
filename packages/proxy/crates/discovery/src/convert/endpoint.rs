//! Endpoints of a Service. Those that stay the same keep their id and what was learnt about them.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use plait_model::{Endpoint, EndpointState, SpiffeId};
use plait_wire as wire;

use super::{Refused, address, each, port};

/// Endpoints by port of the Service.
pub(crate) type PortEndpoints = Vec<(u16, Vec<Arc<Endpoint>>)>;

/// Ids are never used again in this process, since pools are found by them.
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

pub(crate) fn endpoints(message: wire::Endpoints, before: Option<&PortEndpoints>) -> Result<PortEndpoints, Refused> {
    let wire::Endpoints { service: _, ports } = message;
    let old: HashMap<Content, &Arc<Endpoint>> =
        before.into_iter().flatten().flat_map(|(port, all)| all.iter().map(|one| (content(*port, one), one))).collect();
    each("ports", ports, |wire::PortEndpoints { port: number, endpoints }| {
        let number = port("port", number)?;
        let all = each("endpoints", endpoints, |message| {
            let new = Arc::new(endpoint(message)?);
            Ok(old.get(&content(number, &new)).map_or(new, |kept| (*kept).clone()))
        })?;
        Ok((number, all))
    })
}

type Content = (u16, Arc<str>, SocketAddr, Option<Arc<SpiffeId>>, Arc<str>, u16, Box<str>);

fn content(port: u16, one: &Endpoint) -> Content {
    (port, one.workload.clone(), one.address, one.identity.clone(), one.server_name.clone(), one.target_port, one.zone.clone())
}

fn endpoint(message: wire::Endpoint) -> Result<Endpoint, Refused> {
    let wire::Endpoint { workload, address: place, identity, server_name, target_port, zone } = message;
    let identity = match identity.as_str() {
        "" => None,
        text => Some(Arc::new(SpiffeId::parse(text).map_err(|error| Refused::new("identity", error))?)),
    };
    Ok(Endpoint {
        id: NEXT_ID.fetch_add(1, Relaxed),
        workload: workload.into(),
        address: address("address", &place)?,
        identity,
        server_name: server_name.into(),
        target_port: port("target_port", target_port)?,
        zone: zone.into(),
        state: Arc::new(EndpointState::default()),
    })
}
