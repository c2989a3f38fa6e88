//! All metrics as Prometheus text, version 0.0.4. Called by `telemetry` for a scrape; takes no lock while it writes.

use std::{
    fmt::{Display, Write},
    sync::{
        Arc, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use plait_model::Reason;

use crate::{
    Direction, Telemetry,
    connection::ConnectionCounters,
    metrics::{self, Metric},
    requests::{CLASSES, RequestCounters},
    series::{Series, label},
};

/// The whole text.
pub(crate) fn page(telemetry: &Telemetry) -> String {
    let mut page = Page::default();
    requests(&mut page, telemetry);
    let counted = [
        (&metrics::RETRIES, telemetry.retries.all()),
        (&metrics::MET_CLOSING, telemetry.met_closing.all()),
        (&metrics::WAITS, telemetry.waits.all()),
        (&metrics::MIRRORED, telemetry.mirrors.all()),
        (&metrics::EJECTIONS, telemetry.ejections.all()),
        (&metrics::SESSIONS, telemetry.sessions.all()),
        (&metrics::CROSS_ZONE, telemetry.cross_zone.all()),
        (&metrics::CHECKS, telemetry.checks.all()),
    ];
    for (metric, series) in counted {
        page.counters(metric, in_order(series).iter().map(|series| (&*series.labels, series.counters.load(Relaxed))));
    }
    for (metric, series) in [(&metrics::UNHEALTHY, telemetry.unhealthy.all()), (&metrics::PANICKING, telemetry.panicking.all())] {
        page.begin(metric);
        for Series { labels, counters } in in_order(series).iter().map(|series| &**series) {
            page.sample(metric.name, labels, None, counters.load(Relaxed));
        }
    }
    connections(&mut page, &in_order(telemetry.connections.all()));
    cuts(&mut page, telemetry);
    let denials = in_order(telemetry.denials.all());
    page.counters(&metrics::DENIALS, denials.iter().map(|series| (&*series.labels, series.counters.load(Relaxed))));
    let mut dry_runs = telemetry.dry_runs.all();
    dry_runs.sort();
    page.counters(&metrics::DRY_RUNS, dry_runs.iter().map(|(labels, count)| (&**labels, *count)));
    page.begin(&metrics::LABELLED);
    for Series { labels, counters } in in_order(telemetry.labelled.all()).iter().map(|series| &**series) {
        page.by_value(&metrics::LABELLED, labels, "code_class", CLASSES.iter().zip(counters));
    }
    telemetry.plugins.render(&mut page);
    process(&mut page, telemetry);
    page.text
}

fn requests(page: &mut Page, telemetry: &Telemetry) {
    let series = in_order(telemetry.requests.all());
    page.begin(&metrics::REQUESTS);
    for Series { labels, counters } in series.iter().map(|series| &**series) {
        page.by_value(&metrics::REQUESTS, labels, "code_class", CLASSES.iter().zip(&counters.classes));
    }
    page.begin(&metrics::DURATION);
    for Series { labels, counters } in series.iter().map(|series| &**series) {
        durations(page, labels, counters);
    }
    page.begin(&metrics::IN_FLIGHT);
    for direction in [Direction::Inbound, Direction::Outbound] {
        let mut labels = String::new();
        label(&mut labels, "direction", direction.as_str());
        page.sample(metrics::IN_FLIGHT.name, &labels, None, telemetry.in_flight[direction as usize].0.load(Relaxed));
    }
    page.begin(&metrics::REJECTS);
    for Series { labels, counters } in series.iter().map(|series| &**series) {
        let codes = Reason::ALL.map(Reason::as_str);
        page.by_value(&metrics::REJECTS, labels, "reason", codes.iter().zip(&counters.rejects));
    }
}

fn durations(page: &mut Page, labels: &str, counters: &RequestCounters) {
    let (buckets, sum) = counters.duration.read();
    let buckets: Vec<_> = buckets.collect();
    let Some((_, count)) = buckets.last().copied().filter(|(_, count)| *count > 0) else { return };
    for (bound, count) in buckets {
        page.sample("plait_request_duration_seconds_bucket", labels, Some(("le", bound)), count);
    }
    page.sample("plait_request_duration_seconds_sum", labels, None, sum);
    page.sample("plait_request_duration_seconds_count", labels, None, count);
}

fn connections(page: &mut Page, series: &[Arc<Series<ConnectionCounters>>]) {
    page.counters(&metrics::CONNECTIONS, series.iter().map(|series| (&*series.labels, series.counters.opened.load(Relaxed))));
    page.begin(&metrics::CONNECTIONS_OPEN);
    for series in series {
        page.sample(metrics::CONNECTIONS_OPEN.name, &series.labels, None, series.counters.open.load(Relaxed));
    }
    page.begin(&metrics::CONNECTION_BYTES);
    for Series { labels, counters } in series.iter().map(|series| &**series) {
        page.by_value(&metrics::CONNECTION_BYTES, labels, "flow", [(&"sent", &counters.sent), (&"received", &counters.received)]);
    }
}

fn cuts(page: &mut Page, telemetry: &Telemetry) {
    page.begin(&metrics::CUT);
    for direction in [Direction::Inbound, Direction::Outbound] {
        let mut labels = String::new();
        label(&mut labels, "direction", direction.as_str());
        for (cause, count) in telemetry.cuts.of(direction) {
            page.by_value(&metrics::CUT, &labels, "cause", [(&cause, count)]);
        }
    }
}

fn process(page: &mut Page, telemetry: &Telemetry) {
    let single = |page: &mut Page, metric: &Metric, value: u64| {
        page.begin(metric);
        page.sample(metric.name, "", None, value);
    };
    single(page, &metrics::GENERATION, telemetry.generation.load(Relaxed));
    page.begin(&metrics::CERTIFICATES);
    for (workload, seconds) in &*telemetry.certificates.lock().unwrap_or_else(PoisonError::into_inner) {
        let mut labels = String::new();
        label(&mut labels, "workload", workload);
        page.sample(metrics::CERTIFICATES.name, &labels, None, seconds);
    }
    single(page, &metrics::PANICS, telemetry.panics.load(Relaxed));
    let (written, lost) = telemetry.log.queue.counts();
    single(page, &metrics::LOG_LINES, written);
    single(page, &metrics::LOG_DROPPED, lost);
    page.begin(&metrics::BUILD);
    page.sample(metrics::BUILD.name, "", Some(("version", env!("CARGO_PKG_VERSION"))), 1);
}

fn in_order<S>(mut series: Vec<Arc<Series<S>>>) -> Vec<Arc<Series<S>>> {
    series.sort_by(|a, b| a.labels.cmp(&b.labels));
    series
}

#[derive(Default)]
pub(crate) struct Page {
    text: String,
}

impl Page {
    /// The lines before the samples of a metric.
    pub(crate) fn begin(&mut self, metric: &Metric) {
        let _ = writeln!(self.text, "# HELP {0} {1}\n# TYPE {0} {2}", metric.name, metric.help, metric.kind.as_str()); // a String takes all
    }

    pub(crate) fn sample(&mut self, name: &str, labels: &str, more: Option<(&str, &str)>, value: impl Display) {
        self.text.push_str(name);
        if !labels.is_empty() || more.is_some() {
            let comma = if labels.is_empty() || more.is_none() { "" } else { "," };
            let _ = write!(self.text, "{{{labels}{comma}");
            if let Some((name, value)) = more {
                let _ = write!(self.text, "{name}=\"{value}\"");
            }
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {value}");
    }

    /// Counters that differ in one more label; what never happened is left out.
    fn by_value<'a>(&mut self, metric: &Metric, labels: &str, name: &str, counts: impl IntoIterator<Item = (&'a &'a str, &'a AtomicU64)>) {
        for (value, count) in counts {
            let count = count.load(Relaxed);
            if count > 0 {
                self.sample(metric.name, labels, Some((name, value)), count);
            }
        }
    }

    /// A whole metric; what never happened is left out.
    pub(crate) fn counters<'a>(&mut self, metric: &Metric, counts: impl Iterator<Item = (&'a str, u64)>) {
        self.begin(metric);
        for (labels, count) in counts.filter(|(_, count)| *count > 0) {
            self.sample(metric.name, labels, None, count);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use plait_model::ObjectRef;

    use super::*;
    use crate::{Protocol, Record};

    /// Also read by packages/cli/tests/test_proxy_metrics.py: what the proxy writes is what `plait` reads.
    const GOLDEN: &str = "tests/golden/metrics.txt";

    fn ended(telemetry: &Telemetry, record: &mut Record, status: u16, took: Duration) {
        record.status = status;
        telemetry.ended(record, took);
    }

    /// web calls reviews through a route, and the ledger by TCP; catalog calls web, which is seen from its end.
    fn bookshop() -> Arc<Telemetry> {
        let telemetry = Telemetry::new(std::io::sink());
        let (web, reviews, ledger): (Arc<str>, Arc<str>, Arc<str>) = ("shop/web-1".into(), "shop/reviews".into(), "shop/ledger".into());
        let mut record = Record::new(Direction::Outbound, Protocol::Http1, web.clone());
        record.destination.set(&reviews);
        record.route.set(&"shop/reviews#everyone".into());
        for micros in [150, 900, 1_500, 30_000] {
            ended(&telemetry, &mut record, 200, Duration::from_micros(micros));
        }
        record.reason = Some(Reason::NoReadyEndpoint);
        ended(&telemetry, &mut record, 503, Duration::from_micros(50));
        let mut record = Record::new(Direction::Inbound, Protocol::Http2, "shop/catalog".into());
        record.destination.set(&"shop/web".into());
        record.label("tenant", "acme");
        ended(&telemetry, &mut record, 204, Duration::from_millis(1));
        drop(telemetry.connection(Direction::Inbound, Protocol::Http2, &record.source, &record.destination, true));
        drop(telemetry.connection(Direction::Outbound, Protocol::Http2, &web, &reviews, true));
        let tunnel = telemetry.connection(Direction::Outbound, Protocol::Tcp, &web, &ledger, true);
        tunnel.sent(1_000);
        tunnel.received(234);
        telemetry.retried(&reviews);
        let policy = ObjectRef { kind: "AuthorizationPolicy".into(), namespace: "shop".into(), name: "readers".into() };
        telemetry.dry_run_denied(&policy, &"shop/web-1".into());
        telemetry.set_generation(42);
        telemetry.set_certificate(&web, Some(SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)));
        telemetry
    }

    #[test]
    fn the_text_is_as_it_was() {
        let text = page(&bookshop()).replace(env!("CARGO_PKG_VERSION"), "VERSION");
        if std::env::var_os("PLAIT_UPDATE").is_some() {
            std::fs::write(GOLDEN, &text).unwrap();
        }
        assert_eq!(text, std::fs::read_to_string(GOLDEN).unwrap(), "PLAIT_UPDATE=1 writes {GOLDEN} anew");
    }
}
