//! What of a request chooses its endpoint, where the backend's algorithm hashes. Called once a request; `balance::pick` takes the result.

use std::net::IpAddr;

use plait_model::{Backend, HashOn, Peer, RequestHead, StableHash};

use crate::cookie;

/// The hash of the request for `backend`. `None`: its algorithm does not hash, or the request has none of what is hashed.
pub fn of_request(backend: &Backend, head: &RequestHead, peer: &Peer) -> Option<u64> {
    backend.hash_table.as_ref()?;
    let mut hash = StableHash::default();
    match &backend.traffic.hash_on {
        // The authority stands for Host, which no head has among its fields.
        HashOn::Header(name) if &**name == "host" => hash.add(head.authority.as_bytes()),
        HashOn::Header(name) => {
            head.headers.first(name)?;
            head.headers.all(name).for_each(|value| hash.add(value));
        }
        HashOn::Cookie(name) => hash.add(cookie::values(head, name).next()?),
        HashOn::Address => match peer.address.to_canonical() {
            IpAddr::V4(address) => hash.add(&address.octets()),
            IpAddr::V6(address) => hash.add(&address.octets()),
        },
        HashOn::Identity => hash.add(peer.identity.as_ref()?.as_str().as_bytes()),
    }
    Some(hash.finish())
}
