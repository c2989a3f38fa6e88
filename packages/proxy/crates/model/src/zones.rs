//! The endpoints of a backend by zone, for callers that prefer their own. Built when endpoints change, never for a request; how many are fit is
//! counted from time to time by `plait-decide`, which alone chooses.

use std::sync::{
    Arc,
    atomic::{AtomicU32, AtomicU64},
};

use crate::{Algorithm, Endpoint, HashTable};

/// More zones are none: each has a table of its own where the algorithm hashes.
const MOST: usize = 64;

/// `loadBalancer.zoneAware`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ZoneAware {
    /// With fewer fit endpoints in the caller's zone, zones are not looked at.
    pub min_endpoints: u32,
}

/// All zones of a backend, by name.
#[derive(Debug)]
pub struct Zones {
    /// In the order of their names.
    pub all: Vec<Zone>,
    /// When the fit were counted last, nanoseconds of the caller's clock; 0 = never.
    pub counted_at_nanos: AtomicU64,
}

/// A zone and its endpoints.
#[derive(Debug)]
pub struct Zone {
    /// May be empty: the endpoints that stand in none.
    pub name: Box<str>,
    /// Its endpoints.
    pub endpoints: Vec<Arc<Endpoint>>,
    /// Which of them a hash belongs to; `None` where the algorithm does not hash.
    pub hash_table: Option<HashTable>,
    /// How many were fit when they were counted last.
    pub fit: AtomicU32,
    /// The turn of the round robin.
    pub turn: AtomicU32,
}

impl Zones {
    /// Of these endpoints; `None` when all stand in one zone, or in too many.
    pub fn new(algorithm: Algorithm, endpoints: &[Arc<Endpoint>]) -> Option<Self> {
        let mut sorted = endpoints.to_vec();
        sorted.sort_by(|one, other| one.zone.cmp(&other.zone));
        let count = sorted.chunk_by(|one, other| one.zone == other.zone).count();
        if !(2..=MOST).contains(&count) {
            return None;
        }
        let zone = |endpoints: &[Arc<Endpoint>]| Zone {
            name: endpoints[0].zone.clone(),
            endpoints: endpoints.to_vec(),
            hash_table: HashTable::new(algorithm, endpoints),
            fit: AtomicU32::new(endpoints.len() as u32),
            turn: AtomicU32::new(0),
        };
        let all = sorted.chunk_by(|one, other| one.zone == other.zone).map(zone).collect();
        Some(Self { all, counted_at_nanos: AtomicU64::new(0) })
    }

    /// The index of the zone of that name.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.all.binary_search_by(|zone| (*zone.name).cmp(name)).ok()
    }
}
