//! In which zone a request stays, where the backend prefers the caller's own. Called by `balance`, which chooses among the zone's endpoints.
//!
//! Callers are taken to be spread evenly over the zones that have endpoints, so that each zone has the same share of the load to carry. A zone
//! whose fit endpoints can carry its share, as parts of all that are fit, keeps its callers to itself; another keeps as much as it can
//! carry, and what is left goes to zones with room, by how much they have. Then every endpoint gets the same load, and no more than need be
//! crosses zones.

use std::sync::atomic::Ordering::Relaxed;

use plait_model::{Backend, Endpoint, StableHash, Zone, Zones};

/// The fit are counted this often: a count looks at every endpoint, which no request may do.
const COUNTED_FOR_NANOS: u64 = 200_000_000;

/// Fractions of this many parts.
const PARTS: u64 = 1 << 20;

/// What part of a zone's callers stays in it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stay {
    /// Of 1.
    pub part: f64,
    /// Fit endpoints of the zone.
    pub fit: u32,
    /// Fit endpoints of all zones.
    pub of: u32,
}

/// The zone that the request goes to; `None` = zones do not matter. Requests of one hash go to one zone, as long as the same are fit.
pub(crate) fn choose<'b>(
    backend: &'b Backend,
    (caller, hash): (&str, Option<u64>),
    now_nanos: u64,
    fit: impl Fn(&Endpoint) -> bool,
    roll: &mut impl FnMut(usize) -> usize,
) -> Option<&'b Zone> {
    let (zones, own) = found(backend, caller)?;
    count(zones, now_nanos, fit);
    let stay = stays(backend, zones, own)?;
    if stay.part >= 1.0 {
        return Some(&zones.all[own]);
    }
    let part = match hash {
        // Apart from the place on the ring or in the table, which the same hash gives.
        Some(hash) => spread(hash) % PARTS,
        None => roll(PARTS as usize) as u64,
    };
    let kept = (stay.part * PARTS as f64) as u64;
    if part < kept {
        return Some(&zones.all[own]);
    }
    let share = share(zones);
    let room = |zone: &Zone| room(zone, share, stay.of);
    let all: f64 = zones.all.iter().map(room).sum();
    let mut point = (part - kept) as f64 / (PARTS - kept) as f64 * all;
    zones.all.iter().find(|zone| {
        point -= room(zone);
        point < 0.0
    })
}

/// What part of the callers in `zone` stays there, by the last count; `None` = zones do not matter to them.
pub fn stay(backend: &Backend, zone: &str) -> Option<Stay> {
    let (zones, own) = found(backend, zone)?;
    stays(backend, zones, own)
}

fn found<'b>(backend: &'b Backend, zone: &str) -> Option<(&'b Zones, usize)> {
    let zones = backend.zones.as_ref().filter(|_| !zone.is_empty())?;
    Some((zones, zones.find(zone)?))
}

fn stays(backend: &Backend, zones: &Zones, own: usize) -> Option<Stay> {
    let least = backend.traffic.zone_aware.as_ref()?.min_endpoints.max(1);
    let fit = zones.all[own].fit.load(Relaxed);
    let of = zones.all.iter().map(|zone| zone.fit.load(Relaxed)).sum();
    (fit >= least).then(|| Stay { part: (carried(fit, of) / share(zones)).min(1.0), fit, of })
}

/// The part of the load that so many endpoints carry.
fn carried(fit: u32, of: u32) -> f64 {
    f64::from(fit) / f64::from(of.max(1))
}

/// The part of the load that comes from each zone. Endpoints that stand in none have no callers of their own.
fn share(zones: &Zones) -> f64 {
    let callers = zones.all.iter().filter(|zone| !zone.name.is_empty()).count();
    1.0 / callers.max(1) as f64
}

/// What a zone carries beyond the share of its own callers.
fn room(zone: &Zone, share: f64, of: u32) -> f64 {
    let own = if zone.name.is_empty() { 0.0 } else { share };
    (carried(zone.fit.load(Relaxed), of) - own).max(0.0)
}

/// Counts the fit again, when it is time; of several workers one counts.
fn count(zones: &Zones, now_nanos: u64, fit: impl Fn(&Endpoint) -> bool) {
    let before = zones.counted_at_nanos.load(Relaxed);
    if before > 0 && now_nanos.saturating_sub(before) < COUNTED_FOR_NANOS {
        return;
    }
    if zones.counted_at_nanos.compare_exchange(before, now_nanos.max(1), Relaxed, Relaxed).is_ok() {
        for zone in &zones.all {
            zone.fit.store(zone.endpoints.iter().filter(|endpoint| fit(endpoint)).count() as u32, Relaxed);
        }
    }
}

fn spread(hash: u64) -> u64 {
    let mut spread = StableHash::default();
    spread.add(b"zone");
    spread.add(&hash.to_be_bytes());
    spread.finish()
}
