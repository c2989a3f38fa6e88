//! How long to wait before what ended is started again. Pure: the clock is an argument.

use std::time::{Duration, Instant};

/// What ends sooner than this after the last one did not serve.
const SOON: Duration = Duration::from_secs(5);
/// The pause before the second that died soon; it doubles.
const PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// The pause before what did not start is tried again; it doubles.
const RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// Of one group.
#[derive(Debug, Default)]
pub(super) struct Pauses {
    deaths: u32,
    last_death: Option<Instant>,
    starts: u32,
}

impl Pauses {
    /// None after the first death in a while, doubling after that.
    pub(super) fn after_death(&mut self, now: Instant) -> Duration {
        let soon = self.last_death.replace(now).is_some_and(|last| now.duration_since(last) < SOON);
        self.deaths = if soon { self.deaths + 1 } else { 0 };
        if self.deaths == 0 { Duration::ZERO } else { (PAUSE * (1 << self.deaths.min(10))).min(LONGEST_PAUSE) }
    }

    /// Doubling from one failed start to the next.
    pub(super) fn after_start(&mut self) -> Duration {
        let pause = (RETRY * (1 << self.starts.min(6))).min(LONGEST_RETRY);
        self.starts += 1;
        pause
    }

    /// Something new is wanted.
    pub(super) fn begin(&mut self) {
        self.starts = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_death_now_and_then_costs_no_pause_and_many_in_a_row_cost_more_and_more() {
        let (mut pauses, mut now) = (Pauses::default(), Instant::now());
        assert_eq!(pauses.after_death(now), Duration::ZERO);
        now += SOON;
        assert_eq!(pauses.after_death(now), Duration::ZERO);
        let row: Vec<_> = (0..10).map(|_| pauses.after_death(now)).collect();
        assert!(row.is_sorted() && row[0] == PAUSE * 2 && row[9] == LONGEST_PAUSE, "{row:?}");
    }

    #[test]
    fn failed_starts_are_a_second_apart_and_a_minute_in_the_end_until_something_new_is_wanted() {
        let mut pauses = Pauses::default();
        let row: Vec<_> = (0..8).map(|_| pauses.after_start()).collect();
        assert_eq!((row[0], row[1], row[7]), (RETRY, RETRY * 2, LONGEST_RETRY));
        pauses.begin();
        assert_eq!(pauses.after_start(), RETRY);
    }
}
