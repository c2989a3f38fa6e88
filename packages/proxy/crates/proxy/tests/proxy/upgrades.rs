//! Changes of protocol: nothing is taken for the new one before the origin agreed, nothing of it is lost, and the end of each side is the end of the other.

use plait_testkit::{Origin, Peer, Stage, Way};

const ASKS: &str = "GET /chat HTTP/1.1\r\nhost: reviews\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-key: k\r\n\r\n";
const ASKED: &str = "GET /chat HTTP/1.1\nconnection: upgrade\nhost: reviews\nsec-websocket-key: k\nupgrade: websocket";
const AGREES: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: a\r\n\r\n";
const AGREED: &str = "HTTP/1.1 101 Switching Protocols\nconnection: upgrade\nsec-websocket-accept: a\nupgrade: websocket";

async fn asks(stage: &Stage, origin: &Origin, request: &str) -> (Peer, Peer) {
    let mut caller = stage.caller_connects().await;
    caller.sends(request).await;
    let mut process = origin.accept().await;
    assert_eq!(process.request().await.to_string(), ASKED);
    (caller, process)
}

async fn speak(caller: &mut Peer, process: &mut Peer) {
    for _ in 0..2 {
        caller.sends("ping").await;
        process.reads("ping").await;
        process.sends("pong").await;
        caller.reads("pong").await;
    }
}

#[tokio::test]
async fn bytes_pass_both_ways_until_each_side_is_done() {
    for way in Way::ALL {
        let stage = Stage::new(way).await;
        let origin = stage.origin("reviews-1");
        let (mut caller, mut process) = asks(&stage, &origin, ASKS).await;
        process.sends(AGREES).await;
        assert_eq!(caller.response().await.to_string(), AGREED);
        speak(&mut caller, &mut process).await;
        caller.says_goodbye().await;
        process.is_closed().await;
        process.sends("late").await;
        caller.reads("late").await;
        process.says_goodbye().await;
        caller.is_closed().await;
    }
}

#[tokio::test]
async fn the_origin_may_speak_in_the_same_breath() {
    for way in Way::ALL {
        let stage = Stage::new(way).await;
        let origin = stage.origin("reviews-1");
        let (mut caller, mut process) = asks(&stage, &origin, ASKS).await;
        process.sends(&format!("{AGREES}hello")).await;
        assert_eq!(caller.response().await.to_string(), AGREED);
        caller.reads("hello").await;
        process.says_goodbye().await;
        caller.is_closed().await;
    }
}

#[tokio::test]
async fn early_bytes_wait_for_the_origins_word() {
    for way in Way::ALL {
        let stage = Stage::new(way).await;
        let origin = stage.origin("reviews-1");
        let (mut caller, mut process) = asks(&stage, &origin, &format!("{ASKS}early")).await;
        // Whatever came before the 101 would stand here, in front of what comes after it.
        process.sends(AGREES).await;
        process.reads("early").await;
        assert_eq!(caller.response().await.to_string(), AGREED);
        speak(&mut caller, &mut process).await;
    }
}

#[tokio::test]
async fn an_origin_that_does_not_agree_answers_and_http_goes_on() {
    for way in Way::ALL {
        for status in ["200 OK", "204 No Content", "403 Forbidden", "426 Upgrade Required"] {
            let stage = Stage::new(way).await;
            let origin = stage.origin("reviews-1");
            // A request that came early is one, now that the protocol is the old one.
            let (mut caller, mut process) = asks(&stage, &origin, &format!("{ASKS}GET /2 HTTP/1.1\r\nhost: reviews\r\n\r\n")).await;
            let body = if status.starts_with("204") { "\r\n" } else { "content-length: 2\r\n\r\nno" };
            process.sends(&format!("HTTP/1.1 {status}\r\n{body}")).await;
            assert_eq!(caller.response().await.start, format!("HTTP/1.1 {status}"), "{way:?}");
            assert_eq!(process.request().await.start, "GET /2 HTTP/1.1", "{way:?}");
            process.sends("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\ntwo").await;
            assert_eq!(caller.response().await.text(), "two", "{way:?}");
        }
    }
}

#[tokio::test]
async fn a_protocol_that_nobody_asked_for_is_an_error() {
    for way in Way::ALL {
        for (request, answer) in [
            (ASKS, "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: other\r\n\r\n"),
            ("GET /chat HTTP/1.1\r\nhost: reviews\r\n\r\n", AGREES),
        ] {
            let stage = Stage::new(way).await;
            let origin = stage.origin("reviews-1");
            let mut caller = stage.caller_connects().await;
            caller.sends(request).await;
            let mut process = origin.accept().await;
            process.request().await;
            process.sends(answer).await;
            let response = caller.response().await;
            assert_eq!((response.status(), response.field("plait-reason")), (502, Some("upstream_protocol_error")), "{way:?}");
            process.is_over().await;
        }
    }
}

#[tokio::test]
async fn only_what_is_no_http_can_be_changed_to() {
    for (upgrade, passed) in [
        ("h2c", None),
        ("HTTP/2.0", None),
        ("h2c, websocket", Some("websocket")),
        ("websocket, h2c", Some("websocket")),
        ("Foo/1", Some("Foo/1")),
    ] {
        let stage = Stage::new(Way::Hop).await;
        let origin = stage.origin("reviews-1");
        let mut caller = stage.caller_connects().await;
        caller
            .sends(&format!(
                "GET / HTTP/1.1\r\nhost: reviews\r\nconnection: upgrade, http2-settings\r\nupgrade: {upgrade}\r\nhttp2-settings: x\r\n\r\n"
            ))
            .await;
        let request = origin.accept().await.request().await;
        assert_eq!((request.field("upgrade"), request.field("http2-settings")), (passed, None), "{upgrade}");
    }
}

#[tokio::test]
async fn a_caller_that_leaves_before_the_answer_takes_its_request_back() {
    for way in Way::ALL {
        let stage = Stage::new(way).await;
        let origin = stage.origin("reviews-1");
        let (caller, mut process) = asks(&stage, &origin, ASKS).await;
        drop(caller);
        process.is_over().await;
        stage.web.counts("plait_requests_total", &["code_class=\"cancelled\""], 1.0).await;
    }
}

#[tokio::test]
async fn a_side_that_breaks_off_is_not_taken_for_one_that_is_done() {
    for way in Way::ALL {
        let stage = Stage::new(way).await;
        let origin = stage.origin("reviews-1");
        for origin_breaks in [true, false] {
            let (mut caller, mut process) = asks(&stage, &origin, ASKS).await;
            process.sends(AGREES).await;
            caller.response().await;
            speak(&mut caller, &mut process).await;
            if origin_breaks {
                process.resets();
                caller.is_reset().await;
            } else {
                caller.resets();
                process.is_reset().await;
            }
        }
    }
}
