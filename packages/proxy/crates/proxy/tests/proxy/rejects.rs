//! Answers that the mesh makes itself: the status, the stable code, the user's object, and how the connection goes on.

use plait_testkit::Sent;
use plait_testkit::{Peer, Port, Stage, Way, backend, endpoints, prefix, rule};
use plait_wire as wire;

/// Asks and reads the reject: status, code, text.
async fn refused(caller: &mut Peer, request: &str) -> (u16, String, String) {
    caller.sends(request).await;
    let response = caller.response().await;
    assert_eq!(response.field("content-type"), Some("text/plain"));
    (response.status(), response.field("plait-reason").unwrap_or("none").to_owned(), response.text())
}

fn get(host: &str) -> String {
    format!("GET /a HTTP/1.1\r\nhost: {host}\r\n\r\n")
}

#[tokio::test]
async fn a_refused_request_is_told_why_by_which_object_and_what_to_ask() {
    let rules = |case: &str| match case {
        "no rule" => vec![wire::RouteRule { matches: vec![prefix("/b")], ..rule(vec![backend("reviews")]) }],
        "invalid" => vec![rule(vec![wire::Backend { invalid: "Service shop/x does not exist".into(), ..backend("x") }])],
        "gone" => vec![rule(vec![backend("x")])],
        _ => vec![rule(vec![wire::Backend { weight: 0, ..backend("reviews") }])],
    };
    for way in Way::ALL {
        for (case, status, reason, told) in [
            ("no rule", 404, "route_not_found", "HTTPRoute shop/r"),
            ("invalid", 500, "backend_not_found", "Service shop/x does not exist"),
            ("gone", 500, "backend_not_found", "HTTPRoute shop/r"),
            ("no weight", 500, "backend_not_found", "HTTPRoute shop/r"),
        ] {
            let stage = Stage::new(way).await;
            stage.route(rules(case)).await;
            let mut caller = stage.caller_connects().await;
            // The connection goes on: a request without a body was whole.
            for _ in 0..2 {
                let (its_status, its_reason, text) = refused(&mut caller, &get("reviews")).await;
                assert_eq!((its_status, its_reason.as_str()), (status, reason), "{way:?} {case}");
                for part in [told, reason, "plait explain GET http://reviews/a --from web-1", &format!("Generation {}", stage.generation())]
                {
                    assert!(text.contains(part), "{way:?} {case}: no {part:?} in {text:?}");
                }
            }
            stage.origin("reviews-1").is_untouched();
            stage.web.counts("plait_rejects_total", &[&format!("reason=\"{reason}\"")], 2.0).await;
        }
    }
}

#[tokio::test]
async fn a_destination_that_cannot_be_reached_is_told_why() {
    for way in Way::ALL {
        for (case, reason, told) in [
            ("no endpoint", "no_ready_endpoint", "Service shop/reviews has no ready endpoint for port 80"),
            ("nobody listens", "upstream_unreachable", ""),
            ("no such port", "port_not_found", "it has no port 81, only 80"),
        ] {
            let stage = Stage::new(way).await;
            let mut host = "reviews";
            match case {
                "no endpoint" => stage.apply(vec![endpoints("reviews", 80, Vec::new()).resource()]).await,
                "nobody listens" => drop(stage.origin("reviews-1")),
                _ => host = "reviews:81",
            }
            let mut caller = stage.caller_connects().await;
            let (status, its_reason, text) = refused(&mut caller, &get(host)).await;
            assert_eq!((status, its_reason.as_str()), (503, reason), "{way:?} {case}");
            assert!(text.contains(told), "{way:?} {case}: {text:?}");
        }
    }
}

#[tokio::test]
async fn what_the_mesh_does_not_know_is_refused_or_passed_on_as_egress_says() {
    let stage = Stage::new(Way::Hop).await;
    let outside = stage.origin("any-1");
    let host = outside.address().to_string();
    let mut caller = stage.caller_connects().await;
    let (status, reason, text) = refused(&mut caller, &get(&host)).await;
    assert_eq!((status, reason.as_str()), (403, "egress_denied"));
    assert!(text.contains("Mesh default"), "{text}");
    stage.apply(vec![wire::Mesh { egress: wire::Egress::Allow.into(), ..stage.mesh() }.resource()]).await;
    caller.sends(&get(&host)).await;
    let mut process = outside.accept().await;
    assert_eq!(process.request().await.to_string(), format!("GET /a HTTP/1.1\nhost: {host}"));
    process.sends("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    assert_eq!(caller.response().await.text(), "ok");
    // Bytes too.
    caller.sends(&format!("CONNECT {host} HTTP/1.1\r\nhost: {host}\r\n\r\n")).await;
    caller.reads("HTTP/1.1 200 Connection Established\r\n\r\n").await;
    let mut process = outside.accept().await;
    caller.sends("ping").await;
    process.reads("ping").await;
    let (status, reason, _) = refused(&mut stage.caller_connects().await, &get("nowhere.example.org")).await;
    assert_eq!((status, reason.as_str()), (503, "upstream_unreachable"), "a name that nobody can resolve");
    let nobody = Port::new();
    let (status, reason, _) = refused(&mut stage.caller_connects().await, &get(&nobody.address.to_string())).await;
    assert_eq!((status, reason.as_str()), (503, "upstream_unreachable"));
}

#[tokio::test]
async fn a_request_to_the_proxy_itself_does_not_go_round() {
    let stage = Stage::new(Way::Hop).await;
    stage.apply(vec![wire::Mesh { egress: wire::Egress::Allow.into(), ..stage.mesh() }.resource()]).await;
    let ports = [stage.outbound.address.port(), stage.inbound.address.port(), stage.binds["ledger"].address.port()];
    for host in ["127.0.0.1", "localhost", "0.0.0.0"] {
        for port in ports {
            let (status, reason, _) = refused(&mut stage.caller_connects().await, &get(&format!("{host}:{port}"))).await;
            assert_eq!((status, reason.as_str()), (508, "loop_detected"), "{host}:{port}");
            let mut caller = stage.caller_connects().await;
            let authority = format!("{host}:{port}");
            let (status, reason, _) = refused(&mut caller, &format!("CONNECT {authority} HTTP/1.1\r\nhost: {authority}\r\n\r\n")).await;
            assert_eq!((status, reason.as_str()), (508, "loop_detected"), "CONNECT {authority}");
        }
    }
}

#[tokio::test]
async fn a_destination_that_nobody_told_of_is_asked_for_and_waited_for() {
    let stage = Stage::new(Way::Hop).await;
    let mut caller = stage.caller_connects().await;
    caller.sends(&get("late")).await;
    assert_eq!(stage.web.demand().await, "shop/late");
    let late = plait_testkit::service("late", 80, wire::Protocol::Http);
    let places = wire::Endpoints { service: "shop/late".into(), ..stage.endpoints(&["reviews-1"]) };
    let changes = wire::ChangeSet {
        generation: stage.generation(),
        upserts: vec![late.resource(), places.resource()],
        known: vec!["shop/late".into()],
        ..wire::ChangeSet::default()
    };
    stage.web.apply(changes).await;
    assert_eq!(stage.origin("reviews-1").accept().await.request().await.to_string(), "GET /a HTTP/1.1\nhost: late");
}

#[tokio::test]
async fn a_destination_that_nobody_tells_of_is_refused_and_never_passed_on() {
    let stage = Stage::new(Way::Hop).await;
    stage.apply(vec![wire::Mesh { egress: wire::Egress::Allow.into(), ..stage.mesh() }.resource()]).await;
    let mut caller = stage.caller_connects().await;
    let asked = refused(&mut caller, "GET / HTTP/1.1\r\nhost: localhost.other\r\n\r\n");
    let (status, reason, text) = stage.web.pass_time(std::time::Duration::from_secs(1), asked).await;
    assert_eq!((status, reason.as_str()), (503, "discovery_unavailable"));
    assert!(text.contains("plait status"), "{text}");
}

#[tokio::test]
async fn a_host_that_is_none_is_refused() {
    let stage = Stage::new(Way::Hop).await;
    for request in ["GET / HTTP/1.0\r\n\r\n", "GET / HTTP/1.1\r\nhost: \r\n\r\n", "GET / HTTP/1.1\r\nhost: a:b\r\n\r\n"] {
        let mut caller = stage.caller_connects().await;
        caller.sends(request).await;
        assert_eq!(caller.response().await.status(), 400, "{request:?}");
    }
}

#[tokio::test]
async fn behind_a_refused_body_nothing_is_read() {
    for way in Way::ALL {
        let stage = Stage::new(way).await;
        stage.route(vec![wire::RouteRule { matches: vec![prefix("/b")], ..rule(vec![backend("reviews")]) }]).await;
        let mut caller = stage.caller_connects().await;
        caller.sends("POST /a HTTP/1.1\r\nhost: reviews\r\ncontent-length: 1000\r\n\r\nGET /b HTTP/1.1\r\nhost: reviews\r\n\r\n").await;
        let response = caller.response().await;
        assert_eq!((response.status(), response.field("connection")), (404, Some("close")));
        caller.is_closed().await;
        stage.origin("reviews-1").is_untouched();
    }
}

#[tokio::test]
async fn a_reject_to_head_has_no_body() {
    let stage = Stage::new(Way::Hop).await;
    stage.route(vec![wire::RouteRule { matches: vec![prefix("/b")], ..rule(vec![backend("reviews")]) }]).await;
    let mut caller = stage.caller_connects().await;
    for _ in 0..2 {
        caller.sends("HEAD /a HTTP/1.1\r\nhost: reviews\r\n\r\n").await;
        let response = caller.response_to("HEAD").await;
        assert_eq!(response.status(), 404);
        assert_ne!(response.field("content-length"), Some("0"));
    }
}
