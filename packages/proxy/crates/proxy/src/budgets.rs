//! What retries to one destination share, on one worker. Called by `attempt`; swept by `worker`. Destinations outside are whatever an application
//! makes up, so what nobody used for two intervals is forgotten: by then nothing is counted in it any more.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use plait_decide::retry::Budget;
use plait_model::{Map, RetryBudget};

/// What retries to one destination share.
#[derive(Debug)]
pub(crate) struct Retrying {
    pub(crate) destination: Arc<str>,
    pub(crate) budget: Budget,
    /// By the worker's clock: it counts something until then.
    counts_until: Cell<Duration>,
}

/// All of a worker, by destination.
#[derive(Debug, Default)]
pub(crate) struct Budgets(RefCell<Map<Arc<str>, Rc<Retrying>>>);

impl Budgets {
    /// A request to a destination came: what its retries share.
    pub(crate) fn request(&self, destination: &Arc<str>, rules: &RetryBudget, now: Duration) -> Rc<Retrying> {
        let retrying = self.of(destination);
        retrying.budget.request(rules, now);
        let until = now.saturating_add(rules.interval.saturating_mul(2));
        retrying.counts_until.set(until.max(retrying.counts_until.get()));
        retrying
    }

    /// Forgets what counts nothing any more and no request holds.
    pub(crate) fn sweep(&self, now: Duration) {
        let mut all = self.0.borrow_mut();
        all.retain(|_, retrying| Rc::strong_count(retrying) > 1 || retrying.counts_until.get() > now);
        // Who once called very many keeps no room for them.
        if all.capacity() > 4 * all.len().max(16) {
            all.shrink_to_fit();
        }
    }

    fn of(&self, destination: &Arc<str>) -> Rc<Retrying> {
        let mut all = self.0.borrow_mut();
        if let Some(retrying) = all.get(destination) {
            return retrying.clone();
        }
        let (budget, counts_until) = (Budget::default(), Cell::default());
        let retrying = Rc::new(Retrying { destination: destination.clone(), budget, counts_until });
        all.insert(destination.clone(), retrying.clone());
        retrying
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn rules(seconds: u64) -> RetryBudget {
        RetryBudget { percent: 0, interval: SECOND * seconds as u32, min_per_second: 1 }
    }

    #[test]
    fn what_nobody_calls_any_more_is_forgotten() {
        let budgets = Budgets::default();
        for second in 0..10_000 {
            budgets.request(&format!("{second}.example").into(), &rules(10), SECOND * second);
            budgets.sweep(SECOND * second);
            assert!(budgets.0.borrow().len() <= 20, "{second}");
        }
        budgets.sweep(SECOND * 20_000);
        assert_eq!((budgets.0.borrow().len(), budgets.0.borrow().capacity() < 64), (0, true));
    }

    #[test]
    fn what_is_spent_stays_spent_while_it_counts_or_is_held() {
        let (budgets, rules) = (Budgets::default(), rules(2));
        let name = Arc::from("a.example");
        let spent = budgets.request(&name, &rules, SECOND);
        while spent.budget.take(&rules, SECOND) {}
        budgets.sweep(SECOND * 60);
        assert!(Rc::ptr_eq(&spent, &budgets.request(&name, &rules, SECOND)), "a request holds it");
        drop(spent);
        budgets.sweep(SECOND * 2);
        assert!(!budgets.request(&name, &rules, SECOND).budget.take(&rules, SECOND), "its interval is not over");
    }
}
