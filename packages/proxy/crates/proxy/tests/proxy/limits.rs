//! How many connections a proxy takes.

use plait_testkit::{Peer, Sent, Stage, Way, until};
use plait_wire as wire;

const GET: &str = "GET / HTTP/1.1\r\nhost: reviews\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

async fn limited(way: Way, connections: u32) -> Stage {
    let stage = Stage::new(way).await;
    let limits = wire::ProxyLimits { connections, ..wire::ProxyLimits::default() };
    stage.apply(vec![wire::Mesh { limits: Some(limits), ..stage.mesh() }.resource()]).await;
    stage
}

async fn is_answered(caller: &mut Peer) {
    caller.sends(GET).await;
    assert_eq!(caller.response().await.text(), "ok");
}

#[tokio::test]
async fn no_more_connections_are_taken_than_the_mesh_says() {
    let stage = limited(Way::Hop, 3).await;
    stage.origin("reviews-1").answers(|_| OK.into());
    let mut callers = Vec::new();
    for _ in 0..3 {
        let mut caller = stage.caller_connects().await;
        is_answered(&mut caller).await;
        callers.push(caller);
    }
    stage.caller_connects().await.is_over().await;
    // Those who are in are served, and one that leaves makes room.
    for caller in &mut callers {
        is_answered(caller).await;
    }
    drop(callers.pop());
    let mut caller = loop {
        let mut caller = stage.caller_connects().await;
        if caller.try_send(GET.as_bytes()).await.is_ok() && caller.try_message(Some("GET")).await.is_ok() {
            break caller;
        }
    };
    is_answered(&mut caller).await;
}

#[tokio::test]
async fn requests_that_share_a_connection_are_one_connection() {
    let stage = limited(Way::Pair, 20).await;
    let far = stage.far.as_ref().unwrap();
    let limits = wire::ProxyLimits { connections: 2, ..wire::ProxyLimits::default() };
    let mesh = wire::Mesh { limits: Some(limits), ..stage.mesh() };
    far.apply(wire::ChangeSet { generation: stage.generation(), upserts: vec![mesh.resource()], ..wire::ChangeSet::default() }).await;
    let origin = stage.origin("reviews-1");
    let (mut callers, mut processes) = (Vec::new(), Vec::new());
    for _ in 0..10 {
        let mut caller = stage.caller_connects().await;
        caller.sends(GET).await;
        let mut process = origin.accept().await;
        process.request().await;
        callers.push(caller);
        processes.push(process);
    }
    // All of these are one connection of the far side, so that there is room for another.
    let mut second = Peer::connect(stage.places["reviews-1"].inbound.address).await;
    second.sends("GET / HTTP/1.1\r\nhost: x\r\n").await;
    until("the second", || (far.metric("plait_requests_in_flight", &["direction=\"inbound\""]) == 10.0).then_some(())).await;
    Peer::connect(stage.places["reviews-1"].inbound.address).await.is_over().await;
    second.sends("\r\n").await;
    assert_eq!(second.response().await.status(), 403);
    for (caller, process) in callers.iter_mut().zip(&mut processes) {
        process.sends(OK).await;
        assert_eq!(caller.response().await.text(), "ok");
    }
}
