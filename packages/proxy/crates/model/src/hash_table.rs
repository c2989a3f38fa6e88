//! Consistent hashing: which endpoint a hash belongs to. Built by `discovery/join` when endpoints change, read by the balancer for a request.
//! Every proxy that is told the same endpoints makes the same table, whatever their order; few hashes move when an endpoint comes or goes.

use crate::{Algorithm, Endpoint};

/// Points of an endpoint on the ring, where there is room for so many: shares differ by about a tenth.
const POINTS: usize = 100;
/// Points of a ring, however many endpoints there are: 3 MB. With more endpoints each has fewer.
const MOST_POINTS: usize = 1 << 18;
/// Places of a Maglev table, a prime as the algorithm wants: 256 KB. What is published of Maglev uses the same.
const PLACES: usize = 65_537;

/// Which endpoint a hash belongs to, as an index in `Backend::endpoints`.
#[derive(Debug)]
pub enum HashTable {
    /// Hashes in rising order, each with the endpoint that it and all below it belong to.
    Ring {
        /// Where the points stand.
        points: Box<[u64]>,
        /// Whose they are.
        owners: Box<[u32]>,
    },
    /// An endpoint for each remainder.
    Maglev {
        /// Whose each place is.
        owners: Box<[u32]>,
    },
}

impl HashTable {
    /// The table that an algorithm needs; `None` for one that does not hash, and without endpoints.
    pub fn new<E: AsRef<Endpoint>>(algorithm: Algorithm, endpoints: &[E]) -> Option<Self> {
        let mut names: Vec<(u64, u32)> = (0..).zip(endpoints).map(|(index, one)| (name(one.as_ref()), index)).collect();
        // The order of the list must not matter: two proxies may have been told it in different orders.
        names.sort_unstable();
        match algorithm {
            _ if names.is_empty() => None,
            Algorithm::RingHash => Some(ring(&names)),
            Algorithm::Maglev => Some(maglev(&names)),
            Algorithm::PeakEwma | Algorithm::LeastRequest | Algorithm::RoundRobin | Algorithm::Random => None,
        }
    }

    /// Where a hash falls.
    pub fn place(&self, hash: u64) -> usize {
        match self {
            Self::Ring { points, .. } => points.partition_point(|point| *point < hash) % points.len(),
            Self::Maglev { owners } => (hash % owners.len() as u64) as usize,
        }
    }

    /// The endpoint at `place`, and at those behind it.
    pub fn owners_from(&self, place: usize) -> impl Iterator<Item = usize> {
        let (Self::Ring { owners, .. } | Self::Maglev { owners }) = self;
        owners[place..].iter().chain(&owners[..place]).map(|owner| *owner as usize)
    }
}

fn ring(names: &[(u64, u32)]) -> HashTable {
    let each = (MOST_POINTS / names.len()).clamp(1, POINTS) as u64;
    let points_of = |&(name, index): &(u64, u32)| (0..each).map(move |nth| (mixed(name ^ mixed(nth)), index));
    let mut all: Vec<(u64, u32)> = names.iter().flat_map(points_of).collect();
    all.sort_unstable();
    let (points, owners): (Vec<_>, Vec<_>) = all.into_iter().unzip();
    HashTable::Ring { points: points.into(), owners: owners.into() }
}

/// As in "Maglev: a fast and reliable software network load balancer", 3.4: each endpoint in turn takes the next place that it prefers.
fn maglev(names: &[(u64, u32)]) -> HashTable {
    const FREE: u32 = u32::MAX;
    let mut owners = vec![FREE; PLACES];
    // Where each endpoint stands in its own order of all places, and how far it steps. PLACES is prime, so that any step meets every place.
    let mut turns: Vec<(usize, usize, u32)> = names
        .iter()
        .map(|(name, index)| ((name % PLACES as u64) as usize, (mixed(*name) % (PLACES as u64 - 1)) as usize + 1, *index))
        .collect();
    let mut free = PLACES;
    while free > 0 {
        for (place, step, index) in turns.iter_mut().take(free) {
            while owners[*place] != FREE {
                *place = (*place + *step) % PLACES;
            }
            owners[*place] = *index;
            free -= 1;
        }
    }
    HashTable::Maglev { owners: owners.into() }
}

/// What an endpoint is known by on every proxy.
fn name(endpoint: &Endpoint) -> u64 {
    let mut hash = StableHash::default();
    hash.add(endpoint.workload.as_bytes());
    hash.add(endpoint.address.to_string().as_bytes());
    hash.finish()
}

/// A hash that is the same in every process and every version: proxies must agree. FNV-1a with a finish that spreads it over all bits.
#[derive(Debug, Clone, Copy)]
pub struct StableHash(u64);

impl Default for StableHash {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl StableHash {
    /// Adds bytes; two calls differ from one call with both.
    pub fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self.0 = mixed(self.0);
    }

    /// The hash of all that was added.
    pub fn finish(self) -> u64 {
        mixed(self.0)
    }
}

/// The finish of MurmurHash3: each bit of the input changes half of those of the output.
fn mixed(mut value: u64) -> u64 {
    value = (value ^ (value >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    value = (value ^ (value >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    value ^ (value >> 33)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::EndpointState;

    const ALGORITHMS: [Algorithm; 2] = [Algorithm::RingHash, Algorithm::Maglev];

    fn endpoint(number: usize) -> Arc<Endpoint> {
        Arc::new(Endpoint {
            id: number as u64,
            workload: format!("ns/w-{number}").into(),
            address: "127.0.0.1:1".parse().unwrap(),
            identity: None,
            server_name: "".into(),
            target_port: 1,
            zone: "".into(),
            state: Arc::new(EndpointState::default()),
        })
    }

    fn hash(number: u64) -> u64 {
        let mut hash = StableHash::default();
        hash.add(&number.to_le_bytes());
        hash.finish()
    }

    /// Which endpoint, by its id, each of so many hashes belongs to.
    fn owners(algorithm: Algorithm, endpoints: &[Arc<Endpoint>], hashes: u64) -> Vec<u64> {
        let table = HashTable::new(algorithm, endpoints).unwrap();
        let owner = |hash| endpoints[table.owners_from(table.place(hash)).next().unwrap()].id;
        (0..hashes).map(|number| owner(hash(number))).collect()
    }

    #[test]
    fn a_hash_is_the_same_for_ever() {
        // Proxies of two versions share a mesh: a value that changes here moves every session of every user.
        assert_eq!([hash(0), hash(1)], [607_048_598_836_899_679, 2_845_779_321_408_405_183]);
    }

    #[test]
    fn shares_are_even_and_tables_bounded() {
        for algorithm in ALGORITHMS {
            for (count, most) in [(1, 1.0), (3, 1.3), (100, 1.5), (10_000, 3.5)] {
                let endpoints: Vec<_> = (0..count).map(endpoint).collect();
                let hashes = 200_000;
                let mut shares = vec![0_u32; count];
                owners(algorithm, &endpoints, hashes).into_iter().for_each(|owner| shares[owner as usize] += 1);
                let even = hashes as f64 / count as f64;
                let largest = f64::from(*shares.iter().max().unwrap()) / even;
                assert!(largest <= most, "{algorithm:?} {count}: {largest}");
                let table = HashTable::new(algorithm, &endpoints).unwrap();
                assert!(table.owners_from(0).count() <= MOST_POINTS);
            }
        }
    }

    #[test]
    fn what_does_not_hash_has_no_table() {
        let one = [endpoint(1)];
        for algorithm in [Algorithm::PeakEwma, Algorithm::LeastRequest, Algorithm::RoundRobin, Algorithm::Random] {
            assert!(HashTable::new(algorithm, &one).is_none());
        }
        assert!(ALGORITHMS.into_iter().all(|algorithm| HashTable::new::<Arc<Endpoint>>(algorithm, &[]).is_none()));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// Taking one of n endpoints away moves what was its own, and little beside it; the order of the list moves nothing.
        #[test]
        fn few_hashes_move(count in 2_usize..60, gone in any::<prop::sample::Index>(), turned in any::<prop::sample::Index>()) {
            for algorithm in ALGORITHMS {
                let all: Vec<_> = (0..count).map(endpoint).collect();
                let before = owners(algorithm, &all, 4_000);
                let mut shuffled = all.clone();
                shuffled.rotate_left(turned.index(count));
                prop_assert_eq!(&before, &owners(algorithm, &shuffled, 4_000));
                let gone = all[gone.index(count)].id;
                let rest: Vec<_> = all.iter().filter(|one| one.id != gone).cloned().collect();
                let after = owners(algorithm, &rest, 4_000);
                let moved = before.iter().zip(&after).filter(|(before, after)| before != after && **before != gone).count();
                // A ring moves nothing else at all; Maglev trades a little of that for even shares.
                let most = if algorithm == Algorithm::RingHash { 0 } else { 4_000 / 10 };
                prop_assert!(moved <= most, "{:?} {}: {} moved", algorithm, count, moved);
            }
        }
    }
}
