//! Which endpoint gets the next request, and what is learnt from the answer.

use std::sync::{
    Arc,
    atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
};

use plait_model::{Algorithm, Backend, Endpoint, HashTable, Zone};

use crate::{health, slow_start, zone};

/// The average forgets a past latency within about this time.
const DECAY_NANOS: f64 = 10e9;

/// The latency that an endpoint is given before it was measured: low, so that a new one is tried soon.
const FIRST_NANOS: u64 = 1_000_000;

/// A refused dial keeps an endpoint out for this long, doubled each time in a row.
const EJECTION_NANOS: u64 = 1_000_000_000;

/// The longest ejection.
const LONGEST_EJECTION_NANOS: u64 = 30 * EJECTION_NANOS;

/// What was not measured for so long may be otherwise by now.
const STALE_NANOS: u64 = 1_000_000_000;

/// Of so many chances an endpoint whose latency was measured long ago gets one, however slow it was: else one slow answer would shut it out until
/// the average has forgotten it, and it may be as fast as the others.
const CHANCES: usize = 16;

/// With slow start, so many candidates are drawn at most: then all are still to grow, and any will do.
const DRAWS: usize = 16;

/// However many endpoints there are, no request looks at more than so many of them.
const PROBES: usize = 64;

/// What of a request and its caller matters to the choice.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wanted<'w> {
    /// See [`crate::hash`]; chooses where the backend's algorithm hashes.
    pub hash: Option<u64>,
    /// Indexes of endpoints, best first: the first of them that is fit, before anything else is asked.
    pub ranked: &'w [usize],
    /// The index of the endpoint of its session, see [`crate::session`]: the one as long as it is fit.
    pub session: Option<usize>,
    /// The caller's zone, may be empty.
    pub zone: &'w str,
}

impl From<Option<u64>> for Wanted<'_> {
    fn from(hash: Option<u64>) -> Self {
        Self { hash, ..Self::default() }
    }
}

/// An endpoint for one more try. Those in `tried`, those ejected and those that fail their checks are passed over while there are others; when
/// all are, one that was not tried yet still goes before one that was. `None` = there are no endpoints, or none that may be asked
/// (see [`health::is_closed`]).
///
/// `roll(n)` gives a number in `0..n`.
pub fn pick<'b, 'w>(
    backend: &'b Backend,
    wanted: impl Into<Wanted<'w>>,
    tried: &[u64],
    now_nanos: u64,
    mut roll: impl FnMut(usize) -> usize,
) -> Option<&'b Arc<Endpoint>> {
    let wanted = wanted.into();
    let view = View { backend, tried, now_nanos, panics: health::panics(backend) };
    let chosen = match backend.endpoints.as_slice() {
        [] => return None,
        [only] => only,
        all => {
            let (session, among) = (wanted.session.and_then(|index| all.get(index)), Among::all(backend));
            let best = wanted.ranked.iter().filter_map(|index| all.get(*index)).find(|one| view.is_fit(one));
            let one = best.or_else(|| session.filter(|one| view.is_fit(one))).or_else(|| view.in_zone(wanted, &mut roll));
            one.or_else(|| view.fit(among, wanted.hash, &mut roll)).unwrap_or_else(|| view.last_resort(roll(all.len())))
        }
    };
    (!health::is_closed(backend) || !view.is_unhealthy(chosen)).then_some(chosen)
}

/// The endpoints that `pick` would choose among, with their indexes.
pub fn fit<'b>(backend: &'b Backend, tried: &[u64], now_nanos: u64) -> impl Iterator<Item = (usize, &'b Arc<Endpoint>)> {
    let view = View { backend, tried, now_nanos, panics: health::panics(backend) };
    backend.endpoints.iter().enumerate().filter(move |(_, endpoint)| view.is_fit(endpoint))
}

/// Those among whom one is chosen: all endpoints, or those of a zone.
#[derive(Clone, Copy)]
struct Among<'b> {
    endpoints: &'b [Arc<Endpoint>],
    table: Option<&'b HashTable>,
    turn: &'b AtomicU32,
}

impl<'b> Among<'b> {
    fn all(backend: &'b Backend) -> Self {
        Self { endpoints: &backend.endpoints, table: backend.hash_table.as_ref(), turn: &backend.state.turn }
    }

    fn zone(zone: &'b Zone) -> Self {
        Self { endpoints: &zone.endpoints, table: zone.hash_table.as_ref(), turn: &zone.turn }
    }
}

/// The endpoints as one try sees them.
struct View<'b, 't> {
    backend: &'b Backend,
    tried: &'t [u64],
    now_nanos: u64,
    panics: bool,
}

impl<'b> View<'b, '_> {
    /// One of the caller's zone, or of that to which it spills over; `None` = zones do not matter, or nobody there is fit.
    fn in_zone(&self, wanted: Wanted<'_>, roll: &mut impl FnMut(usize) -> usize) -> Option<&'b Arc<Endpoint>> {
        let zone = zone::choose(self.backend, (wanted.zone, wanted.hash), self.now_nanos, |endpoint| self.is_up(endpoint), roll)?;
        self.fit(Among::zone(zone), wanted.hash, roll)
    }

    /// One that is fit, by the backend's algorithm; `None` = none of those looked at is.
    fn fit(&self, among: Among<'b>, hash: Option<u64>, roll: &mut impl FnMut(usize) -> usize) -> Option<&'b Arc<Endpoint>> {
        match among.endpoints {
            [only] => Some(only).filter(|only| self.is_fit(only)),
            _ => self.owner(among, hash).or_else(|| self.choose(among, roll)),
        }
    }

    /// The endpoint that a hash belongs to, or the next one that is fit.
    fn owner(&self, among: Among<'b>, hash: Option<u64>) -> Option<&'b Arc<Endpoint>> {
        let table = among.table?;
        let owners = table.owners_from(table.place(hash?)).take(PROBES);
        owners.map(|owner| &among.endpoints[owner]).find(|owner| self.is_fit(owner))
    }

    /// By latency, load, turn or chance. There are at least two endpoints.
    fn choose(&self, among: Among<'b>, roll: &mut impl FnMut(usize) -> usize) -> Option<&'b Arc<Endpoint>> {
        let all = among.endpoints;
        let (first, one) = self.candidate(among, roll)?;
        let cost: fn(&Endpoint, u64) -> f64 = match self.backend.traffic.algorithm {
            Algorithm::RoundRobin | Algorithm::Random | Algorithm::RingHash | Algorithm::Maglev => return Some(one),
            Algorithm::LeastRequest => |endpoint, _| f64::from(endpoint.state.in_flight.load(Relaxed)),
            Algorithm::PeakEwma => |endpoint, now| ewma(endpoint, now) * f64::from(endpoint.state.in_flight.load(Relaxed) + 1),
        };
        // The second choice differs from the first where it can.
        let second = (first + 1 + roll(all.len() - 1)) % all.len();
        let other = from_place(all, second).find(|endpoint| self.is_fit(endpoint)).filter(|endpoint| self.has_grown(endpoint, roll));
        let Some(other) = other else { return Some(one) };
        let (better, worse) = if cost(other, self.now_nanos) < cost(one, self.now_nanos) { (other, one) } else { (one, other) };
        if self.backend.traffic.algorithm == Algorithm::PeakEwma && is_asked_again(worse, self.now_nanos, roll) {
            return Some(worse);
        }
        Some(better)
    }

    /// From a random (or the next) place the first endpoint that is fit. One that is still to grow is a candidate as seldom as its share says.
    fn candidate(&self, among: Among<'b>, roll: &mut impl FnMut(usize) -> usize) -> Option<(usize, &'b Arc<Endpoint>)> {
        let mut found = None;
        for _ in 0..DRAWS {
            let first = start(self.backend.traffic.algorithm, among, roll);
            let one = from_place(among.endpoints, first).find(|endpoint| self.is_fit(endpoint))?;
            found = Some((first, one));
            if self.has_grown(one, roll) {
                break;
            }
        }
        found
    }

    /// None of those looked at is fit, and a refusal is better than none asked: one that passes its checks before one that does not, one that
    /// was not tried before one that was.
    fn last_resort(&self, from: usize) -> &'b Arc<Endpoint> {
        let all = self.backend.endpoints.as_slice();
        let untried = |endpoint: &&'b Arc<Endpoint>| !self.tried.contains(&endpoint.id);
        let healthy = from_place(all, from).find(|endpoint| untried(endpoint) && !self.is_unhealthy(endpoint));
        healthy.or_else(|| from_place(all, from).find(untried)).unwrap_or(&all[from])
    }

    fn is_fit(&self, endpoint: &Endpoint) -> bool {
        !self.tried.contains(&endpoint.id) && self.is_up(endpoint)
    }

    /// Whether it is fit for other requests too.
    fn is_up(&self, endpoint: &Endpoint) -> bool {
        let ejected = |until: &AtomicU64| until.load(Relaxed) > self.now_nanos;
        let state = &endpoint.state;
        // A refused dial is certain and lasts for moments: it counts whatever the others do.
        !ejected(&state.ejected_until_nanos)
            && (self.panics || !ejected(&state.outlier.ejected_until_nanos) && !self.is_unhealthy(endpoint))
    }

    fn is_unhealthy(&self, endpoint: &Endpoint) -> bool {
        self.backend.traffic.health_check.is_some() && endpoint.state.health.unhealthy.load(Relaxed)
    }

    fn has_grown(&self, endpoint: &Endpoint, roll: &mut impl FnMut(usize) -> usize) -> bool {
        let Some(window) = self.backend.traffic.slow_start else { return true };
        let share = slow_start::share(endpoint, window, self.now_nanos);
        share == slow_start::WHOLE || roll(slow_start::WHOLE as usize) < share as usize
    }
}

fn start(algorithm: Algorithm, among: Among<'_>, roll: &mut impl FnMut(usize) -> usize) -> usize {
    let count = among.endpoints.len();
    match algorithm {
        Algorithm::RoundRobin => among.turn.fetch_add(1, Relaxed) as usize % count,
        Algorithm::PeakEwma | Algorithm::LeastRequest | Algorithm::Random | Algorithm::RingHash | Algorithm::Maglev => roll(count),
    }
}

/// The endpoint at `from`, then others: all of a few; of many a sample from everywhere, since neighbours in the list often fail together.
fn from_place(all: &[Arc<Endpoint>], from: usize) -> impl Iterator<Item = &Arc<Endpoint>> {
    let stride = if all.len() <= PROBES { 1 } else { all.len() / PROBES };
    (0..all.len().min(PROBES)).map(move |step| &all[(from + step * stride) % all.len()])
}

fn ewma(endpoint: &Endpoint, now_nanos: u64) -> f64 {
    let value = match endpoint.state.ewma_nanos.load(Relaxed) {
        0 => FIRST_NANOS,
        measured => measured,
    };
    let idle = now_nanos.saturating_sub(endpoint.state.ewma_at_nanos.load(Relaxed)) as f64;
    value as f64 * (-idle / DECAY_NANOS).exp()
}

/// Whether the endpoint is asked although it was slower: its latency is an old one, and its turn has come.
fn is_asked_again(endpoint: &Endpoint, now_nanos: u64, roll: &mut impl FnMut(usize) -> usize) -> bool {
    let state = &endpoint.state;
    let last = state.ewma_at_nanos.load(Relaxed).max(state.asked_again_nanos.load(Relaxed));
    let due = state.ewma_nanos.load(Relaxed) != 0
        && state.in_flight.load(Relaxed) == 0
        && now_nanos.saturating_sub(last) >= STALE_NANOS
        && roll(CHANCES) == 0;
    if due {
        state.asked_again_nanos.store(now_nanos, Relaxed);
    }
    due
}

/// A request left for the endpoint.
pub fn started(endpoint: &Endpoint) {
    endpoint.state.in_flight.fetch_add(1, Relaxed);
}

/// A request that `started` ended, whatever its end; `latency_nanos` until the head of the answer, `None` when there was none.
pub fn finished(endpoint: &Endpoint, latency_nanos: Option<u64>, now_nanos: u64) {
    let state = &endpoint.state;
    state.in_flight.fetch_sub(1, Relaxed);
    let Some(latency) = latency_nanos else { return };
    let (old, at) = (state.ewma_nanos.load(Relaxed), state.ewma_at_nanos.load(Relaxed));
    // A peak counts at once and whole, and so does what an endpoint says that was asked again for the age of its average; else what is faster
    // than the average pulls it down slowly.
    let new = if old == 0 || latency > old || state.asked_again_nanos.load(Relaxed) > at {
        latency
    } else {
        let elapsed = now_nanos.saturating_sub(at) as f64;
        let weight = (-elapsed / DECAY_NANOS).exp();
        (old as f64 * weight + latency as f64 * (1.0 - weight)) as u64
    };
    state.ewma_nanos.store(new.max(1), Relaxed);
    state.ewma_at_nanos.store(now_nanos, Relaxed);
}

/// The endpoint could be dialled: it is back for everybody.
pub fn reached(endpoint: &Endpoint) {
    endpoint.state.failures.store(0, Relaxed);
    endpoint.state.ejected_until_nanos.store(0, Relaxed);
}

/// Nothing could be delivered to the endpoint: others are asked for a while.
///
/// Dials that were under way together fail together: of them only the first counts, else one crash under load would be the longest ejection.
pub fn refused(endpoint: &Endpoint, now_nanos: u64) {
    let state = &endpoint.state;
    let until = state.ejected_until_nanos.load(Relaxed);
    if until > now_nanos {
        return;
    }
    let length = (EJECTION_NANOS << state.failures.load(Relaxed).min(10)).min(LONGEST_EJECTION_NANOS);
    if state.ejected_until_nanos.compare_exchange(until, now_nanos.saturating_add(length), Relaxed, Relaxed).is_ok() {
        state.failures.fetch_add(1, Relaxed);
    }
}
