//! Who is at the ends of a connection between proxies: without proof nothing leaves, and a connection lasts no longer than what it was made under.

use std::time::Duration;

use plait_testkit::{Authority, Peer, Port, Sent, Stage, Way, until};
use plait_wire as wire;

const GET: &str = "GET / HTTP/1.1\r\nhost: reviews\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// Peers of the connections that the far side has, by how many requests each carried.
fn requests(stage: &Stage) -> Vec<u64> {
    let mut all: Vec<_> = stage.far.as_ref().unwrap().shared.connections.list().iter().map(|one| one.requests).collect();
    all.sort_unstable();
    all
}

#[tokio::test]
async fn a_workload_without_certificate_calls_nobody() {
    let stage = Stage::new(Way::Pair).await;
    let outbound = Port::new();
    let inbound = Port::new();
    let nobody = wire::Workload {
        name: "web-2".into(),
        outbound: outbound.address.to_string(),
        inbound: inbound.address.to_string(),
        binds: Vec::new(),
        ..stage.caller()
    };
    let changes = wire::ChangeSet { generation: stage.generation() + 1, upserts: vec![nobody.resource()], ..wire::ChangeSet::default() };
    stage.web.apply(changes).await;
    for request in [GET, "CONNECT ledger:7000 HTTP/1.1\r\nhost: ledger:7000\r\n\r\n"] {
        let mut caller = Peer::connect(outbound.address).await;
        caller.sends(request).await;
        let response = caller.response().await;
        assert_eq!((response.status(), response.field("plait-reason")), (503, Some("identity_unavailable")), "{request:?}");
        assert!(response.text().contains("shop/web-2"), "{}", response.text());
    }
    assert!(stage.far.as_ref().unwrap().shared.connections.list().is_empty());
    stage.origin("reviews-1").is_untouched();
    // It can be called by nobody either.
    Peer::connect(inbound.address).await.says_goodbye().await;
}

#[tokio::test]
async fn a_new_root_makes_new_connections_and_lets_what_is_under_way_end() {
    let stage = Stage::new(Way::Pair).await;
    let origin = stage.origin("reviews-1");
    let mut caller = stage.caller_connects().await;
    caller.sends(GET).await;
    let mut slow = origin.accept().await;
    slow.request().await;
    let other = Authority::new();
    let both = wire::Mesh { trust_bundle: vec![stage.authority.root.clone(), other.root.clone()], ..stage.mesh() };
    stage.apply(vec![both.resource()]).await;
    let mut second = stage.caller_connects().await;
    second.sends(GET).await;
    let mut process = origin.accept().await;
    process.request().await;
    process.sends(OK).await;
    assert_eq!(second.response().await.text(), "ok");
    assert_eq!(requests(&stage), [1, 1], "a connection of its own");
    slow.sends(OK).await;
    assert_eq!(caller.response().await.text(), "ok");
    until("the end of the old connection", || (requests(&stage).len() == 1).then_some(())).await;
}

#[tokio::test]
async fn who_is_no_longer_trusted_is_not_called() {
    let stage = Stage::new(Way::Pair).await;
    stage.origin("reviews-1").answers(|_| OK.into());
    let mut caller = stage.caller_connects().await;
    caller.sends(GET).await;
    assert_eq!(caller.response().await.text(), "ok");
    let other = Authority::new();
    let changed = wire::Mesh { trust_bundle: vec![other.root.clone()], ..stage.mesh() };
    let changes = wire::ChangeSet { generation: stage.generation(), upserts: vec![changed.resource()], ..wire::ChangeSet::default() };
    stage.web.apply(changes).await;
    caller.sends(GET).await;
    assert_eq!(caller.response().await.field("plait-reason"), Some("upstream_identity"));
}

#[tokio::test]
async fn a_root_that_is_taken_out_cuts_what_was_made_under_it() {
    for side in ["caller", "called"] {
        let stage = Stage::new(Way::Pair).await;
        let origin = stage.origin("ledger-1");
        let mut caller = Peer::connect(stage.binds["ledger"].address).await;
        caller.sends("add 1\n").await;
        let mut process = origin.accept().await;
        process.reads("add 1\n").await;
        let far = stage.far.as_ref().unwrap();
        let proxy = if side == "caller" { &stage.web } else { far };
        let changes = |roots: Vec<Vec<u8>>, generation| {
            let changed = wire::Mesh { trust_bundle: roots, ..stage.mesh() };
            wire::ChangeSet { generation, upserts: vec![changed.resource()], ..wire::ChangeSet::default() }
        };
        // A second root, as while roots rotate, cuts nobody.
        let (mine, other) = (stage.authority.root.clone(), Authority::new().root.clone());
        proxy.apply(changes(vec![mine, other.clone()], stage.generation() + 1)).await;
        process.sends("sum 1\n").await;
        caller.reads("sum 1\n").await;
        proxy.apply(changes(vec![other], stage.generation() + 2)).await;
        caller.is_over().await;
        process.is_over().await;
    }
}

#[tokio::test]
async fn a_connection_ends_with_the_certificate_of_its_caller_and_its_requests_do_not() {
    let stage = Stage::new(Way::Pair).await;
    let origin = stage.origin("reviews-1");
    let mut caller = stage.caller_connects().await;
    caller.sends(GET).await;
    let mut slow = origin.accept().await;
    slow.request().await;
    let far = stage.far.as_ref().unwrap();
    // A request that comes after the end finds another connection; the leaf itself is still good, as the wall clock has it.
    let mut second = stage.caller_connects().await;
    let renewed = async {
        loop {
            second.sends(GET).await;
            let mut process = origin.accept().await;
            process.request().await;
            process.sends("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok").await;
            assert_eq!(second.response().await.text(), "ok");
            if requests(&stage).len() == 2 {
                return;
            }
        }
    };
    far.pass_time(Duration::from_secs(1000), renewed).await;
    slow.sends(OK).await;
    assert_eq!(caller.response().await.text(), "ok");
}
