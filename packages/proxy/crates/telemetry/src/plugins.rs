//! Figures of plugins for a scrape. They are counted where plugins are run; whoever runs them says here how to read them.

use std::{fmt, sync::OnceLock};

use crate::{
    metrics::{self, Metric},
    render::Page,
    series::label,
};

/// What happened to one plugin in one phase since the proxy began.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PluginFigures {
    /// "namespace/name" of its object.
    pub plugin: String,
    /// "request", "response_body" and so on.
    pub phase: &'static str,
    /// It was asked.
    pub calls: u64,
    /// It answered or refused.
    pub verdicts: u64,
    /// Calls that went on without it.
    pub bypasses: u64,
    /// By cause.
    pub failures: Vec<(&'static str, u64)>,
    /// How many took at most so many seconds; the last bound is none.
    pub buckets: Vec<(Option<f64>, u64)>,
    /// Of all calls, in seconds.
    pub sum: f64,
}

/// How they are read; none = this proxy runs no plugins.
#[derive(Default)]
pub(crate) struct Plugins(OnceLock<Read>);

type Read = Box<dyn Fn() -> (Vec<PluginFigures>, Vec<(String, bool)>) + Send + Sync>;

impl fmt::Debug for Plugins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Plugins").field(&self.0.get().is_some()).finish()
    }
}

impl Plugins {
    pub(crate) fn set(&self, read: Read) {
        // Who came first stays: a proxy has one host of plugins.
        let _ = self.0.set(read);
    }

    /// All metrics of plugins.
    pub(crate) fn render(&self, page: &mut Page) {
        let (figures, breakers) = self.0.get().map(|read| read()).unwrap_or_default();
        let labelled: Vec<(String, PluginFigures)> = figures.into_iter().map(|one| (labels(&one), one)).collect();
        let mut counter = |metric: &Metric, count: fn(&PluginFigures) -> u64| {
            page.counters(metric, labelled.iter().map(|(labels, one)| (&**labels, count(one))));
        };
        counter(&metrics::PLUGIN_CALLS, |one| one.calls);
        counter(&metrics::PLUGIN_VERDICTS, |one| one.verdicts);
        counter(&metrics::PLUGIN_BYPASSES, |one| one.bypasses);
        page.begin(&metrics::PLUGIN_FAILURES);
        for (labels, one) in &labelled {
            for (cause, count) in one.failures.iter().filter(|(_, count)| *count > 0) {
                page.sample(metrics::PLUGIN_FAILURES.name, labels, Some(("cause", cause)), count);
            }
        }
        page.begin(&metrics::PLUGIN_DURATION);
        for (labels, one) in &labelled {
            durations(page, labels, one);
        }
        page.begin(&metrics::PLUGIN_BREAKER);
        for (plugin, open) in &breakers {
            let mut labels = String::new();
            label(&mut labels, "plugin", plugin);
            page.sample(metrics::PLUGIN_BREAKER.name, &labels, None, u8::from(*open));
        }
    }
}

fn labels(one: &PluginFigures) -> String {
    let mut labels = String::new();
    label(&mut labels, "plugin", &one.plugin);
    label(&mut labels, "phase", one.phase);
    labels
}

fn durations(page: &mut Page, labels: &str, one: &PluginFigures) {
    let Some((_, count)) = one.buckets.last().copied().filter(|(_, count)| *count > 0) else { return };
    for (bound, count) in &one.buckets {
        let bound = bound.map_or_else(|| "+Inf".to_owned(), |bound| bound.to_string());
        page.sample("plait_plugin_duration_seconds_bucket", labels, Some(("le", &bound)), count);
    }
    page.sample("plait_plugin_duration_seconds_sum", labels, None, one.sum);
    page.sample("plait_plugin_duration_seconds_count", labels, None, count);
}
