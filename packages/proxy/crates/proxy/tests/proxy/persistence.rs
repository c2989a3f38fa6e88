//! `sessionPersistence` of a rule: as `sessionAffinity` of a backend (`sessions`), for the traffic of the rule alone, and by the standard's words.

use plait_testkit::{Message, Peer, Sent, Way, millis, prefix, rule, share};
use plait_wire::{self as wire, session_affinity::Carrier};

use super::sessions::{PLACES, cookie_of, made, places, repeated, reviews};

fn by_cookie(ttl_seconds: Option<u64>, until_closed: bool) -> wire::SessionAffinity {
    let cookie = wire::SessionCookie { name: "route".into(), path: String::new(), until_closed };
    wire::SessionAffinity { carrier: Some(Carrier::Cookie(cookie)), ttl: ttl_seconds.map(|seconds| millis(seconds * 1000)) }
}

/// A rule with sessions of its own.
fn keeps(sessions: wire::SessionAffinity, matches: Vec<wire::RouteMatch>, backends: Vec<wire::Backend>) -> wire::RouteRule {
    wire::RouteRule { session_affinity: Some(sessions), matches, ..rule(backends) }
}

fn matched(kind: wire::MatchType, value: &str) -> wire::RouteMatch {
    wire::RouteMatch { path: Some(wire::PathMatch { r#type: kind.into(), value: value.into() }), ..wire::RouteMatch::default() }
}

async fn asks(caller: &mut Peer, path: &str, field: &str) -> Message {
    caller.sends(&format!("GET {path} HTTP/1.1\r\nhost: reviews\r\n{field}\r\n")).await;
    caller.response().await
}

#[tokio::test]
async fn callers_of_the_rule_come_back_and_those_of_others_do_not() {
    for way in Way::ALL {
        let stage = places(way, None).await;
        let all = || vec![share("reviews", 1)];
        stage.route(vec![keeps(by_cookie(None, false), vec![prefix("/cart")], all()), rule(all())]).await;
        let mut caller = stage.caller_connects().await;
        for _ in 0..3 {
            let answer = asks(&mut caller, "/cart/7", "").await;
            let (home, cookie) = (answer.text(), repeated(made(&answer).unwrap()));
            for _ in 0..4 {
                let answer = asks(&mut caller, "/cart/7", &cookie).await;
                assert_eq!((answer.text(), made(&answer)), (home.clone(), None), "{way:?}");
            }
            let mut seen = Vec::new();
            for _ in 0..3 {
                let answer = asks(&mut caller, "/other", &cookie).await;
                assert_eq!(made(&answer), None, "{way:?}: no rule of sessions took it");
                seen.push(answer.text());
            }
            seen.sort();
            assert_eq!(seen, PLACES, "{way:?}: each in turn");
        }
    }
}

#[tokio::test]
async fn a_cookie_is_sent_where_its_match_takes_requests_and_lives_as_the_rule_says() {
    use wire::MatchType::{Exact, Prefix, Regex};
    let stage = places(Way::Hop, None).await;
    let mut caller = stage.caller_connects().await;
    for (kind, path, asked, sent_below) in [
        (Prefix, "/", "/any", "/"),
        (Prefix, "/cart", "/cart/items", "/cart"),
        (Exact, "/cart/pay", "/cart/pay", "/cart/pay"),
        (Regex, "/p1/p2/.*/p3", "/p1/p2/foo/p3", "/p1/p2"),
        (Regex, "/p1/(a|b)", "/p1/b", "/"),
        (Regex, "/p1/p.*", "/p1/p2", "/p1"),
        (Regex, "/p1/p2", "/p1/p2", "/p1/p2"),
        (Prefix, "/a;Domain=evil", "/a;Domain=evil", "/"),
    ] {
        stage.route(vec![keeps(by_cookie(None, false), vec![prefix("/never"), matched(kind, path)], vec![share("reviews", 1)])]).await;
        let answer = asks(&mut caller, asked, "").await;
        let cookie = made(&answer).unwrap();
        let attributes = format!("; Path={sent_below}; HttpOnly; SameSite=Lax");
        assert!(cookie.starts_with("route=") && cookie.ends_with(&attributes), "{path}: {cookie}");
        assert!(!cookie.contains("127") && !cookie.contains("reviews"), "it tells nobody where we are: {cookie}");
    }
    for (ttl, until_closed, age) in [(Some(90), false, Some("; Max-Age=90;")), (Some(90), true, None), (None, true, None)] {
        stage.route(vec![keeps(by_cookie(ttl, until_closed), vec![], vec![share("reviews", 1)])]).await;
        let answer = asks(&mut caller, "/", "").await;
        let cookie = made(&answer).unwrap();
        match age {
            Some(age) => assert!(cookie.contains(age), "{cookie}"),
            None => assert!(!cookie.contains("Max-Age") && !cookie.contains("Expires"), "{cookie}"),
        }
    }
}

#[tokio::test]
async fn a_session_is_too_old_after_its_time_also_where_the_cookie_does_not_say_so() {
    let stage = places(Way::Hop, None).await;
    stage.route(vec![keeps(by_cookie(Some(60), true), vec![], vec![share("reviews", 1)])]).await;
    let mut caller = stage.caller_connects().await;
    let answer = asks(&mut caller, "/", "").await;
    let value = cookie_of(made(&answer).unwrap()).to_owned();
    let (name, began) = value.split_at(16);
    let aged = |seconds| format!("cookie: route={name}{:x}\r\n", u64::from_str_radix(began, 16).unwrap() - seconds);
    // As fresh as it may be a minute from now, whatever this machine does meanwhile.
    assert_eq!(made(&asks(&mut caller, "/", &aged(0)).await), None);
    assert!(made(&asks(&mut caller, "/", &aged(61)).await).is_some());
}

#[tokio::test]
async fn while_its_endpoint_lives_a_session_stays_and_then_moves_on() {
    for way in Way::ALL {
        let stage = places(way, None).await;
        stage.route(vec![keeps(by_cookie(None, true), vec![], vec![share("reviews", 1)])]).await;
        let mut caller = stage.caller_connects().await;
        let mut homes = std::collections::BTreeMap::new();
        for _ in 0..3 {
            let answer = asks(&mut caller, "/", "").await;
            homes.insert(answer.text(), repeated(made(&answer).unwrap()));
        }
        for present in [&["reviews-3", "reviews-1"][..], &["reviews-1", "reviews-2", "reviews-3"], &["reviews-2", "reviews-3"], &PLACES] {
            stage.apply(vec![stage.endpoints(present).resource()]).await;
            for (home, cookie) in &homes {
                let answer = asks(&mut caller, "/", cookie).await;
                match present.contains(&home.as_str()) {
                    true => assert_eq!((answer.text(), made(&answer)), (home.clone(), None), "{way:?} {present:?}"),
                    false => {
                        let moved = repeated(made(&answer).unwrap());
                        let again = asks(&mut caller, "/", &moved).await;
                        assert_eq!((again.text(), made(&again)), (answer.text(), None), "{way:?} {present:?}");
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn the_rule_counts_before_the_backend() {
    let cookie = wire::SessionCookie { name: "backend".into(), path: "/".into(), until_closed: false };
    let stage = places(Way::Hop, Some(wire::SessionAffinity { carrier: Some(Carrier::Cookie(cookie)), ttl: None })).await;
    let carrier = Some(Carrier::Header("x-session".into()));
    stage
        .route(vec![
            keeps(wire::SessionAffinity { carrier, ttl: None }, vec![prefix("/header")], vec![share("reviews", 1)]),
            rule(vec![share("reviews", 1)]),
        ])
        .await;
    let mut caller = stage.caller_connects().await;
    let answer = asks(&mut caller, "/header", "").await;
    let (home, told) = (answer.text(), answer.field("x-session").unwrap().to_owned());
    assert_eq!(made(&answer), None);
    let answer = asks(&mut caller, "/header", &format!("x-session: {told}\r\n")).await;
    assert_eq!((answer.text(), answer.field("x-session"), made(&answer)), (home, None, None));
    let answer = asks(&mut caller, "/", "").await;
    assert!(made(&answer).unwrap().starts_with("backend=") && answer.field("x-session").is_none());
}

#[tokio::test]
async fn a_session_stays_with_its_backend_also_without_a_weight() {
    let stage = places(Way::Hop, None).await;
    stage.apply(vec![reviews(None).resource()]).await;
    stage.origin("reviews-v2-1").answers(|_| "HTTP/1.1 200 OK\r\nset-cookie: own=1\r\ncontent-length: 2\r\n\r\nv2".into());
    let shares = |old, new| vec![keeps(by_cookie(None, false), vec![], vec![share("reviews", old), share("reviews-v2", new)])];
    stage.route(shares(1, 0)).await;
    let mut caller = stage.caller_connects().await;
    let answer = asks(&mut caller, "/", "").await;
    let (home, cookie) = (answer.text(), repeated(made(&answer).unwrap()));
    stage.route(shares(0, 1)).await;
    for _ in 0..20 {
        let answer = asks(&mut caller, "/", &cookie).await;
        assert_eq!((answer.text(), made(&answer)), (home.clone(), None));
    }
    assert_eq!(asks(&mut caller, "/", "").await.text(), "v2", "who has no session goes by weight");
}
