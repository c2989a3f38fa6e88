//! Which of several endpoints gets a request, and what is learnt from its answers: whole proxies, several origins.

use plait_testkit::{Sent, Stage, Way, backend, deny, everything, millis, object, rule, service};
use plait_wire::{self as wire, hash_on::On};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// A stage where reviews has so many places and these settings.
async fn stage(way: Way, places: usize, traffic: wire::BackendTraffic) -> Stage {
    let mut stage = Stage::new(way).await;
    let mut names = vec!["reviews-1".to_owned()];
    for number in 2..=places {
        names.push(stage.add_place("reviews", number).await);
    }
    let mut resources: Vec<_> = names.iter().skip(1).map(|name| stage.workload(name, &[]).resource()).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    resources.push(stage.endpoints(&names).resource());
    resources.push(wire::Service { backend: Some(traffic), ..service("reviews", 80, wire::Protocol::Http) }.resource());
    stage.apply(resources).await;
    stage
}

fn hashed(algorithm: wire::Algorithm, on: On) -> wire::BackendTraffic {
    let balancer = wire::LoadBalancer {
        algorithm: algorithm.into(),
        hash_on: Some(wire::HashOn { on: Some(on) }),
        slow_start: None,
        zone_aware: None,
    };
    wire::BackendTraffic { load_balancer: Some(balancer), ..wire::BackendTraffic::default() }
}

#[tokio::test]
async fn requests_with_one_value_go_to_one_endpoint_until_it_is_gone() {
    for way in Way::ALL {
        for algorithm in [wire::Algorithm::RingHash, wire::Algorithm::Maglev] {
            let stage = stage(way, 3, hashed(algorithm, On::Cookie("sid".into()))).await;
            let origins = ["reviews-1", "reviews-2", "reviews-3"].map(|name| {
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{name}", name.len());
                stage.origin(name).answers(move |_| answer.clone())
            });
            let mut caller = stage.caller_connects().await;
            let mut owners = Vec::new();
            for round in 0..3 {
                for session in 0..40 {
                    caller.sends(&format!("GET /{round} HTTP/1.1\r\nhost: reviews\r\ncookie: a=b; sid={session}\r\n\r\n")).await;
                    let owner = caller.response().await.text();
                    match owners.get(session) {
                        None => owners.push(owner),
                        Some(before) => assert_eq!(*before, owner, "{way:?} {algorithm:?} session {session}"),
                    }
                }
            }
            assert!(origins.iter().all(|origin| origin.count() > 0), "{way:?} {algorithm:?}: {owners:?}");
            let gone = owners[0].clone();
            let rest: Vec<_> = ["reviews-1", "reviews-2", "reviews-3"].into_iter().filter(|name| *name != gone).collect();
            stage.apply(vec![stage.endpoints(&rest).resource()]).await;
            for (session, before) in owners.iter().enumerate() {
                caller.sends(&format!("GET / HTTP/1.1\r\nhost: reviews\r\ncookie: sid={session}\r\n\r\n")).await;
                let owner = caller.response().await.text();
                // Three places are too few for Maglev to move nothing else.
                let kept = *before == owner || *before == gone || algorithm == wire::Algorithm::Maglev;
                assert!(kept && owner != gone, "{way:?} {algorithm:?} session {session}: {before} then {owner}");
            }
        }
    }
}

#[tokio::test]
async fn a_caller_stays_with_one_endpoint_by_address_and_by_identity() {
    for on in [wire::Caller::Address, wire::Caller::Identity] {
        let stage = stage(Way::Hop, 3, hashed(wire::Algorithm::Maglev, On::Caller(on.into()))).await;
        let origins = ["reviews-1", "reviews-2", "reviews-3"].map(|name| stage.origin(name).answers(|_| OK.into()));
        for _ in 0..6 {
            let mut caller = stage.caller_connects().await;
            caller.sends("GET / HTTP/1.1\r\nhost: reviews\r\n\r\n").await;
            assert_eq!(caller.response().await.status(), 200);
        }
        let mut counts = origins.map(|origin| origin.count());
        counts.sort_unstable();
        assert_eq!(counts, [0, 0, 6], "{on:?}");
    }
}

fn ejecting(consecutive_failures: u32) -> wire::BackendTraffic {
    let outliers =
        wire::OutlierDetection { consecutive_failures, base_ejection: Some(millis(600_000)), max_ejected_percent: 50, success_rate: None };
    wire::BackendTraffic { outlier_detection: Some(outliers), ..balanced(wire::Algorithm::RoundRobin) }
}

fn balanced(algorithm: wire::Algorithm) -> wire::BackendTraffic {
    let balancer = wire::LoadBalancer { algorithm: algorithm.into(), hash_on: None, slow_start: None, zone_aware: None };
    wire::BackendTraffic { load_balancer: Some(balancer), ..wire::BackendTraffic::default() }
}

/// Sends so many requests and counts the answers with status 200.
async fn good_of(stage: &Stage, requests: usize) -> usize {
    let mut good = 0;
    for _ in 0..requests {
        // A connection each: after some rejects the caller's is closed.
        let mut caller = stage.caller_connects().await;
        caller.sends("GET / HTTP/1.1\r\nhost: reviews\r\nconnection: close\r\n\r\n").await;
        good += usize::from(caller.response().await.status() == 200);
    }
    good
}

#[tokio::test]
async fn an_endpoint_that_answers_badly_is_ejected() {
    for way in Way::ALL {
        for (case, answer) in [("status", "HTTP/1.1 500 X\r\ncontent-length: 0\r\n\r\n"), ("no HTTP", "no HTTP\r\n\r\n")] {
            let stage = stage(way, 3, ejecting(3)).await;
            let bad = stage.origin("reviews-2").answers(move |_| answer.into());
            let good = ["reviews-1", "reviews-3"].map(|name| stage.origin(name).answers(|_| OK.into()));
            // Each in turn: of nine requests three meet the bad one, of all that follow none.
            assert_eq!(good_of(&stage, 9).await, 6, "{way:?} {case}");
            assert_eq!(good_of(&stage, 30).await, 30, "{way:?} {case}");
            assert_eq!(bad.count(), 3, "{way:?} {case}");
            assert!(good.iter().all(|origin| origin.count() >= 12), "{way:?} {case}");
            stage.web.counts("plait_ejections_total", &["backend=\"shop/reviews:80\""], 1.0).await;
        }
    }
}

#[tokio::test]
async fn an_endpoint_that_hangs_is_ejected_and_never_all() {
    let stage = stage(Way::Pair, 2, ejecting(2)).await;
    let traffic = wire::CallTraffic { attempt_timeout: Some(millis(150)), ..wire::CallTraffic::default() };
    stage.route(vec![wire::RouteRule { traffic: Some(traffic), ..rule(vec![backend("reviews")]) }]).await;
    let hanging = stage.origin("reviews-1");
    let bad = stage.origin("reviews-2").answers(|_| "HTTP/1.1 503 X\r\ncontent-length: 0\r\n\r\n".into());
    assert_eq!(good_of(&stage, 4).await, 0);
    assert_eq!(bad.count(), 2);
    // One of both is out; the other is asked though it fails as well.
    let before = bad.count();
    assert_eq!(good_of(&stage, 6).await, 0);
    assert!(bad.count() == before || bad.count() == before + 6, "{}", bad.count());
    stage.web.counts("plait_ejections_total", &[], 1.0).await;
    drop(hanging);
}

#[tokio::test]
async fn a_refusal_by_policy_is_no_failure_of_the_endpoint() {
    let stage = stage(Way::Pair, 2, ejecting(1)).await;
    stage.policies("reviews-1", vec![deny("nobody", vec![everything()])]).await;
    let open = stage.origin("reviews-2").answers(|_| OK.into());
    assert_eq!(good_of(&stage, 8).await, 4);
    assert_eq!((open.count(), stage.web.metric("plait_ejections_total", &[])), (4, 0.0));
}

#[tokio::test]
async fn requests_beyond_the_limit_are_refused_by_the_policys_name_until_one_ends() {
    for way in Way::ALL {
        let origin = wire::Origin {
            field: "connections.maxRequests".into(),
            object: Some(object("TrafficPolicy", "calm")),
            path: "spec.connections.maxRequests".into(),
        };
        let traffic = wire::BackendTraffic { max_requests: 2, origins: vec![origin], ..balanced(wire::Algorithm::RoundRobin) };
        let stage = stage(way, 1, traffic).await;
        let held = stage.origin("reviews-1");
        let get = "GET / HTTP/1.1\r\nhost: reviews\r\n\r\n";
        let (mut first, mut second, mut third) =
            (stage.caller_connects().await, stage.caller_connects().await, stage.caller_connects().await);
        first.sends(get).await;
        let mut of_first = held.accept().await;
        of_first.request().await;
        second.sends(get).await;
        let mut of_second = held.accept().await;
        of_second.request().await;
        third.sends(get).await;
        let refused = third.response().await;
        assert_eq!((refused.status(), refused.field("plait-reason")), (503, Some("overloaded")), "{way:?}");
        assert!(refused.text().contains("TrafficPolicy shop/calm"), "{way:?}: {refused}");
        // An answer gives the place back.
        of_first.sends(OK).await;
        assert_eq!(first.response().await.status(), 200);
        third.sends(get).await;
        of_first.request().await;
        // So does a caller that leaves, as soon as that is noticed.
        drop(second);
        loop {
            first.sends(get).await;
            tokio::select! {
                answer = first.response() => assert_eq!(answer.status(), 503),
                mut peer = held.accept() => {
                    peer.request().await;
                    break;
                }
            }
        }
    }
}
