//! Calls that a policy denied, by caller, destination and the object that says so. Called by `telemetry` when an outcome ends.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use plait_model::Reason;

use crate::{
    Direction, Record,
    series::{Family, Labels, label},
};

/// All series of denials.
pub(crate) type Denials = Family<DenialLabels, AtomicU64>;

/// What tells series of denials apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct DenialLabels {
    source: Arc<str>,
    destination: Arc<str>,
    /// "AuthorizationPolicy shop/clients".
    object: Arc<str>,
}

impl Denials {
    /// Counts the end of a call beside its destination, where the policies are.
    pub(crate) fn count(&self, record: &Record) {
        let Some(object) = record.object.as_ref().filter(|_| record.reason == Some(Reason::PolicyDenied)) else { return };
        if record.direction == Direction::Outbound {
            return;
        }
        let (source, destination) = (record.source.clone(), Arc::clone(&record.destination));
        let labels = DenialLabels { source, destination, object: object.to_string().into() };
        self.series(&labels).counters.fetch_add(1, Relaxed);
    }
}

impl Labels for DenialLabels {
    fn values(&self) -> impl Iterator<Item = &str> {
        [&*self.source, &*self.destination, &*self.object].into_iter()
    }

    fn names_host(&self) -> bool {
        false
    }

    fn overflow(&self, other: &Arc<str>) -> Self {
        Self { source: other.clone(), destination: other.clone(), object: other.clone() }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        label(&mut text, "source", &self.source);
        label(&mut text, "destination", &self.destination);
        label(&mut text, "object", &self.object);
        text
    }
}
