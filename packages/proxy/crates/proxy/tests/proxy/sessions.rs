//! `sessionAffinity`: callers come back to the endpoint that answered them. Whole proxies, origins that say who they are.

use plait_testkit::{Message, Peer, Sent, Stage, Way, millis, rule, service, share};
use plait_wire::{self as wire, session_affinity::Carrier};

pub(super) const PLACES: [&str; 3] = ["reviews-1", "reviews-2", "reviews-3"];

fn cookie() -> Carrier {
    Carrier::Cookie(wire::SessionCookie { name: "sid".into(), path: "/cart".into(), until_closed: false })
}

fn affinity(carrier: Carrier, ttl_seconds: Option<u64>) -> wire::SessionAffinity {
    wire::SessionAffinity { carrier: Some(carrier), ttl: ttl_seconds.map(|seconds| millis(seconds * 1000)) }
}

pub(super) fn reviews(session_affinity: Option<wire::SessionAffinity>) -> wire::Service {
    let balancer = wire::LoadBalancer { algorithm: wire::Algorithm::RoundRobin.into(), ..wire::LoadBalancer::default() };
    let backend = wire::BackendTraffic { load_balancer: Some(balancer), session_affinity, ..wire::BackendTraffic::default() };
    wire::Service { backend: Some(backend), ..service("reviews", 80, wire::Protocol::Http) }
}

async fn stage(way: Way, affinity: wire::SessionAffinity) -> Stage {
    places(way, Some(affinity)).await
}

/// A stage with three places that answer with their names, called in turn but for sessions.
pub(super) async fn places(way: Way, affinity: Option<wire::SessionAffinity>) -> Stage {
    let mut stage = Stage::new(way).await;
    for number in [2, 3] {
        stage.add_place("reviews", number).await;
    }
    let mut resources: Vec<_> = PLACES.iter().map(|name| stage.workload(name, &[]).resource()).collect();
    resources.push(stage.endpoints(&PLACES).resource());
    resources.push(reviews(affinity).resource());
    stage.apply(resources).await;
    for name in PLACES {
        let answer = format!("HTTP/1.1 200 OK\r\nset-cookie: own=1\r\ncontent-length: {}\r\n\r\n{name}", name.len());
        stage.origin(name).answers(move |_| answer.clone());
    }
    stage
}

async fn asks(caller: &mut Peer, field: &str) -> Message {
    caller.sends(&format!("GET / HTTP/1.1\r\nhost: reviews\r\n{field}\r\n")).await;
    caller.response().await
}

/// The cookie that the proxy made; the origin's own is left alone.
pub(super) fn made(answer: &Message) -> Option<&str> {
    let all: Vec<_> = answer.fields.iter().filter(|(name, _)| name == "set-cookie").map(|(_, value)| value.as_str()).collect();
    assert_eq!(all[0], "own=1");
    all.get(1).copied()
}

/// What a browser would send back.
pub(super) fn repeated(made: &str) -> String {
    format!("cookie: a=b; {}\r\n", made.split(';').next().unwrap())
}

/// What the proxy put into its cookie.
pub(super) fn cookie_of(made: &str) -> &str {
    made.split([';', '=']).nth(1).unwrap()
}

#[tokio::test]
async fn a_caller_with_the_cookie_comes_back_and_one_without_does_not() {
    for way in Way::ALL {
        let stage = stage(way, affinity(cookie(), Some(3600))).await;
        let mut caller = stage.caller_connects().await;
        let mut homes = Vec::new();
        for _ in 0..3 {
            let answer = asks(&mut caller, "").await;
            let cookie = made(&answer).unwrap().to_owned();
            assert!(cookie.ends_with("; Path=/cart; Max-Age=3600; HttpOnly; SameSite=Lax"), "{cookie}");
            assert!(!cookie.contains("127") && !cookie.contains("reviews"), "{cookie}");
            homes.push((answer.text(), repeated(&cookie)));
        }
        homes.sort();
        assert_eq!(homes.iter().map(|(home, _)| home.as_str()).collect::<Vec<_>>(), PLACES, "each in turn where there is no session");
        for (home, cookie) in homes.iter().cycle().take(12) {
            let answer = asks(&mut caller, cookie).await;
            assert_eq!((answer.text(), made(&answer)), (home.clone(), None), "{way:?}: a session goes on as it was");
        }
    }
}

#[tokio::test]
async fn what_is_made_up_is_no_session() {
    let stage = stage(Way::Hop, affinity(cookie(), Some(60))).await;
    let mut caller = stage.caller_connects().await;
    let cookie = made(&asks(&mut caller, "").await).unwrap().to_owned();
    let value = cookie_of(&cookie);
    let (name, began) = value.split_at(16);
    let long_ago = format!("{:x}", u64::from_str_radix(began, 16).unwrap() - 61);
    let to_come = format!("{:x}", u64::from_str_radix(began, 16).unwrap() + 3600);
    for forged in
        ["", "x", "127.0.0.1:80", &"0".repeat(24), &"f".repeat(4000), &format!("{name}{long_ago}"), &format!("{name}{to_come}"), name]
    {
        let mut seen = Vec::new();
        for _ in 0..3 {
            let answer = asks(&mut caller, &format!("cookie: sid={forged}\r\n")).await;
            assert!(made(&answer).is_some(), "{forged}: a session begins");
            seen.push(answer.text());
        }
        seen.sort();
        assert_eq!(seen, PLACES, "{forged}: balanced as if there were none");
    }
    // The good one among others is found.
    let answer = asks(&mut caller, &format!("cookie: sid=x; sid={value}\r\n")).await;
    assert_eq!(made(&answer), None);
}

#[tokio::test]
async fn when_its_endpoint_is_gone_a_caller_gets_another_and_a_new_cookie_and_the_others_stay() {
    for way in Way::ALL {
        let stage = stage(way, affinity(cookie(), None)).await;
        let mut caller = stage.caller_connects().await;
        let mut homes = std::collections::BTreeMap::new();
        for _ in 0..3 {
            let answer = asks(&mut caller, "").await;
            let cookie = made(&answer).unwrap();
            assert!(!cookie.contains("Max-Age"), "it ends with the browser: {cookie}");
            homes.insert(answer.text(), repeated(cookie));
        }
        stage.apply(vec![stage.endpoints(&["reviews-3", "reviews-1"]).resource()]).await;
        for name in ["reviews-1", "reviews-3"] {
            let answer = asks(&mut caller, &homes[name]).await;
            assert_eq!((answer.text().as_str(), made(&answer)), (name, None), "{way:?}");
        }
        let answer = asks(&mut caller, &homes["reviews-2"]).await;
        let (home, cookie) = (answer.text(), repeated(made(&answer).unwrap()));
        assert_ne!(home, "reviews-2");
        for _ in 0..4 {
            let answer = asks(&mut caller, &cookie).await;
            assert_eq!((answer.text(), made(&answer)), (home.clone(), None), "{way:?}");
        }
        // It is back under its name: so are its sessions.
        stage.apply(vec![stage.endpoints(&PLACES).resource()]).await;
        assert_eq!(asks(&mut caller, &homes["reviews-2"]).await.text(), "reviews-2");
    }
}

#[tokio::test]
async fn an_endpoint_that_cannot_be_reached_loses_the_session_but_not_the_request() {
    let mut stage = Stage::new(Way::Hop).await;
    stage.add_place("reviews", 2).await;
    stage.apply(vec![stage.endpoints(&PLACES[..2]).resource(), reviews(Some(affinity(cookie(), None))).resource()]).await;
    let answer = "HTTP/1.1 200 OK\r\nset-cookie: own=1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    let mut first = stage.origin("reviews-1").serves(move |_| answer.into());
    let _second = stage.origin("reviews-2").answers(move |_| answer.into());
    let mut caller = stage.caller_connects().await;
    let mut cookies = Vec::new();
    for _ in 0..2 {
        cookies.push(repeated(made(&asks(&mut caller, "").await).unwrap()));
    }
    // Waited for: until its listener is gone it takes a request with it.
    first.shutdown().await;
    let mut renewed = 0;
    for cookie in &cookies {
        let answer = asks(&mut caller, cookie).await;
        assert_eq!(answer.status(), 200);
        renewed += usize::from(made(&answer).is_some());
    }
    assert_eq!(renewed, 1);
}

#[tokio::test]
async fn a_field_of_the_answer_carries_a_session_too() {
    for way in Way::ALL {
        let stage = stage(way, affinity(Carrier::Header("x-session".into()), None)).await;
        let mut caller = stage.caller_connects().await;
        let answer = asks(&mut caller, "").await;
        let (home, told) = (answer.text(), answer.field("x-session").unwrap().to_owned());
        for _ in 0..5 {
            let answer = asks(&mut caller, &format!("X-Session: {told}\r\n")).await;
            assert_eq!((answer.text(), answer.field("x-session"), made(&answer)), (home.clone(), None, None), "{way:?}");
        }
    }
}

#[tokio::test]
async fn a_session_stays_with_its_backend_as_long_as_that_has_a_weight() {
    let stage = stage(Way::Hop, affinity(cookie(), None)).await;
    stage.origin("reviews-v2-1").answers(|_| "HTTP/1.1 200 OK\r\nset-cookie: own=1\r\ncontent-length: 2\r\n\r\nv2".into());
    let shares = |old, new| vec![rule(vec![share("reviews", old), share("reviews-v2", new)])];
    stage.route(shares(1, 0)).await;
    let mut caller = stage.caller_connects().await;
    let answer = asks(&mut caller, "").await;
    let (home, cookie) = (answer.text(), repeated(made(&answer).unwrap()));
    stage.route(shares(1, 99)).await;
    for _ in 0..20 {
        assert_eq!(asks(&mut caller, &cookie).await.text(), home);
    }
    stage.route(shares(0, 1)).await;
    assert_eq!(asks(&mut caller, &cookie).await.text(), "v2");
}
