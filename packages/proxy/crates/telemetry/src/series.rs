//! Time series by their labels, with a hard limit on how many there are. Used by every labelled metric of `telemetry`.
//!
//! Names that a stranger can make up must cost neither memory nor the series of the mesh's own names: past the limits all is counted
//! under "other", and hosts outside the mesh have a smaller limit of their own.

use std::{
    hash::Hash,
    sync::{Arc, PoisonError, RwLock},
};

use plait_model::Map;

/// Series of one metric family; a scrape of so many stays below 10 MB.
pub(crate) const MOST_SERIES: usize = 2_000;
/// Of these, series that name a host outside the mesh.
pub(crate) const MOST_HOSTS: usize = 200;
/// Longer label values are counted under "other": no name of Kubernetes or DNS is.
const LONGEST_VALUE: usize = 512;

/// What stands for all names past the limits.
pub(crate) const OTHER: &str = "other";

/// The labels that tell the series of a family apart.
pub(crate) trait Labels: Hash + Eq + Clone {
    /// The values that come from outside the code.
    fn values(&self) -> impl Iterator<Item = &str>;
    /// True when it names a host outside the mesh.
    fn names_host(&self) -> bool;
    /// The same with `other` in place of every such value.
    fn overflow(&self, other: &Arc<str>) -> Self;
    /// As Prometheus has it, `a="1",b="2"`.
    fn text(&self) -> String;
}

/// A metric family: its series by labels. `S` holds the counters.
#[derive(Debug)]
pub(crate) struct Family<L, S> {
    inner: RwLock<Inner<L, S>>,
    other: Arc<str>,
}

/// One series: its labels as text, and its counters.
#[derive(Debug)]
pub(crate) struct Series<S> {
    /// `a="1",b="2"`.
    pub(crate) labels: String,
    /// The counters.
    pub(crate) counters: S,
}

#[derive(Debug)]
struct Inner<L, S> {
    series: Map<L, Arc<Series<S>>>,
    hosts: usize,
}

impl<L, S> Inner<L, S>
where
    L: Labels,
{
    fn admits(&self, labels: &L) -> bool {
        self.series.len() < MOST_SERIES
            && (!labels.names_host() || self.hosts < MOST_HOSTS)
            && labels.values().all(|value| value.len() <= LONGEST_VALUE && !value.chars().any(ends_line))
    }
}

impl<L, S> Family<L, S>
where
    L: Labels,
    S: Default,
{
    pub(crate) fn new() -> Self {
        Self { inner: RwLock::new(Inner { series: Map::default(), hosts: 0 }), other: OTHER.into() }
    }

    /// The series of `labels`, made when new; allocates nothing when known, nor when past the limits.
    pub(crate) fn series(&self, labels: &L) -> Arc<Series<S>> {
        // A poisoned lock holds whole series: nothing panics between the steps of a change.
        let inner = self.inner.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = inner.series.get(labels) {
            return found.clone();
        }
        if !inner.admits(labels)
            && let Some(found) = inner.series.get(&labels.overflow(&self.other))
        {
            return found.clone();
        }
        drop(inner);
        self.make(labels)
    }

    /// Every series, in no order.
    pub(crate) fn all(&self) -> Vec<Arc<Series<S>>> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner).series.values().cloned().collect()
    }

    fn make(&self, labels: &L) -> Arc<Series<S>> {
        let mut inner = self.inner.write().unwrap_or_else(PoisonError::into_inner);
        // Judged again: others may have been here since.
        let labels = if inner.series.contains_key(labels) || inner.admits(labels) { labels.clone() } else { labels.overflow(&self.other) };
        if let Some(found) = inner.series.get(&labels) {
            return found.clone();
        }
        inner.hosts += usize::from(labels.names_host());
        let made = Arc::new(Series { labels: labels.text(), counters: S::default() });
        inner.series.insert(labels, made.clone());
        made
    }
}

/// What some readers of the text take for the end of a line.
fn ends_line(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}

/// Appends `name="value"`, after a comma unless it is the first.
pub(crate) fn label(out: &mut String, name: &str, value: &str) {
    if !out.is_empty() {
        out.push(',');
    }
    out.push_str(name);
    out.push_str("=\"");
    for c in value.chars() {
        match c {
            '\\' | '"' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone, PartialEq, Eq, Hash)]
    struct Name(Arc<str>);

    impl Labels for Name {
        fn values(&self) -> impl Iterator<Item = &str> {
            std::iter::once(&*self.0)
        }

        fn names_host(&self) -> bool {
            self.0.contains('.')
        }

        fn overflow(&self, other: &Arc<str>) -> Self {
            Self(other.clone())
        }

        fn text(&self) -> String {
            let mut text = String::new();
            label(&mut text, "name", &self.0);
            text
        }
    }

    fn labels_of(family: &Family<Name, ()>, name: &str) -> String {
        family.series(&Name(name.into())).labels.clone()
    }

    #[test]
    fn equal_labels_share_a_series() {
        let family = Family::<Name, ()>::new();
        assert!(Arc::ptr_eq(&family.series(&Name("a/b".into())), &family.series(&Name("a/b".into()))));
        assert_eq!(family.all().len(), 1);
    }

    #[test]
    fn names_past_the_limit_are_counted_under_other() {
        let family = Family::<Name, ()>::new();
        for number in 0..2 * MOST_SERIES {
            labels_of(&family, &format!("a/{number}"));
        }
        assert_eq!(family.all().len(), MOST_SERIES + 1);
        assert_eq!(labels_of(&family, "a/new"), r#"name="other""#);
        assert_eq!(labels_of(&family, "a/0"), r#"name="a/0""#);
    }

    #[test]
    fn hosts_outside_the_mesh_leave_room_for_its_names() {
        let family = Family::<Name, ()>::new();
        for number in 0..2 * MOST_HOSTS {
            labels_of(&family, &format!("{number}.example"));
        }
        assert_eq!(labels_of(&family, "new.example"), r#"name="other""#);
        assert_eq!(labels_of(&family, "a/b"), r#"name="a/b""#);
    }

    #[test]
    fn a_value_that_could_break_a_line_or_never_ends_is_none() {
        let family = Family::<Name, ()>::new();
        for value in ["a\nb", "a\rb", "a\u{85}b", "a\u{2028}b", "a\0", "\u{1c}", &"a".repeat(LONGEST_VALUE + 1)] {
            assert_eq!(labels_of(&family, value), r#"name="other""#, "{value:?}");
        }
        assert_eq!(family.all().len(), 1);
    }

    #[test]
    fn quotes_and_backslashes_are_escaped() {
        assert_eq!(labels_of(&Family::new(), "a\"\\b"), r#"name="a\"\\b""#);
    }
}
