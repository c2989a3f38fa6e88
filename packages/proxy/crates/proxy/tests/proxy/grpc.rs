//! GRPCRoutes: calls by service, method and header, through one sidecar and through two with mutual TLS between them.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, Method, Request, Response};
use plait_testkit::{Origin, Sent, Stage, Way, header_filter, in_time, millis, object, service};
use plait_wire::{self as wire, filter::Filter as Kind};

/// What an origin was asked: path and header fields.
type Asked = Arc<Mutex<Vec<(String, HeaderMap)>>>;

/// A server of gRPC that answers every call with its name.
fn serves(origin: Origin, name: &'static str) -> Asked {
    let asked = Asked::default();
    let record = asked.clone();
    tokio::spawn(async move {
        loop {
            let stream = origin.accept().await.into_stream();
            let record = record.clone();
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    record.lock().unwrap().push((request.uri().path().to_owned(), request.headers().clone()));
                    let head = Response::builder().header("content-type", "application/grpc").header("x-origin", name).body(()).unwrap();
                    let mut body = respond.send_response(head, false).unwrap();
                    body.send_data(Bytes::from_static(b"\0\0\0\0\0"), false).unwrap();
                    body.send_trailers(HeaderMap::from_iter([("grpc-status".parse().unwrap(), "0".parse().unwrap())])).unwrap();
                }
            });
        }
    });
    asked
}

async fn connects(stage: &Stage) -> SendRequest<Bytes> {
    let (sender, connection) = in_time("a handshake", h2::client::handshake(stage.caller_connects().await.into_stream())).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// Calls, and gives who answered and the status of gRPC.
async fn call(sender: &mut SendRequest<Bytes>, path: &str, tester: bool) -> (String, String) {
    let mut request =
        Request::builder().method(Method::POST).uri(format!("http://any:9000{path}")).header("content-type", "application/grpc");
    if tester {
        request = request.header("x-tester", "yes");
    }
    *sender = in_time("room for a call", sender.clone().ready()).await.unwrap();
    let (response, mut body) = sender.send_request(request.body(()).unwrap(), false).unwrap();
    body.send_data(Bytes::from_static(b"\0\0\0\0\0"), true).unwrap();
    let (head, mut body) = in_time("an answer", response).await.unwrap().into_parts();
    while let Some(piece) = in_time("a piece", body.data()).await {
        body.flow_control().release_capacity(piece.unwrap().len()).unwrap();
    }
    let trailers = in_time("trailers", body.trailers()).await.unwrap().unwrap_or_default();
    let text =
        |name: &str| head.headers.get(name).or_else(|| trailers.get(name)).map_or("none", |value| value.to_str().unwrap()).to_owned();
    (text("x-origin"), text("grpc-status"))
}

/// A match as the control plane writes it.
fn method(kind: wire::MatchType, path: &str, service: u32, method: u32) -> wire::RouteMatch {
    let path = wire::PathMatch { r#type: kind.into(), value: path.into() };
    wire::RouteMatch { path: Some(path), method: "POST".into(), grpc: Some(wire::GrpcLength { service, method }), ..Default::default() }
}

fn rule(matches: Vec<wire::RouteMatch>, backend: (&str, u32)) -> wire::RouteRule {
    let backend = wire::Backend { service: format!("shop/{}", backend.0), port: backend.1, weight: 1, ..wire::Backend::default() };
    wire::RouteRule { matches, backends: vec![backend], ..wire::RouteRule::default() }
}

/// Calls to "any" go to itself or to "reviews-v2"; both speak gRPC on a port whose protocol nobody declared.
async fn routed(way: Way) -> Stage {
    use wire::MatchType::{Exact, Prefix, Regex};
    let stage = Stage::new(way).await;
    let tester = wire::ValueMatch { name: "x-tester".into(), r#type: Exact.into(), value: "yes".into() };
    let changed = wire::Filter { filter: Some(Kind::RequestHeaders(header_filter(&[("x-set", "route")], &[], &["x-tester"]))) };
    let rules = vec![
        rule(vec![method(Exact, "/shop.Cart/Add", 9, 3)], ("reviews-v2", 80)),
        rule(vec![method(Prefix, "/shop.Cart", 9, 0)], ("any", 9000)),
        rule(vec![method(Regex, "/(?:[^/]+)/(?:Get.*|List.*)", 0, 12)], ("reviews-v2", 80)),
        wire::RouteRule {
            filters: vec![changed],
            ..rule(vec![wire::RouteMatch { headers: vec![tester], ..method(Prefix, "/shop.Cart", 9, 0) }], ("reviews-v2", 80))
        },
        rule(vec![method(Prefix, "/shop.Gone", 9, 0)], ("gone", 1)),
    ];
    let parent = wire::RouteParent { service: "shop/any".into(), port: 9000, ..wire::RouteParent::default() };
    let route = wire::Route {
        object: Some(object("GRPCRoute", "calls")),
        parents: vec![parent],
        rules,
        kind: wire::RouteKind::Grpc.into(),
        ..wire::Route::default()
    };
    let mut workload = stage.workload("reviews-v2-1", &[]);
    workload.ports[0].protocol = wire::Protocol::Auto.into();
    stage.apply(vec![service("reviews-v2", 80, wire::Protocol::Auto).resource(), workload.resource(), route.resource()]).await;
    stage
}

#[tokio::test]
async fn calls_go_by_service_method_and_header() {
    for way in Way::ALL {
        let stage = routed(way).await;
        let (any, other) = (serves(stage.origin("any-1"), "any"), serves(stage.origin("reviews-v2-1"), "reviews-v2"));
        let mut sender = connects(&stage).await;
        for (path, tester, expected) in [
            ("/shop.Cart/Add", false, ("reviews-v2", "0")),
            ("/shop.Cart/Drop", false, ("any", "0")),
            // The service outranks the method, whatever pattern names it.
            ("/shop.Cart/GetAll", false, ("any", "0")),
            ("/shop.Bill/GetAll", false, ("reviews-v2", "0")),
            ("/shop.Bill/ListAll", false, ("reviews-v2", "0")),
            ("/shop.Cart/Drop", true, ("reviews-v2", "0")),
            ("/shop.Cart/Add", true, ("reviews-v2", "0")),
            // UNIMPLEMENTED: no rule; UNAVAILABLE: the backend of the rule is not there.
            ("/shop.Bill/Pay", false, ("none", "12")),
            ("/shop.Carts/Add", false, ("none", "12")),
            ("/shop.Gone/Get", false, ("none", "14")),
        ] {
            let answered = call(&mut sender, path, tester).await;
            assert_eq!((answered.0.as_str(), answered.1.as_str()), expected, "{way:?} {path} {tester}");
        }
        assert_eq!((any.lock().unwrap().len(), other.lock().unwrap().len()), (2, 5), "{way:?}");
        // The filter of the rule that the header chose; a call that an exact method takes keeps what it had.
        let fields = |path: &str| {
            let asked = other.lock().unwrap();
            let (_, fields) = asked.iter().rfind(|(its, _)| its == path).unwrap();
            (fields.contains_key("x-set"), fields.contains_key("x-tester"))
        };
        assert_eq!((fields("/shop.Cart/Drop"), fields("/shop.Cart/Add")), ((true, false), (false, true)), "{way:?}");
        stage.web.counts("plait_requests_total", &["route=\"shop/calls#0\""], 2.0).await;
    }
}

#[tokio::test]
async fn a_request_that_is_no_call_meets_no_rule() {
    let stage = routed(Way::Hop).await;
    let mut caller = stage.caller_connects().await;
    caller.sends("GET /shop.Cart/Add HTTP/1.1\r\nhost: any:9000\r\n\r\n").await;
    let response = caller.response().await;
    assert_eq!((response.status(), response.field("plait-reason")), (404, Some("route_not_found")));
    assert!(response.text().contains("GRPCRoute shop/calls"), "{}", response.text());
}

/// A server of gRPC that answers every call in one head: UNAVAILABLE.
fn is_unavailable(origin: Origin) {
    tokio::spawn(async move {
        loop {
            let stream = origin.accept().await.into_stream();
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((_, mut respond))) = connection.accept().await {
                    let head = Response::builder().header("content-type", "application/grpc").header("grpc-status", "14");
                    respond.send_response(head.body(()).unwrap(), true).unwrap();
                }
            });
        }
    });
}

#[tokio::test]
async fn what_a_head_says_of_its_endpoint_is_heard_and_passed_on() {
    for way in Way::ALL {
        let mut stage = Stage::new(way).await;
        let names = ["reviews-1".to_owned(), stage.add_place("reviews", 2).await];
        let outliers = wire::OutlierDetection {
            consecutive_failures: 2,
            base_ejection: Some(millis(600_000)),
            max_ejected_percent: 50,
            success_rate: None,
        };
        let traffic = wire::BackendTraffic { outlier_detection: Some(outliers), ..wire::BackendTraffic::default() };
        let mut resources = vec![
            wire::Service { backend: Some(traffic), ..service("reviews", 80, wire::Protocol::Auto) }.resource(),
            stage.endpoints(&[&names[0], &names[1]]).resource(),
        ];
        for name in &names {
            let mut workload = stage.workload(name, &[]);
            workload.ports[0].protocol = wire::Protocol::Auto.into();
            resources.push(workload.resource());
            is_unavailable(stage.origin(name));
        }
        stage.apply(resources).await;
        let mut sender = connects(&stage).await;
        for _ in 0..20 {
            let uri = "http://reviews/shop.Cart/Add";
            let request = Request::post(uri).header("content-type", "application/grpc").body(()).unwrap();
            sender = in_time("room for a call", sender.clone().ready()).await.unwrap();
            let (response, _) = sender.send_request(request, true).unwrap();
            let head = in_time("an answer", response).await.unwrap();
            assert_eq!(head.headers()["grpc-status"], "14", "{way:?}");
        }
        stage.web.counts("plait_ejections_total", &["backend=\"shop/reviews:80\""], 1.0).await;
    }
}

#[tokio::test]
async fn callers_of_a_rule_with_sessions_come_back() {
    for way in Way::ALL {
        let mut stage = Stage::new(way).await;
        let names = ["reviews-1".to_owned(), stage.add_place("reviews", 2).await];
        let balancer = wire::LoadBalancer { algorithm: wire::Algorithm::RoundRobin.into(), ..wire::LoadBalancer::default() };
        let traffic = wire::BackendTraffic { load_balancer: Some(balancer), ..wire::BackendTraffic::default() };
        let carrier = wire::session_affinity::Carrier::Header("x-session".into());
        let sessions = wire::SessionAffinity { carrier: Some(carrier), ttl: None };
        let matches = vec![method(wire::MatchType::Prefix, "/", 0, 0)];
        let route = wire::Route {
            object: Some(object("GRPCRoute", "calls")),
            parents: vec![wire::RouteParent { service: "shop/reviews".into(), ..wire::RouteParent::default() }],
            rules: vec![wire::RouteRule { session_affinity: Some(sessions), ..rule(matches, ("reviews", 80)) }],
            kind: wire::RouteKind::Grpc.into(),
            ..wire::Route::default()
        };
        let mut resources = vec![
            wire::Service { backend: Some(traffic), ..service("reviews", 80, wire::Protocol::Auto) }.resource(),
            stage.endpoints(&[&names[0], &names[1]]).resource(),
            route.resource(),
        ];
        for (name, answer) in names.iter().zip(["one", "two"]) {
            let mut workload = stage.workload(name, &[]);
            workload.ports[0].protocol = wire::Protocol::Auto.into();
            resources.push(workload.resource());
            serves(stage.origin(name), answer);
        }
        stage.apply(resources).await;
        let mut sender = connects(&stage).await;
        let ask = async |sender: &mut SendRequest<Bytes>, session: Option<&str>| {
            let request = Request::post("http://reviews/shop.Cart/Add").header("content-type", "application/grpc");
            let request = session.into_iter().fold(request, |request, session| request.header("x-session", session));
            *sender = in_time("room for a call", sender.clone().ready()).await.unwrap();
            let (response, _) = sender.send_request(request.body(()).unwrap(), true).unwrap();
            let head = in_time("an answer", response).await.unwrap();
            let text = |name: &str| head.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
            (text("x-origin").unwrap(), text("x-session"))
        };
        let mut homes = Vec::new();
        for _ in 0..2 {
            let (home, session) = ask(&mut sender, None).await;
            homes.push((home, session.unwrap()));
        }
        assert_ne!(homes[0].0, homes[1].0, "{way:?}: each in turn");
        for (home, session) in homes.iter().cycle().take(8) {
            assert_eq!(ask(&mut sender, Some(session)).await, (home.clone(), None), "{way:?}");
        }
    }
}
