//! The life of an enrolment: what is on disk first, then attempts, at half life while they succeed and after growing pauses while they do not.
//!
//! Called by `Enrolment::run`. Decides when; `attempt` decides how.

use std::{
    pin::pin,
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{
    Enrolment, Event,
    attempt::attempt,
    request::Grant,
    store::{Store, StoreError},
};
use crate::{identities::Identities, verify::Trust};

/// The first pause after a failure; it doubles with each further one.
const PAUSE: Duration = Duration::from_millis(250);
/// The longest pause while nothing works without a leaf.
const LONGEST_PAUSE_WITHOUT: Duration = Duration::from_secs(15);
/// The longest pause while the old leaf still serves.
const LONGEST_PAUSE_WITH: Duration = Duration::from_secs(150);
/// A CA that signs for moments only is not asked more often than that.
const SHORTEST_LIFE: Duration = Duration::from_secs(1);
/// Renewals lie between 45 and 55 % of a life, so that what started together does not renew together.
const JITTER: f64 = 0.05;

pub(super) struct Run<R> {
    enrolment: Enrolment,
    identities: Arc<Identities>,
    report: R,
    /// Whose roots are on disk; at first those of nobody.
    kept: Arc<Trust>,
    /// In a row.
    failures: u32,
}

/// When to try next.
enum Next {
    At(SystemTime),
    After(Duration),
}

impl<R: Fn(&Event)> Run<R> {
    pub(super) fn new(enrolment: Enrolment, identities: Arc<Identities>, report: R) -> Self {
        Self { enrolment, identities, report, kept: Arc::default(), failures: 0 }
    }

    pub(super) async fn forever(mut self) {
        let mut next = self.first();
        loop {
            self.wait(&next).await;
            next = match attempt(&self.enrolment, &self.identities).await {
                Ok(grant) => self.put_in_force(grant).await,
                Err(error) => {
                    let pause = self.pause();
                    self.failures = self.failures.saturating_add(1);
                    (self.report)(&Event::Failed(error, pause));
                    Next::After(pause)
                }
            };
        }
    }

    /// At start a leaf on disk is used at once.
    fn first(&self) -> Next {
        let restored = match self.identities.leaf(&self.enrolment.workload) {
            Some(leaf) => Ok(Some(leaf)),
            None => self.enrolment.restore(&self.identities),
        };
        match restored {
            // One that has expired is kept for what it says when it is asked for, and replaced at once.
            Ok(Some(leaf)) if leaf.is_valid(self.identities.clock().now()) => {
                (self.report)(&Event::Restored(leaf.identity().clone(), leaf.not_after()));
                return Next::At(about_half(leaf.not_before(), leaf.not_after()));
            }
            Ok(_) => {}
            Err(error) => (self.report)(&Event::Damaged(error)),
        }
        Next::After(Duration::ZERO)
    }

    /// Waits for the next attempt. Roots that come meanwhile (with the Mesh) are kept: after a restart they must vouch for the control plane.
    async fn wait(&mut self, next: &Next) {
        let identities = self.identities.clone();
        let clock = identities.clock();
        let mut due = pin!(async {
            match *next {
                Next::At(time) => clock.sleep_until(time).await,
                Next::After(pause) => clock.sleep(pause).await,
            }
        });
        let mut changes = identities.changes();
        loop {
            let trust = identities.trust();
            if trust.roots() != self.kept.roots() && identities.leaf(&self.enrolment.workload).is_some() {
                self.kept = trust.clone();
                self.keep(move |store| store.keep_roots(trust.roots())).await;
            }
            tokio::select! {
                biased;
                () = &mut due => return,
                _ = changes.changed() => {}
            }
        }
    }

    async fn put_in_force(&mut self, grant: Grant) -> Next {
        let Grant { leaf, roots } = grant;
        let (identity, not_after) = (leaf.identity().clone(), leaf.not_after());
        self.failures = 0;
        // One that was not in force, since it is another mesh's, opens nothing here.
        let before = self.identities.leaf(&self.enrolment.workload);
        self.identities.set_trust(identity.trust_domain(), &roots);
        self.identities.set_leaf(self.enrolment.workload.clone(), leaf);
        self.kept = Arc::new(Trust::new(identity.trust_domain(), &roots));
        if let Some(leaf) = self.identities.leaf(&self.enrolment.workload) {
            self.keep(move |store| store.keep(&leaf, before.as_deref(), &roots)).await;
        }
        (self.report)(&Event::Signed(identity, not_after));
        // The half of what is left: the CA dates leaves back a little, which would make the half of a very short life lie in the past.
        let now = self.identities.clock().now();
        Next::At(about_half(now, not_after).max(now + SHORTEST_LIFE))
    }

    /// Disks are slow, and others run on this thread.
    async fn keep(&self, write: impl FnOnce(&Store) -> Result<(), StoreError> + Send + 'static) {
        let store = Store::new(&self.enrolment.folder);
        // The task is never cancelled, and what it runs does not panic: there is always an inner answer.
        if let Ok(Err(error)) = tokio::task::spawn_blocking(move || write(&store)).await {
            (self.report)(&Event::NotKept(error));
        }
    }

    /// From half to all of a pause that doubles with each failure.
    fn pause(&self) -> Duration {
        let leaf = self.identities.leaf(&self.enrolment.workload);
        let served = leaf.is_some_and(|leaf| leaf.is_valid(self.identities.clock().now()));
        let longest = if served { LONGEST_PAUSE_WITH } else { LONGEST_PAUSE_WITHOUT };
        PAUSE.saturating_mul(1 << self.failures.min(16)).min(longest).mul_f64(0.5 + fastrand::f64() / 2.0)
    }
}

/// Near the middle between two times, not for all proxies at the same moment.
fn about_half(from: SystemTime, to: SystemTime) -> SystemTime {
    let life = to.duration_since(from).unwrap_or_default();
    from + life.mul_f64(0.5 + JITTER * (2.0 * fastrand::f64() - 1.0))
}
