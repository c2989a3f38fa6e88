//! The wall clock, injected. Certificates live by it; tests turn it by hand.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustls::{pki_types::UnixTime, time_provider::TimeProvider};
use tokio::sync::watch;

/// How long the wall clock is left unread while waiting for it: it may be set, and a machine may sleep.
const GLANCE: Duration = Duration::from_secs(30);

/// What time it is. Clones show the same time.
#[derive(Debug, Clone)]
pub struct Clock(Source);

#[derive(Debug, Clone)]
enum Source {
    System,
    Manual(Arc<watch::Sender<SystemTime>>),
}

impl Clock {
    /// The clock of the machine.
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that stands still at `start` until `advance` is called.
    pub fn manual(start: SystemTime) -> Self {
        Self(Source::Manual(Arc::new(watch::Sender::new(start))))
    }

    /// Turns a manual clock forward and wakes whoever waited for that time. The machine's clock is left alone.
    pub fn advance(&self, by: Duration) {
        if let Source::Manual(time) = &self.0 {
            time.send_modify(|now| *now += by);
        }
    }

    /// The time now.
    pub fn now(&self) -> SystemTime {
        match &self.0 {
            Source::System => SystemTime::now(),
            Source::Manual(time) => *time.borrow(),
        }
    }

    /// Returns after `rest`. The machine's clock being set does not matter meanwhile. Cancel safe.
    pub async fn sleep(&self, rest: Duration) {
        match &self.0 {
            Source::System => tokio::time::sleep(rest).await,
            Source::Manual(_) => self.sleep_until(self.now() + rest).await,
        }
    }

    /// Returns once it is `deadline` or later. Cancel safe.
    pub async fn sleep_until(&self, deadline: SystemTime) {
        match &self.0 {
            Source::System => {
                while let Ok(rest) = deadline.duration_since(SystemTime::now())
                    && !rest.is_zero()
                {
                    tokio::time::sleep(rest.min(GLANCE)).await;
                }
            }
            Source::Manual(time) => {
                // The sender lives in `self`: waiting cannot fail.
                let _ = time.subscribe().wait_for(|now| *now >= deadline).await;
            }
        }
    }
}

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        self.now().duration_since(UNIX_EPOCH).ok().map(UnixTime::since_unix_epoch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_for_a_manual_clock_wakes_when_it_is_time() {
        let clock = Clock::manual(UNIX_EPOCH);
        let waits = tokio::spawn({
            let clock = clock.clone();
            async move {
                clock.sleep_until(UNIX_EPOCH + 2 * GLANCE).await;
                clock.sleep(GLANCE).await;
                clock.now()
            }
        });
        for _ in 0..30 {
            tokio::task::yield_now().await;
            assert!(!waits.is_finished());
            clock.advance(GLANCE / 10);
        }
        assert_eq!(waits.await.ok(), Some(UNIX_EPOCH + 3 * GLANCE));
    }

    #[tokio::test]
    async fn the_machine_s_clock_is_waited_for_too() {
        let clock = Clock::system();
        let soon = clock.now() + Duration::from_millis(20);
        clock.sleep_until(soon).await;
        assert!(clock.now() >= soon);
        clock.sleep_until(UNIX_EPOCH).await; // long ago
    }
}
