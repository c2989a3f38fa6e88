//! Another try: where nothing was delivered always, elsewhere; where the user asked for it; and never what could be done twice.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use plait_testkit::{Origin, Peer, Sent, Stage, Way, backend, millis, rule};
use plait_wire as wire;

pub(crate) const GET: &str = "GET / HTTP/1.1\r\nhost: reviews\r\n\r\n";
const POST: &str = "POST / HTTP/1.1\r\nhost: reviews\r\ncontent-length: 2\r\n\r\nhi";
pub(crate) const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const BUSY: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nbusy";

pub(crate) fn retries(codes: &[u32], attempts: u32) -> wire::Retries {
    wire::Retries { codes: codes.to_vec(), attempts, backoff: Some(millis(1)), budget: None }
}

pub(crate) async fn with_traffic(stage: &Stage, traffic: wire::CallTraffic) {
    stage.route(vec![wire::RouteRule { traffic: Some(traffic), ..rule(vec![backend("reviews")]) }]).await;
}

async fn with_retries(stage: &Stage, retries: wire::Retries) {
    with_traffic(stage, wire::CallTraffic { retries: Some(retries), ..wire::CallTraffic::default() }).await;
}

/// The next request that the origin gets.
pub(crate) async fn tried(origin: &Origin) -> (Peer, String) {
    let mut process = origin.accept().await;
    let request = process.request().await.to_string();
    (process, request)
}

#[tokio::test]
async fn answers_that_the_user_names_are_tried_again_with_the_same_body() {
    for way in Way::ALL {
        for body in ["content-length: 5\r\n\r\nhello", "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"] {
            let stage = Stage::new(way).await;
            with_retries(&stage, retries(&[503], 2)).await;
            let busy = AtomicBool::new(true);
            let seen = stage.origin("reviews-1").answers(move |_| if busy.swap(false, Relaxed) { BUSY } else { OK }.into());
            let mut caller = stage.caller_connects().await;
            // The user named the code: also for a POST.
            caller.sends(&format!("POST / HTTP/1.1\r\nhost: reviews\r\n{body}")).await;
            assert_eq!(caller.response().await.text(), "ok", "{way:?}");
            let tries: Vec<_> = seen.all().iter().map(ToString::to_string).collect();
            assert_eq!((tries.len(), &tries[0]), (2, &tries[1]), "{way:?}");
            assert!(tries[0].ends_with("\n\nhello"), "{tries:?}");
            stage.web.counts("plait_retries_total", &["destination=\"shop/reviews\""], 1.0).await;
            assert!(stage.web.log(1).await[0].contains("\"attempts\":2"));
        }
    }
}

#[tokio::test]
async fn tries_end_and_the_last_answer_stands() {
    for way in Way::ALL {
        let stage = Stage::new(way).await;
        with_retries(&stage, retries(&[503], 2)).await;
        let seen = stage.origin("reviews-1").answers(|_| BUSY.into());
        let mut caller = stage.caller_connects().await;
        caller.sends(GET).await;
        assert_eq!((caller.response().await.text().as_str(), seen.count()), ("busy", 3), "{way:?}");
    }
}

#[tokio::test]
async fn an_answer_that_the_user_did_not_name_stands_at_once() {
    let stage = Stage::new(Way::Hop).await;
    with_retries(&stage, retries(&[502], 2)).await;
    let seen = stage.origin("reviews-1").answers(|_| BUSY.into());
    let mut caller = stage.caller_connects().await;
    caller.sends(GET).await;
    assert_eq!((caller.response().await.text().as_str(), seen.count()), ("busy", 1));
}

#[tokio::test]
async fn the_budget_bounds_what_tries_add() {
    let stage = Stage::new(Way::Hop).await;
    let budget = wire::RetryBudget { percent: 20, interval: Some(millis(3_600_000)), min_per_second: 0 };
    with_retries(&stage, wire::Retries { budget: Some(budget), ..retries(&[503], 2) }).await;
    let seen = stage.origin("reviews-1").answers(|_| BUSY.into());
    let mut caller = stage.caller_connects().await;
    for _ in 0..100 {
        caller.sends(GET).await;
        assert_eq!(caller.response().await.text(), "busy");
    }
    assert_eq!(seen.count(), 120);
}

#[tokio::test]
async fn what_broke_is_tried_again_only_where_that_is_safe_and_wanted() {
    for way in Way::ALL {
        for (request, wanted, again) in [(GET, true, true), (GET, false, false), (POST, true, false), (POST, false, false)] {
            let stage = Stage::new(way).await;
            if wanted {
                with_retries(&stage, retries(&[], 2)).await;
            }
            let origin = stage.origin("reviews-1");
            let mut caller = stage.caller_connects().await;
            caller.sends(request).await;
            drop(tried(&origin).await);
            if again {
                let (mut process, _) = tried(&origin).await;
                process.sends(OK).await;
            }
            let status = if again { 200 } else { 502 };
            assert_eq!(caller.response().await.status(), status, "{way:?} {request:?} {wanted}");
            origin.is_untouched();
        }
    }
}

#[tokio::test]
async fn an_answer_that_has_begun_is_never_tried_again() {
    for way in Way::ALL {
        let stage = Stage::new(way).await;
        with_retries(&stage, retries(&[503], 2)).await;
        let origin = stage.origin("reviews-1");
        let mut caller = stage.caller_connects().await;
        caller.sends(GET).await;
        let (mut process, _) = tried(&origin).await;
        process.sends("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nok").await;
        caller.head().await;
        caller.reads("ok").await;
        process.resets();
        caller.is_over().await;
        origin.is_untouched();
    }
}

#[tokio::test]
async fn what_was_not_delivered_is_tried_elsewhere_unasked() {
    for way in Way::ALL {
        for request in [GET, POST] {
            let mut stage = Stage::new(way).await;
            let other = stage.add_place("reviews", 2).await;
            stage.apply(vec![stage.workload(&other, &[]).resource(), stage.endpoints(&["reviews-1", &other]).resource()]).await;
            // The process is dead; with a pair its sidecar still lives.
            drop(stage.origin("reviews-1"));
            let seen = stage.origin("reviews-2").answers(|_| OK.into());
            for turn in 0..20 {
                let mut caller = stage.caller_connects().await;
                caller.sends(request).await;
                assert_eq!(caller.response().await.text(), "ok", "{way:?} {request:?} {turn}");
            }
            assert_eq!(seen.count(), 20);
            // It is passed over from the first refusal on, for a second at least.
            let tries = stage.web.metric("plait_retries_total", &[]);
            assert!((0.0..=3.0).contains(&tries), "{way:?} {tries}");
        }
    }
}

#[tokio::test]
async fn a_sidecar_that_is_gone_is_passed_over() {
    let mut stage = Stage::new(Way::Pair).await;
    let other = stage.add_place("reviews", 2).await;
    // Nobody listens where the endpoint says.
    let nowhere = plait_testkit::Port::new();
    let gone = wire::Endpoint { address: nowhere.address.to_string(), ..stage.endpoint("reviews-1") };
    let places = plait_testkit::endpoints("reviews", 80, vec![gone, stage.endpoint(&other)]);
    stage.apply(vec![stage.workload(&other, &[]).resource(), places.resource()]).await;
    let seen = stage.origin("reviews-2").answers(|_| OK.into());
    for _ in 0..20 {
        let mut caller = stage.caller_connects().await;
        caller.sends(POST).await;
        assert_eq!(caller.response().await.text(), "ok");
    }
    assert_eq!(seen.count(), 20);
}

#[tokio::test]
async fn a_place_that_is_somebody_else_is_passed_over_and_told_when_it_is_the_only_one() {
    let mut stage = Stage::new(Way::Pair).await;
    let other = stage.add_place("reviews", 2).await;
    // The ledger answers where reviews should be.
    let wrong = wire::Endpoint { identity: stage.endpoint("reviews-1").identity, ..stage.endpoint("ledger-1") };
    let both = plait_testkit::endpoints("reviews", 80, vec![wrong.clone(), stage.endpoint(&other)]);
    stage.apply(vec![stage.workload(&other, &[]).resource(), both.resource()]).await;
    let seen = stage.origin("reviews-2").answers(|_| OK.into());
    for _ in 0..10 {
        let mut caller = stage.caller_connects().await;
        caller.sends(POST).await;
        assert_eq!(caller.response().await.text(), "ok");
    }
    assert_eq!(seen.count(), 10);
    stage.apply(vec![plait_testkit::endpoints("reviews", 80, vec![wrong]).resource()]).await;
    let mut caller = stage.caller_connects().await;
    caller.sends(GET).await;
    let response = caller.response().await;
    assert_eq!((response.status(), response.field("plait-reason")), (502, Some("upstream_identity")));
    stage.origin("ledger-1").is_untouched();
}

#[tokio::test]
async fn a_connection_that_went_stale_is_nobodys_fault() {
    for way in Way::ALL {
        for (request, again) in [(GET, true), (POST, false)] {
            let stage = Stage::new(way).await;
            let origin = stage.origin("reviews-1");
            let mut caller = stage.caller_connects().await;
            caller.sends(GET).await;
            let (mut process, _) = tried(&origin).await;
            process.sends(OK).await;
            assert_eq!(caller.response().await.text(), "ok");
            // The origin closes the idle connection at the very moment at which the next request comes: it was read, and not answered.
            caller.sends(request).await;
            process.request().await;
            process.resets();
            if again {
                let (mut process, _) = tried(&origin).await;
                process.sends(OK).await;
                assert_eq!(caller.response().await.text(), "ok", "{way:?}");
            } else {
                let answer = caller.response().await;
                let told = (answer.status(), answer.field("plait-reason"));
                assert_eq!(told, (502, Some("upstream_closing")), "{way:?}: a POST may have been delivered");
                origin.is_untouched();
            }
            assert_eq!(stage.web.metric("plait_retries_total", &[]), 0.0);
        }
    }
}

#[tokio::test]
async fn an_idle_connection_that_was_closed_is_not_used() {
    for way in Way::ALL {
        let stage = Stage::new(way).await;
        let origin = stage.origin("reviews-1");
        let mut caller = stage.caller_connects().await;
        for _ in 0..3 {
            caller.sends(POST).await;
            let (mut process, _) = tried(&origin).await;
            process.sends(OK).await;
            assert_eq!(caller.response().await.text(), "ok", "{way:?}");
            // The close is there before the next request is.
            drop(process);
        }
    }
}

#[tokio::test]
async fn a_body_that_was_being_sent_when_the_try_ended_is_sent_once_more_and_whole() {
    let stage = Stage::new(Way::Hop).await;
    let limits = wire::ProxyLimits { buffered_bytes: 64 << 20, ..wire::ProxyLimits::default() };
    stage.apply(vec![wire::Mesh { limits: Some(limits), ..stage.mesh() }.resource()]).await;
    with_retries(&stage, retries(&[503], 2)).await;
    let origin = stage.origin("reviews-1");
    let mut caller = stage.caller_connects().await;
    // More than the sockets hold, so that a piece is half sent when the first try ends.
    let body: Vec<u8> = (0..24_000_000_u32).map(|n| (n % 251) as u8).collect();
    caller.sends(&format!("PUT / HTTP/1.1\r\nhost: reviews\r\ncontent-length: {}\r\n\r\n", body.len())).await;
    let upload = async {
        caller.try_send(&body).await.unwrap();
        caller.response().await
    };
    let serve = async {
        let mut process = origin.accept().await;
        process.head().await;
        process.takes(1_000_000).await;
        process.sends(BUSY).await;
        let mut process = origin.accept().await;
        let request = process.request().await;
        process.sends(OK).await;
        request
    };
    let (response, request) = tokio::join!(upload, serve);
    assert!(request.body == body, "another body arrived");
    assert_eq!(response.text(), "ok");
}

#[tokio::test]
async fn a_body_that_is_too_large_to_keep_is_not_sent_again() {
    for way in Way::ALL {
        let stage = Stage::new(way).await;
        with_retries(&stage, retries(&[503], 2)).await;
        let seen = stage.origin("reviews-1").answers(|_| BUSY.into());
        let mut caller = stage.caller_connects().await;
        caller.sends(&format!("PUT / HTTP/1.1\r\nhost: reviews\r\ncontent-length: 70000\r\n\r\n{}", "a".repeat(70_000))).await;
        assert_eq!((caller.response().await.text().as_str(), seen.count()), ("busy", 1), "{way:?}");
    }
}

#[tokio::test]
async fn a_sidecar_that_dies_takes_its_requests_with_it_and_no_post_is_repeated() {
    for (request, status) in [(POST, 502), (GET, 503)] {
        let mut stage = Stage::new(Way::Pair).await;
        with_retries(&stage, retries(&[502, 503], 2)).await;
        let origin = stage.origin("reviews-1");
        let mut caller = stage.caller_connects().await;
        caller.sends(request).await;
        let (mut process, _) = tried(&origin).await;
        drop(stage.far.take());
        process.is_over().await;
        // A GET is tried again, and finds nobody.
        let response = caller.response().await;
        assert_eq!(response.status(), status, "{request:?}: {response}");
        origin.is_untouched();
    }
}
