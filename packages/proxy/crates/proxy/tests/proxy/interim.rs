//! Interim answers, and callers that wait for one before they send their body.

use plait_testkit::{Stage, Way, deny, everything};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[tokio::test]
async fn interim_answers_pass_but_for_100_which_is_not_the_origins_to_give() {
    for way in Way::ALL {
        let stage = Stage::new(way).await;
        let origin = stage.origin("reviews-1");
        let mut caller = stage.caller_connects().await;
        caller.sends("GET / HTTP/1.1\r\nhost: reviews\r\n\r\n").await;
        let mut process = origin.accept().await;
        process.request().await;
        process.sends("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\nplait-reason: x\r\n\r\n").await;
        assert_eq!(caller.response().await.to_string(), "HTTP/1.1 103 Early Hints\nlink: </a>", "{way:?}: it does not wait for the answer");
        process.sends(&format!("HTTP/1.1 103 Early Hints\r\nlink: </b>\r\n\r\n{OK}")).await;
        assert_eq!(caller.response().await.field("link"), Some("</b>"));
        assert_eq!(caller.response().await.text(), "ok");
    }
}

#[tokio::test]
async fn a_caller_that_cannot_read_interim_answers_gets_none() {
    for way in Way::ALL {
        let stage = Stage::new(way).await;
        let origin = stage.origin("reviews-1");
        let mut caller = stage.caller_connects().await;
        caller.sends("GET / HTTP/1.0\r\nhost: reviews\r\n\r\n").await;
        let mut process = origin.accept().await;
        process.request().await;
        process.sends(&format!("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n{OK}")).await;
        assert_eq!(caller.response().await.status(), 200);
    }
}

const WAITS: &str = "POST / HTTP/1.1\r\nhost: reviews\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\n";

#[tokio::test]
async fn a_caller_that_waits_is_told_to_go_on_once_and_its_body_arrives() {
    for way in Way::ALL {
        let stage = Stage::new(way).await;
        let origin = stage.origin("reviews-1");
        let mut caller = stage.caller_connects().await;
        caller.sends(WAITS).await;
        assert_eq!(caller.response().await.to_string(), "HTTP/1.1 100 Continue", "{way:?}");
        caller.sends("hello").await;
        let mut process = origin.accept().await;
        assert_eq!(process.request().await.to_string(), "POST / HTTP/1.1\ncontent-length: 5\nhost: reviews\n\nhello", "{way:?}");
        process.sends(&format!("HTTP/1.1 100 Continue\r\n\r\n{OK}")).await;
        assert_eq!(caller.response().await.text(), "ok", "{way:?}");
        // The connection is as good as ever.
        caller.sends("GET /2 HTTP/1.1\r\nhost: reviews\r\n\r\n").await;
        assert_eq!(process.request().await.start, "GET /2 HTTP/1.1");
    }
}

#[tokio::test]
async fn a_caller_that_waits_is_refused_before_it_sends_its_body() {
    let stage = Stage::new(Way::Hop).await;
    let mut caller = stage.caller_connects().await;
    caller.sends("POST / HTTP/1.1\r\nhost: nowhere.example.org\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\r\n").await;
    let response = caller.response().await;
    assert_eq!((response.status(), response.field("connection")), (403, Some("close")));
    caller.is_closed().await;
}

#[tokio::test]
async fn a_caller_that_waits_is_refused_by_the_far_side() {
    let stage = Stage::new(Way::Pair).await;
    stage.policies("reviews-1", vec![deny("nobody", vec![everything()])]).await;
    let mut caller = stage.caller_connects().await;
    caller.sends(WAITS).await;
    // Our own side took the request up before the far side judged it.
    let mut response = caller.response().await;
    if response.status() == 100 {
        response = caller.response().await;
    }
    assert_eq!((response.status(), response.field("connection")), (403, Some("close")));
    caller.is_closed().await;
    stage.origin("reviews-1").is_untouched();
}

#[tokio::test]
async fn a_caller_that_waits_for_what_nobody_knows_is_refused() {
    let stage = Stage::new(Way::Hop).await;
    let mut caller = stage.caller_connects().await;
    caller.sends("POST / HTTP/1.1\r\nhost: reviews\r\ncontent-length: 5\r\nexpect: a-miracle\r\n\r\n").await;
    assert_eq!(caller.response().await.status(), 400);
    caller.is_closed().await;
}
