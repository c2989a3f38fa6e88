//! Requests by the labels that plugins gave them. Called by `telemetry` when an outcome ends.
//!
//! A caller may choose what a plugin makes a label of: of each name the first values have series of their own, all others share one.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, PoisonError, RwLock, atomic::AtomicU64, atomic::Ordering::Relaxed},
};

use crate::{
    Direction, Record,
    requests::{CLASSES, class, names_host},
    series::{Family, Labels, OTHER, Series, label},
};

/// Names of labels that are told apart; they stand in the code and the configuration of plugins.
const MOST_NAMES: usize = 20;
/// Values of one name that are told apart.
const MOST_VALUES: usize = 100;
/// Longer values are no kind of thing, but a thing each.
const LONGEST_VALUE: usize = 64;

/// Requests by `CLASSES`.
pub(crate) type Classes = [AtomicU64; CLASSES.len()];

/// All series of labels.
#[derive(Debug)]
pub(crate) struct Labelled {
    series: Family<LabelledLabels, Classes>,
    known: RwLock<BTreeMap<Arc<str>, BTreeSet<Arc<str>>>>,
}

/// What tells series of labels apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct LabelledLabels {
    direction: Direction,
    destination: Arc<str>,
    name: Arc<str>,
    value: Arc<str>,
}

impl Labelled {
    pub(crate) fn new() -> Self {
        Self { series: Family::new(), known: RwLock::default() }
    }

    /// Counts the end of a request under each of its labels.
    pub(crate) fn count(&self, record: &Record) {
        for (name, value) in &record.labelled {
            let (name, value) = self.known(name, value).unwrap_or_else(|| self.learn(name, value));
            let labels = LabelledLabels { direction: record.direction, destination: Arc::clone(&record.destination), name, value };
            self.series.series(&labels).counters[class(record)].fetch_add(1, Relaxed);
        }
    }

    /// Every series, in no order.
    pub(crate) fn all(&self) -> Vec<Arc<Series<Classes>>> {
        self.series.all()
    }

    fn known(&self, name: &str, value: &str) -> Option<(Arc<str>, Arc<str>)> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let (name, values) = known.get_key_value(name)?;
        Some((name.clone(), values.get(value)?.clone()))
    }

    /// The name and the value, or "other" where there are too many.
    fn learn(&self, name: &str, value: &str) -> (Arc<str>, Arc<str>) {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        if !known.contains_key(name) && (known.len() >= MOST_NAMES || name.len() > LONGEST_VALUE) {
            return (OTHER.into(), OTHER.into());
        }
        let (name, value): (Arc<str>, Arc<str>) = (name.into(), value.into());
        let values = known.entry(name.clone()).or_default();
        if !values.contains(&value) && (values.len() >= MOST_VALUES || value.len() > LONGEST_VALUE) {
            return (name, OTHER.into());
        }
        values.insert(value.clone());
        (name, value)
    }
}

impl Labels for LabelledLabels {
    fn values(&self) -> impl Iterator<Item = &str> {
        [&*self.destination, &*self.name, &*self.value].into_iter()
    }

    fn names_host(&self) -> bool {
        names_host(&self.destination)
    }

    fn overflow(&self, other: &Arc<str>) -> Self {
        Self { direction: self.direction, destination: other.clone(), name: other.clone(), value: other.clone() }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        label(&mut text, "direction", self.direction.as_str());
        label(&mut text, "destination", &self.destination);
        label(&mut text, "label", &self.name);
        label(&mut text, "value", &self.value);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Protocol;

    fn texts(labelled: &Labelled) -> Vec<String> {
        let mut texts: Vec<_> = labelled.all().iter().map(|series| series.labels.clone()).collect();
        texts.sort();
        texts
    }

    #[test]
    fn values_that_callers_make_up_make_no_series_each() {
        let labelled = Labelled::new();
        let mut record = Record::new(Direction::Inbound, Protocol::Http1, "".into());
        for number in 0..10 * MOST_VALUES {
            record.reset();
            record.status = 200;
            record.label("tenant", &format!("made-up-{number}"));
            record.label("long", &"x".repeat(LONGEST_VALUE + 1));
            labelled.count(&record);
        }
        let found = texts(&labelled);
        // Those of their own and the others of one name, and the one of the other name.
        assert_eq!(found.len(), MOST_VALUES + 2);
        let others = |name: &str| format!(r#"direction="inbound",destination="",label="{name}",value="other""#);
        assert!(found.contains(&others("tenant")) && found.contains(&others("long")), "{found:?}");
        let total: u64 = labelled.all().iter().map(|series| series.counters[1].load(Relaxed)).sum();
        assert_eq!(total, 2 * 10 * MOST_VALUES as u64);
    }

    #[test]
    fn of_two_plugins_that_give_one_label_the_later_counts() {
        let labelled = Labelled::new();
        let mut record = Record::new(Direction::Inbound, Protocol::Http1, "".into());
        record.status = 404;
        record.label("tenant", "first");
        record.label("tenant", "second");
        labelled.count(&record);
        assert_eq!(texts(&labelled), [r#"direction="inbound",destination="",label="tenant",value="second""#]);
    }

    #[test]
    fn names_past_the_limit_are_counted_together() {
        let labelled = Labelled::new();
        for number in 0..3 * MOST_NAMES {
            let mut record = Record::new(Direction::Inbound, Protocol::Http1, "".into());
            record.label(&format!("name-{number}"), "value");
            labelled.count(&record);
        }
        assert_eq!(texts(&labelled).len(), MOST_NAMES + 1);
    }
}
