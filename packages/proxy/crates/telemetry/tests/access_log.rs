//! What the access log holds, from an outcome to the writer.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex, MutexGuard},
    thread,
    time::Duration,
};

use plait_model::{AccessLog, AccessLogFilter, Mesh, Reason};
use plait_telemetry::{Direction, Outcome, Protocol, Record, Telemetry};

const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Shared {
    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().expect("no writer panics")
    }

    fn lines(&self) -> Vec<serde_json::Value> {
        let text = String::from_utf8(self.bytes().clone()).expect("ASCII");
        text.lines().map(|line| serde_json::from_str(line).expect("a line is an object")).collect()
    }
}

fn mesh(filter: Option<AccessLogFilter>) -> Mesh {
    Mesh { access_log: filter.map(|filter| AccessLog { filter }), ..Mesh::default() }
}

/// An answer of 200, a reject, one that nobody waited for, an opaque connection that ended well and one that did not.
fn traffic(telemetry: &Telemetry) {
    let mut record = Record::new(Direction::Outbound, Protocol::Http1, "shop/web".into());
    Outcome::begin(telemetry, &mut record).status = 200;
    Outcome::begin(telemetry, &mut record).rejected(Reason::PolicyDenied, None);
    drop(Outcome::begin(telemetry, &mut record));
    record.protocol = Protocol::Tcp;
    drop(Outcome::begin(telemetry, &mut record));
    Outcome::begin(telemetry, &mut record).reason = Some(Reason::UpstreamUnreachable);
}

#[test]
fn the_filter_of_the_mesh_says_what_is_written() {
    for (filter, expected) in [
        (None, &[][..]),
        (Some(AccessLogFilter::Errors), &[(Some(403), Some("policy_denied")), (Some(499), None), (None, Some("upstream_unreachable"))]),
        (
            Some(AccessLogFilter::All),
            &[(Some(200), None), (Some(403), Some("policy_denied")), (Some(499), None), (None, None), (None, Some("upstream_unreachable"))],
        ),
    ] {
        let out = Shared::default();
        let telemetry = Telemetry::new(out.clone());
        traffic(&telemetry); // before the Mesh is known nothing is
        telemetry.configure(&mesh(filter));
        traffic(&telemetry);
        assert!(telemetry.flush(PATIENCE));
        let lines = out.lines();
        let written: Vec<_> = lines.iter().map(|line| (line["status"].as_u64(), line["reason"].as_str())).collect();
        assert_eq!(written, expected, "{filter:?}");
    }
}

#[test]
fn lines_of_many_workers_never_mix() {
    let out = Shared::default();
    let telemetry = Telemetry::new(out.clone());
    telemetry.configure(&mesh(Some(AccessLogFilter::All)));
    thread::scope(|scope| {
        for worker in 0..4 {
            let telemetry = &telemetry;
            scope.spawn(move || {
                let mut record = Record::new(Direction::Inbound, Protocol::Http2, "".into());
                for number in 0..200 {
                    let mut outcome = Outcome::begin(telemetry, &mut record);
                    outcome.path.push_str(&format!("/{worker}"));
                    outcome.generation = number;
                }
            });
        }
    });
    assert!(telemetry.flush(PATIENCE));
    let lines = out.lines();
    for worker in 0..4 {
        let numbers = lines.iter().filter(|line| line["path"] == format!("/{worker}")).map(|line| line["generation"].as_u64().unwrap());
        assert!(numbers.eq(0..200));
    }
}
