//! A histogram of durations with fixed bounds. Used by `requests`.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// Upper bounds: nanoseconds, and seconds as the text has them. From a fast answer on one machine to the longest that anybody waits for.
pub(crate) const BOUNDS: [(u64, &str); 18] = [
    (100_000, "0.0001"),
    (200_000, "0.0002"),
    (500_000, "0.0005"),
    (1_000_000, "0.001"),
    (2_000_000, "0.002"),
    (5_000_000, "0.005"),
    (10_000_000, "0.01"),
    (20_000_000, "0.02"),
    (50_000_000, "0.05"),
    (100_000_000, "0.1"),
    (200_000_000, "0.2"),
    (500_000_000, "0.5"),
    (1_000_000_000, "1"),
    (2_000_000_000, "2"),
    (5_000_000_000, "5"),
    (10_000_000_000, "10"),
    (20_000_000_000, "20"),
    (60_000_000_000, "60"),
];

/// Counts by bucket; the last has no upper bound.
#[derive(Debug, Default)]
pub(crate) struct Histogram {
    buckets: [AtomicU64; BOUNDS.len() + 1],
    nanos: AtomicU64,
}

impl Histogram {
    /// Counts one observation; a bound belongs to its bucket.
    pub(crate) fn observe(&self, took: Duration) {
        let nanos = took.as_nanos() as u64; // 584 years
        let bucket = BOUNDS.partition_point(|(bound, _)| *bound < nanos);
        self.buckets[bucket].fetch_add(1, Relaxed);
        self.nanos.fetch_add(nanos, Relaxed);
    }

    /// Cumulative counts by upper bound, "+Inf" last, and the sum in seconds.
    pub(crate) fn read(&self) -> (impl Iterator<Item = (&'static str, u64)>, f64) {
        let bounds = BOUNDS.iter().map(|(_, seconds)| *seconds).chain(["+Inf"]);
        let mut total = 0;
        let buckets = bounds.zip(&self.buckets).map(move |(bound, count)| {
            total += count.load(Relaxed);
            (bound, total)
        });
        (buckets, self.nanos.load(Relaxed) as f64 / 1e9)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_rise_and_say_what_they_are() {
        for ((nanos, seconds), next) in BOUNDS.iter().zip(&BOUNDS[1..]) {
            assert!(nanos < &next.0);
            assert_eq!(seconds.parse::<f64>().unwrap(), *nanos as f64 / 1e9);
        }
    }

    #[test]
    fn an_observation_counts_in_every_bucket_that_it_fits() {
        for (nanos, first) in [
            (0, "0.0001"),
            (100_000, "0.0001"),
            (100_001, "0.0002"),
            (1_500_000, "0.002"),
            (60_000_000_000, "60"),
            (60_000_000_001, "+Inf"),
            (u64::MAX / 2, "+Inf"),
        ] {
            let histogram = Histogram::default();
            histogram.observe(Duration::from_nanos(nanos));
            let (mut buckets, sum) = histogram.read();
            assert_eq!(buckets.find(|(_, count)| *count == 1).unwrap().0, first, "{nanos}");
            assert!(buckets.all(|(_, count)| count == 1), "{nanos}");
            assert_eq!(sum, nanos as f64 / 1e9);
        }
    }
}
