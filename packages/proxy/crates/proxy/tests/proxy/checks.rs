//! Active health checks: who is checked, by whose leave, and what becomes of requests. Whole proxies, several origins.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU16, Ordering::SeqCst},
    },
};

use bytes::Bytes;
use http::{HeaderMap, Response};
use plait_testkit::{Message, Origin, Seen, Sent, Stage, Way, deny, endpoints, in_time, millis, service, until};
use plait_wire::{self as wire, health_check::Probe};

const GET: &str = "GET / HTTP/1.1\r\nhost: reviews\r\nconnection: close\r\n\r\n";
const UNHEALTHY: &str = "plait_unhealthy_endpoints";
const CHECKS: &str = "plait_health_checks_total";

fn checks(probe: Probe, min_healthy_percent: u32) -> wire::HealthCheck {
    wire::HealthCheck {
        interval: Some(millis(20)),
        // Never what ends a check here, unless a test says so.
        timeout: Some(millis(60_000)),
        unhealthy_threshold: 2,
        healthy_threshold: 2,
        min_healthy_percent,
        probe: Some(probe),
    }
}

fn ready() -> Probe {
    Probe::Http(wire::HttpProbe { path: "/ready?deep".into(), host: "reviews.shop".into(), expected_statuses: vec![200, 204] })
}

fn checked(name: &str, port: u32, health_check: Option<wire::HealthCheck>) -> wire::Service {
    let spoken = match name {
        "ledger" => wire::Protocol::Tcp,
        "any" => wire::Protocol::Auto,
        _ => wire::Protocol::Http,
    };
    let load_balancer = Some(wire::LoadBalancer { algorithm: wire::Algorithm::RoundRobin.into(), ..wire::LoadBalancer::default() });
    let backend = Some(wire::BackendTraffic { load_balancer, health_check, ..wire::BackendTraffic::default() });
    wire::Service { backend, ..service(name, port, spoken) }
}

/// A stage where a Service has so many places and these checks.
async fn stage(way: Way, (name, port, places): (&str, u32, usize), rules: wire::HealthCheck) -> Stage {
    let mut stage = Stage::new(way).await;
    let mut names = vec![format!("{name}-1")];
    for number in 2..=places {
        names.push(stage.add_place(name, number).await);
    }
    let mut resources: Vec<_> = names.iter().skip(1).map(|name| stage.workload(name, &[]).resource()).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    resources.extend([stage.endpoints(&names).resource(), checked(name, port, Some(rules)).resource()]);
    stage.apply(resources).await;
    stage
}

/// A process of reviews whose checks are answered with a status that the test sets.
fn answers(origin: Origin) -> (Seen, Arc<AtomicU16>) {
    let status = Arc::new(AtomicU16::new(200));
    let says = status.clone();
    let seen = origin.answers(move |request| {
        let status = if is_check(request) { says.load(SeqCst) } else { 200 };
        format!("HTTP/1.1 {status} X\r\ncontent-length: 2\r\n\r\nok")
    });
    (seen, status)
}

fn is_check(request: &Message) -> bool {
    request.start == "GET /ready?deep HTTP/1.1"
}

fn requests(seen: &Seen) -> usize {
    seen.all().iter().filter(|request| !is_check(request)).count()
}

/// Sends so many requests, a connection each; gives the statuses that came.
async fn statuses(stage: &Stage, count: usize) -> BTreeSet<u16> {
    let mut statuses = BTreeSet::new();
    for _ in 0..count {
        let mut caller = stage.caller_connects().await;
        caller.sends(GET).await;
        statuses.insert(caller.response().await.status());
    }
    statuses
}

#[tokio::test]
async fn an_endpoint_that_fails_its_checks_gets_nothing_until_it_passes_them() {
    for way in Way::ALL {
        let stage = stage(way, ("reviews", 80, 3), checks(ready(), 50)).await;
        let origins = ["reviews-1", "reviews-2", "reviews-3"].map(|name| answers(stage.origin(name)));
        let (bad, status) = &origins[1];
        status.store(503, SeqCst);
        assert_eq!(statuses(&stage, 1).await, [200].into(), "{way:?}: the first request begins the checks");
        stage.web.counts(UNHEALTHY, &["backend=\"shop/reviews:80\""], 1.0).await;
        let before = requests(bad);
        assert_eq!(statuses(&stage, 12).await, [200].into(), "{way:?}");
        assert_eq!(requests(bad), before, "{way:?}: it failed its checks");
        // 204 is expected as well.
        status.store(204, SeqCst);
        stage.web.counts(UNHEALTHY, &[], 0.0).await;
        assert_eq!(statuses(&stage, 12).await, [200].into(), "{way:?}");
        assert_eq!(requests(bad), before + 4, "{way:?}: it is one of three again");
        let check = bad.all().into_iter().find(is_check).unwrap();
        assert_eq!((check.field("host"), check.field("user-agent")), (Some("reviews.shop"), Some("plait-health-check")), "{way:?}");
        if let Some(far) = &stage.far {
            // They came as whoever called, over mutual TLS: nothing else would have been let in.
            let checks = origins.iter().map(|(seen, _)| seen.count() - requests(seen)).sum::<usize>();
            let inbound = far.metric("plait_requests_total", &["direction=\"inbound\"", "source=\"shop/web\""]);
            assert!(inbound >= checks as f64, "{inbound} {checks}");
        }
    }
}

#[tokio::test]
async fn what_nobody_calls_is_not_checked() {
    let stage = stage(Way::Pair, ("reviews", 80, 1), checks(ready(), 50)).await;
    stage.apply(vec![checked("reviews-v2", 80, Some(checks(ready(), 50))).resource()]).await;
    let (called, _) = answers(stage.origin("reviews-1"));
    statuses(&stage, 1).await;
    until("some rounds of checks", || (called.count() > 10).then_some(())).await;
    stage.origin("reviews-v2-1").is_untouched();
    assert_eq!(stage.web.metric(CHECKS, &["backend=\"shop/reviews-v2:80\""]), 0.0);
}

#[tokio::test]
async fn checks_end_with_the_policy_that_asks_for_them() {
    let stage = stage(Way::Hop, ("reviews", 80, 2), checks(ready(), 50)).await;
    let origins = ["reviews-1", "reviews-2"].map(|name| answers(stage.origin(name)));
    origins[0].1.store(500, SeqCst);
    statuses(&stage, 2).await;
    stage.web.counts(UNHEALTHY, &[], 1.0).await;
    stage.apply(vec![checked("reviews", 80, None).resource()]).await;
    stage.web.counts(UNHEALTHY, &[], 0.0).await;
    let before = requests(&origins[0].0);
    statuses(&stage, 4).await;
    assert_eq!(requests(&origins[0].0), before + 2, "what it failed is forgotten");
}

#[tokio::test]
async fn when_too_few_are_healthy_all_are_used_or_none() {
    for way in Way::ALL {
        for (min_healthy_percent, expected) in [(50, 200), (0, 503)] {
            let stage = stage(way, ("reviews", 80, 2), checks(ready(), min_healthy_percent)).await;
            let origins = ["reviews-1", "reviews-2"].map(|name| answers(stage.origin(name)));
            origins.iter().for_each(|(_, status)| status.store(500, SeqCst));
            statuses(&stage, 1).await;
            stage.web.counts(UNHEALTHY, &[], 2.0).await;
            assert_eq!(stage.web.metric("plait_backend_panicking", &[]), f64::from(u8::from(expected == 200)), "{way:?}");
            let before: Vec<_> = origins.iter().map(|(seen, _)| requests(seen)).collect();
            assert_eq!(statuses(&stage, 6).await, [expected].into(), "{way:?} {min_healthy_percent}");
            let more: Vec<_> = origins.iter().zip(before).map(|((seen, _), before)| requests(seen) - before).collect();
            assert_eq!(more, if expected == 200 { [3, 3] } else { [0, 0] }, "{way:?} {min_healthy_percent}");
            if expected == 503 {
                let mut caller = stage.caller_connects().await;
                caller.sends(GET).await;
                let refused = caller.response().await;
                assert_eq!(refused.field("plait-reason"), Some("no_ready_endpoint"));
                assert!(refused.text().contains("fail their health checks, and minHealthyPercent is 0"), "{refused}");
            }
        }
    }
}

#[tokio::test]
async fn a_check_that_a_policy_refuses_says_nothing_of_the_endpoint() {
    let stage = stage(Way::Pair, ("reviews", 80, 1), checks(ready(), 0)).await;
    let operation = wire::PolicyOperation { paths: vec!["/ready".into()], ..wire::PolicyOperation::default() };
    let rule = wire::PolicyRule { to: vec![operation], ..wire::PolicyRule::default() };
    stage.policies("reviews-1", vec![deny("no-checks", vec![rule])]).await;
    let (seen, _) = answers(stage.origin("reviews-1"));
    statuses(&stage, 1).await;
    until("refused checks", || (stage.web.metric(CHECKS, &["outcome=\"no_verdict\""]) >= 5.0).then_some(())).await;
    assert_eq!(statuses(&stage, 2).await, [200].into());
    assert_eq!((seen.count(), requests(&seen)), (3, 3), "no check came through");
    assert_eq!(stage.web.metric(CHECKS, &["outcome=\"failed\""]), 0.0);
}

#[tokio::test]
async fn an_answer_without_end_costs_a_check_no_more_than_its_beginning() {
    for way in Way::ALL {
        let stage = stage(way, ("reviews", 80, 1), checks(ready(), 50)).await;
        // As much as is read of an answer, and nothing after it.
        let endless = format!("HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n{}", "x".repeat(100_000));
        let whole = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        let _seen = stage.origin("reviews-1").answers(move |request| if is_check(request) { endless.clone() } else { whole.into() });
        statuses(&stage, 1).await;
        until("checks that pass", || (stage.web.metric(CHECKS, &["outcome=\"passed\""]) >= 5.0).then_some(())).await;
        assert_eq!(stage.web.metric(CHECKS, &["outcome=\"failed\""]), 0.0, "{way:?}");
    }
}

#[tokio::test]
async fn checks_wait_for_one_another_and_never_hold_up_a_request() {
    // Many places, and one process for all of them: its checks are never answered.
    const MOST: usize = 64;
    let stage = stage(Way::Hop, ("reviews", 80, 1), checks(ready(), 50)).await;
    let place = |number| wire::Endpoint { workload: format!("shop/reviews-{number}"), ..stage.endpoint("reviews-1") };
    stage.apply(vec![endpoints("reviews", 80, (0..MOST + 40).map(place).collect()).resource()]).await;
    let origin = stage.origin("reviews-1");
    let mut caller = stage.caller_connects().await;
    caller.sends(GET).await;
    let mut held = Vec::new();
    let mut answered = false;
    while !answered || held.len() < MOST {
        let mut peer = origin.accept().await;
        match is_check(&peer.request().await) {
            true => held.push(peer),
            false => {
                peer.sends("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
                assert_eq!(caller.response().await.status(), 200);
                answered = true;
            }
        }
    }
    origin.is_untouched();
    held.pop().unwrap().sends("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    // Kept: a connection that closes ends its check, and makes room for one more.
    let mut next = origin.accept().await;
    assert!(is_check(&next.request().await), "the next one had waited");
    origin.is_untouched();
    stage.web.drain();
    stage.web.is_drained().await;
}

/// A server of gRPC whose health the test sets: the number of a status, 0 = it does not know the service, 255 = UNIMPLEMENTED.
fn serves_health(origin: Origin) -> Arc<AtomicU8> {
    let health = Arc::new(AtomicU8::new(1));
    let says = health.clone();
    tokio::spawn(async move {
        loop {
            let stream = origin.accept().await.into_stream();
            let says = says.clone();
            tokio::spawn(async move {
                // A connection that its caller gave up at once is nobody's fault.
                let Ok(mut connection) = h2::server::handshake(stream).await else { return };
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
                    let fields = request.headers();
                    assert_eq!((fields["content-type"].as_bytes(), fields["te"].as_bytes()), (&b"application/grpc"[..], &b"trailers"[..]));
                    let says = says.load(SeqCst);
                    tokio::spawn(async move {
                        let asked = in_time("a question", request.into_body().data()).await.unwrap().unwrap();
                        assert_eq!(&asked[..], b"\0\0\0\0\x0b\x0a\x09shop.Cart");
                        let head = Response::builder().header("content-type", "application/grpc").body(()).unwrap();
                        let mut body = respond.send_response(head, false).unwrap();
                        let code = if says == 255 { "12" } else { "0" };
                        if says != 255 {
                            body.send_data(Bytes::copy_from_slice(&[0, 0, 0, 0, 2, 8, says]), false).unwrap();
                        }
                        body.send_trailers(HeaderMap::from_iter([("grpc-status".parse().unwrap(), code.parse().unwrap())])).unwrap();
                    });
                }
            });
        }
    });
    health
}

#[tokio::test]
async fn a_server_of_grpc_is_asked_for_its_health() {
    for way in Way::ALL {
        let probe = Probe::Grpc(wire::GrpcProbe { service: "shop.Cart".into() });
        let stage = stage(way, ("any", 9000, 2), checks(probe, 50)).await;
        let health = ["any-1", "any-2"].map(|name| serves_health(stage.origin(name)));
        // Any call begins the checks; this one is a check too, for these servers know nothing else.
        let (mut sender, connection) = h2::client::handshake(stage.caller_connects().await.into_stream()).await.unwrap();
        tokio::spawn(connection);
        let call = http::Request::post("http://any:9000/grpc.health.v1.Health/Check")
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        let (response, mut body) = sender.send_request(call.body(()).unwrap(), false).unwrap();
        body.send_data(Bytes::from_static(b"\0\0\0\0\x0b\x0a\x09shop.Cart"), true).unwrap();
        assert_eq!(in_time("an answer", response).await.unwrap().status(), 200);
        until("checks that pass", || (stage.web.metric(CHECKS, &["outcome=\"passed\""]) >= 6.0).then_some(())).await;
        for says in [2, 0, 255] {
            health[0].store(says, SeqCst);
            stage.web.counts(UNHEALTHY, &["backend=\"shop/any:9000\""], 1.0).await;
            health[0].store(1, SeqCst);
            stage.web.counts(UNHEALTHY, &[], 0.0).await;
        }
    }
}

#[tokio::test]
async fn a_process_that_does_not_accept_fails_its_checks_of_connections() {
    for way in Way::ALL {
        let stage = stage(way, ("ledger", 7000, 2), checks(Probe::Tcp(wire::TcpProbe {}), 50)).await;
        let place = &stage.places["ledger-2"].process;
        let (first, second) = (stage.origin("ledger-1"), stage.origin("ledger-2"));
        let serving = ["one", "two"].into_iter().zip([first, second]).map(|(name, origin)| {
            tokio::spawn(async move {
                loop {
                    let mut peer = origin.accept().await;
                    // Whoever only looks whether somebody accepts goes away in order, and is told nothing.
                    tokio::spawn(async move {
                        let _ = peer.try_send(name.as_bytes()).await;
                        peer.rest().await
                    });
                }
            })
        });
        let serving: Vec<_> = serving.collect();
        let mut caller = plait_testkit::Peer::connect(stage.binds["ledger"].address).await;
        caller.takes(3).await;
        until("checks that pass", || (stage.web.metric(CHECKS, &["outcome=\"passed\""]) >= 6.0).then_some(())).await;
        assert_eq!(stage.web.metric(UNHEALTHY, &[]), 0.0, "{way:?}");
        serving[1].abort();
        stage.web.counts(UNHEALTHY, &["backend=\"shop/ledger:7000\""], 1.0).await;
        for _ in 0..6 {
            let mut caller = plait_testkit::Peer::connect(stage.binds["ledger"].address).await;
            assert_eq!(caller.takes(3).await, b"one", "{way:?}");
        }
        let back = Origin::new(place).await;
        let _back = back.serves(|_| String::new());
        stage.web.counts(UNHEALTHY, &[], 0.0).await;
    }
}
