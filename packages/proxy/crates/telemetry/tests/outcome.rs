//! An outcome is counted exactly once, whatever the exit.

mod support;

use std::{panic, sync::Arc, time::Duration};

use plait_model::Reason;
use plait_telemetry::{Direction, Outcome, Protocol, Record, Telemetry};
use support::Page;

const NAMES: &str = r#"direction="outbound",source="shop/web",destination="shop/reviews",route="""#;

fn record(protocol: Protocol) -> Record {
    Record::new(Direction::Outbound, protocol, "shop/web".into())
}

/// Begins a request to reviews, as the request line does.
fn begin<'r>(telemetry: &'r Telemetry, record: &'r mut Record, destination: &Arc<str>) -> Outcome<'r> {
    let mut outcome = Outcome::begin(telemetry, record);
    outcome.destination.set(destination);
    outcome
}

/// How a request can end.
#[derive(Debug, Clone, Copy)]
enum Exit {
    Answer(u16),
    Reject(Reason),
    ReasonWithoutStatus(Reason),
    BrokenOff(Reason),
    NoAnswer,
    Panic,
    PanicAfter(u16),
}

fn run(telemetry: &Telemetry, record: &mut Record, exit: Exit) {
    let mut outcome = begin(telemetry, record, &"shop/reviews".into());
    match exit {
        Exit::Answer(status) => outcome.status = status,
        Exit::Reject(reason) => outcome.rejected(reason, None),
        Exit::ReasonWithoutStatus(reason) => outcome.reason = Some(reason),
        Exit::BrokenOff(reason) => (outcome.status, outcome.reason) = (200, Some(reason)),
        Exit::NoAnswer => {}
        // Without the hook's message: the panic is wanted.
        Exit::Panic => panic::resume_unwind(Box::new("a bug")),
        Exit::PanicAfter(status) => {
            outcome.status = status;
            panic::resume_unwind(Box::new("a bug"))
        }
    }
}

#[test]
fn every_exit_is_counted_once() {
    for (exit, class, reason) in [
        (Exit::Answer(200), "2xx", None),
        (Exit::Answer(499), "4xx", None),
        (Exit::Reject(Reason::PolicyDenied), "4xx", Some("policy_denied")),
        (Exit::ReasonWithoutStatus(Reason::Overloaded), "5xx", Some("overloaded")),
        (Exit::BrokenOff(Reason::UpstreamReset), "2xx", Some("upstream_reset")),
        (Exit::NoAnswer, "cancelled", None),
        (Exit::Panic, "5xx", Some("internal")),
        (Exit::PanicAfter(200), "2xx", Some("internal")),
    ] {
        let telemetry = Telemetry::new(std::io::sink());
        let mut record = record(Protocol::Http1);
        let _ = panic::catch_unwind(panic::AssertUnwindSafe(|| run(&telemetry, &mut record, exit)));
        let page = Page::parse(&telemetry.render());
        assert_eq!(page.value(&format!("plait_requests_total{{{NAMES},code_class=\"{class}\"}}")), 1.0, "{exit:?}");
        assert_eq!(page.value(&format!("plait_request_duration_seconds_count{{{NAMES}}}")), 1.0, "{exit:?}");
        let rejects = reason.map(|reason| page.value(&format!("plait_rejects_total{{{NAMES},reason=\"{reason}\"}}")));
        assert_eq!(
            (rejects.unwrap_or(0.0), page.sum("plait_rejects_total")),
            (reason.map_or(0.0, |_| 1.0), rejects.unwrap_or(0.0)),
            "{exit:?}"
        );
        assert_eq!((page.sum("plait_requests_total"), page.sum("plait_requests_in_flight")), (1.0, 0.0), "{exit:?}");
    }
}

#[tokio::test]
async fn a_future_that_is_dropped_counts_its_request() {
    let telemetry = Telemetry::new(std::io::sink());
    let mut record = record(Protocol::Http2);
    let request = async {
        let _outcome = begin(&telemetry, &mut record, &"shop/reviews".into());
        std::future::pending::<()>().await;
    };
    let mut request = Box::pin(request);
    assert!(waits(request.as_mut()).await);
    let in_flight = r#"plait_requests_in_flight{direction="outbound"}"#;
    assert_eq!(Page::parse(&telemetry.render()).value(in_flight), 1.0);
    drop(request);
    let page = Page::parse(&telemetry.render());
    assert_eq!(page.value(&format!("plait_requests_total{{{NAMES},code_class=\"cancelled\"}}")), 1.0);
    assert_eq!((page.value(in_flight), record.status), (0.0, 499));
}

/// Polls once; true = it waits.
async fn waits(mut future: std::pin::Pin<&mut impl Future<Output = ()>>) -> bool {
    std::future::poll_fn(|context| std::task::Poll::Ready(future.as_mut().poll(context).is_pending())).await
}

#[test]
fn an_opaque_connection_is_no_request() {
    let telemetry = Telemetry::new(std::io::sink());
    let mut record = record(Protocol::Tcp);
    drop(begin(&telemetry, &mut record, &"shop/reviews".into()));
    assert_eq!((record.status, record.reason), (0, None));
    begin(&telemetry, &mut record, &"shop/reviews".into()).reason = Some(Reason::UpstreamReset);
    let page = Page::parse(&telemetry.render());
    assert_eq!(page.sum("plait_requests_total"), 0.0);
    assert_eq!(page.sum("plait_request_duration_seconds_count"), 0.0);
    assert_eq!(page.value(&format!("plait_rejects_total{{{NAMES},reason=\"upstream_reset\"}}")), 1.0);
}

#[test]
fn a_record_keeps_its_connection_and_forgets_its_request() {
    let telemetry = Telemetry::new(std::io::sink());
    let mut record = record(Protocol::Http1);
    record.tls = true;
    {
        let mut outcome = begin(&telemetry, &mut record, &"shop/reviews".into());
        outcome.rejected(Reason::PolicyDenied, Some(plait_model::ObjectRef::default()));
        outcome.authority.push_str("reviews");
        outcome.path.push_str("/secret");
        outcome.permitted(&plait_model::ObjectRef::default().into());
        outcome.would_be_denied(&plait_model::ObjectRef::default());
        (outcome.attempts, outcome.sent_bytes, outcome.received_bytes, outcome.generation) = (1, 2, 3, 4);
    }
    let mut fresh = self::record(Protocol::Http1);
    fresh.tls = true;
    let outcome = Outcome::begin(&telemetry, &mut record);
    assert!(outcome.began().elapsed() < Duration::from_secs(60));
    // All but where it was counted before, which is not seen from here.
    let shown = |record: &Record| format!("{record:?}").split("recent").next().unwrap().to_owned();
    assert_eq!(shown(&outcome), shown(&fresh));
}
