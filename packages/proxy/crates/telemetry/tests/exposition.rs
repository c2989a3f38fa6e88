//! The text of a scrape is valid, and says what happened.

mod support;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use plait_model::ObjectRef;
use plait_telemetry::{Checked, Cut, Direction, METRICS, Mirrored, Outcome, PluginFigures, Protocol, Record, Telemetry};
use proptest::prelude::*;
use support::Page;

#[test]
fn connections_are_counted_when_they_open_and_their_bytes_as_they_flow() {
    let telemetry = Telemetry::new(std::io::sink());
    let (source, destination): (Arc<str>, Arc<str>) = ("shop/web".into(), "shop/ledger".into());
    let open = |tls| telemetry.connection(Direction::Outbound, Protocol::Tcp, &source, &destination, tls);
    let names = r#"direction="outbound",source="shop/web",destination="shop/ledger",protocol="tcp",tls="TLSv1.3""#;
    let (first, second, _plain) = (open(true), open(true), open(false));
    first.sent(10);
    second.received(20);
    second.received(1);
    drop(first);
    let page = Page::parse(&telemetry.render());
    assert_eq!(page.value(&format!("plait_connections_total{{{names}}}")), 2.0);
    assert_eq!(page.value(&format!("plait_connections_open{{{names}}}")), 1.0);
    assert_eq!(page.value(&format!("plait_connection_bytes_total{{{names},flow=\"sent\"}}")), 10.0);
    assert_eq!(page.value(&format!("plait_connection_bytes_total{{{names},flow=\"received\"}}")), 21.0);
    assert_eq!(page.value(&format!("plait_connections_open{{{}}}", names.replace("TLSv1.3", "none"))), 1.0);
}

/// One plugin that was asked, failed and was left out.
fn plugins() -> (Vec<PluginFigures>, Vec<(String, bool)>) {
    let figures = PluginFigures {
        plugin: "shop/p".into(),
        phase: "request",
        calls: 5,
        verdicts: 1,
        bypasses: 2,
        failures: vec![("timeout", 3), ("crash", 0)],
        buckets: vec![(Some(0.001), 4), (None, 5)],
        sum: 0.25,
    };
    (vec![figures], vec![("shop/p".into(), true)])
}

#[test]
fn what_the_application_sets_is_shown() {
    let telemetry = Telemetry::new(std::io::sink());
    let end = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    telemetry.set_generation(42);
    telemetry.set_certificate(&"shop/web".into(), Some(end));
    telemetry.set_certificate(&"shop/gone".into(), Some(end));
    telemetry.set_certificate(&"shop/gone".into(), None);
    telemetry.panicked();
    let policy = ObjectRef { kind: "AuthorizationPolicy".into(), namespace: "shop".into(), name: "readers".into() };
    telemetry.dry_run_denied(&policy, &"shop/web".into());
    telemetry.dry_run_denied(&policy, &"shop/web".into());
    telemetry.retried(&"shop/reviews".into());
    telemetry.mirrored(&"shop/shadow:80".into(), Mirrored::TooLarge);
    telemetry.ejected(&"shop/reviews:80".into());
    telemetry.checked(&"shop/reviews:80".into(), Checked::NoVerdict);
    telemetry.set_health(&"shop/reviews:80".into(), 2, true);
    telemetry.met_closing(&"shop/reviews".into());
    telemetry.cut(Direction::Inbound, Cut::SlowHead);
    telemetry.set_plugins(plugins);
    let page = Page::parse(&telemetry.render());
    for (series, value) in [
        ("plait_generation", 42.0),
        (r#"plait_certificate_expiry_timestamp_seconds{workload="shop/web"}"#, 1_700_000_000.0),
        (r#"plait_plugin_calls_total{plugin="shop/p",phase="request"}"#, 5.0),
        (r#"plait_plugin_verdicts_total{plugin="shop/p",phase="request"}"#, 1.0),
        (r#"plait_plugin_bypasses_total{plugin="shop/p",phase="request"}"#, 2.0),
        (r#"plait_plugin_failures_total{plugin="shop/p",phase="request",cause="timeout"}"#, 3.0),
        (r#"plait_plugin_duration_seconds_bucket{plugin="shop/p",phase="request",le="0.001"}"#, 4.0),
        (r#"plait_plugin_duration_seconds_count{plugin="shop/p",phase="request"}"#, 5.0),
        (r#"plait_plugin_duration_seconds_sum{plugin="shop/p",phase="request"}"#, 0.25),
        (r#"plait_plugin_breaker_open{plugin="shop/p"}"#, 1.0),
        ("plait_panics_total", 1.0),
        (r#"plait_policy_dry_run_total{policy="shop/readers",workload="shop/web",verdict="denied"}"#, 2.0),
        (r#"plait_retries_total{destination="shop/reviews"}"#, 1.0),
        (r#"plait_health_checks_total{backend="shop/reviews:80",outcome="no_verdict"}"#, 1.0),
        (r#"plait_unhealthy_endpoints{backend="shop/reviews:80"}"#, 2.0),
        (r#"plait_backend_panicking{backend="shop/reviews:80"}"#, 1.0),
        (r#"plait_mirrored_requests_total{backend="shop/shadow:80",outcome="too_large"}"#, 1.0),
        (r#"plait_closing_connections_total{destination="shop/reviews"}"#, 1.0),
        (r#"plait_ejections_total{backend="shop/reviews:80"}"#, 1.0),
        (r#"plait_connections_cut_total{direction="inbound",cause="slow_head"}"#, 1.0),
        (concat!(r#"plait_build_info{version=""#, env!("CARGO_PKG_VERSION"), r#""}"#), 1.0),
    ] {
        assert_eq!(page.value(series), value, "{series}");
    }
    assert_eq!(page.sum("plait_certificate_expiry_timestamp_seconds"), 1_700_000_000.0);
}

#[test]
fn every_metric_is_announced_as_it_is_registered() {
    let text = Telemetry::new(std::io::sink()).render();
    let announced: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    let registered: Vec<_> = METRICS.iter().map(|metric| format!("{} {}", metric.name, metric.kind.as_str())).collect();
    assert_eq!(
        {
            let mut sorted = announced;
            sorted.sort();
            sorted
        },
        {
            let mut sorted = registered;
            sorted.sort();
            sorted
        }
    );
}

/// One of everything, so that every metric has a sample.
fn one_of_everything(telemetry: &Telemetry, name: &Arc<str>) {
    let mut record = Record::new(Direction::Inbound, Protocol::Http1, name.clone());
    let mut outcome = Outcome::begin(telemetry, &mut record);
    outcome.destination.set(name);
    outcome.route.set(name);
    let policy = ObjectRef { kind: "".into(), namespace: (&**name).into(), name: (&**name).into() };
    outcome.label(name, name);
    outcome.rejected(plait_model::Reason::PolicyDenied, Some(policy.clone()));
    drop(outcome);
    let connection = telemetry.connection(Direction::Inbound, Protocol::Http2, name, name, true);
    connection.sent(1);
    connection.received(1);
    telemetry.dry_run_denied(&policy, name);
    telemetry.retried(name);
    telemetry.mirrored(name, Mirrored::Failed);
    telemetry.ejected(name);
    telemetry.checked(name, Checked::Failed);
    telemetry.set_health(name, 0, false);
    telemetry.met_closing(name);
    telemetry.waited(name);
    telemetry.session_begun(name);
    telemetry.crossed_zones(name);
    telemetry.cut(Direction::Outbound, Cut::Idle);
    telemetry.set_certificate(name, Some(SystemTime::UNIX_EPOCH));
}

#[test]
fn samples_have_the_labels_that_are_registered() {
    let telemetry = Telemetry::new(std::io::sink());
    one_of_everything(&telemetry, &"a/b".into());
    telemetry.set_plugins(plugins);
    let page = Page::parse(&telemetry.render());
    for metric in METRICS {
        let parts: &[_] = if metric.kind == plait_telemetry::Kind::Histogram { &["_sum", "_count"] } else { &[""] };
        for part in parts {
            let name = format!("{}{part}", metric.name);
            let series =
                page.0.keys().find(|series| series.split('{').next() == Some(&name)).unwrap_or_else(|| panic!("{name} has no sample"));
            let labels: Vec<_> =
                series[name.len()..].trim_matches(['{', '}']).split("\",").filter_map(|pair| Some(pair.split_once('=')?.0)).collect();
            assert_eq!(labels, metric.labels, "{name}");
        }
    }
}

proptest! {
    #[test]
    fn no_name_makes_the_text_invalid(names in prop::collection::vec(prop::collection::vec(any::<char>(), 0..8), 1..8)) {
        let telemetry = Telemetry::new(std::io::sink());
        for name in &names {
            one_of_everything(&telemetry, &name.iter().collect::<String>().into());
        }
        let page = Page::parse(&telemetry.render());
        prop_assert_eq!(page.sum("plait_requests_total"), names.len() as f64);
        prop_assert_eq!(page.sum("plait_policy_dry_run_total"), names.len() as f64);
    }
}

#[test]
fn made_up_names_end_under_other() {
    let telemetry = Telemetry::new(std::io::sink());
    for number in 0..500 {
        one_of_everything(&telemetry, &format!("{number}.example").into());
    }
    let page = Page::parse(&telemetry.render());
    assert_eq!(page.sum("plait_requests_total"), 500.0);
    let other = r#"plait_requests_total{direction="inbound",source="other",destination="other",route="other",code_class="4xx"}"#;
    assert_eq!(page.value(other), 300.0);
}
