//! What is recorded of each request and connection, once, whatever its end: access log, metrics, traces, the list of connections.

use plait_testkit::{DOMAIN, Peer, Proxy, Stage, Way, allow, backend, everything, in_time, millis, prefix, rule, until};
use plait_wire as wire;
use serde_json::Value;

const GET: &str = "GET /a?secret HTTP/1.1\r\nhost: reviews\r\n\r\n";
const POST: &str = "POST /a HTTP/1.1\r\nhost: reviews\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nyes\r\n0\r\n\r\n";

/// Lines of the access log, as JSON.
async fn log(proxy: &Proxy, lines: usize) -> Vec<Value> {
    let log = proxy.log(lines).await;
    assert_eq!(log.len(), lines, "more than there were requests: {log:#?}");
    log.iter().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

/// The fields of `wanted`, each of which must be as it says there.
fn check(line: &Value, wanted: &Value, case: &str) {
    for (name, value) in wanted.as_object().unwrap() {
        assert_eq!(&line[name], value, "{case}: {name} in {line:#}");
    }
}

async fn routed() -> Stage {
    let stage = Stage::new(Way::Pair).await;
    let retries = wire::Retries { codes: vec![503], attempts: 1, backoff: Some(millis(1)), budget: None };
    let traffic = Some(wire::CallTraffic { retries: Some(retries), ..wire::CallTraffic::default() });
    stage.route(vec![wire::RouteRule { name: "all".into(), matches: vec![prefix("/a")], traffic, ..rule(vec![backend("reviews")]) }]).await;
    stage.policies("reviews-1", vec![allow("readers", vec![everything()])]).await;
    stage
}

#[tokio::test]
async fn a_request_is_recorded_on_both_sides_as_it_was() {
    let stage = routed().await;
    stage.origin("reviews-1").answers(|_| OK.into());
    let mut caller = stage.caller_connects().await;
    for request in [GET, POST] {
        caller.sends(request).await;
        caller.response().await;
    }
    let common = serde_json::json!({
        "authority": "reviews", "path": "/a", "status": 200, "reason": null, "object": null, "received_bytes": 3, "generation": stage.generation(),
    });
    for (proxy, own) in [
        (
            &stage.web,
            serde_json::json!({
                "direction": "outbound", "protocol": "http1", "source": "shop/web-1", "destination": "shop/reviews", "route": "shop/r#all",
                "backend": "shop/reviews:80", "endpoint": "shop/reviews-1", "attempts": 1,
            }),
        ),
        (
            stage.far.as_ref().unwrap(),
            serde_json::json!({
                "direction": "inbound", "protocol": "http2", "source": "shop/web", "destination": "shop/reviews",
                "policy": "AuthorizationPolicy shop/readers", "attempts": 1,
            }),
        ),
    ] {
        let lines = log(proxy, 2).await;
        for (line, (method, sent)) in lines.iter().zip([("GET", 0), ("POST", 5)]) {
            check(line, &common, method);
            check(line, &own, method);
            check(line, &serde_json::json!({"method": method, "sent_bytes": sent}), method);
        }
        assert_eq!(lines[0]["trace_id"].as_str().map(str::len), Some(32));
        proxy.counts("plait_requests_total", &["code_class=\"2xx\""], 2.0).await;
        proxy.counts("plait_request_duration_seconds_count", &[], 2.0).await;
        proxy.counts("plait_requests_in_flight", &[], 0.0).await;
    }
}

/// What the caller sends, what the origin does about it, and what is then recorded of it.
enum Then {
    /// Nobody is asked.
    Nothing,
    Answers(&'static str),
    Resets,
    ResetsAfter(&'static str),
    CallerLeaves,
}

#[tokio::test]
async fn each_end_of_a_request_is_recorded_once() {
    let not_found = "GET /b HTTP/1.1\r\nhost: reviews\r\n\r\n";
    let bad = "GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n";
    for (case, request, then, wanted, class) in [
        (
            "an answer of the mesh",
            not_found,
            Then::Nothing,
            serde_json::json!({"status": 404, "reason": "route_not_found", "object": "HTTPRoute shop/r", "attempts": 0}),
            "4xx",
        ),
        ("what is no request", bad, Then::Nothing, serde_json::json!({"status": 400, "reason": "bad_request", "attempts": 0}), "4xx"),
        (
            "an error of the origin",
            GET,
            Then::Answers("HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n"),
            serde_json::json!({"status": 500, "reason": null, "attempts": 1}),
            "5xx",
        ),
        (
            "no answer",
            POST,
            Then::Resets,
            serde_json::json!({"status": 502, "reason": "upstream_reset", "attempts": 1, "sent_bytes": 5}),
            "5xx",
        ),
        (
            "half an answer",
            POST,
            Then::ResetsAfter("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhal"),
            serde_json::json!({"status": 200, "reason": "upstream_reset", "attempts": 1, "received_bytes": 3}),
            "2xx",
        ),
        ("a caller that left", GET, Then::CallerLeaves, serde_json::json!({"status": 499, "reason": null, "attempts": 1}), "cancelled"),
    ] {
        let stage = routed().await;
        let origin = stage.origin("reviews-1");
        let mut caller = stage.caller_connects().await;
        caller.sends(request).await;
        match then {
            Then::Nothing => drop(caller.response().await),
            Then::Answers(answer) => {
                let mut process = origin.accept().await;
                process.request().await;
                process.sends(answer).await;
                caller.response().await;
            }
            Then::Resets => {
                let mut process = origin.accept().await;
                process.request().await;
                process.resets();
                caller.response().await;
            }
            Then::ResetsAfter(part) => {
                let mut process = origin.accept().await;
                process.request().await;
                process.sends(part).await;
                caller.head().await;
                caller.reads("hal").await;
                process.resets();
                caller.is_over().await;
            }
            Then::CallerLeaves => {
                let mut process = origin.accept().await;
                process.request().await;
                drop(caller);
                process.is_over().await;
            }
        }
        let lines = log(&stage.web, 1).await;
        check(&lines[0], &wanted, case);
        stage.web.counts("plait_requests_total", &[], 1.0).await;
        stage.web.counts("plait_requests_total", &[&format!("code_class=\"{class}\"")], 1.0).await;
        stage.web.counts("plait_requests_in_flight", &[], 0.0).await;
    }
}

#[tokio::test]
async fn a_second_try_is_one_request() {
    let stage = routed().await;
    let origin = stage.origin("reviews-1");
    let mut caller = stage.caller_connects().await;
    caller.sends(GET).await;
    let mut process = origin.accept().await;
    process.request().await;
    process.sends("HTTP/1.1 503 No\r\nconnection: close\r\ncontent-length: 0\r\n\r\n").await;
    let mut process = origin.accept().await;
    process.request().await;
    process.sends(OK).await;
    caller.response().await;
    check(&log(&stage.web, 1).await[0], &serde_json::json!({"status": 200, "attempts": 2}), "outbound");
    // The far side saw two.
    let lines = log(stage.far.as_ref().unwrap(), 2).await;
    check(&lines[0], &serde_json::json!({"status": 503, "attempts": 1}), "the first");
    check(&lines[1], &serde_json::json!({"status": 200, "attempts": 1}), "the second");
}

#[tokio::test]
async fn a_tunnel_is_a_connection_with_its_bytes() {
    let stage = Stage::new(Way::Pair).await;
    let mut caller = Peer::connect(stage.binds["ledger"].address).await;
    caller.sends("hello").await;
    let mut process = stage.origin("ledger-1").accept().await;
    process.reads("hello").await;
    let far = stage.far.as_ref().unwrap();
    for proxy in [&stage.web, far] {
        proxy.counts("plait_connections_open", &["protocol=\"tcp\""], 1.0).await;
    }
    process.sends("bye").await;
    process.says_goodbye().await;
    caller.reads("bye").await;
    caller.says_goodbye().await;
    process.is_closed().await;
    for proxy in [&stage.web, far] {
        let line = &log(proxy, 1).await[0];
        check(
            line,
            &serde_json::json!({"protocol": "tcp", "destination": "shop/ledger", "status": null, "sent_bytes": 5, "received_bytes": 3}),
            "a tunnel",
        );
        proxy.counts("plait_connections_open", &["protocol=\"tcp\""], 0.0).await;
        proxy.counts("plait_connections_total", &["protocol=\"tcp\"", "destination=\"shop/ledger\""], 1.0).await;
        for (flow, bytes) in [("sent", 5.0), ("received", 3.0)] {
            proxy.counts("plait_connection_bytes_total", &["protocol=\"tcp\"", &format!("flow=\"{flow}\"")], bytes).await;
        }
        proxy.counts("plait_requests_total", &[], 0.0).await;
    }
}

#[tokio::test]
async fn a_trace_is_passed_on_or_begun() {
    let received = "4bf92f3577b34da6a3ce929d0e0e4736";
    let valid = format!("traceparent: 00-{received}-00f067aa0ba902b7-01\r\n");
    for (case, fields, passed_on) in [
        ("none", String::new(), false),
        ("a valid one", format!("{valid}tracestate: a=b\r\n"), true),
        ("two", format!("{valid}{valid}tracestate: a=b\r\n"), false),
        ("one that is none", "traceparent: 00-1-2-3\r\ntracestate: a=b\r\n".to_owned(), false),
    ] {
        let stage = Stage::new(Way::Pair).await;
        let mut caller = stage.caller_connects().await;
        caller.sends(&format!("GET / HTTP/1.1\r\nhost: reviews\r\n{fields}\r\n")).await;
        let mut process = stage.origin("reviews-1").accept().await;
        let request = process.request().await;
        let traces: Vec<_> = request.fields.iter().filter(|(name, _)| name == "traceparent").collect();
        assert_eq!(traces.len(), 1, "{case}");
        let parts: Vec<_> = traces[0].1.split('-').collect();
        assert_eq!((parts[0], parts[1] == received), ("00", passed_on), "{case}");
        assert_ne!(parts[2], "00f067aa0ba902b7", "{case}: the parent is the sidecar");
        assert_eq!(request.field("tracestate"), passed_on.then_some("a=b"), "{case}");
        process.sends(OK).await;
        caller.response().await;
        for proxy in [&stage.web, stage.far.as_ref().unwrap()] {
            check(&log(proxy, 1).await[0], &serde_json::json!({"trace_id": parts[1]}), case);
        }
    }
}

#[tokio::test]
async fn connections_between_proxies_are_listed_while_they_live() {
    let stage = Stage::new(Way::Pair).await;
    stage.origin("reviews-1").answers(|_| OK.into());
    for _ in 0..2 {
        let mut caller = stage.caller_connects().await;
        caller.sends(GET).await;
        caller.response().await;
    }
    let far = stage.far.as_ref().unwrap();
    for (proxy, direction, account, workload) in
        [(&stage.web, "outbound", "reviews", "shop/web-1"), (far, "inbound", "web", "shop/reviews-1")]
    {
        let list = proxy.shared.connections.list();
        assert_eq!(list.len(), 1, "all requests share one connection: {list:?}");
        let one = &list[0];
        assert_eq!((one.direction, &*one.workload, one.requests), (direction, workload, 2));
        assert_eq!(one.identity, format!("spiffe://{DOMAIN}/ns/shop/sa/{account}"));
        assert_eq!((one.tls.as_str(), one.group.as_str()), ("TLSv1.3", "X25519MLKEM768"));
    }
    far.drain();
    in_time("the end of the connection", far.is_drained()).await;
    until("an empty list", || stage.web.shared.connections.list().is_empty().then_some(())).await;
    assert!(far.shared.connections.list().is_empty());
}
