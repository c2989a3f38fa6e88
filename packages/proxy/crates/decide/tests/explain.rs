//! A question and its answer, over one small shop: web calls reviews (HTTP) and ledger (TCP), the snapshot holds all of them.

#![allow(clippy::unwrap_used, clippy::panic)] // clippy's own exemption ends at #[test] functions; helpers beside them are tests too

mod text;

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use plait_decide::{
    explain::{Decision, Question, Unanswerable, explain},
    health,
};
use plait_model::{
    Action, Algorithm, Backend, BackendTraffic, Carrier, DefaultPolicy, Destination, DestinationKey, DestinationPort, Egress, Endpoint,
    EndpointState, Filters, GrpcLength, HashOn, HashTable, HeaderModifier, HealthCheck, Hostname, Map, Mesh, ObjectRef, Operation,
    OutlierDetection, PathRewrite, Policy, PolicyBinding, PolicyRule, Probe, Protocol, Redirect, RequestHead, RouteKind, RouteTable, Rule,
    SessionAffinity, Sessions, Snapshot, SpiffeId, SuccessRate, UrlRewrite, WeightedBackend, Workload,
};

const WEB: &str = "ns/web-1";
/// Of the clock of those who learn about endpoints.
const NOW: u64 = 1_000_000_000_000;

fn id(account: &str) -> Arc<SpiffeId> {
    Arc::new(SpiffeId::new("example", "ns", account).unwrap())
}

fn workload(account: &str, policies: &[Arc<Policy>]) -> Arc<Workload> {
    let bound = |policy: &Arc<Policy>| PolicyBinding { name: "ns/p".into(), policy: Some(policy.clone()), ports: vec![] };
    Arc::new(Workload {
        key: format!("ns/{account}-1").into(),
        namespace: "ns".into(),
        name: format!("{account}-1").into(),
        identity: id(account),
        address: "127.0.0.1".parse().unwrap(),
        ports: vec![],
        inbound: "127.0.0.1:1".parse().unwrap(),
        outbound: None,
        binds: vec![],
        zone: "".into(),
        policies: policies.iter().map(bound).collect(),
        redirected: false,
        policy_epoch: 1,
        arrivals: Default::default(),
        calls: Default::default(),
    })
}

fn backend(service: &str, port: u16) -> (Arc<str>, Arc<Backend>) {
    let endpoint = Endpoint {
        id: 1,
        workload: format!("ns/{service}-1").into(),
        address: "127.0.0.1:1".parse().unwrap(),
        identity: Some(id(service)),
        server_name: "".into(),
        target_port: port,
        zone: "".into(),
        state: Arc::default(),
    };
    let key: Arc<str> = format!("ns/{service}:{port}").into();
    let endpoints = vec![Arc::new(endpoint)];
    let backend = Backend {
        key: key.clone(),
        service: format!("ns/{service}").into(),
        port,
        protocol: Protocol::Http,
        hash_table: HashTable::new(Algorithm::Maglev, &endpoints),
        sessions: Sessions::default(),
        zones: None,
        endpoints,
        traffic: BackendTraffic {
            algorithm: Algorithm::Maglev,
            hash_on: HashOn::Header("x-user".into()),
            outliers: Some(OutlierDetection {
                consecutive_failures: 5,
                base_ejection: Duration::from_secs(10),
                max_ejected_percent: 50,
                success_rate: Some(SuccessRate { min_percent: 80, min_requests: 20, interval: Duration::from_secs(30) }),
            }),
            health_check: Some(HealthCheck {
                interval: Duration::from_secs(10),
                timeout: Duration::from_secs(1),
                unhealthy_threshold: 3,
                healthy_threshold: 2,
                min_healthy_percent: 50,
                probe: Probe::Http {
                    path: "/ready".into(),
                    query: Some("deep".into()),
                    host: "reviews.ns".into(),
                    expected_statuses: vec![200, 204],
                },
            }),
            slow_start: Some(Duration::from_secs(10)),
            ..BackendTraffic::default()
        },
        state: Arc::default(),
    };
    (key, Arc::new(backend))
}

fn destination(service: &str, port: u16, protocol: Protocol, rules: Vec<Arc<Rule>>) -> (DestinationKey, Arc<Destination>) {
    let key = DestinationKey::from_contract(&format!("ns/{service}"));
    let routes = Arc::new(RouteTable::new(rules.into_iter().map(|rule| (0, rule)).collect()));
    let port = DestinationPort { name: "".into(), port, protocol, routes, consumer_routes: Map::default() };
    (key.clone(), Arc::new(Destination { key, direct: None, ports: vec![port], last_used: Arc::default() }))
}

/// A rule with one backend; "" as match takes everything.
fn rule(index: usize, found: &str, filters: Filters, to: &str) -> Arc<Rule> {
    let matches = (!found.is_empty()).then(|| text::matched(found).unwrap()).into_iter().collect();
    let mut rule = Arc::into_inner(text::rule("reviews", index, matches)).unwrap();
    rule.filters = filters;
    rule.backends = vec![WeightedBackend { backend: to.into(), invalid: None, weight: 1, filters: Filters::default() }];
    rule.total_weight = 1;
    Arc::new(rule)
}

fn shop(rules: Vec<Arc<Rule>>, policies: Vec<Policy>) -> Snapshot {
    let mesh = Mesh { default_policy: DefaultPolicy::AllowAuthenticated, egress: Egress::Deny, ..Mesh::default() };
    let policies: Vec<_> = policies.into_iter().map(Arc::new).collect();
    let workloads = [workload("web", &[]), workload("reviews", &policies), workload("ledger", &policies)];
    Snapshot {
        generation: 7,
        mesh: Arc::new(mesh),
        workloads: workloads.into_iter().map(|workload| (Box::from(&*workload.key), workload)).collect(),
        destinations: [
            destination("reviews", 80, Protocol::Http, rules),
            destination("ledger", 7000, Protocol::Tcp, vec![rule(0, "", Filters::default(), "ns/ledger:7000")]),
        ]
        .into_iter()
        .collect(),
        unknown: [DestinationKey::from_contract("www.example.com")].into_iter().collect(),
        backends: [backend("reviews", 80), backend("ledger", 7000)].into_iter().collect(),
        plugins: Default::default(),
    }
}

fn policy(action: Action, to: Vec<Operation>) -> Policy {
    let object = ObjectRef { kind: "AuthorizationPolicy".into(), namespace: "ns".into(), name: "p".into() };
    Policy { object: object.into(), action, dry_run: false, rules: vec![PolicyRule { from: vec![], to }], invalid: false }
}

fn paths(path: &str) -> Vec<Operation> {
    vec![Operation { paths: vec![path.into()], ..Operation::default() }]
}

fn ask(snapshot: &Snapshot, authority: &str, request: &str) -> Result<Decision, Unanswerable> {
    let mut head = text::head(request).unwrap();
    head.authority = authority.into();
    explain(snapshot, &Question { from: WEB.into(), head, server_name: None }, NOW)
}

fn plain(index: usize, found: &str) -> Arc<Rule> {
    rule(index, found, Filters::default(), "ns/reviews:80")
}

#[test]
fn the_rule_that_takes_it_says_what_of_it_matched() {
    let decision = ask(&shop(vec![plain(0, "/a GET h:x-tester=yes q:v=2")], vec![]), "reviews", "GET /a?v=2 x-tester=yes").unwrap();
    let wanted = ["path is below /a", "method is GET", "header x-tester is yes", "query parameter v is 2"];
    assert_eq!(decision.route.unwrap().matched, wanted);
    assert_eq!((decision.generation, decision.answer), (7, None));
    assert_eq!(decision.limits.map(|limits| (limits.connect_ms, limits.idle_ms)), Some((Some(5_000), Some(3_600_000))));
}

#[test]
fn how_an_endpoint_is_chosen_is_told() {
    let checked = "GET /ready?deep of reviews.ns gives 200 or 204; every 10s, within 1s; out after 3 failures, back after 2 passes; \
                   with less than 50 % healthy all are used";
    let ejected = "5 failures in a row or fewer than 80 % successes of at least 20 requests in 30s; for 10s, at most 50 % of the endpoints";
    for (request, owner) in [("GET / x-user=a", Some("ns/reviews-1")), ("GET /", None)] {
        let balancing = ask(&shop(vec![plain(0, "")], vec![]), "reviews", request).unwrap().balancing.unwrap();
        assert_eq!(
            (balancing.algorithm, balancing.hash_on.as_deref(), balancing.owner.as_deref()),
            ("Maglev", Some("header x-user"), owner)
        );
        assert_eq!(balancing.ejected.as_deref(), Some(ejected));
        assert_eq!(balancing.health_check.as_deref(), Some(checked));
        assert_eq!((balancing.panics, balancing.slow_start_ms), (false, None), "what hashes knows no slow start");
    }
}

#[test]
fn what_keeps_requests_from_an_endpoint_is_told() {
    let asked = |learn: &dyn Fn(&EndpointState)| {
        let snapshot = shop(vec![plain(0, "")], vec![]);
        let backend = &snapshot.backends["ns/reviews:80"];
        learn(&backend.endpoints[0].state);
        health::count(backend, NOW);
        let decision = ask(&snapshot, "reviews", "GET /").unwrap();
        (decision.endpoints[0].standing.clone(), decision.balancing.unwrap().panics)
    };
    let failing = |state: &EndpointState, why: &str| *state.health.failure.lock().unwrap() = Some(why.into());
    let fails = |state: &EndpointState| {
        state.health.unhealthy.store(true, Relaxed);
        failing(state, "it answered with status 500");
    };
    let half = |state: &EndpointState| state.since_nanos.store(NOW - 5_000_000_000, Relaxed);
    type Learn<'l> = &'l dyn Fn(&EndpointState);
    let cases: [(Learn<'_>, Vec<&str>, bool); 8] = [
        (&|_| {}, vec![], false),
        (&fails, vec!["fails its health checks: it answered with status 500"], true),
        (&|state| state.health.unhealthy.store(true, Relaxed), vec!["failed its health checks; the last one passed"], true),
        (&|state| failing(state, "policy_denied"), vec!["its last health check did not pass: policy_denied"], false),
        (
            &|state| state.ejected_until_nanos.store(NOW + 1_500_000_000, Relaxed),
            vec!["a dial was refused: passed over for 1.5s more"],
            false,
        ),
        (
            &|state| state.outlier.ejected_until_nanos.store(NOW + 7_000_000_000, Relaxed),
            vec!["ejected for bad answers, for 7s more"],
            true,
        ),
        (&|state| state.outlier.ejected_until_nanos.store(NOW, Relaxed), vec![], false),
        (&half, vec!["slow start: 50 % of its share"], false),
    ];
    for (learn, standing, panics) in cases {
        assert_eq!(asked(learn), (standing.into_iter().map(str::to_owned).collect(), panics));
    }
}

#[test]
fn each_other_rule_says_why_it_does_not() {
    // (the rule that takes it, the other one, why the other one does not)
    for (taker, other, why) in [
        ("/", "/ h:x-tester=yes", "header x-tester is absent"),
        ("/", "/ h:x=2", "header x is not 2"),
        ("/", "/ q:v=1", "query parameter v is absent"),
        ("/", "/b", "path is not below /b"),
        ("/", "/ PUT", "method is not PUT"),
        ("/a h:x=1", "/a", "it matches too, but has fewer header matches"),
        ("/a", "/", "it matches too, but has a shorter path match"),
        ("=/a", "/a", "it matches too, but has a path match of a less specific kind"),
        ("/a GET", "/a", "it matches too, but names no method"),
        ("/a q:q=1", "/a", "it matches too, but has fewer query parameter matches"),
        ("/a", "/a", "it matches too, but stands later in its route"),
        ("/a", "", "it matches too, but has a shorter path match"),
    ] {
        let decision = ask(&shop(vec![plain(0, taker), plain(1, other)], vec![]), "reviews", "GET /a?q=1 x=1").unwrap();
        assert_eq!(decision.route.unwrap().rule, 0, "{taker} {other}");
        assert_eq!(decision.not_chosen.iter().map(|other| other.why.as_str()).collect::<Vec<_>>(), [why], "{taker} {other}");
    }
}

/// A rule for connections, of the route of that name.
fn stream(kind: RouteKind, route: &str, hostnames: Vec<Hostname>) -> Arc<Rule> {
    let mut rule = Arc::into_inner(rule(0, "", Filters::default(), "ns/ledger:7000")).unwrap();
    rule.object = Arc::new(ObjectRef { kind: "TLSRoute".into(), namespace: "ns".into(), name: route.into() });
    (rule.kind, rule.hostnames) = (kind, hostnames);
    Arc::new(rule)
}

#[test]
fn a_connection_is_told_which_route_takes_its_server_name() {
    let (exact, below) = (Hostname::Exact("a.example".into()), Hostname::Below("example".into()));
    let tls = |route, hostnames| stream(RouteKind::Tls, route, hostnames);
    let rules = vec![
        tls("exact", vec![exact]),
        tls("below", vec![below.clone()]),
        tls("cousin", vec![below]),
        stream(RouteKind::Tcp, "all", vec![]),
    ];
    let snapshot = shop(rules, vec![]);
    let asked = |server_name: Option<&str>| {
        let head = RequestHead { authority: "reviews".into(), ..text::head("GET /").unwrap() };
        explain(&snapshot, &Question { from: WEB.into(), head, server_name: server_name.map(Into::into) }, NOW).unwrap()
    };
    for (server_name, taker, matched) in [
        (Some("A.example"), Some("exact"), &["server name is a.example"][..]),
        (Some("b.example"), Some("below"), &["server name is *.example"]),
        (Some("example"), None, &[]),
        // The host that is called, when nobody says otherwise.
        (None, None, &[]),
    ] {
        let decision = asked(server_name);
        assert_eq!(decision.destination.as_ref().unwrap().protocol, "tls");
        assert_eq!(decision.route.as_ref().map(|route| &*route.object.name), taker, "{server_name:?}");
        assert_eq!(decision.route.map_or(vec![], |route| route.matched), matched, "{server_name:?}");
        assert_eq!(decision.answer.map(|answer| answer.reason), taker.is_none().then_some("route_not_found"), "{server_name:?}");
    }
    let why: Vec<_> = asked(Some("a.example")).not_chosen.into_iter().map(|other| other.why).collect();
    let expected = [
        "a route of another kind stands on the port, and its own gives way",
        "it takes the name too, but less specifically",
        "it takes the name too, but less specifically",
    ];
    assert_eq!(why, expected);
    let why: Vec<_> = asked(Some("b.example")).not_chosen.into_iter().map(|other| other.why).collect();
    assert_eq!(why[1..], ["an older route takes it, or one earlier by name", "server name is not a.example"]);
}

#[test]
fn a_call_of_grpc_is_told_what_ranks_the_rules() {
    for (taker, other, why) in [
        ((5, 3), (5, 0), "it matches too, but names fewer characters of the method"),
        ((5, 3), (2, 9), "it matches too, but names fewer characters of the service"),
        ((5, 3), (5, 3), "it matches too, but stands later in its route"),
    ] {
        let grpc = |index, (service, method)| {
            let mut found = text::matched("/ POST").unwrap();
            found.grpc = Some(GrpcLength { service, method });
            let mut rule = Arc::into_inner(plain(index, "")).unwrap();
            (rule.kind, rule.matches) = (RouteKind::Grpc, vec![found]);
            Arc::new(rule)
        };
        let decision = ask(&shop(vec![grpc(0, taker), grpc(1, other)], vec![]), "reviews", "POST /a.B/C").unwrap();
        assert_eq!(decision.route.unwrap().rule, 0, "{taker:?} {other:?}");
        assert_eq!(decision.not_chosen[0].why, why, "{taker:?} {other:?}");
    }
}

#[test]
fn policy_judges_what_the_destination_receives() {
    let filters = || {
        let path = Some(PathRewrite::Prefix("/internal".into()));
        Filters { rewrite: Some(UrlRewrite { hostname: None, path }), ..Filters::default() }
    };
    for (action, path, allowed) in [
        (Action::Allow, "/internal/*", true),
        (Action::Allow, "/public/*", false),
        (Action::Deny, "/internal/*", false),
        (Action::Deny, "/public/*", true),
    ] {
        let rules = vec![rule(0, "/public", filters(), "ns/reviews:80")];
        let decision = ask(&shop(rules, vec![policy(action, paths(path))]), "reviews", "GET /public/x").unwrap();
        assert_eq!(decision.policy.unwrap().allowed, allowed, "{action:?} {path}");
    }
}

#[test]
fn policy_judges_the_header_fields_that_filters_set() {
    let set = HeaderModifier { set: vec![("x-team".into(), "blue".into())], ..HeaderModifier::default() };
    let header = plait_model::PolicyHeader { name: "x-team".into(), values: vec!["blue".into()] };
    let only_blue = policy(Action::Allow, vec![Operation { headers: vec![header], ..Operation::default() }]);
    let filters = Filters { request_headers: Some(set), ..Filters::default() };
    let decision = ask(&shop(vec![rule(0, "", filters, "ns/reviews:80")], vec![only_blue]), "reviews", "GET / x-team=red").unwrap();
    let verdict = decision.policy.unwrap();
    assert_eq!((verdict.allowed, verdict.rule), (true, Some(0)));
}

#[test]
fn what_goes_to_a_tcp_port_is_judged_as_bytes() {
    for (action, allowed) in [(Action::Allow, false), (Action::Deny, false)] {
        let snapshot = shop(vec![], vec![policy(action, paths("/x"))]);
        let decision = ask(&snapshot, "ledger:7000", if action == Action::Allow { "GET /x" } else { "GET /other" }).unwrap();
        assert_eq!(decision.policy.unwrap().allowed, allowed, "{action:?}");
    }
}

#[test]
fn what_the_mesh_answers_itself_is_told() {
    let redirect = Filters {
        redirect: Some(Redirect { scheme: None, hostname: Some("b".into()), path: None, port: None, status: 301 }),
        ..Filters::default()
    };
    let rules = vec![plain(0, "/a"), rule(1, "/gone", Filters::default(), "ns/missing:80"), rule(2, "/moved", redirect, "ns/reviews:80")];
    let snapshot = shop(rules, vec![]);
    for (authority, request, status, reason) in [
        ("reviews", "GET /none", 404, "route_not_found"),
        ("reviews:81", "GET /a", 503, "port_not_found"),
        ("reviews", "GET /gone", 500, "backend_not_found"),
        ("reviews", "GET /moved", 301, "redirect"),
        ("www.example.com", "GET /", 403, "egress_denied"),
    ] {
        let answer = ask(&snapshot, authority, request).unwrap().answer.unwrap();
        assert_eq!((answer.status, answer.reason), (status, reason), "{authority} {request}");
    }
}

#[test]
fn what_cannot_be_answered_says_why() {
    let snapshot = shop(vec![], vec![]);
    assert_eq!(ask(&snapshot, "a@b", "GET /").unwrap_err(), Unanswerable::Authority("a@b".into()));
    assert_eq!(ask(&snapshot, "never-dialled", "GET /").unwrap_err(), Unanswerable::NotHeld("ns/never-dialled".into()));
    let stranger = Question { from: "ns/nobody".into(), head: text::head("GET /").unwrap(), server_name: None };
    assert_eq!(explain(&snapshot, &stranger, NOW).unwrap_err(), Unanswerable::Workload("ns/nobody".into()));
}

#[test]
fn what_carries_the_session_of_a_rule_is_told() {
    let mut kept = Arc::into_inner(plain(0, "/cart")).unwrap();
    kept.sessions = Some(SessionAffinity { carrier: Carrier::Header("x-told".into()), ttl: Some(Duration::from_secs(60)) });
    let snapshot = shop(vec![Arc::new(kept), plain(1, "")], vec![]);
    let name = Sessions::name(&snapshot.backends["ns/reviews:80"].endpoints[0]);
    for (request, carried, home) in [
        (format!("GET /cart x-told={name:016x}0"), Some("header x-told, for 60s"), Some("ns/reviews-1")),
        ("GET /cart".to_owned(), Some("header x-told, for 60s"), None),
        (format!("GET /other x-told={name:016x}0"), None, None),
    ] {
        let balancing = ask(&snapshot, "reviews", &request).unwrap().balancing.unwrap();
        assert_eq!((balancing.sessions.as_deref(), balancing.session_of.as_deref()), (carried, home), "{request}");
    }
}
