//! What plugins pick from, by the names they know it by: the backends of a rule, of which one that cannot serve is none, or the endpoints of a backend.

use std::sync::Arc;

use plait_model::{Endpoint, WeightedBackend};
use plait_telemetry::Outcome;

use crate::{
    outbound,
    plan::{Plan, Target},
};

/// Endpoints that cross, at most: some ten kilobytes.
const MOST_ENDPOINTS: usize = 500;

/// Backends are "namespace/service", with ":port" where the rule has several ports of that Service; endpoints "namespace/workload".
#[derive(Debug)]
pub(super) struct Candidates {
    /// Each with its place in the rule or the backend; one that is named twice stands once.
    names: Vec<(Arc<str>, usize)>,
}

impl Candidates {
    /// Those of the plan's rule; `None` where no rule chose a backend.
    pub(super) fn of(plan: &Plan) -> Option<Self> {
        let rule = plan.rule.as_deref()?;
        Some(Self { names: named(&rule.backends, plan.share, |share| outbound::serving(share, &plan.snapshot).is_some()) })
    }

    /// Endpoints; no more than are looked through in a moment.
    pub(super) fn of_endpoints<'e>(endpoints: impl Iterator<Item = (usize, &'e Arc<Endpoint>)>) -> Self {
        Self { names: endpoints.take(MOST_ENDPOINTS).map(|(place, endpoint)| (endpoint.workload.clone(), place)).collect() }
    }

    /// Whether there is a choice.
    pub(super) fn are_several(&self) -> bool {
        self.names.len() > 1
    }

    /// Where it stands.
    pub(super) fn place(&self, name: &str) -> Option<usize> {
        self.names.iter().find(|(known, _)| **known == *name).map(|(_, place)| *place)
    }

    /// As they cross.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|(name, _)| &**name)
    }

    /// Makes the plan go there; an error says what cannot be. No part of the head is changed: false.
    pub(super) fn pick(&self, name: &str, plan: &mut Plan, outcome: &mut Outcome<'_>) -> Result<bool, String> {
        let place = self.place(name);
        let share = place.and_then(|place| plan.rule.as_deref()?.backends.get(place));
        let found = place.zip(share).and_then(|(place, share)| Some((place, share, outbound::serving(share, &plan.snapshot)?)));
        let (place, share, backend) = found.ok_or_else(|| format!("the rule has no backend {name:?} that can serve"))?;
        outcome.backend.set(&share.backend);
        (plan.share, plan.target) = (place, Target::Backend(backend.clone()));
        Ok(false)
    }
}

/// Why a pick is none.
pub(super) fn nothing_to_pick() -> String {
    "there was no backend to pick".to_owned()
}

/// Of several with one name it is the one at `chosen`, whose filters the weights chose, else the first.
fn named(shares: &[WeightedBackend], chosen: usize, serves: impl Fn(&WeightedBackend) -> bool) -> Vec<(Arc<str>, usize)> {
    let mut names: Vec<(Arc<str>, usize)> = Vec::with_capacity(shares.len());
    for (index, share) in shares.iter().enumerate().filter(|(_, share)| serves(share)) {
        let key = &share.backend;
        let other_port = shares.iter().any(|other| other.backend != *key && service(&other.backend) == service(key));
        let name = if other_port { key } else { service(key) };
        match names.iter_mut().find(|(known, _)| **known == *name) {
            Some((_, place)) if index == chosen => *place = index,
            Some(_) => {}
            None => names.push((name.into(), index)),
        }
    }
    names
}

/// The Service of a backend's key.
fn service(key: &str) -> &str {
    key.rsplit_once(':').map_or(key, |(service, _)| service)
}

#[cfg(test)]
mod tests {
    use plait_model::Filters;

    use super::*;

    #[test]
    fn backends_are_known_by_their_services_and_where_that_is_not_enough_by_their_ports() {
        for (keys, chosen, expected) in [
            (&["a/web:80", "a/next:80"][..], 0, &[("a/web", 0), ("a/next", 1)][..]),
            (&["a/web:80", "a/web:81", "b/web:80"], 0, &[("a/web:80", 0), ("a/web:81", 1), ("b/web", 2)]),
            (&["a/web:80", "a/next:80", "a/web:80"], 1, &[("a/web", 0), ("a/next", 1)]),
            (&["a/web:80", "a/next:80", "a/web:80"], 2, &[("a/web", 2), ("a/next", 1)]),
            (&["a/web:80", "a/gone:80"], 1, &[("a/web", 0)]),
        ] {
            let share = |key: &&str| WeightedBackend { backend: (*key).into(), invalid: None, weight: 1, filters: Filters::default() };
            let shares: Vec<_> = keys.iter().map(share).collect();
            let found = named(&shares, chosen, |share| !share.backend.contains("gone"));
            let found: Vec<_> = found.iter().map(|(name, place)| (&**name, *place)).collect();
            assert_eq!(found, expected, "{keys:?} {chosen}");
        }
    }
}
