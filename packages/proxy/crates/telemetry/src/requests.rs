//! What is counted of requests, by direction, source, destination and route. Called by `telemetry` when an outcome ends.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use plait_model::Reason;

use crate::{
    Direction, Protocol, Record,
    histogram::Histogram,
    series::{Family, Labels, Series, label},
};

/// Values of `code_class`; the last is that of a caller who went away before an answer.
pub(crate) const CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "cancelled"];

/// All series of requests.
pub(crate) type Requests = Family<RequestLabels, RequestCounters>;

/// What tells series of requests apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct RequestLabels {
    direction: Direction,
    source: Arc<str>,
    destination: Arc<str>,
    route: Arc<str>,
}

impl RequestLabels {
    fn of(record: &Record) -> Self {
        Self {
            direction: record.direction,
            source: record.source.clone(),
            destination: Arc::clone(&record.destination),
            route: Arc::clone(&record.route),
        }
    }

    /// True when the record has the very same `Arc`s: no text is compared.
    fn is_of(&self, record: &Record) -> bool {
        self.direction == record.direction
            && Arc::ptr_eq(&self.route, &record.route)
            && Arc::ptr_eq(&self.destination, &record.destination)
            && Arc::ptr_eq(&self.source, &record.source)
    }
}

impl Labels for RequestLabels {
    fn values(&self) -> impl Iterator<Item = &str> {
        [&*self.source, &*self.destination, &*self.route].into_iter()
    }

    fn names_host(&self) -> bool {
        names_host(&self.destination)
    }

    fn overflow(&self, other: &Arc<str>) -> Self {
        Self { direction: self.direction, source: other.clone(), destination: other.clone(), route: other.clone() }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        label(&mut text, "direction", self.direction.as_str());
        label(&mut text, "source", &self.source);
        label(&mut text, "destination", &self.destination);
        label(&mut text, "route", &self.route);
        text
    }
}

/// True for a destination that is no "namespace/service".
pub(crate) fn names_host(destination: &str) -> bool {
    !destination.is_empty() && !destination.contains('/')
}

/// The counters of one series.
#[derive(Debug, Default)]
pub(crate) struct RequestCounters {
    /// Requests by `CLASSES`.
    pub(crate) classes: [AtomicU64; CLASSES.len()],
    /// Rejects by `Reason::ALL`.
    pub(crate) rejects: [AtomicU64; Reason::ALL.len()],
    /// How long requests took.
    pub(crate) duration: Histogram,
}

impl RequestCounters {
    /// Counts what ended; of an opaque connection only its reject.
    pub(crate) fn count(&self, record: &Record, took: Duration) {
        if let Some(reason) = record.reason {
            self.rejects[reason as usize].fetch_add(1, Relaxed);
        }
        if record.protocol != Protocol::Tcp {
            self.classes[class(record)].fetch_add(1, Relaxed);
            self.duration.observe(took);
        }
    }
}

/// The place of its class among `CLASSES`.
pub(crate) fn class(record: &Record) -> usize {
    if record.cancelled { CLASSES.len() - 1 } else { usize::from(record.status / 100).clamp(1, 5) - 1 }
}

/// The last series of a record, so that a connection looks them up once.
#[derive(Debug, Default)]
pub(crate) struct RecentSeries {
    entries: [Option<(RequestLabels, Arc<Series<RequestCounters>>)>; 4],
    next: usize,
}

impl RecentSeries {
    /// The counters of `record`.
    pub(crate) fn find(&mut self, record: &Record, requests: &Requests) -> &RequestCounters {
        let known = self.entries.iter().position(|entry| entry.as_ref().is_some_and(|(labels, _)| labels.is_of(record)));
        let at = known.unwrap_or_else(|| {
            self.next = (self.next + 1) % self.entries.len();
            self.entries[self.next] = None;
            self.next
        });
        let (_, series) = self.entries[at].get_or_insert_with(|| {
            let labels = RequestLabels::of(record);
            let series = requests.series(&labels);
            (labels, series)
        });
        &series.counters
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_counted_at_their_place() {
        for (index, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
        }
    }

    #[test]
    fn a_record_finds_its_series_again_whichever_it_used_between() {
        let requests = Requests::new();
        let mut record = Record::new(Direction::Outbound, Protocol::Http1, "shop/web".into());
        let mut recent = RecentSeries::default();
        let destinations: Vec<Arc<str>> = (0..6).map(|number| format!("shop/{number}").into()).collect();
        for round in 1..4 {
            for destination in &destinations {
                record.destination.set(destination);
                record.status = 200;
                recent.find(&record, &requests).count(&record, Duration::ZERO);
            }
            let counts = requests.all().iter().map(|series| series.counters.classes[1].load(Relaxed)).collect::<Vec<_>>();
            assert_eq!(counts, [round; 6]);
        }
    }

    #[test]
    fn a_status_has_a_class_whatever_it_is() {
        let mut record = Record::new(Direction::Outbound, Protocol::Http1, "".into());
        for (status, cancelled, expected) in [
            (101, false, "1xx"),
            (200, false, "2xx"),
            (499, false, "4xx"),
            (599, false, "5xx"),
            (999, false, "5xx"),
            (42, false, "1xx"),
            (499, true, "cancelled"),
        ] {
            (record.status, record.cancelled) = (status, cancelled);
            assert_eq!(CLASSES[class(&record)], expected, "{status}");
        }
    }
}
