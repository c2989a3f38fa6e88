//! Who may do what: judged where the call arrives, for HTTP and for bytes, and again when the policy changes.

use plait_testkit::{DOMAIN, Peer, Sent, Stage, Way, allow, deny, everything};
use plait_wire as wire;

const GET: &str = "GET /a HTTP/1.1\r\nhost: reviews\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

fn web() -> wire::PolicySource {
    wire::PolicySource { identities: vec![format!("spiffe://{DOMAIN}/ns/shop/sa/web")], ..wire::PolicySource::default() }
}

fn others() -> wire::PolicySource {
    wire::PolicySource { service_accounts: vec!["shop/ledger".into()], ..wire::PolicySource::default() }
}

fn from(source: wire::PolicySource) -> wire::PolicyRule {
    wire::PolicyRule { from: vec![source], ..everything() }
}

fn to(paths: &[&str]) -> wire::PolicyRule {
    let paths = paths.iter().map(|path| (*path).into()).collect();
    wire::PolicyRule { to: vec![wire::PolicyOperation { paths, ..wire::PolicyOperation::default() }], ..everything() }
}

#[tokio::test]
async fn a_request_is_judged_where_it_arrives() {
    let dry = |policy: wire::Policy| wire::Policy { dry_run: true, ..policy };
    for (case, policies, status) in [
        ("no policy", vec![], 200),
        ("allowed by name", vec![allow("p", vec![from(web())])], 200),
        ("allowed by what it does", vec![allow("p", vec![to(&["/a"])])], 200),
        ("nobody is allowed", vec![allow("p", vec![])], 403),
        ("others are allowed", vec![allow("p", vec![from(others())])], 403),
        ("something else is allowed", vec![allow("p", vec![to(&["/b/*"])])], 403),
        ("denied", vec![deny("p", vec![from(web())])], 403),
        ("a deny beats an allow", vec![allow("p", vec![everything()]), deny("q", vec![to(&["/a"])])], 403),
        ("denied in dry run", vec![dry(deny("p", vec![everything()]))], 200),
        ("a dry run allows nobody", vec![dry(allow("p", vec![from(web())])), allow("q", vec![from(others())])], 403),
        ("invalid", vec![wire::Policy { invalid: true, ..allow("p", vec![everything()]) }], 403),
    ] {
        let stage = Stage::new(Way::Pair).await;
        let dry_denials = policies.iter().filter(|policy| policy.dry_run && policy.action == wire::PolicyAction::Deny as i32).count();
        stage.policies("reviews-1", policies).await;
        let seen = stage.origin("reviews-1").answers(|_| OK.into());
        let mut caller = stage.caller_connects().await;
        caller.sends(GET).await;
        let response = caller.response().await;
        assert_eq!((response.status(), seen.count()), (status, usize::from(status == 200)), "{case}");
        if status == 403 {
            assert_eq!(response.field("plait-reason"), Some("policy_denied"), "{case}");
            let text = response.text();
            let identity = format!("spiffe://{DOMAIN}/ns/shop/sa/web");
            for part in ["AuthorizationPolicy shop/", &identity, "plait explain GET http://reviews/a --from web-1"] {
                assert!(text.contains(part), "{case}: no {part:?} in {text:?}");
            }
            assert!(!text.contains("ledger"), "{case}: whom a policy allows is not told: {text:?}");
        }
        let counted = stage.far.as_ref().unwrap().metric("plait_policy_dry_run_total", &["policy=\"shop/p\""]);
        assert_eq!(counted, dry_denials as f64, "{case}");
        // A refusal is no reason to ask another endpoint, nor to close the connection.
        assert_eq!(stage.web.metric("plait_retries_total", &[]), 0.0, "{case}");
        caller.sends(GET).await;
        assert_eq!(caller.response().await.status(), status, "{case}");
    }
}

#[tokio::test]
async fn policy_sees_the_request_as_the_process_does() {
    let stage = Stage::new(Way::Pair).await;
    stage.policies("reviews-1", vec![deny("p", vec![to(&["/admin/*"])])]).await;
    let seen = stage.origin("reviews-1").answers(|_| OK.into());
    for (path, status) in [
        ("/admin", 403),
        ("/admin/", 403),
        ("/admin/x", 403),
        ("//admin/x", 403),
        ("/%61dmin/x", 403),
        ("/a/../admin/x", 403),
        ("/a/%2e%2e/admin", 403),
        ("/admin\\x", 403),
        ("/admin?x", 403),
        ("/administration", 200),
    ] {
        let mut caller = stage.caller_connects().await;
        caller.sends(&format!("GET {path} HTTP/1.1\r\nhost: reviews\r\n\r\n")).await;
        assert_eq!(caller.response().await.status(), status, "{path}");
    }
    assert_eq!(seen.count(), 1);
}

#[tokio::test]
async fn bytes_are_judged_before_the_process_hears_of_them() {
    for (case, policies, passes) in [
        ("no policy", vec![], true),
        ("allowed by name", vec![allow("p", vec![from(web())])], true),
        ("others are allowed", vec![allow("p", vec![from(others())])], false),
        ("allowed by what only HTTP has", vec![allow("p", vec![to(&["/a"])])], false),
        ("denied by what only HTTP has", vec![deny("p", vec![to(&["/a"])])], false),
    ] {
        let stage = Stage::new(Way::Pair).await;
        stage.policies("ledger-1", policies).await;
        let origin = stage.origin("ledger-1");
        let mut bound = Peer::connect(stage.binds["ledger"].address).await;
        bound.sends("hello").await;
        let mut tunnel = stage.caller_connects().await;
        tunnel.sends("CONNECT ledger:7000 HTTP/1.1\r\nhost: ledger:7000\r\n\r\n").await;
        if passes {
            tunnel.reads("HTTP/1.1 200 Connection Established\r\n\r\n").await;
            tunnel.sends("hello").await;
            for _ in 0..2 {
                origin.accept().await.reads("hello").await;
            }
        } else {
            bound.is_over().await;
            let response = tunnel.response().await;
            assert_eq!((response.status(), response.field("plait-reason")), (403, Some("policy_denied")), "{case}");
            assert!(response.text().contains("AuthorizationPolicy shop/p"), "{case}");
            origin.is_untouched();
        }
    }
}

#[tokio::test]
async fn what_lives_is_cut_when_its_permit_is_lost_and_only_then() {
    let stage = Stage::new(Way::Pair).await;
    stage.policies("ledger-1", vec![allow("p", vec![from(web())])]).await;
    let origin = stage.origin("ledger-1");
    let mut caller = Peer::connect(stage.binds["ledger"].address).await;
    let mut process = origin.accept().await;
    let speak = async |caller: &mut Peer, process: &mut Peer| {
        caller.sends("ping").await;
        process.reads("ping").await;
    };
    speak(&mut caller, &mut process).await;
    // Another policy that still allows it, and changes that do not touch it.
    stage.policies("ledger-1", vec![allow("p", vec![from(web()), from(others())])]).await;
    stage.apply(vec![stage.endpoints(&["reviews-1"]).resource()]).await;
    speak(&mut caller, &mut process).await;
    stage.policies("ledger-1", vec![allow("p", vec![from(others())])]).await;
    // Both sides see that it was cut, not that the other side is done.
    caller.is_reset().await;
    process.is_reset().await;
    let far = stage.far.as_ref().unwrap();
    far.counts("plait_rejects_total", &["reason=\"policy_denied\""], 1.0).await;
    let names = ["source=\"shop/web\"", "destination=\"shop/ledger\"", "object=\"AuthorizationPolicy shop/p\""];
    far.counts("plait_policy_denials_total", &names, 1.0).await;
}

#[tokio::test]
async fn an_answer_under_way_and_an_upgrade_are_cut_too() {
    for upgrade in [false, true] {
        let stage = Stage::new(Way::Pair).await;
        let origin = stage.origin("reviews-1");
        let mut caller = stage.caller_connects().await;
        let (asks, answers) = match upgrade {
            false => ("\r\n", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"),
            true => ("connection: upgrade\r\nupgrade: x\r\n\r\n", "HTTP/1.1 101 OK\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n"),
        };
        caller.sends(&format!("GET /a HTTP/1.1\r\nhost: reviews\r\n{asks}")).await;
        let mut process = origin.accept().await;
        process.request().await;
        process.sends(answers).await;
        caller.head().await;
        stage.policies("reviews-1", vec![deny("p", vec![everything()])]).await;
        let (rest, _) = caller.rest().await;
        assert!(!rest.ends_with(b"0\r\n\r\n"), "{upgrade}: {rest:?}");
        process.is_over().await;
    }
}

#[tokio::test]
async fn the_defaults_of_the_mesh_hold_where_no_policy_speaks() {
    for (default, status) in
        [(wire::DefaultPolicy::AllowAuthenticated, 200), (wire::DefaultPolicy::AllowAll, 200), (wire::DefaultPolicy::DenyAll, 403)]
    {
        let stage = Stage::new(Way::Pair).await;
        stage.apply(vec![wire::Mesh { default_policy: default.into(), ..stage.mesh() }.resource()]).await;
        stage.origin("reviews-1").answers(|_| OK.into());
        let mut caller = stage.caller_connects().await;
        caller.sends(GET).await;
        assert_eq!(caller.response().await.status(), status, "{default:?}");
    }
}

#[tokio::test]
async fn a_caller_without_identity_is_refused_and_told_no_names() {
    let stage = Stage::new(Way::Pair).await;
    stage.policies("reviews-1", vec![allow("p", vec![everything()])]).await;
    let inbound = stage.places["reviews-1"].inbound.address;
    for (request, status) in [(GET, 403), ("CONNECT x:1 HTTP/1.1\r\nhost: x:1\r\n\r\n", 400)] {
        let mut caller = Peer::connect(inbound).await;
        caller.sends(request).await;
        let response = caller.response().await;
        assert_eq!(response.status(), status, "{request:?}");
        assert!(!response.text().contains("shop"), "{:?}", response.text());
    }
    let mut caller = Peer::connect(inbound).await;
    caller.sends("hello ledger\n").await;
    caller.is_over().await;
    stage.origin("reviews-1").is_untouched();
    stage.far.as_ref().unwrap().counts("plait_rejects_total", &["reason=\"unauthenticated\""], 2.0).await;
}

#[tokio::test]
async fn a_permissive_mesh_lets_callers_without_identity_pass() {
    let stage = Stage::new(Way::Pair).await;
    stage.apply(vec![wire::Mesh { mtls_mode: wire::MtlsMode::Permissive.into(), ..stage.mesh() }.resource()]).await;
    let origin = stage.origin("reviews-1");
    let mut caller = Peer::connect(stage.places["reviews-1"].inbound.address).await;
    caller.sends("GET /a HTTP/1.1\r\nhost: x\r\nplait-port: 1\r\nplait-reason: x\r\n\r\n").await;
    let mut process = origin.accept().await;
    assert_eq!(process.request().await.to_string(), "GET /a HTTP/1.1\nhost: x");
    process.sends(OK).await;
    assert_eq!(caller.response().await.text(), "ok");
    // Those who have one still come with it, and a rule about names never matches those who have none.
    stage.policies("reviews-1", vec![allow("p", vec![from(web())])]).await;
    caller.sends("GET /a HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert_eq!(caller.response().await.status(), 403);
    let mut known = stage.caller_connects().await;
    known.sends(GET).await;
    assert_eq!(process.request().await.to_string(), "GET /a HTTP/1.1\nhost: reviews");
    let ledger = stage.origin("ledger-1");
    let mut caller = Peer::connect(stage.places["ledger-1"].inbound.address).await;
    caller.sends("hello\n").await;
    ledger.accept().await.reads("hello\n").await;
}

#[tokio::test]
async fn fields_of_the_mesh_pass_neither_from_an_application_nor_to_one() {
    let stage = Stage::new(Way::Pair).await;
    let origin = stage.origin("reviews-1");
    let mut caller = stage.caller_connects().await;
    for name in ["plait-port", "Plait-Reject", "PLAIT-REASON", "plait-upgraded", "plait-anything"] {
        caller.sends(&format!("GET / HTTP/1.1\r\nhost: reviews\r\n{name}: internal; delivered=no\r\n\r\n")).await;
        let mut process = origin.accept().await;
        assert_eq!(process.request().await.to_string(), "GET / HTTP/1.1\nhost: reviews", "{name}");
        // What would be a reject that nobody delivered, were it believed.
        let answer = format!("{name}: upstream_unreachable; delivered=no\r\ncontent-length: 2\r\n\r\nno");
        process.sends(&format!("HTTP/1.1 503 No\r\nconnection: close\r\n{answer}")).await;
        let response = caller.response().await;
        assert_eq!(response.to_string(), "HTTP/1.1 503 Service Unavailable\ncontent-length: 2\n\nno", "{name}");
    }
    assert_eq!(stage.web.metric("plait_retries_total", &[]), 0.0);
}

#[tokio::test]
async fn a_port_that_the_workload_does_not_have_is_refused() {
    let stage = Stage::new(Way::Pair).await;
    let wrong_port = wire::Endpoint { target_port: 1, ..stage.endpoint("reviews-1") };
    stage.apply(vec![plait_testkit::endpoints("reviews", 80, vec![wrong_port]).resource()]).await;
    let mut caller = stage.caller_connects().await;
    caller.sends(GET).await;
    let response = caller.response().await;
    assert_eq!((response.status(), response.field("plait-reason")), (503, Some("port_not_found")));
    stage.origin("reviews-1").is_untouched();
}
