//! Finding a rule: the standard's precedence, and the index against a reading of every rule.

#![allow(clippy::unwrap_used, clippy::panic)] // clippy's own exemption ends at #[test] functions; helpers beside them are tests too

mod reading;
mod text;

use std::sync::Arc;

use plait_decide::route;
use plait_model::{Filters, Mirror, RequestHead, RouteMatch, RouteTable, WeightedBackend};
use proptest::prelude::*;

use self::text::rule;

fn matched(text: &str) -> RouteMatch {
    text::matched(text).unwrap()
}

fn head(text: &str) -> RequestHead {
    text::head(text).unwrap()
}

#[test]
fn the_most_specific_match_wins() {
    // (matches of rules 0, 1, 2 of one route; request; the rule that takes it)
    for (rules, request, expected) in [
        (["/", "/a", "=/a"], "GET /a", Some(2)),
        (["/", "/a", "=/a"], "GET /a/b", Some(1)),
        (["/", "/a", "=/a"], "GET /ab", Some(0)),
        (["/a", "/a/b", "/a/b/c"], "GET /a/b/x", Some(1)),
        (["/a", "/a/b", "/a/b/c"], "GET /a/b/c/", Some(2)),
        (["/a", "/a/b", "/a/b/c"], "GET /", None),
        (["/a", "~/a/.*", "=/a/b"], "GET /a/c", Some(1)),
        (["/a", "~/a/.*", "=/a/b"], "GET /a/b", Some(2)),
        (["/", "/ GET", "/ h:x=1"], "GET / x=1", Some(1)),
        (["/", "/ h:x=1", "/ h:x=1 h:y=2"], "GET / x=1 y=2", Some(2)),
        (["/", "/ q:a=1", "/ h:x=1"], "GET /?a=1 x=1", Some(2)),
        (["/", "/ q:a=1", "/ h:x=1"], "GET /?a=1", Some(1)),
        (["/ h:x=1", "/ h:x=1", "/a"], "GET / x=1", Some(0)),
        (["/ h:x=1", "/ h:x=2", "/ POST"], "GET / x=3", None),
        (["/ h:x=1,2", "/", "/zzz"], "GET / x=1 x=2", Some(0)),
        (["/ q:a=1", "/", "/zzz"], "GET /?a=2&a=1", Some(1)),
    ] {
        let all = rules.iter().enumerate().map(|(index, text)| (0, rule("r", index, vec![matched(text)]))).collect();
        let table = RouteTable::new(all);
        assert_eq!(route::find(&table, &head(request)).map(|choice| choice.rule.index), expected, "{rules:?} {request}");
    }
}

#[test]
fn ties_go_to_the_older_route_then_to_the_name() {
    let table = RouteTable::new(vec![(2, rule("a", 0, vec![])), (1, rule("z", 0, vec![])), (2, rule("b", 0, vec![]))]);
    assert_eq!(&*route::find(&table, &head("GET /")).unwrap().rule.object.name, "z");
    let table = RouteTable::new(vec![(0, rule("b", 0, vec![])), (0, rule("a", 0, vec![]))]);
    assert_eq!(&*route::find(&table, &head("GET /")).unwrap().rule.object.name, "a");
}

#[test]
fn more_routes_are_not_more_work() {
    for count in [10, 1_000, 10_000] {
        let mut rules: Vec<_> = (0..count).map(|n| (0, rule("r", n, vec![matched(&format!("/route-{n}"))]))).collect();
        rules.push((0, rule("r", count, vec![matched("/")])));
        let table = RouteTable::new(rules);
        assert_eq!(table.candidates("/route-7/x").count(), 2, "{count}");
        assert_eq!(route::find(&table, &head("GET /route-7/x")).unwrap().rule.index, 7);
        assert_eq!(route::find(&table, &head("GET /none")).unwrap().rule.index, count);
    }
}

#[test]
fn weights_share_the_traffic() {
    let share = |backend: &str, weight| WeightedBackend { backend: backend.into(), invalid: None, weight, filters: Filters::default() };
    let mut rule = Arc::into_inner(rule("r", 0, vec![])).unwrap();
    rule.backends = vec![share("a", 90), share("none", 0), share("b", 10)];
    rule.total_weight = 100;
    let hits = |name: &str| (0..100).filter(|&n| &*route::backend(&rule, |_| n).unwrap().backend == name).count();
    assert_eq!((hits("a"), hits("none"), hits("b")), (90, 0, 10));
    rule.total_weight = 0;
    assert!(route::backend(&rule, |_| 0).is_none());
}

#[test]
fn a_mirror_gets_its_share() {
    for (numerator, denominator, expected) in [(0, 0, 100), (1, 0, 100), (0, 100, 0), (25, 100, 25), (100, 100, 100), (3, 2, 100)] {
        let mirror = Mirror { backend: "ns/s:80".into(), invalid: None, numerator, denominator };
        assert_eq!((0..100).filter(|&n| route::mirrored(&mirror, |_| n)).count(), expected, "{numerator}/{denominator}");
    }
}

#[test]
fn what_matches_everything_takes_options_of_the_server_too() {
    let table = RouteTable::new(vec![(0, rule("all", 0, vec![])), (0, rule("a", 0, vec![matched("/a")]))]);
    assert_eq!(&*route::find(&table, &head("OPTIONS *")).unwrap().rule.object.name, "all");
}

fn any_match() -> impl Strategy<Value = String> {
    let path = prop_oneof!["(=)?/[ab](/[ab])?", Just("/".to_owned()), "~/[ab]\\.\\*"];
    (path, prop::option::of(Just(" GET")), prop::option::of("h:[xy]=[12]"), prop::option::of("q:[xy]=[12]")).prop_map(
        |(path, method, header, query)| {
            let part = |part: Option<String>| part.map_or_else(String::new, |part| format!(" {part}"));
            format!("{}{}{}{}", path, method.unwrap_or_default(), part(header), part(query))
        },
    )
}

proptest! {
    /// The index finds what reading every match in the order of precedence finds.
    #[test]
    fn the_index_changes_nothing(
        routes in prop::collection::vec((0_u64..3, prop::collection::vec(any_match(), 0..3)), 1..6),
        path in "/[ab]?(/[ab])?/?", method in "GET|PUT", header in "[xy]=[12]", query in "[xy]=[12]",
    ) {
        let all: Vec<_> = routes.iter().enumerate()
            .map(|(n, (age, matches))| (*age, rule(&format!("r{n}"), 0, matches.iter().map(|text| matched(text)).collect())))
            .collect();
        let table = RouteTable::new(all.clone());
        let head = head(&format!("{method} {path}?{query} {header}"));
        prop_assert_eq!(route::find(&table, &head).map(|choice| choice.rule.object.name.clone()), reading::by_reading_all(&all, &head));
    }
}
