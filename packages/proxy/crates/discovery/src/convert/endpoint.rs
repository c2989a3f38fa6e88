//! Endpoints of a Service, and workloads that are called directly. Those that stay the same keep their id and what was learnt about them.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use plait_model::{Direct, Endpoint, EndpointState, SpiffeId};
use plait_wire as wire;

use super::{Refused, address, each, port, protocol};

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
    let identity = proven(&identity)?;
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

/// The identity that a peer must prove.
fn proven(identity: &str) -> Result<Option<Arc<SpiffeId>>, Refused> {
    match identity {
        "" => Ok(None),
        text => SpiffeId::parse(text).map(|parsed| Some(Arc::new(parsed))).map_err(|error| Refused::new("identity", error)),
    }
}

/// A workload that is called at its own address.
pub(crate) fn direct(message: wire::Direct) -> Result<Direct, Refused> {
    let wire::Direct { address: place, workload, inbound, identity, server_name, zone, ports } = message;
    let proxy = match (inbound.is_empty(), proven(&identity)?) {
        (false, Some(identity)) => Some((address("inbound", &inbound)?, identity)),
        (true, None) => None,
        // Half of it would mean plaintext to who must prove an identity.
        (_, _) => return Err(Refused::new("identity", "it belongs to an inbound, and an inbound to it")),
    };
    Ok(Direct {
        address: address("address", &place)?,
        workload: workload.into(),
        proxy,
        server_name: server_name.into(),
        zone: zone.into(),
        ports: each("ports", ports, |wire::DirectPort { port: number, protocol: spoken }| {
            Ok((port("port", number)?, protocol("protocol", spoken)?))
        })?,
        id: NEXT_ID.fetch_add(1, Relaxed),
        state: Arc::new(EndpointState::default()),
    })
}
