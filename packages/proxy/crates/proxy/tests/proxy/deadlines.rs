//! Time that callers and destinations ask for: `Retry-After` before another try, `grpc-timeout` passed on without what was spent.

use std::time::{Duration, Instant};

use plait_testkit::{Stage, Way, backend, millis, rule};
use plait_wire as wire;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

fn tried_again(codes: &[u32], request_timeout: Option<u64>) -> wire::RouteRule {
    let retries = wire::Retries { codes: codes.to_vec(), attempts: 2, backoff: Some(millis(1)), budget: None };
    let traffic =
        wire::CallTraffic { retries: Some(retries), request_timeout: request_timeout.map(millis), ..wire::CallTraffic::default() };
    wire::RouteRule { traffic: Some(traffic), ..rule(vec![backend("reviews")]) }
}

#[tokio::test]
async fn another_try_waits_as_long_as_the_answer_asks_or_there_is_none() {
    for way in Way::ALL {
        for (case, asked, limit, status, tries) in [
            ("it waits", "1", None, 200, 2),
            ("too long for anybody", "60", None, 429, 1),
            ("longer than the request has", "1", Some(700), 429, 1),
            ("a time that has passed", "Sun, 06 Nov 1994 08:49:37 GMT", None, 200, 2),
            ("no time", "soon", None, 200, 2),
        ] {
            let stage = Stage::new(way).await;
            stage.route(vec![tried_again(&[429], limit)]).await;
            let origin = stage.origin("reviews-1");
            let busy = format!("HTTP/1.1 429 X\r\nretry-after: {asked}\r\ncontent-length: 0\r\n\r\n");
            let first = std::sync::atomic::AtomicBool::new(true);
            let seen =
                origin.answers(move |_| if first.swap(false, std::sync::atomic::Ordering::SeqCst) { busy.clone() } else { OK.into() });
            let mut caller = stage.caller_connects().await;
            let began = Instant::now();
            caller.sends("GET / HTTP/1.1\r\nhost: reviews\r\n\r\n").await;
            let answer = caller.response().await;
            assert_eq!((answer.status(), seen.count()), (status, tries), "{way:?} {case}");
            if (asked, status) == ("1", 200) {
                assert!(began.elapsed() >= Duration::from_secs(1), "{way:?} {case}");
            } else {
                assert!(status == 200 || answer.field("retry-after") == Some(asked), "{way:?} {case}: it stands as it came");
            }
        }
    }
}

fn grpc(timeout: &str) -> String {
    format!(
        "POST /shop.Reviews/Get HTTP/1.1\r\nhost: reviews\r\ncontent-type: application/grpc\r\ngrpc-timeout: {timeout}\r\ncontent-length: 0\r\n\r\n"
    )
}

#[tokio::test]
async fn a_callers_deadline_is_passed_on_without_the_time_that_was_spent() {
    for way in Way::ALL {
        let stage = Stage::new(way).await;
        stage.route(vec![tried_again(&[503], None)]).await;
        let origin = stage.origin("reviews-1");
        let mut caller = stage.caller_connects().await;
        caller.sends(&grpc("30S")).await;
        let mut before = 30_000_000;
        for spent in [0, 200_000] {
            let mut process = origin.accept().await;
            let left = process.request().await.field("grpc-timeout").unwrap().to_owned();
            let micros: u64 = left.strip_suffix('u').unwrap_or_else(|| panic!("{left}")).parse().unwrap();
            assert!(micros < before - spent, "{way:?}: {micros} of {before}");
            before = micros;
            tokio::time::sleep(Duration::from_millis(200)).await;
            process.sends(if spent == 0 { "HTTP/1.1 503 X\r\ncontent-length: 0\r\n\r\n" } else { OK }).await;
        }
        assert_eq!(caller.response().await.status(), 200);
    }
}

#[tokio::test]
async fn a_callers_deadline_ends_its_request_and_nobody_elses() {
    for way in Way::ALL {
        let stage = Stage::new(way).await;
        let origin = stage.origin("reviews-1");
        let mut caller = stage.caller_connects().await;
        caller.sends(&grpc("150m")).await;
        let mut process = origin.accept().await;
        process.request().await;
        let answer = caller.response().await;
        assert_eq!((answer.status(), answer.field("plait-reason")), (504, Some("request_timeout")), "{way:?}");
        // What is no deadline of gRPC limits nothing, and passes as it came.
        for (request, told) in
            [(grpc("150x"), "150x"), ("GET / HTTP/1.1\r\nhost: reviews\r\ngrpc-timeout: 150m\r\n\r\n".to_owned(), "150m")]
        {
            let mut caller = stage.caller_connects().await;
            caller.sends(&request).await;
            let mut process = origin.accept().await;
            assert_eq!(process.request().await.field("grpc-timeout"), Some(told), "{way:?}");
            tokio::time::sleep(Duration::from_millis(300)).await;
            process.sends("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok").await;
            assert_eq!(caller.response().await.status(), 200, "{way:?}");
        }
    }
}
