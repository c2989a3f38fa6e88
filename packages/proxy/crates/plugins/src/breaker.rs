//! Leaves out a plugin that keeps failing, for a while that doubles; then one call tries it again. Pure: the clock is an argument.

use std::time::{Duration, Instant};

/// Failures in a row that are enough.
const ENOUGH: u32 = 5;
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);

/// One plugin's, in one I/O thread.
#[derive(Debug, Default)]
pub(crate) struct Breaker {
    failures: u32,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    until: Instant,
    pause: Duration,
}

/// Whether it opened or closed just now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    None,
    Opened,
    Closed,
}

impl Breaker {
    pub(crate) fn is_closed(&self) -> bool {
        self.open.is_none()
    }

    /// The plugin may be asked. When its pause is over one caller may, and the next pause begins for all others.
    pub(crate) fn permits(&mut self, now: Instant) -> bool {
        let Some(open) = &mut self.open else { return true };
        if now < open.until {
            return false;
        }
        open.until = now + open.pause;
        true
    }

    pub(crate) fn succeeded(&mut self) -> Change {
        self.failures = 0;
        if self.open.take().is_some() { Change::Closed } else { Change::None }
    }

    pub(crate) fn failed(&mut self, now: Instant) -> Change {
        self.failures = self.failures.saturating_add(1);
        match &mut self.open {
            Some(open) => {
                open.pause = (open.pause * 2).min(LONGEST);
                open.until = now + open.pause;
                Change::None
            }
            None if self.failures >= ENOUGH => {
                self.open = Some(Open { until: now + FIRST, pause: FIRST });
                Change::Opened
            }
            None => Change::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_failures_in_a_row_open_it_and_one_success_closes_it() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        for _ in 0..4 {
            assert_eq!(breaker.failed(now), Change::None);
        }
        assert_eq!(breaker.succeeded(), Change::None);
        for _ in 0..4 {
            assert_eq!(breaker.failed(now), Change::None);
            assert!(breaker.permits(now));
        }
        assert_eq!(breaker.failed(now), Change::Opened);
        assert!(!breaker.permits(now));
        let later = now + FIRST;
        assert!(breaker.permits(later));
        assert!(!breaker.permits(later), "one caller tries");
        assert_eq!(breaker.succeeded(), Change::Closed);
        assert!(breaker.permits(later));
    }

    #[test]
    fn the_pause_doubles_up_to_a_minute() {
        let (mut breaker, mut now) = (Breaker::default(), Instant::now());
        for _ in 0..5 {
            breaker.failed(now);
        }
        let mut pause = FIRST;
        for _ in 0..10 {
            now += pause;
            assert!(breaker.permits(now), "after {pause:?}");
            breaker.failed(now);
            assert!(!breaker.permits(now + pause), "longer than {pause:?}, or the longest");
            pause = (pause * 2).min(LONGEST);
            if pause == LONGEST {
                break;
            }
        }
    }
}
