//! `connections.max` and `maxPending`: whole proxies, raw callers and origins. Each limit is told as the control plane tells it: to the callers
//! of the Service, and to the proxy beside its process.

use plait_testkit::{Peer, Sent, Stage, Way, backend, millis, object, rule, service};
use plait_wire as wire;

const GET: &str = "GET / HTTP/1.1\r\nhost: reviews\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

fn limit(max: u32, max_pending: u32) -> wire::ConnectionLimit {
    wire::ConnectionLimit { max, max_pending, object: Some(object("TrafficPolicy", "calm")) }
}

/// A stage whose reviews, with so many places, has a limit.
async fn stage(way: Way, places: usize, limit: wire::ConnectionLimit) -> Stage {
    let mut stage = Stage::new(way).await;
    let mut names = vec!["reviews-1".to_owned()];
    for number in 2..=places {
        names.push(stage.add_place("reviews", number).await);
    }
    let mut resources: Vec<_> = names.iter().map(|name| limited(&stage, name, &limit).resource()).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    resources.push(stage.endpoints(&names).resource());
    resources.push(service_of("reviews", 80, wire::Protocol::Http, limit).resource());
    stage.apply(resources).await;
    stage
}

fn limited(stage: &Stage, workload: &str, limit: &wire::ConnectionLimit) -> wire::Workload {
    let mut workload = stage.workload(workload, &[]);
    workload.ports[0].connections = Some(limit.clone());
    workload
}

fn service_of(name: &str, port: u32, protocol: wire::Protocol, limit: wire::ConnectionLimit) -> wire::Service {
    let balancer = wire::LoadBalancer { algorithm: wire::Algorithm::RoundRobin.into(), ..wire::LoadBalancer::default() };
    let backend = wire::BackendTraffic { load_balancer: Some(balancer), connections: Some(limit), ..wire::BackendTraffic::default() };
    wire::Service { backend: Some(backend), ..service(name, port, protocol) }
}

/// So many have waited so far, at the proxy that opens the connections.
async fn have_waited(stage: &Stage, count: f64) {
    stage.far.as_ref().unwrap_or(&stage.web).counts("plait_connection_waits_total", &["destination=\"shop/reviews\""], count).await;
}

async fn asks(stage: &Stage, path: &str) -> Peer {
    let mut caller = stage.caller_connects().await;
    caller.sends(&GET.replace("GET /", &format!("GET {path}"))).await;
    caller
}

#[tokio::test]
async fn requests_wait_for_a_connection_in_the_order_of_their_arrival() {
    for way in Way::ALL {
        let stage = stage(way, 1, limit(1, 3)).await;
        let origin = stage.origin("reviews-1");
        let mut first = asks(&stage, "/0").await;
        let mut process = origin.accept().await;
        assert_eq!(process.request().await.start, "GET /0 HTTP/1.1");
        let mut waiting = Vec::new();
        for number in 1..=3 {
            waiting.push(asks(&stage, &format!("/{number}")).await);
            have_waited(&stage, f64::from(number)).await;
        }
        origin.is_untouched();
        process.sends(OK).await;
        assert_eq!(first.response().await.status(), 200);
        for (number, mut caller) in (1..).zip(waiting) {
            // On the one connection that there may be.
            assert_eq!(process.request().await.start, format!("GET /{number} HTTP/1.1"), "{way:?}");
            process.sends(OK).await;
            assert_eq!(caller.response().await.status(), 200, "{way:?}");
        }
        origin.is_untouched();
    }
}

#[tokio::test]
async fn one_more_than_may_wait_is_refused_by_the_policys_name() {
    for way in Way::ALL {
        let stage = stage(way, 1, limit(1, 1)).await;
        let origin = stage.origin("reviews-1");
        let _first = asks(&stage, "/").await;
        let mut process = origin.accept().await;
        process.request().await;
        let mut second = asks(&stage, "/").await;
        have_waited(&stage, 1.0).await;
        let refused = asks(&stage, "/").await.response().await;
        assert_eq!((refused.status(), refused.field("plait-reason")), (503, Some("connection_limit")), "{way:?}");
        assert_eq!(refused.field("retry-after"), Some("1"), "{way:?}");
        assert!(refused.text().contains("TrafficPolicy shop/calm"), "{way:?}: {refused}");
        stage.web.counts("plait_rejects_total", &["reason=\"connection_limit\""], 1.0).await;
        // Its endpoint is at work, and not passed over.
        process.sends(OK).await;
        process.request().await;
        process.sends(OK).await;
        assert_eq!(second.response().await.status(), 200, "{way:?}");
    }
}

#[tokio::test]
async fn who_leaves_while_it_waits_leaves_nothing_behind() {
    for way in Way::ALL {
        for request in [GET.into(), GET.replace("GET", "POST").replace("\r\n\r\n", "\r\ncontent-length: 9\r\n\r\nhalf")] {
            let stage = stage(way, 1, limit(1, 1)).await;
            let origin = stage.origin("reviews-1");
            let mut first = asks(&stage, "/").await;
            let mut process = origin.accept().await;
            process.request().await;
            let mut second = stage.caller_connects().await;
            second.sends(&request).await;
            have_waited(&stage, 1.0).await;
            drop(second);
            // As soon as it is noticed, another may wait in its place: one that is not refused.
            let mut third = loop {
                let mut third = asks(&stage, "/third").await;
                tokio::select! {
                    refused = third.response() => assert_eq!(refused.status(), 503, "{way:?}"),
                    () = tokio::time::sleep(std::time::Duration::from_millis(300)) => break third,
                }
            };
            process.sends(OK).await;
            assert_eq!(first.response().await.status(), 200);
            assert_eq!(process.request().await.start, "GET /third HTTP/1.1", "{way:?}");
            process.sends(OK).await;
            assert_eq!(third.response().await.status(), 200, "{way:?}");
        }
    }
}

#[tokio::test]
async fn a_wait_ends_with_the_time_of_the_request() {
    for way in Way::ALL {
        let stage = stage(way, 1, limit(1, 9)).await;
        let traffic = wire::CallTraffic { request_timeout: Some(millis(400)), ..wire::CallTraffic::default() };
        stage.route(vec![wire::RouteRule { traffic: Some(traffic), ..rule(vec![backend("reviews")]) }]).await;
        let origin = stage.origin("reviews-1");
        // Whoever holds the connection has no such limit.
        let mut tunnel = Peer::connect(stage.binds["reviews"].address).await;
        tunnel.sends("GET /long HTTP/1.1\r\nhost: reviews\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n").await;
        let mut process = origin.accept().await;
        process.request().await;
        let late = asks(&stage, "/").await.response().await;
        assert_eq!((late.status(), late.field("plait-reason")), (504, Some("request_timeout")), "{way:?}");
        origin.is_untouched();
    }
}

#[tokio::test]
async fn each_tunnel_takes_a_connection() {
    for way in Way::ALL {
        let stage = Stage::new(way).await;
        let service = service_of("ledger", 7000, wire::Protocol::Tcp, limit(1, 1));
        stage.apply(vec![limited(&stage, "ledger-1", &limit(1, 1)).resource(), service.resource()]).await;
        let origin = stage.origin("ledger-1");
        let mut first = Peer::connect(stage.binds["ledger"].address).await;
        first.sends("one").await;
        let mut of_first = origin.accept().await;
        of_first.reads("one").await;
        let mut second = Peer::connect(stage.binds["ledger"].address).await;
        second.sends("two").await;
        stage.web.counts("plait_connection_waits_total", &["destination=\"shop/ledger\""], 1.0).await;
        Peer::connect(stage.binds["ledger"].address).await.rest().await;
        origin.is_untouched();
        drop(first);
        of_first.is_closed().await;
        drop(of_first);
        let mut of_second = origin.accept().await;
        of_second.reads("two").await;
        of_second.sends("three").await;
        second.reads("three").await;
    }
}

#[tokio::test]
async fn an_idle_connection_gives_way_to_one_to_another_endpoint() {
    let stage = stage(Way::Hop, 2, limit(1, 1)).await;
    let origins = ["reviews-1", "reviews-2"].map(|name| stage.origin(name));
    let mut caller = stage.caller_connects().await;
    let mut before: Option<Peer> = None;
    for turn in 0..4 {
        caller.sends(GET).await;
        let mut process = tokio::select! {
            process = origins[0].accept() => process,
            process = origins[1].accept() => process,
        };
        if let Some(mut before) = before.take() {
            before.is_closed().await;
        }
        process.request().await;
        process.sends(OK).await;
        assert_eq!(caller.response().await.status(), 200, "{turn}");
        before = Some(process);
    }
}

#[tokio::test]
async fn a_limit_that_is_lifted_lets_all_pass() {
    for way in Way::ALL {
        let stage = stage(way, 1, limit(1, 0)).await;
        let origin = stage.origin("reviews-1");
        let _first = asks(&stage, "/").await;
        let mut process = origin.accept().await;
        process.request().await;
        assert_eq!(asks(&stage, "/").await.response().await.status(), 503, "{way:?}");
        stage.apply(vec![stage.workload("reviews-1", &[]).resource(), service("reviews", 80, wire::Protocol::Http).resource()]).await;
        let mut second = asks(&stage, "/").await;
        let mut process = origin.accept().await;
        process.request().await;
        process.sends(OK).await;
        assert_eq!(second.response().await.status(), 200, "{way:?}");
    }
}
