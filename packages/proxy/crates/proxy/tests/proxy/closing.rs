//! When a connection goes on, and when it ends: as the caller asks, as the origin can, and never so that a message looks whole that is not.

use plait_testkit::{Stage, Way};

use crate::exchange::Exchange;

/// Rows after which the caller's connection ends.
const ENDS_FOR_THE_CALLER: &[Exchange] = &[
    Exchange {
        name: "the caller wants no more",
        sent: "GET / HTTP/1.1\r\nhost: reviews\r\nconnection: close\r\n\r\n",
        arrives: "GET / HTTP/1.1\nhost: reviews",
        answer: "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
        returns: "HTTP/1.1 200 OK\nconnection: close\ncontent-length: 2\n\nok",
    },
    Exchange {
        name: "HTTP/1.0",
        sent: "GET / HTTP/1.0\r\nhost: reviews\r\n\r\n",
        arrives: "GET / HTTP/1.1\nhost: reviews",
        answer: "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
        returns: "HTTP/1.1 200 OK\nconnection: close\ncontent-length: 2\n\nok",
    },
    Exchange {
        name: "HTTP/1.0 cannot read chunks: the end of the connection ends the body",
        sent: "GET / HTTP/1.0\r\nhost: reviews\r\nconnection: keep-alive\r\n\r\n",
        arrives: "GET / HTTP/1.1\nhost: reviews",
        answer: "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-sum: 1\r\n\r\n",
        returns: "HTTP/1.1 200 OK\nconnection: close\n\nok",
    },
    Exchange {
        name: "HTTP/1.0 with a body",
        sent: "POST / HTTP/1.0\r\nhost: reviews\r\ncontent-length: 2\r\n\r\nhi",
        arrives: "POST / HTTP/1.1\ncontent-length: 2\nhost: reviews\n\nhi",
        answer: "HTTP/1.1 204 No Content\r\n\r\n",
        returns: "HTTP/1.1 204 No Content\nconnection: close",
    },
];

#[tokio::test]
async fn the_callers_connection_ends_and_the_origins_is_kept() {
    for way in Way::ALL {
        let stage = Stage::new(way).await;
        let origin = stage.origin("reviews-1");
        let (mut caller, mut process) = ENDS_FOR_THE_CALLER[0].play(&stage, &origin).await;
        caller.is_closed().await;
        for exchange in ENDS_FOR_THE_CALLER {
            let mut caller = stage.caller_connects().await;
            exchange.repeat(&mut caller, &mut process).await;
            caller.is_closed().await;
        }
        origin.is_untouched();
    }
}

#[tokio::test]
async fn an_old_caller_that_asks_for_it_keeps_its_connection_and_is_told_so() {
    let exchange = Exchange {
        name: "HTTP/1.0 with keep-alive",
        sent: "GET / HTTP/1.0\r\nhost: reviews\r\nconnection: keep-alive\r\n\r\n",
        arrives: "GET / HTTP/1.1\nhost: reviews",
        answer: "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
        returns: "HTTP/1.1 200 OK\nconnection: keep-alive\ncontent-length: 2\n\nok",
    };
    for way in Way::ALL {
        let stage = Stage::new(way).await;
        let origin = stage.origin("reviews-1");
        let (mut caller, mut process) = exchange.play(&stage, &origin).await;
        exchange.repeat(&mut caller, &mut process).await;
    }
}

const GET: &str = "GET / HTTP/1.1\r\nhost: reviews\r\n\r\n";
const GOT: &str = "GET / HTTP/1.1\nhost: reviews";

/// Rows after which the origin's connection is not used again, whatever the origin thinks.
const ENDS_FOR_THE_ORIGIN: &[Exchange] = &[
    Exchange {
        name: "the origin wants no more",
        sent: GET,
        arrives: GOT,
        answer: "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok",
        returns: "HTTP/1.1 200 OK\ncontent-length: 2\n\nok",
    },
    Exchange {
        name: "HTTP/1.0 with a length",
        sent: GET,
        arrives: GOT,
        answer: "HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
        returns: "HTTP/1.1 200 OK\ncontent-length: 2\n\nok",
    },
    Exchange {
        name: "204 with a body that may not be there",
        sent: GET,
        arrives: GOT,
        answer: "HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\nhello",
        returns: "HTTP/1.1 204 No Content",
    },
    Exchange {
        name: "more than its length",
        sent: GET,
        arrives: GOT,
        answer: "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil",
        returns: "HTTP/1.1 200 OK\ncontent-length: 2\n\nok",
    },
    Exchange {
        name: "a body behind the head of an answer to HEAD",
        sent: "HEAD / HTTP/1.1\r\nhost: reviews\r\n\r\n",
        arrives: "HEAD / HTTP/1.1\nhost: reviews",
        answer: "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
        returns: "HTTP/1.1 200 OK\ncontent-length: 2",
    },
];

#[tokio::test]
async fn the_origins_connection_ends_and_the_callers_is_kept() {
    for way in Way::ALL {
        let stage = Stage::new(way).await;
        let origin = stage.origin("reviews-1");
        let (mut caller, mut process) = ENDS_FOR_THE_ORIGIN[0].play(&stage, &origin).await;
        process.is_over().await;
        for exchange in ENDS_FOR_THE_ORIGIN {
            exchange.on(&mut caller, &origin).await.is_over().await;
        }
    }
}

#[tokio::test]
async fn an_answer_that_ends_with_its_connection_is_ended_for_the_caller() {
    for (version, way) in Way::ALL.into_iter().flat_map(|way| [("1.0", way), ("1.1", way)]) {
        let stage = Stage::new(way).await;
        let origin = stage.origin("reviews-1");
        let mut caller = stage.caller_connects().await;
        caller.sends(GET).await;
        let mut process = origin.accept().await;
        process.request().await;
        process.sends(&format!("HTTP/{version} 200 OK\r\nx-a: 1\r\n\r\nall of it")).await;
        assert_eq!(caller.head().await.to_string(), "HTTP/1.1 200 OK\ntransfer-encoding: chunked\nx-a: 1");
        caller.reads("9\r\nall of it\r\n").await;
        process.says_goodbye().await;
        caller.reads("0\r\n\r\n").await;
        ENDS_FOR_THE_ORIGIN[0].on(&mut caller, &origin).await;
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    for way in Way::ALL {
        let stage = Stage::new(way).await;
        let origin = stage.origin("reviews-1");
        let mut caller = stage.caller_connects().await;
        caller
            .sends("GET /1 HTTP/1.1\r\nhost: reviews\r\n\r\nPOST /2 HTTP/1.1\r\nhost: reviews\r\ncontent-length: 2\r\n\r\nhiGET /3 HTTP/1.1\r\nhost: reviews\r\n\r\n")
            .await;
        let mut process = origin.accept().await;
        for (arrives, body) in [
            ("GET /1 HTTP/1.1\nhost: reviews", "one"),
            ("POST /2 HTTP/1.1\ncontent-length: 2\nhost: reviews\n\nhi", "two"),
            ("GET /3 HTTP/1.1\nhost: reviews", "three"),
        ] {
            assert_eq!(process.request().await.to_string(), arrives);
            process.sends(&format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())).await;
            assert_eq!(caller.response().await.text(), body);
        }
    }
}

#[tokio::test]
async fn a_connection_is_kept_for_less_than_its_server_keeps_it() {
    for way in Way::ALL {
        for (told, reused) in [("timeout=60, max=100", true), ("max=5", true), ("timeout=1", false), ("timeout=0", false)] {
            let stage = Stage::new(way).await;
            let origin = stage.origin("reviews-1");
            let mut caller = stage.caller_connects().await;
            caller.sends("GET /1 HTTP/1.1\r\nhost: reviews\r\n\r\n").await;
            let mut first = origin.accept().await;
            first.request().await;
            first.sends(&format!("HTTP/1.1 200 OK\r\nkeep-alive: {told}\r\ncontent-length: 2\r\n\r\nok")).await;
            assert_eq!(caller.response().await.field("keep-alive"), None, "{way:?} {told}: it is between the server and its proxy");
            caller.sends("GET /2 HTTP/1.1\r\nhost: reviews\r\n\r\n").await;
            if reused {
                first.request().await;
            } else {
                first.is_closed().await;
                origin.accept().await.request().await;
            }
        }
    }
}

#[tokio::test]
async fn a_request_that_meets_a_closing_connection_is_counted_and_told_so() {
    let stage = Stage::new(Way::Hop).await;
    let origin = stage.origin("reviews-1");
    let mut caller = stage.caller_connects().await;
    for (request, status) in [("GET / HTTP/1.1", 200), ("POST / HTTP/1.1\r\ncontent-length: 0", 502)] {
        caller.sends("GET /first HTTP/1.1\r\nhost: reviews\r\n\r\n").await;
        let mut process = origin.accept().await;
        process.request().await;
        process.sends("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        assert_eq!(caller.response().await.status(), 200);
        caller.sends(&format!("{request}\r\nhost: reviews\r\n\r\n")).await;
        process.request().await;
        drop(process);
        if status == 200 {
            let mut process = origin.accept().await;
            process.request().await;
            process.sends("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").await;
        }
        let answer = caller.response().await;
        let reason = (status == 502).then_some("upstream_closing");
        assert_eq!((answer.status(), answer.field("plait-reason")), (status, reason));
        assert_eq!(answer.text().contains("it closed the idle connection as the request came"), status == 502, "{answer}");
    }
    stage.web.counts("plait_closing_connections_total", &["destination=\"shop/reviews\""], 2.0).await;
}
