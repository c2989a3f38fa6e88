//! Calls of addresses: of a Service, of one workload. And proxies whose connections are redirected, as far as one process can see it; what only
//! the kernel can do is tested in `integration/redirect`.

use plait_testkit::{Peer, Sent, Stage, Way, backend, rule, service};
use plait_wire as wire;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// The workload reviews-1 as callers of its own address see it.
fn direct(stage: &Stage) -> wire::Direct {
    let endpoint = stage.endpoint("reviews-1");
    let wire::Endpoint { workload, address, identity, server_name, zone, .. } = endpoint;
    wire::Direct { address: "10.244.0.7".into(), workload, inbound: address, identity, server_name, zone, ports: Vec::new() }
}

#[tokio::test]
async fn an_address_of_a_service_is_the_service_with_its_routes() {
    for way in Way::ALL {
        let stage = Stage::new(way).await;
        let origin = stage.origin("reviews-v2-1");
        let addresses = vec!["10.96.0.7".into(), "fd00::7".into()];
        let service = wire::Service { addresses, ..service("reviews", 80, wire::Protocol::Http) };
        let route = stage.reviews_route(vec![rule(vec![backend("reviews-v2")])]);
        stage.apply(vec![service.resource(), route.resource()]).await;
        let mut caller = stage.caller_connects().await;
        let mut process: Option<Peer> = None;
        for host in ["10.96.0.7", "[fd00::7]:80", "[FD00::7]"] {
            caller.sends(&format!("GET /a HTTP/1.1\r\nhost: {host}\r\n\r\n")).await;
            if process.is_none() {
                process = Some(origin.accept().await);
            }
            let process = process.as_mut().unwrap();
            assert_eq!(process.request().await.field("host"), Some(host), "{way:?}");
            process.sends(OK).await;
            assert_eq!(caller.response().await.text(), "ok");
        }
        caller.sends("GET /a HTTP/1.1\r\nhost: 10.96.0.7:81\r\n\r\n").await;
        assert!(caller.response().await.text().contains("it has no port 81"), "{way:?}");
        stage.web.counts("plait_requests_total", &["destination=\"shop/reviews\""], 4.0).await;
    }
}

#[tokio::test]
async fn a_workload_at_its_own_address_meets_no_route() {
    let stage = Stage::new(Way::Pair).await;
    let origin = stage.origin("reviews-1");
    let route = stage.reviews_route(vec![rule(vec![backend("reviews-v2")])]);
    stage.apply(vec![direct(&stage).resource(), route.resource()]).await;
    let port = stage.places["reviews-1"].process.address.port();
    let mut caller = stage.caller_connects().await;
    caller.sends(&format!("GET /a HTTP/1.1\r\nhost: 10.244.0.7:{port}\r\n\r\n")).await;
    let mut process = origin.accept().await;
    process.request().await;
    process.sends(OK).await;
    assert_eq!(caller.response().await.text(), "ok");
    let mut tunnel = stage.caller_connects().await;
    tunnel.sends(&format!("CONNECT 10.244.0.7:{port} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
    let mut process = origin.accept().await;
    tunnel.reads("HTTP/1.1 200 Connection Established\r\n\r\n").await;
    tunnel.sends("bytes").await;
    process.reads("bytes").await;
    process.sends("back").await;
    tunnel.reads("back").await;
}

#[tokio::test]
async fn a_process_need_not_declare_its_ports_where_connections_are_redirected() {
    let stage = Stage::new(Way::Pair).await;
    let origin = stage.origin("any-1");
    stage.apply(vec![direct(&stage).resource()]).await;
    let undeclared = stage.places["any-1"].process.address.port();
    let own = stage.places["reviews-1"].inbound.address.port();
    for (redirected, port, says) in
        [(false, undeclared, "port_not_found"), (true, undeclared, "ok"), (true, own, "loop_detected"), (false, own, "port_not_found")]
    {
        stage.apply(vec![wire::Workload { redirected, ..stage.workload("reviews-1", &[]) }.resource()]).await;
        let mut caller = stage.caller_connects().await;
        caller.sends(&format!("GET /a HTTP/1.1\r\nhost: 10.244.0.7:{port}\r\n\r\n")).await;
        if says == "ok" {
            let mut process = origin.accept().await;
            process.request().await;
            process.sends(OK).await;
        }
        let answer = caller.response().await;
        let text = format!("{} {:?}", answer.text(), answer.field("plait-reject"));
        assert!(text.contains(says), "{redirected} {port}: {text}");
    }
}

#[tokio::test]
async fn what_nobody_redirected_is_no_call_where_calls_are_redirected() {
    let stage = Stage::new(Way::Hop).await;
    stage.apply(vec![wire::Workload { redirected: true, ..stage.caller() }.resource()]).await;
    let outbound = stage.outbound.address;
    let twin: std::net::SocketAddr = (std::net::Ipv6Addr::LOCALHOST, outbound.port()).into();
    let mut doors = vec![outbound];
    doors.extend(plait_net::has_ipv6().then_some(twin));
    for (count, door) in doors.into_iter().enumerate() {
        let mut caller = Peer::connect(door).await;
        caller.is_over().await;
        let labels = ["direction=\"outbound\"", "cause=\"not_redirected\""];
        stage.web.counts("plait_connections_cut_total", &labels, (count + 1) as f64).await;
    }
}

#[tokio::test]
async fn a_stranger_cannot_choose_a_port_at_the_door_of_other_proxies() {
    let stage = Stage::new(Way::Pair).await;
    stage.apply(vec![wire::Workload { redirected: true, ..stage.workload("reviews-1", &[]) }.resource()]).await;
    let mut caller = Peer::connect(stage.places["reviews-1"].inbound.address).await;
    caller.sends("GET / HTTP/1.1\r\nhost: reviews\r\n\r\n").await;
    assert!(caller.response().await.text().contains("port_not_found"));
}
