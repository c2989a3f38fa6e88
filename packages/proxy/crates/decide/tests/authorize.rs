//! Policies as the API defines them: they add up, any Deny wins, what is unclear does not pass.

#![allow(clippy::unwrap_used, clippy::panic)] // clippy's own exemption ends at #[test] functions; helpers beside them are tests too

use std::{net::IpAddr, sync::Arc};

use plait_decide::authorize::judge;
use plait_model::{
    Action, DefaultPolicy, Mesh, MtlsMode, ObjectRef, Operation, Peer, Policy, PolicyBinding, PolicyHeader, PolicyRule, Reason,
    RequestHead, Source, SpiffeId, Workload,
};
use proptest::prelude::*;

fn id(account: &str) -> SpiffeId {
    SpiffeId::new("example", "shop", account).unwrap()
}

fn peer(account: &str) -> Peer {
    let identity = (!account.is_empty()).then(|| Arc::new(id(account)));
    Peer { identity, address: "10.1.2.3".parse().unwrap() }
}

fn mesh(default_policy: DefaultPolicy, mtls_mode: MtlsMode) -> Mesh {
    Mesh { default_policy, mtls_mode, ..Mesh::default() }
}

fn policy(name: &str, action: Action, rules: Vec<PolicyRule>) -> Policy {
    let object = ObjectRef { kind: "AuthorizationPolicy".into(), namespace: "shop".into(), name: name.into() };
    Policy { object: object.into(), action, dry_run: false, rules, invalid: false }
}

fn workload(policies: Vec<Option<Policy>>) -> Workload {
    let binding = |policy: Option<Policy>| PolicyBinding { name: "shop/p".into(), policy: policy.map(Arc::new), ports: vec![80] };
    Workload {
        key: "shop/reviews-1".into(),
        namespace: "shop".into(),
        name: "reviews-1".into(),
        identity: Arc::new(id("reviews")),
        address: IpAddr::from([127, 0, 0, 1]),
        ports: vec![],
        inbound: "127.0.0.1:1".parse().unwrap(),
        outbound: None,
        binds: vec![],
        zone: "".into(),
        policies: policies.into_iter().map(binding).collect(),
        redirected: false,
        policy_epoch: 7,
        arrivals: Default::default(),
        calls: Default::default(),
    }
}

fn from(accounts: &[&str]) -> Vec<Source> {
    vec![Source { identities: accounts.iter().map(|account| id(account)).collect(), ..Source::default() }]
}

fn to(operation: Operation) -> Vec<Operation> {
    vec![operation]
}

fn get(path: &str) -> RequestHead {
    RequestHead { path: path.into(), authority: "reviews:80".into(), ..RequestHead::default() }
}

fn strict() -> Mesh {
    mesh(DefaultPolicy::AllowAuthenticated, MtlsMode::Strict)
}

fn allowed(workload: &Workload, mesh: &Mesh, peer: &Peer, http: Option<&RequestHead>) -> bool {
    judge(workload, mesh, peer, 80, http).result.is_ok()
}

#[test]
fn the_default_stands_where_no_policy_speaks() {
    use DefaultPolicy::{AllowAll, AllowAuthenticated, DenyAll};
    use MtlsMode::{Permissive, Strict};
    for (default, mode, caller, expected) in [
        (AllowAuthenticated, Strict, "web", true),
        (AllowAuthenticated, Strict, "", false),
        (AllowAuthenticated, Permissive, "", true),
        (DenyAll, Strict, "web", false),
        (DenyAll, Permissive, "", false),
        (AllowAll, Strict, "web", true),
        (AllowAll, Strict, "", false),
        (AllowAll, Permissive, "", true),
    ] {
        let mesh = mesh(default, mode);
        assert_eq!(allowed(&workload(vec![]), &mesh, &peer(caller), None), expected, "{default:?} {mode:?} {caller:?}");
    }
}

#[test]
fn policies_add_up_and_any_deny_wins() {
    let allow = |account| Some(policy("allow", Action::Allow, vec![PolicyRule { from: from(&[account]), to: vec![] }]));
    let deny = |account| Some(policy("deny", Action::Deny, vec![PolicyRule { from: from(&[account]), to: vec![] }]));
    let nobody = || Some(policy("nobody", Action::Allow, vec![]));
    for (policies, caller, expected) in [
        (vec![allow("web")], "web", true),
        (vec![allow("web")], "catalog", false),
        (vec![allow("web"), allow("catalog")], "catalog", true),
        (vec![allow("web"), deny("web")], "web", false),
        (vec![deny("web"), allow("web")], "web", false),
        (vec![deny("web")], "catalog", true),
        (vec![nobody()], "web", false),
        (vec![nobody(), allow("web")], "web", true),
        (vec![allow("web"), None], "web", false),
        (vec![None], "web", false),
    ] {
        let names: Vec<_> = policies.iter().map(|p| p.as_ref().map(|p| p.object.name.clone())).collect();
        assert_eq!(allowed(&workload(policies), &strict(), &peer(caller), None), expected, "{names:?} {caller}");
    }
}

#[test]
fn a_policy_covers_only_its_ports() {
    let held = workload(vec![Some(policy("nobody", Action::Allow, vec![]))]);
    assert!(judge(&held, &strict(), &peer("web"), 80, None).result.is_err());
    assert!(judge(&held, &strict(), &peer("web"), 81, None).result.is_ok());
}

#[test]
fn an_invalid_policy_denies_what_it_covers() {
    let invalid = Policy { invalid: true, ..policy("broken", Action::Deny, vec![]) };
    let denial = judge(&workload(vec![Some(invalid)]), &strict(), &peer("web"), 80, None).result.unwrap_err();
    assert_eq!((denial.reason, &*denial.object.unwrap().name), (Reason::PolicyDenied, "broken"));
}

#[test]
fn a_denial_names_the_policy_and_never_those_it_allows() {
    let held = workload(vec![Some(policy("readers", Action::Allow, vec![PolicyRule { from: from(&["secret-friend"]), to: vec![] }]))]);
    let denial = judge(&held, &strict(), &peer("web"), 80, None).result.unwrap_err();
    assert_eq!(denial.text, "no rule of AuthorizationPolicy shop/readers allows it");
}

#[test]
fn dry_run_is_counted_and_never_enforced() {
    let rules = || vec![PolicyRule { from: from(&["web"]), to: vec![] }];
    for (action, caller, counted) in
        [(Action::Deny, "web", 1), (Action::Deny, "catalog", 0), (Action::Allow, "web", 0), (Action::Allow, "catalog", 1)]
    {
        let trial = Policy { dry_run: true, ..policy("trial", action, rules()) };
        let judgement = judge(&workload(vec![Some(trial)]), &strict(), &peer(caller), 80, None);
        assert!(judgement.result.is_ok());
        assert_eq!(judgement.dry_run_denials.len(), counted, "{action:?} {caller}");
    }
}

#[test]
fn operations_match_by_every_field() {
    let operation = |text: &str| {
        let mut operation = Operation::default();
        for word in text.split(' ').filter(|word| !word.is_empty()) {
            match word.split_once(':').unwrap() {
                ("m", method) => operation.methods.push(method.into()),
                ("p", path) => operation.paths.push(path.into()),
                ("h", host) => operation.hosts.push(host.into()),
                ("port", port) => operation.ports.push(port.parse().unwrap()),
                (_, header) => operation.headers.push(PolicyHeader { name: header.into(), values: vec![] }),
            }
        }
        operation
    };
    for (text, path, expected) in [
        ("", "/x", true),
        ("m:GET", "/x", true),
        ("m:PUT", "/x", false),
        ("m:PUT m:GET", "/x", true),
        ("p:/reviews/*", "/reviews", true),
        ("p:/reviews/*", "/reviews/7", true),
        ("p:/reviews/*", "/reviewsx", false),
        ("p:/reviews", "/reviews", true),
        ("p:/reviews", "/reviews/", false),
        ("p:/reviews", "/reviews/7", false),
        ("p:/*", "/", true),
        ("m:PUT p:/x", "/x", false),
        ("h:reviews", "/x", true),
        ("h:REVIEWS", "/x", true),
        ("h:other", "/x", false),
        ("port:80", "/x", true),
        ("port:81", "/x", false),
        ("f:x-missing", "/x", false),
    ] {
        let held = workload(vec![Some(policy("p", Action::Allow, vec![PolicyRule { from: vec![], to: to(operation(text)) }]))]);
        assert_eq!(allowed(&held, &strict(), &peer("web"), Some(&get(path))), expected, "{text} {path}");
    }
}

#[test]
fn http_fields_on_opaque_bytes_never_allow_and_always_deny() {
    let rule = || vec![PolicyRule { from: vec![], to: to(Operation { methods: vec!["GET".into()], ..Operation::default() }) }];
    assert!(!allowed(&workload(vec![Some(policy("a", Action::Allow, rule()))]), &strict(), &peer("web"), None));
    assert!(!allowed(&workload(vec![Some(policy("d", Action::Deny, rule()))]), &strict(), &peer("web"), None));
}

#[test]
fn of_several_header_values_any_denies_and_all_must_allow() {
    let header = || PolicyHeader { name: "x-team".into(), values: vec!["blue".into()] };
    let held = |action| {
        workload(vec![Some(policy(
            "p",
            action,
            vec![PolicyRule { from: vec![], to: to(Operation { headers: vec![header()], ..Operation::default() }) }],
        ))])
    };
    for (values, by_allow, by_deny) in
        [(vec!["blue"], true, false), (vec!["red"], false, true), (vec!["blue", "red"], false, false), (vec![], false, true)]
    {
        let mut head = get("/");
        for value in &values {
            head.headers.append("X-Team", value.as_bytes());
        }
        assert_eq!(allowed(&held(Action::Allow), &strict(), &peer("web"), Some(&head)), by_allow, "allow {values:?}");
        assert_eq!(allowed(&held(Action::Deny), &strict(), &peer("web"), Some(&head)), by_deny, "deny {values:?}");
    }
}

#[test]
fn sources_match_by_every_field() {
    let base = Source::default;
    let caller = peer("web");
    for (source, expected) in [
        (Source { namespaces: vec!["shop".into()], ..base() }, true),
        (Source { namespaces: vec!["sho".into()], ..base() }, false),
        (Source { service_accounts: vec![("shop".into(), "web".into())], ..base() }, true),
        (Source { service_accounts: vec![("other".into(), "web".into())], ..base() }, false),
        (Source { cidrs: vec![("10.0.0.0".parse().unwrap(), 8)], ..base() }, true),
        (Source { cidrs: vec![("10.1.2.0".parse().unwrap(), 24)], ..base() }, true),
        (Source { cidrs: vec![("10.1.3.0".parse().unwrap(), 24)], ..base() }, false),
        (Source { cidrs: vec![("0.0.0.0".parse().unwrap(), 0)], ..base() }, true),
        (Source { cidrs: vec![("::".parse().unwrap(), 0)], ..base() }, false),
        (Source { identities: vec![id("web")], namespaces: vec!["other".into()], ..base() }, false),
    ] {
        let text = format!("{source:?}");
        let held = workload(vec![Some(policy("p", Action::Allow, vec![PolicyRule { from: vec![source], to: vec![] }]))]);
        assert_eq!(allowed(&held, &strict(), &caller, None), expected, "{text}");
    }
    let namespaced = workload(vec![Some(policy(
        "p",
        Action::Allow,
        vec![PolicyRule { from: vec![Source { namespaces: vec!["shop".into()], ..base() }], to: vec![] }],
    ))]);
    let permissive = mesh(DefaultPolicy::AllowAll, MtlsMode::Permissive);
    assert!(!allowed(&namespaced, &permissive, &peer(""), None), "a caller without identity has no namespace");
}

fn any_policy() -> impl Strategy<Value = (bool, bool, Vec<usize>)> {
    (any::<bool>(), any::<bool>(), prop::collection::vec(0_usize..3, 0..3))
}

proptest! {
    /// Whatever is there already, one more Deny never lets anybody in.
    #[test]
    fn a_deny_never_allows_more(policies in prop::collection::vec(any_policy(), 0..4), extra in prop::collection::vec(0_usize..3, 0..3), caller in 0_usize..3) {
        const ACCOUNTS: [&str; 3] = ["web", "catalog", "ledger"];
        let build = |(deny, dry_run, accounts): &(bool, bool, Vec<usize>)| {
            let rules = accounts.iter().map(|&n| PolicyRule { from: from(&[ACCOUNTS[n]]), to: vec![] }).collect();
            Some(Policy { dry_run: *dry_run, ..policy("p", if *deny { Action::Deny } else { Action::Allow }, rules) })
        };
        let before: Vec<_> = policies.iter().map(build).collect();
        let after: Vec<_> = policies.iter().map(build).chain([build(&(true, false, extra))]).collect();
        let caller = peer(ACCOUNTS[caller]);
        if allowed(&workload(after), &strict(), &caller, None) {
            prop_assert!(allowed(&workload(before), &strict(), &caller, None));
        }
    }
}
