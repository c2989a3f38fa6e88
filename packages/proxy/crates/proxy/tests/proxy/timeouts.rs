//! Limits of time: of a request, of one try, of an answer; and those that no clock reaches.

use plait_testkit::{Sent, Stage, Way, millis};
use plait_wire as wire;

use crate::retries::{GET, OK, retries, tried, with_traffic};

#[tokio::test]
async fn a_request_has_so_much_time_and_no_more() {
    for way in Way::ALL {
        for (request_millis, attempt_millis, reason) in
            [(Some(700), None, "request_timeout"), (None, Some(700), "attempt_timeout"), (Some(700), Some(60_000), "request_timeout")]
        {
            let stage = Stage::new(way).await;
            let traffic = wire::CallTraffic {
                request_timeout: request_millis.map(millis),
                attempt_timeout: attempt_millis.map(millis),
                ..wire::CallTraffic::default()
            };
            with_traffic(&stage, traffic).await;
            let origin = stage.origin("reviews-1");
            let mut caller = stage.caller_connects().await;
            caller.sends(GET).await;
            let (mut process, _) = tried(&origin).await;
            let response = caller.response().await;
            assert_eq!((response.status(), response.field("plait-reason")), (504, Some(reason)), "{way:?}");
            assert!(response.text().contains("HTTPRoute shop/r"), "{}", response.text());
            // The origin sees that nobody waits any more.
            process.is_over().await;
            // The caller's connection goes on.
            caller.sends(GET).await;
            let (mut process, _) = tried(&origin).await;
            process.sends(OK).await;
            assert_eq!(caller.response().await.text(), "ok");
        }
    }
}

#[tokio::test]
async fn a_try_that_took_too_long_is_tried_elsewhere_within_the_time_of_the_request() {
    for way in Way::ALL {
        let stage = Stage::new(way).await;
        let traffic = wire::CallTraffic {
            request_timeout: Some(millis(15_000)),
            attempt_timeout: Some(millis(1000)),
            retries: Some(retries(&[], 2)),
            ..wire::CallTraffic::default()
        };
        with_traffic(&stage, traffic).await;
        let origin = stage.origin("reviews-1");
        let mut caller = stage.caller_connects().await;
        caller.sends(GET).await;
        let (slow, _) = tried(&origin).await;
        let (mut process, _) = tried(&origin).await;
        process.sends(OK).await;
        assert_eq!(caller.response().await.text(), "ok", "{way:?}");
        drop(slow);
    }
}

#[tokio::test]
async fn an_answer_that_does_not_end_in_time_is_visibly_cut() {
    for way in Way::ALL {
        let stage = Stage::new(way).await;
        with_traffic(&stage, wire::CallTraffic { request_timeout: Some(millis(1000)), ..wire::CallTraffic::default() }).await;
        let origin = stage.origin("reviews-1");
        let mut caller = stage.caller_connects().await;
        caller.sends(GET).await;
        let (mut process, _) = tried(&origin).await;
        process.sends("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nok").await;
        let cut = caller.cut(Some("GET")).await;
        assert_eq!(cut.came, b"ok", "{way:?}");
        process.is_over().await;
    }
}

#[tokio::test]
async fn limits_that_no_clock_reaches_are_none() {
    let stage = Stage::new(Way::Hop).await;
    let forever = prost_types::Duration { seconds: i64::MAX, nanos: 0 };
    with_traffic(
        &stage,
        wire::CallTraffic {
            request_timeout: Some(forever),
            attempt_timeout: Some(forever),
            retries: Some(retries(&[503], 1)),
            ..wire::CallTraffic::default()
        },
    )
    .await;
    let mut service = plait_testkit::service("reviews", 80, wire::Protocol::Http);
    service.backend =
        Some(wire::BackendTraffic { idle_timeout: Some(forever), connect_timeout: Some(forever), ..wire::BackendTraffic::default() });
    stage.apply(vec![service.resource()]).await;
    let seen = stage.origin("reviews-1").answers(|_| OK.into());
    let mut caller = stage.caller_connects().await;
    for _ in 0..3 {
        caller.sends(GET).await;
        assert_eq!(caller.response().await.text(), "ok");
    }
    assert_eq!((seen.count(), stage.web.metric("plait_panics_total", &[])), (3, 0.0));
}
