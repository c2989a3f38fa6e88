//! What a route does to a request and its answer: one canonical path, filters, redirects, mirrors, shares.

use plait_testkit::{Peer, Seen, Stage, Way, backend, header_filter, prefix, rule, share};
use plait_wire::{self as wire, filter::Filter as Kind};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

fn filter(kind: Kind) -> wire::Filter {
    wire::Filter { filter: Some(kind) }
}

fn with_filters(filters: Vec<Kind>) -> wire::RouteRule {
    wire::RouteRule { filters: filters.into_iter().map(filter).collect(), ..rule(vec![backend("reviews")]) }
}

/// Sends a request and gives what the origin and the caller saw.
async fn exchanged(stage: &Stage, caller: &mut Peer, seen: &Seen, request: &str) -> (String, String) {
    let before = seen.count();
    caller.sends(request).await;
    let response = caller.response().await;
    let requests = seen.all();
    assert_eq!(requests.len(), before + 1, "{:?} {request:?}: {response}", stage.way);
    (requests[before].to_string(), response.to_string())
}

#[tokio::test]
async fn everybody_sees_one_canonical_path() {
    for way in Way::ALL {
        let stage = Stage::new(way).await;
        // Only what is below /in is let through: a path that route and origin read differently would show here.
        stage.route(vec![wire::RouteRule { matches: vec![prefix("/in")], ..rule(vec![backend("reviews")]) }]).await;
        let seen = stage.origin("reviews-1").answers(|_| OK.into());
        let mut caller = stage.caller_connects().await;
        for (sent, arrives) in [
            ("/in", "/in"),
            ("/in/", "/in/"),
            ("/in/a//b", "/in/a/b"),
            ("//in", "/in"),
            ("/in/./a/../b", "/in/b"),
            ("/out/../in", "/in"),
            ("/%69n", "/in"),
            ("/in/%7euser", "/in/~user"),
            ("/in/a%2fb", "/in/a%2Fb"),
            ("/in/a\\b", "/in/a/b"),
            ("/in/%2e%2e/in", "/in"),
            ("/in?x=/../y&z=%2e", "/in?x=/../y&z=%2e"),
            ("http://reviews/out/../in", "/in"),
        ] {
            let (request, _) = exchanged(&stage, &mut caller, &seen, &format!("GET {sent} HTTP/1.1\r\nhost: reviews\r\n\r\n")).await;
            assert_eq!(request, format!("GET {arrives} HTTP/1.1\nhost: reviews"), "{way:?} {sent}");
        }
        let before = seen.count();
        for (sent, status) in [
            ("/in/../out", 404),
            ("/in/%2e%2e/out", 404),
            ("/in/..", 404),
            ("/in\\..\\out", 404),
            ("/inside", 404),
            ("/%2fin", 404),
            ("/..", 400),
            ("/in/../../in", 400),
            ("/in%00", 400),
            ("/in%", 400),
            ("/in%zz", 400),
            ("/in#x", 400),
        ] {
            let mut caller = stage.caller_connects().await;
            caller.sends(&format!("GET {sent} HTTP/1.1\r\nhost: reviews\r\n\r\n")).await;
            assert_eq!(caller.response().await.status(), status, "{way:?} {sent}");
        }
        assert_eq!(seen.count(), before);
    }
}

#[tokio::test]
async fn header_filters_of_rule_and_backend_change_request_and_answer() {
    for way in Way::ALL {
        let stage = Stage::new(way).await;
        let of_rule = vec![
            Kind::RequestHeaders(header_filter(&[("x-set", "rule")], &[("x-add", "rule")], &["x-gone"])),
            Kind::ResponseHeaders(header_filter(&[("x-answer", "rule")], &[("set-cookie", "c=3")], &["server"])),
        ];
        let mut shaped = with_filters(of_rule);
        shaped.backends[0].filters = vec![
            filter(Kind::RequestHeaders(header_filter(&[("x-backend", "yes")], &[("x-add", "backend")], &[]))),
            filter(Kind::ResponseHeaders(header_filter(&[("x-backend", "yes")], &[], &["x-secret"]))),
        ];
        stage.route(vec![shaped]).await;
        let answer =
            "HTTP/1.1 200 OK\r\nserver: s\r\nset-cookie: a=1\r\nset-cookie: b=2\r\nx-secret: 1\r\nx-answer: o\r\ncontent-length: 0\r\n\r\n";
        let seen = stage.origin("reviews-1").answers(move |_| answer.into());
        let mut caller = stage.caller_connects().await;
        let sent = "GET / HTTP/1.1\r\nhost: reviews\r\nX-Set: caller\r\nx-set: twice\r\nx-add: caller\r\nX-Gone: 1\r\n\r\n";
        let (request, response) = exchanged(&stage, &mut caller, &seen, sent).await;
        assert_eq!(request, "GET / HTTP/1.1\nhost: reviews\nx-add: caller,rule,backend\nx-backend: yes\nx-set: rule", "{way:?}");
        let expected =
            "HTTP/1.1 200 OK\ncontent-length: 0\nset-cookie: a=1\nset-cookie: b=2\nset-cookie: c=3\nx-answer: rule\nx-backend: yes";
        assert_eq!(response, expected, "{way:?}");
    }
}

#[tokio::test]
async fn a_rewrite_changes_host_and_path() {
    use wire::path_rewrite::Kind as Path;
    for way in Way::ALL {
        for (path, sent, arrives) in [
            (Path::Prefix("/new".into()), "/old/a?b=c", "/new/a?b=c"),
            (Path::Prefix("/".into()), "/old", "/"),
            (Path::Prefix("/new/".into()), "/old/", "/new/"),
            (Path::Full("/whole".into()), "/old/a?b=c", "/whole?b=c"),
        ] {
            let stage = Stage::new(way).await;
            let rewrite = wire::UrlRewrite { hostname: "inner.example".into(), path: Some(wire::PathRewrite { kind: Some(path) }) };
            stage.route(vec![wire::RouteRule { matches: vec![prefix("/old")], ..with_filters(vec![Kind::Rewrite(rewrite)]) }]).await;
            let seen = stage.origin("reviews-1").answers(|_| OK.into());
            let mut caller = stage.caller_connects().await;
            let (request, _) = exchanged(&stage, &mut caller, &seen, &format!("GET {sent} HTTP/1.1\r\nhost: reviews\r\n\r\n")).await;
            assert_eq!(request, format!("GET {arrives} HTTP/1.1\nhost: inner.example"), "{way:?} {sent}");
        }
    }
}

#[tokio::test]
async fn a_redirect_answers_without_the_origin() {
    let redirect = |status| wire::Redirect { hostname: "other.example".into(), status, ..wire::Redirect::default() };
    for (status, method, kept) in [(302, "GET", true), (301, "HEAD", true), (308, "POST", false)] {
        let stage = Stage::new(Way::Hop).await;
        stage.route(vec![wire::RouteRule { backends: Vec::new(), ..with_filters(vec![Kind::Redirect(redirect(status))]) }]).await;
        let mut caller = stage.caller_connects().await;
        // Whoever asks may still be about to send a body: nobody reads behind it.
        let body = if method == "POST" { "content-length: 5\r\n" } else { "" };
        for turn in 0..2 {
            caller.sends(&format!("{method} /a?b HTTP/1.1\r\nhost: reviews\r\n{body}\r\n")).await;
            let response = caller.response_to(method).await;
            assert_eq!((response.status(), response.field("location")), (status as u16, Some("http://other.example/a?b")), "{turn}");
            assert_eq!(response.field("content-length"), Some("0"));
            if !kept {
                caller.is_closed().await;
                break;
            }
        }
        stage.origin("reviews-1").is_untouched();
        stage.web.counts("plait_requests_total", &["code_class=\"3xx\"", "route=\"shop/r#0\""], if kept { 2.0 } else { 1.0 }).await;
    }
}

#[tokio::test]
async fn a_mirror_gets_a_copy_and_nobody_waits_for_it() {
    for way in Way::ALL {
        let stage = Stage::new(way).await;
        let mirror = wire::Mirror { backend: Some(backend("reviews-v2")), numerator: 0, denominator: 0 };
        stage.route(vec![with_filters(vec![Kind::Mirror(mirror)])]).await;
        let (origin, other) = (stage.origin("reviews-1"), stage.origin("reviews-v2-1"));
        let mut caller = stage.caller_connects().await;
        for body in ["content-length: 5\r\n\r\nhello", "transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "\r\n"] {
            caller.sends(&format!("POST /a HTTP/1.1\r\nhost: reviews\r\nx-a: 1\r\n{body}")).await;
            let mut process = origin.accept().await;
            let request = process.request().await;
            process.sends("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok").await;
            assert_eq!(caller.response().await.text(), "ok");
            // The answer is there, and only now the mirror is looked at.
            let mut copied = other.accept().await;
            assert_eq!(copied.request().await.to_string(), request.to_string(), "{way:?}");
            copied.sends("HTTP/1.1 500 No\r\nconnection: close\r\ncontent-length: 2\r\n\r\nno").await;
        }
        stage.web.counts("plait_mirrored_requests_total", &["outcome=\"sent\""], 3.0).await;
    }
}

#[tokio::test]
async fn a_mirror_that_cannot_be_is_counted_and_harms_nobody() {
    let large = "a".repeat(100_000);
    for (body, outcome) in [("content-length: 0\r\n\r\n", "failed"), (&*format!("content-length: 100000\r\n\r\n{large}"), "too_large")] {
        let stage = Stage::new(Way::Hop).await;
        let mirror = wire::Mirror { backend: Some(backend("reviews-v2")), numerator: 1, denominator: 1 };
        stage.route(vec![with_filters(vec![Kind::Mirror(mirror)])]).await;
        drop(stage.origin("reviews-v2-1"));
        let seen = stage.origin("reviews-1").answers(|_| OK.into());
        let mut caller = stage.caller_connects().await;
        caller.sends(&format!("POST / HTTP/1.1\r\nhost: reviews\r\n{body}")).await;
        assert_eq!(caller.response().await.text(), "ok");
        assert_eq!(seen.count(), 1);
        stage.web.counts("plait_mirrored_requests_total", &[&format!("outcome=\"{outcome}\"")], 1.0).await;
    }
}

#[tokio::test]
async fn traffic_is_shared_by_weight() {
    let stage = Stage::new(Way::Hop).await;
    stage.route(vec![rule(vec![share("reviews", 3), share("reviews-v2", 1), share("reviews-v2", 0)])]).await;
    let one = stage.origin("reviews-1").answers(|_| OK.into());
    let other = stage.origin("reviews-v2-1").answers(|_| OK.into());
    let mut caller = stage.caller_connects().await;
    for _ in 0..400 {
        caller.sends("GET / HTTP/1.1\r\nhost: reviews\r\n\r\n").await;
        assert_eq!(caller.response().await.text(), "ok");
    }
    // One in four, within six standard deviations.
    assert!((48..=152).contains(&other.count()), "{} of 400", other.count());
    assert_eq!(one.count() + other.count(), 400);
}

#[tokio::test]
async fn rules_choose_by_header_query_and_method() {
    let stage = Stage::new(Way::Hop).await;
    let exact =
        |name: &str, value: &str| wire::ValueMatch { name: name.into(), r#type: wire::MatchType::Exact.into(), value: value.into() };
    let tester = wire::RouteMatch { headers: vec![exact("x-tester", "yes")], ..prefix("/") };
    let beta = wire::RouteMatch { query: vec![exact("beta", "1")], method: "GET".into(), ..prefix("/") };
    stage
        .route(vec![wire::RouteRule { matches: vec![tester, beta], ..rule(vec![backend("reviews-v2")]) }, rule(vec![backend("reviews")])])
        .await;
    let one = stage.origin("reviews-1").answers(|_| OK.into());
    let other = stage.origin("reviews-v2-1").answers(|_| OK.into());
    let mut caller = stage.caller_connects().await;
    for (request, to_other) in [
        ("GET / HTTP/1.1\r\nhost: reviews\r\n\r\n", false),
        ("GET / HTTP/1.1\r\nhost: reviews\r\nX-Tester: yes\r\n\r\n", true),
        ("GET / HTTP/1.1\r\nhost: reviews\r\nx-tester: yes\r\nx-tester: no\r\n\r\n", false),
        ("GET /?beta=1 HTTP/1.1\r\nhost: reviews\r\n\r\n", true),
        ("DELETE /?beta=1 HTTP/1.1\r\nhost: reviews\r\n\r\n", false),
    ] {
        let before = (one.count(), other.count());
        caller.sends(request).await;
        caller.response().await;
        let expected = if to_other { (before.0, before.1 + 1) } else { (before.0 + 1, before.1) };
        assert_eq!((one.count(), other.count()), expected, "{request:?}");
    }
}
