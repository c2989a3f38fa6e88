//! Whether a request may be tried again, and how much of that the mesh allows.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use plait_model::{Retries, RetryBudget};

/// Without `retries` of the user, what was certainly not delivered is still tried elsewhere this often.
const UNDELIVERED_ATTEMPTS: u32 = 3;

/// The one status below 500 that says nothing against the request.
const TOO_MANY: u16 = 429;

/// The longest pause before a retry.
const LONGEST_BACKOFF: Duration = Duration::from_secs(10);

/// How a try ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Certainly nothing reached the application: always safe to try elsewhere.
    Undelivered,
    /// The connection broke or the attempt timed out before the head of an answer; the application may have acted.
    Broken,
    /// The application answered with this status.
    Status(u16),
}

/// What to do after a try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// Wait that long, then try once more.
    After(Duration),
    /// The answer stands.
    No,
}

/// A try that has ended.
#[derive(Debug, Clone, Copy)]
pub struct Try {
    /// Its number; 0 = the first.
    pub number: u32,
    /// The method may be repeated.
    pub idempotent: bool,
    /// How it ended.
    pub ended: Ended,
}

/// Whether somebody else than the route may decide about it: it failed, and to repeat it is safe and within the number of tries.
pub fn is_open(retries: Option<&Retries>, one: Try) -> bool {
    let failed = match one.ended {
        Ended::Undelivered => true,
        Ended::Broken => one.idempotent,
        Ended::Status(status) => status >= 500 || status == TOO_MANY || is_listed(retries, status),
    };
    failed && one.number < most(retries, one.ended)
}

/// Decides. Never called once a byte of the answer went to the caller.
///
/// `said`: what somebody else decided, where that [`is_open`]; `jitter` in 0 to 1 spreads the pause.
pub fn again(retries: Option<&Retries>, one: Try, said: Option<bool>, jitter: f64) -> Again {
    let Try { number, idempotent, ended } = one;
    let wanted = said.unwrap_or(match ended {
        Ended::Undelivered => true,
        // The application may have acted: only where the user retries at all, and only where repeating is safe.
        Ended::Broken => idempotent && retries.is_some(),
        Ended::Status(status) => is_listed(retries, status),
    });
    if !wanted || number >= most(retries, ended) {
        return Again::No;
    }
    match (ended, retries) {
        // Elsewhere is another endpoint: the first such try need not wait.
        (Ended::Undelivered, _) if number == 0 => Again::After(Duration::ZERO),
        (_, retries) => Again::After(pause(retries.map_or(Duration::from_millis(25), |retries| retries.backoff), number, jitter)),
    }
}

fn most(retries: Option<&Retries>, ended: Ended) -> u32 {
    retries.map_or(UNDELIVERED_ATTEMPTS, |retries| match ended {
        Ended::Undelivered => retries.attempts.max(UNDELIVERED_ATTEMPTS),
        Ended::Broken | Ended::Status(_) => retries.attempts,
    })
}

fn is_listed(retries: Option<&Retries>, status: u16) -> bool {
    retries.is_some_and(|retries| retries.codes.contains(&status))
}

fn pause(backoff: Duration, attempt: u32, jitter: f64) -> Duration {
    let doubled = backoff.saturating_mul(1 << attempt.min(16)).min(LONGEST_BACKOFF);
    doubled.mul_f64(0.5 + 0.5 * jitter.clamp(0.0, 1.0))
}

/// The pause when the answer asks for one (`Retry-After`): at least that; `None` = that is longer than any request waits here, its answer stands.
pub fn no_sooner(pause: Duration, asked: Option<Duration>) -> Option<Duration> {
    match asked {
        Some(asked) if asked > LONGEST_BACKOFF => None,
        Some(asked) => Some(pause.max(asked)),
        None => Some(pause),
    }
}

/// Bounds what retries add to the load: a share of the requests of the interval, and a floor for quiet times. One for each destination.
#[derive(Debug, Default)]
pub struct Budget {
    requests: Count,
    retries: Count,
}

impl Budget {
    /// A request came.
    pub fn request(&self, budget: &RetryBudget, now: Duration) {
        self.requests.add(interval(budget, now), Count::MOST);
    }

    /// Takes one retry out of the budget; false = it is spent.
    pub fn take(&self, budget: &RetryBudget, now: Duration) -> bool {
        let interval = interval(budget, now);
        let floor = u64::from(budget.min_per_second).saturating_mul(budget.interval.as_secs().max(1));
        let share = self.requests.of(interval).saturating_mul(u64::from(budget.percent)) / 100;
        self.retries.add(interval, floor.max(share))
    }
}

fn interval(budget: &RetryBudget, now: Duration) -> u64 {
    (now.as_millis() / budget.interval.as_millis().max(1)) as u64
}

/// How often something happened in the newest interval: the interval's number above [`Count::BITS`] bits, the count in them. One word, so that
/// workers that count at the same moment, even at the turn of an interval, neither lose nor gain one.
#[derive(Debug, Default)]
struct Count(AtomicU64);

impl Count {
    /// Enough for 16 million in an interval; the 40 bits above number milliseconds for 34 years.
    const BITS: u32 = 24;
    const MOST: u64 = (1 << Self::BITS) - 1;

    /// The count of `interval`; of the newest one for a worker whose clock reading is a little older.
    fn of(&self, interval: u64) -> u64 {
        Self::since(self.0.load(Relaxed), interval).1
    }

    /// Counts one more unless there are `most` already; false = there are.
    fn add(&self, interval: u64, most: u64) -> bool {
        let more = |held| {
            let (newest, count) = Self::since(held, interval);
            (count < most.min(Self::MOST)).then_some(newest << Self::BITS | (count + 1))
        };
        self.0.try_update(Relaxed, Relaxed, more).is_ok()
    }

    fn since(held: u64, interval: u64) -> (u64, u64) {
        let newest = held >> Self::BITS;
        if newest < interval { (interval, 0) } else { (newest, held & Self::MOST) }
    }
}
