//! A request allocates nothing once its names are known, logged or not.
#![allow(unsafe_code)] // counting allocations means being the allocator

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    sync::Arc,
};

use plait_model::{AccessLog, AccessLogFilter, Mesh, ObjectRef};
use plait_telemetry::{Direction, Mirrored, Outcome, Protocol, Record, Telemetry, trace::TraceContext};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: everything is passed on to the system's allocator, which keeps the contract; the counter is a plain cell of this thread.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(run: impl FnOnce()) -> usize {
    let before = ALLOCATIONS.with(Cell::get);
    run();
    ALLOCATIONS.with(Cell::get) - before
}

/// The names that the request line has at hand.
struct Names {
    destinations: Vec<Arc<str>>,
    policy: Arc<ObjectRef>,
}

fn names() -> Names {
    let policy = Arc::new(ObjectRef { kind: "AuthorizationPolicy".into(), namespace: "shop".into(), name: "readers".into() });
    Names { destinations: (0..9).map(|number| format!("shop/{number}").into()).collect(), policy }
}

fn request(telemetry: &Telemetry, record: &mut Record, names: &Names, destination: &Arc<str>) {
    let mut outcome = Outcome::begin(telemetry, record);
    outcome.destination.set(destination);
    outcome.route.set(destination);
    outcome.backend.set(destination);
    outcome.endpoint.set(destination);
    outcome.authority.push_str("reviews:80");
    outcome.path.push_str("/reviews/7");
    outcome.status = 200;
    outcome.attempts = 2;
    outcome.permitted(&names.policy);
    outcome.would_be_denied(&names.policy);
    outcome.trace = TraceContext::begin(0.5);
    outcome.trace = TraceContext::pass_on([&outcome.trace.header()[..]].into_iter()).expect("what we write is valid");
    telemetry.dry_run_denied(&names.policy, destination);
    telemetry.retried(destination);
    telemetry.mirrored(destination, Mirrored::Sent);
    telemetry.connection(Direction::Outbound, Protocol::Tcp, destination, destination, true).sent(1);
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| drop(std::hint::black_box(Box::new(1)))), 1);
}

#[test]
fn a_request_allocates_nothing_when_its_names_are_known() {
    let names = names();
    for access_log in [None, Some(AccessLog { filter: AccessLogFilter::All })] {
        let telemetry = Telemetry::new(std::io::sink());
        telemetry.configure(&Mesh { access_log, ..Mesh::default() });
        let mut record = Record::new(Direction::Outbound, Protocol::Http1, "shop/web".into());
        let mut round = || names.destinations.iter().for_each(|destination| request(&telemetry, &mut record, &names, destination));
        round();
        assert_eq!(allocations(round), 0, "{access_log:?}");
    }
}

#[test]
fn a_request_past_the_limits_allocates_nothing() {
    let telemetry = Telemetry::new(std::io::sink());
    let mut record = Record::new(Direction::Outbound, Protocol::Http1, "shop/web".into());
    let hosts: Vec<Arc<str>> = (0..300).map(|number| format!("{number}.example").into()).collect();
    let mut round = || {
        for host in &hosts {
            Outcome::begin(&telemetry, &mut record).destination.set(host);
        }
    };
    round();
    assert_eq!(allocations(round), 0);
}
