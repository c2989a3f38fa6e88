//! Where a call goes: by absolute form, by Host, by CONNECT, by the local port that it came to.

use plait_testkit::{Message, Origin, Peer, Sent, Stage, Way};
use plait_wire as wire;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// Answers one request of `process` and looks at it from both ends.
async fn answered(caller: &mut Peer, process: &mut Peer) -> Message {
    let request = process.request().await;
    process.sends(OK).await;
    assert_eq!(caller.response().await.text(), "ok");
    request
}

#[tokio::test]
async fn a_destination_is_named_in_many_ways() {
    for way in Way::ALL {
        let stage = Stage::new(way).await;
        let origin = stage.origin("reviews-1");
        let mut caller = stage.caller_connects().await;
        let mut process: Option<Peer> = None;
        for (target, host, arrives) in [
            ("/a?b", "reviews", "reviews"),
            ("/a?b", "Reviews:80", "Reviews:80"),
            ("/a?b", "reviews.shop", "reviews.shop"),
            ("/a?b", "reviews.shop.svc.cluster.local.", "reviews.shop.svc.cluster.local."),
            ("http://reviews/a?b", "reviews", "reviews"),
            // The authority of the target wins, and nobody after us has two to choose from.
            ("http://reviews:80/a?b", "ledger:7000", "reviews:80"),
            ("HTTP://reviews/a?b", "other", "reviews"),
        ] {
            caller.sends(&format!("GET {target} HTTP/1.1\r\nhost: {host}\r\n\r\n")).await;
            if process.is_none() {
                process = Some(origin.accept().await);
            }
            let request = answered(&mut caller, process.as_mut().unwrap()).await;
            assert_eq!(request.to_string(), format!("GET /a?b HTTP/1.1\nhost: {arrives}"), "{way:?} {target} {host}");
        }
    }
}

#[tokio::test]
async fn an_old_client_at_a_bind_need_not_name_its_host() {
    for way in Way::ALL {
        let stage = Stage::new(way).await;
        let origin = stage.origin("reviews-1");
        let mut caller = Peer::connect(stage.binds["reviews"].address).await;
        caller.sends("GET /a HTTP/1.0\r\n\r\n").await;
        let mut process = origin.accept().await;
        let request = answered(&mut caller, &mut process).await;
        assert_eq!(request.to_string(), "GET /a HTTP/1.1\nhost: reviews.shop", "{way:?}");
        caller.is_closed().await;
    }
}

#[tokio::test]
async fn requests_follow_a_connect_to_a_port_that_speaks_http() {
    for way in Way::ALL {
        for (service, port) in [("reviews", 80), ("any", 9000)] {
            let stage = Stage::new(way).await;
            let origin = stage.origin(&format!("{service}-1"));
            let mut caller = stage.caller_connects().await;
            caller.sends(&format!("CONNECT {service}:{port} HTTP/1.1\r\nhost: {service}:{port}\r\n\r\n")).await;
            caller.reads("HTTP/1.1 200 Connection Established\r\n\r\n").await;
            origin.is_untouched();
            let mut process: Option<Peer> = None;
            for path in ["/1", "/2"] {
                // Whatever Host says: the tunnel goes where it was opened to.
                caller.sends(&format!("GET {path} HTTP/1.1\r\nhost: other.example\r\n\r\n")).await;
                if process.is_none() {
                    process = Some(origin.accept().await);
                }
                let request = answered(&mut caller, process.as_mut().unwrap()).await;
                assert_eq!(request.to_string(), format!("GET {path} HTTP/1.1\nhost: other.example"), "{way:?} {service}");
            }
        }
    }
}

/// Bytes pass both ways, and each side's end is told to the other.
async fn passes_bytes(caller: &mut Peer, process: &mut Peer) {
    caller.sends("add 1\n").await;
    process.reads("add 1\n").await;
    process.sends("sum 1\n").await;
    caller.reads("sum 1\n").await;
    caller.says_goodbye().await;
    process.is_closed().await;
    process.sends("bye\n").await;
    process.says_goodbye().await;
    caller.reads("bye\n").await;
    caller.is_closed().await;
}

async fn connects(stage: &Stage, authority: &str) -> Peer {
    let mut caller = stage.caller_connects().await;
    caller.sends(&format!("CONNECT {authority} HTTP/1.1\r\nhost: {authority}\r\n\r\n")).await;
    caller
}

#[tokio::test]
async fn bytes_follow_a_connect_to_a_port_that_speaks_something_else() {
    for way in Way::ALL {
        for (service, port) in [("ledger", 7000), ("any", 9000)] {
            let stage = Stage::new(way).await;
            let origin = stage.origin(&format!("{service}-1"));
            let mut caller = connects(&stage, &format!("{service}:{port}")).await;
            caller.reads("HTTP/1.1 200 Connection Established\r\n\r\n").await;
            // With a protocol to be found out the first bytes decide, and must arrive all the same.
            caller.sends("first\n").await;
            let mut process = origin.accept().await;
            process.reads("first\n").await;
            passes_bytes(&mut caller, &mut process).await;
        }
    }
}

#[tokio::test]
async fn a_connect_that_cannot_be_is_answered_in_http() {
    for way in Way::ALL {
        let stage = Stage::new(way).await;
        for (authority, status, reason) in [("ledger:7001", 503, "port_not_found"), ("nowhere.example.org:443", 403, "egress_denied")] {
            let mut caller = connects(&stage, authority).await;
            let response = caller.response().await;
            assert_eq!((response.status(), response.field("plait-reason")), (status, Some(reason)), "{way:?} {authority}");
            caller.is_closed().await;
        }
    }
}

#[tokio::test]
async fn a_tunnel_is_open_only_when_the_process_took_it() {
    for way in Way::ALL {
        let stage = Stage::new(way).await;
        drop(stage.origin("ledger-1"));
        let mut caller = connects(&stage, "ledger:7000").await;
        let response = caller.response().await;
        assert_eq!((response.status(), response.field("plait-reason")), (503, Some("upstream_unreachable")), "{way:?}");
        caller.is_closed().await;
    }
}

async fn bound(stage: &Stage, service: &str) -> (Peer, Origin) {
    (Peer::connect(stage.binds[service].address).await, stage.origin(&format!("{service}-1")))
}

#[tokio::test]
async fn a_bind_carries_the_bytes_of_one_destination() {
    for way in Way::ALL {
        for service in ["ledger", "any"] {
            let stage = Stage::new(way).await;
            let (mut caller, origin) = bound(&stage, service).await;
            caller.sends("first\n").await;
            let mut process = origin.accept().await;
            process.reads("first\n").await;
            passes_bytes(&mut caller, &mut process).await;
        }
    }
}

#[tokio::test]
async fn behind_a_bind_the_server_may_speak_first() {
    for way in Way::ALL {
        for service in ["ledger", "any"] {
            let stage = Stage::new(way).await;
            let (mut caller, origin) = bound(&stage, service).await;
            let mut process = origin.accept().await;
            process.sends("220 ready\n").await;
            caller.reads("220 ready\n").await;
            passes_bytes(&mut caller, &mut process).await;
        }
    }
}

#[tokio::test]
async fn behind_a_bind_http_is_http() {
    for way in Way::ALL {
        for service in ["reviews", "any"] {
            let stage = Stage::new(way).await;
            let (mut caller, origin) = bound(&stage, service).await;
            let mut process: Option<Peer> = None;
            for path in ["/1", "/2"] {
                caller.sends(&format!("GET {path} HTTP/1.1\r\nhost: whatever\r\n\r\n")).await;
                if process.is_none() {
                    process = Some(origin.accept().await);
                }
                let request = answered(&mut caller, process.as_mut().unwrap()).await;
                assert_eq!(request.to_string(), format!("GET {path} HTTP/1.1\nhost: whatever"), "{way:?} {service}");
            }
        }
    }
}

#[tokio::test]
async fn a_bind_that_cannot_reach_its_destination_is_closed_without_a_word() {
    for way in Way::ALL {
        let stage = Stage::new(way).await;
        let (mut caller, origin) = bound(&stage, "ledger").await;
        drop(origin);
        // It may be over before this is said.
        let _ = caller.try_send(b"first\n").await;
        caller.is_over().await;
    }
}

#[tokio::test]
async fn a_request_to_a_port_that_speaks_something_else_is_passed_on_as_bytes() {
    for way in Way::ALL {
        let stage = Stage::new(way).await;
        let origin = stage.origin("ledger-1");
        let mut caller = stage.caller_connects().await;
        caller.sends("POST http://ledger:7000/a HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\nhi, and more").await;
        let mut process = origin.accept().await;
        assert_eq!(process.request().await.to_string(), "POST /a HTTP/1.1\ncontent-length: 2\nhost: ledger:7000\n\nhi");
        process.reads(", and more").await;
        process.sends("anything at all").await;
        caller.reads("anything at all").await;
        process.says_goodbye().await;
        caller.is_closed().await;
    }
}

#[tokio::test]
async fn such_a_request_loses_nothing_that_its_answer_depends_on() {
    let large = format!("x-large: {}\r\n", "a".repeat(3000));
    for (fields, arrives) in [
        ("HTTP/1.1\r\nhost: ledger:7000\r\n", ""),
        ("HTTP/1.0\r\nhost: ledger:7000\r\n", "connection: close\n"),
        ("HTTP/1.1\r\nhost: ledger:7000\r\nconnection: close\r\n", "connection: close\n"),
        ("HTTP/1.1\r\nhost: ledger:7000\r\nconnection: upgrade\r\nupgrade: x\r\n", "connection: upgrade\n"),
        // More than the mesh keeps of a body: of this all is needed.
        (&*format!("HTTP/1.1\r\nhost: ledger:7000\r\n{large}"), ""),
    ] {
        let stage = Stage::new(Way::Hop).await;
        let limits = wire::ProxyLimits { buffered_bytes: 100, ..wire::ProxyLimits::default() };
        stage.apply(vec![wire::Mesh { limits: Some(limits), ..stage.mesh() }.resource()]).await;
        let mut caller = stage.caller_connects().await;
        caller.sends(&format!("GET /a {fields}\r\nand more")).await;
        let mut process = stage.origin("ledger-1").accept().await;
        let request = process.request().await;
        let expected = format!("GET /a HTTP/1.1\n{arrives}host: ledger:7000");
        assert!(request.to_string().starts_with(&expected), "{fields:?}: {request}");
        assert_eq!(request.field("upgrade").is_some(), fields.contains("upgrade"));
        assert_eq!(request.field("x-large").map(str::len), fields.contains("x-large").then_some(3000));
        process.reads("and more").await;
    }
}

#[tokio::test]
async fn a_request_to_a_port_that_speaks_something_else_and_is_dead_is_answered_in_http() {
    for way in Way::ALL {
        let stage = Stage::new(way).await;
        drop(stage.origin("ledger-1"));
        let mut caller = stage.caller_connects().await;
        caller.sends("GET / HTTP/1.1\r\nhost: ledger:7000\r\n\r\n").await;
        let response = caller.response().await;
        assert_eq!((response.status(), response.field("plait-reason")), (503, Some("upstream_unreachable")), "{way:?}");
        caller.is_closed().await;
    }
}
