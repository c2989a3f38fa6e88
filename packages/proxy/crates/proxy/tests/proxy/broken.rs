//! Messages that do not come whole: what is not whole never looks whole, and no connection is used again whose bytes nobody can tell apart.

use std::time::Duration;

use plait_testkit::{Origin, Peer, Stage, Way};

const GET: &str = "GET / HTTP/1.1\r\nhost: reviews\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

async fn asked(stage: &Stage, origin: &Origin, request: &str) -> (Peer, Peer) {
    let mut caller = stage.caller_connects().await;
    caller.sends(request).await;
    let mut process = origin.accept().await;
    process.head().await;
    (caller, process)
}

/// The sidecar still serves, and with a new connection to the origin.
async fn still_serves(stage: &Stage, origin: &Origin) {
    let (mut caller, mut process) = asked(stage, origin, GET).await;
    process.sends(OK).await;
    assert_eq!(caller.response().await.text(), "ok");
}

/// How an origin fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fails {
    Closes,
    Resets,
}

impl Fails {
    fn at(self, process: Peer) {
        match self {
            Self::Closes => drop(process),
            Self::Resets => process.resets(),
        }
    }
}

#[tokio::test]
async fn an_origin_that_breaks_off_before_its_answer_is_told_as_such() {
    for way in Way::ALL {
        for fails in [Fails::Closes, Fails::Resets] {
            for (part, request) in
                [("", GET), ("HTTP/1.1 200 OK\r\nx-a", GET), ("", "POST / HTTP/1.1\r\nhost: reviews\r\ncontent-length: 2\r\n\r\nhi")]
            {
                let stage = Stage::new(way).await;
                let origin = stage.origin("reviews-1");
                let (mut caller, mut process) = asked(&stage, &origin, request).await;
                process.sends(part).await;
                fails.at(process);
                let response = caller.response().await;
                assert_eq!(
                    (response.status(), response.field("plait-reason")),
                    (502, Some("upstream_reset")),
                    "{way:?} {fails:?} {part:?}"
                );
                still_serves(&stage, &origin).await;
            }
        }
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_visibly_broken_and_its_connection_is_not_used_again() {
    for way in Way::ALL {
        for fails in [Fails::Closes, Fails::Resets] {
            for (version, part, came) in [
                ("1.1", "content-length: 10\r\n\r\n12345", "12345"),
                ("1.1", "transfer-encoding: chunked\r\n\r\n5\r\n12345\r\n", "5\r\n12345\r\n"),
                ("1.1", "transfer-encoding: chunked\r\n\r\n9\r\n12345", "5\r\n12345\r\n"),
                ("1.1", "transfer-encoding: chunked\r\n\r\n5\r\n12345\r\n0\r\nx-sum: 1\r\n", "5\r\n12345\r\n"),
                ("1.0", "content-length: 10\r\n\r\n12345", "12345"),
                ("1.0", "transfer-encoding: chunked\r\n\r\n5\r\n12345\r\n", "12345"),
            ] {
                let stage = Stage::new(way).await;
                let origin = stage.origin("reviews-1");
                let (mut caller, mut process) = asked(&stage, &origin, &format!("GET / HTTP/{version}\r\nhost: reviews\r\n\r\n")).await;
                process.sends(&format!("HTTP/1.1 200 OK\r\n{part}")).await;
                let head = caller.head().await;
                caller.reads(came).await;
                fails.at(process);
                // Only a length or chunks tell a caller that something is missing; else a reset must.
                match head.field("content-length").or(head.field("transfer-encoding")) {
                    Some(_) => caller.is_over().await,
                    None => caller.is_reset().await,
                }
                still_serves(&stage, &origin).await;
            }
        }
    }
}

#[tokio::test]
async fn an_answer_that_only_its_end_ends_is_not_whole_after_a_reset() {
    for way in Way::ALL {
        let stage = Stage::new(way).await;
        let origin = stage.origin("reviews-1");
        let (mut caller, mut process) = asked(&stage, &origin, GET).await;
        process.sends("HTTP/1.1 200 OK\r\n\r\n12345").await;
        caller.head().await;
        caller.reads("5\r\n12345\r\n").await;
        process.resets();
        caller.is_over().await;
        still_serves(&stage, &origin).await;
    }
}

#[tokio::test]
async fn an_answer_that_is_no_http_is_told_as_such() {
    let long = format!("HTTP/1.1 200 OK\r\nx-a: {}\r\n\r\n", "a".repeat(70_000));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x-a: 1\r\n".repeat(101));
    for way in Way::ALL {
        for answer in [
            "garbage\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n",
            "HTTP/1.1 101 Switching Protocols\r\n\r\n",
            "HTTP/2.0 200 OK\r\n\r\n",
            &long,
            &many,
        ] {
            let stage = Stage::new(way).await;
            let origin = stage.origin("reviews-1");
            let (mut caller, mut process) = asked(&stage, &origin, GET).await;
            // It may be refused before all of it was sent.
            let _ = process.try_send(answer.as_bytes()).await;
            let response = caller.response().await;
            let reason = response.field("plait-reason");
            assert_eq!((response.status(), reason), (502, Some("upstream_protocol_error")), "{way:?} {:.60}", answer);
            still_serves(&stage, &origin).await;
        }
    }
}

#[tokio::test]
async fn a_bad_chunk_of_the_origin_ends_the_answer_visibly() {
    for way in Way::ALL {
        for bad in ["x\r\n", "5 \r\nhello\r\n", "5\r\nhelloX", "-1\r\n"] {
            let stage = Stage::new(way).await;
            let origin = stage.origin("reviews-1");
            let (mut caller, mut process) = asked(&stage, &origin, GET).await;
            process.sends("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n").await;
            caller.head().await;
            caller.reads("2\r\nok\r\n").await;
            process.sends(bad).await;
            let (rest, _) = caller.rest().await;
            assert!(!rest.ends_with(b"0\r\n\r\n"), "{way:?} {bad:?}");
            process.is_over().await;
            still_serves(&stage, &origin).await;
        }
    }
}

#[tokio::test]
async fn an_answer_that_breaks_before_a_byte_of_it_has_left_is_told_as_such() {
    for way in Way::ALL {
        // Between proxies a stream that is reset tells no more than that.
        let reason = if way == Way::Hop { "upstream_protocol_error" } else { "upstream_reset" };
        for body in ["transfer-encoding: chunked\r\n\r\nx\r\n", "transfer-encoding: chunked\r\n\r\n-1\r\n"] {
            let stage = Stage::new(way).await;
            let origin = stage.origin("reviews-1");
            let (mut caller, mut process) = asked(&stage, &origin, GET).await;
            process.sends(&format!("HTTP/1.1 200 OK\r\n{body}")).await;
            let response = caller.response().await;
            assert_eq!((response.status(), response.field("plait-reason")), (502, Some(reason)), "{way:?} {body:?}");
            still_serves(&stage, &origin).await;
        }
    }
}

#[tokio::test]
async fn a_bad_chunk_of_the_caller_is_refused_and_the_origin_sees_no_end() {
    for way in Way::ALL {
        for bad in ["x\r\n", "5\r\nhelloX", "0\r\nno field\r\n\r\n"] {
            let stage = Stage::new(way).await;
            let origin = stage.origin("reviews-1");
            let start = "POST / HTTP/1.1\r\nhost: reviews\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n";
            let (mut caller, mut process) = asked(&stage, &origin, start).await;
            process.reads("2\r\nhi\r\n").await;
            caller.sends(bad).await;
            let response = caller.response().await;
            assert_eq!((response.status(), response.field("connection")), (400, Some("close")), "{way:?} {bad:?}");
            caller.is_closed().await;
            let (rest, _) = process.rest().await;
            assert!(!rest.ends_with(b"0\r\n\r\n"), "{way:?} {bad:?}");
            still_serves(&stage, &origin).await;
        }
    }
}

#[tokio::test]
async fn a_caller_that_leaves_takes_its_request_back() {
    for way in Way::ALL {
        for (request, answer) in [
            (GET, ""),
            ("POST / HTTP/1.1\r\nhost: reviews\r\ncontent-length: 10\r\n\r\n12345", ""),
            ("POST / HTTP/1.1\r\nhost: reviews\r\ntransfer-encoding: chunked\r\n\r\n5\r\n12345\r\n", ""),
            // Also while the answer comes, and nothing of it moves.
            (GET, "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n12345"),
            (GET, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"),
        ] {
            for reset in [false, true] {
                let stage = Stage::new(way).await;
                let origin = stage.origin("reviews-1");
                let (mut caller, mut process) = asked(&stage, &origin, request).await;
                process.sends(answer).await;
                if !answer.is_empty() {
                    caller.head().await;
                }
                if reset {
                    caller.resets()
                } else {
                    drop(caller)
                }
                let (rest, _) = process.rest().await;
                assert!(!rest.ends_with(b"0\r\n\r\n"), "{way:?} {request:?}");
                still_serves(&stage, &origin).await;
            }
        }
    }
}

#[tokio::test]
async fn an_early_answer_is_passed_on_while_the_body_is_still_sent() {
    let bodies = ["content-length: 1000000\r\n\r\n12345", "transfer-encoding: chunked\r\n\r\n5\r\n12345\r\n"];
    for (way, body) in Way::ALL.into_iter().flat_map(|way| bodies.map(|body| (way, body))) {
        for then_closes in [false, true] {
            let stage = Stage::new(way).await;
            let origin = stage.origin("reviews-1");
            let (mut caller, mut process) = asked(&stage, &origin, &format!("POST / HTTP/1.1\r\nhost: reviews\r\n{body}")).await;
            process.sends("HTTP/1.1 413 Content Too Large\r\ncontent-length: 4\r\n\r\nstop").await;
            let other = then_closes.then(|| drop(process));
            let response = caller.response().await;
            assert_eq!(
                response.to_string(),
                "HTTP/1.1 413 Payload Too Large\nconnection: close\ncontent-length: 4\n\nstop",
                "{way:?} {other:?}"
            );
            // Nobody may guess where the next request begins.
            caller.is_closed().await;
            still_serves(&stage, &origin).await;
        }
    }
}

#[tokio::test]
async fn an_answer_that_grows_while_the_body_still_comes_is_whole() {
    for way in Way::ALL {
        let stage = Stage::new(way).await;
        let origin = stage.origin("reviews-1");
        let start = "POST / HTTP/1.1\r\nhost: reviews\r\ntransfer-encoding: chunked\r\n\r\n";
        let (mut caller, mut process) = asked(&stage, &origin, start).await;
        process.sends("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
        assert_eq!(caller.head().await.field("connection"), Some("close"));
        for _ in 0..3 {
            caller.sends("2\r\nhi\r\n").await;
            process.reads("2\r\nhi\r\n").await;
            process.sends("2\r\nho\r\n").await;
            caller.reads("2\r\nho\r\n").await;
        }
        caller.sends("0\r\n\r\n").await;
        process.reads("0\r\n\r\n").await;
        process.sends("0\r\n\r\n").await;
        caller.reads("0\r\n\r\n").await;
        // The head had to say what becomes of the connection while that was not known yet.
        caller.is_closed().await;
    }
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused() {
    let stage = Stage::new(Way::Hop).await;
    let fields = "x-a: 1\r\n".repeat(101);
    for (name, head) in [
        ("a long field", format!("GET / HTTP/1.1\r\nhost: reviews\r\nx-a: {}\r\n\r\n", "a".repeat(70_000))),
        ("a long path", format!("GET /{} HTTP/1.1\r\nhost: reviews\r\n\r\n", "a".repeat(70_000))),
        ("many fields", format!("GET / HTTP/1.1\r\nhost: reviews\r\n{fields}\r\n")),
        ("a head without end", format!("GET / HTTP/1.1\r\nhost: reviews\r\nx-a: {}", "a".repeat(70_000))),
    ] {
        let mut caller = stage.caller_connects().await;
        caller.sends(&head).await;
        let response = caller.response().await;
        let told = (response.status(), response.field("plait-reason"), response.field("connection"));
        assert_eq!(told, (431, Some("head_too_large"), Some("close")), "{name}");
        caller.is_closed().await;
    }
    stage.origin("reviews-1").is_untouched();
}

#[tokio::test]
async fn a_head_just_within_the_limit_passes() {
    for way in Way::ALL {
        let stage = Stage::new(way).await;
        let origin = stage.origin("reviews-1");
        let many = (0..95).map(|n| format!("x-{n}: {}\r\n", "a".repeat(650))).collect::<String>();
        let (mut caller, mut process) = asked(&stage, &origin, &format!("GET / HTTP/1.1\r\nhost: reviews\r\n{many}\r\n")).await;
        process.sends(&format!("HTTP/1.1 200 OK\r\n{many}content-length: 2\r\n\r\nok")).await;
        let response = caller.response().await;
        assert_eq!((response.status(), response.fields.len(), response.text().as_str()), (200, 96, "ok"), "{way:?}");
    }
}

#[tokio::test]
async fn a_head_that_does_not_come_is_refused_in_the_end_and_an_idle_connection_closed() {
    for (part, answer) in [("GET / HTTP/1.1\r\nhost: re", Some(408)), ("", None), ("\r\n", Some(408))] {
        let stage = Stage::new(Way::Hop).await;
        let mut caller = stage.caller_connects().await;
        caller.sends(part).await;
        let minute = Duration::from_secs(60);
        if let Some(status) = answer {
            assert_eq!(stage.web.pass_time(minute, caller.response()).await.status(), status);
        }
        stage.web.pass_time(minute, caller.is_closed()).await;
    }
}
