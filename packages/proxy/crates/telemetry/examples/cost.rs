//! What recording a request costs: `cargo run --release -p plait-telemetry --example cost`.

use std::{hint::black_box, io, sync::Arc, time::Instant};

use plait_model::{AccessLog, AccessLogFilter, Mesh};
use plait_telemetry::{Direction, Outcome, Protocol, Record, Telemetry, trace::TraceContext};

const REQUESTS: u32 = 1_000_000;

fn main() {
    for (name, access_log, destinations) in [
        ("one destination", None, 1),
        ("twenty destinations", None, 20),
        ("one destination, access log", Some(AccessLog { filter: AccessLogFilter::All }), 1),
    ] {
        let telemetry = Telemetry::new(io::sink());
        telemetry.configure(&Mesh { access_log, ..Mesh::default() });
        let names: Vec<Arc<str>> = (0..destinations).map(|number| format!("bookshop/reviews-{number}").into()).collect();
        let mut record = Record::new(Direction::Outbound, Protocol::Http1, "bookshop/web-1".into());
        let began = Instant::now();
        for number in 0..REQUESTS {
            request(&telemetry, &mut record, &names[number as usize % names.len()]);
        }
        println!("{name}: {:.0} ns", began.elapsed().as_nanos() as f64 / f64::from(REQUESTS));
    }
}

fn request(telemetry: &Telemetry, record: &mut Record, name: &Arc<str>) {
    let mut outcome = Outcome::begin(telemetry, record);
    outcome.destination.set(name);
    outcome.route.set(name);
    outcome.backend.set(name);
    outcome.endpoint.set(name);
    outcome.authority.push_str("reviews.bookshop:80");
    outcome.path.push_str("/reviews/7");
    outcome.status = 200;
    outcome.attempts = 1;
    outcome.trace = TraceContext::begin(1.0);
    black_box(outcome.trace.header());
}
