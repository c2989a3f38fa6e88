//! Routes of other kinds than HTTP: GRPCRoutes, ranked by characters of service and method; TLSRoutes, by server name; TCPRoutes, which take all;
//! and which kind counts on a port.

#![allow(clippy::unwrap_used, clippy::panic)] // clippy's own exemption ends at #[test] functions; helpers beside them are tests too

mod text;

use std::{cmp::Reverse, sync::Arc};

use plait_decide::route;
use plait_model::{DestinationPort, GrpcLength, Hostname, Map, Protocol, RouteKind, RouteMatch, RouteTable, Rule};
use proptest::prelude::*;

/// "shop.Cart/Add", "shop.Cart/", "/Add", "~shop\..*/", "~/A.*" or "/", then header matches: as the control plane writes them.
fn matched(text: &str) -> RouteMatch {
    let (what, headers) = text.split_once(' ').map_or((text, String::new()), |(what, headers)| (what, format!(" {headers}")));
    let (regex, what) = what.strip_prefix('~').map_or((false, what), |what| (true, what));
    let (service, method) = what.split_once('/').unwrap();
    let path = match (regex, service, method) {
        (_, "", "") => "/".to_owned(),
        (false, service, "") => format!("/{service}"),
        (false, "", method) => format!("~/[^/]+/(?:{method})"),
        (false, service, method) => format!("=/{service}/{method}"),
        (true, "", method) => format!("~/[^/]+/(?:{method})"),
        (true, service, "") => format!("~/(?:{service})/[^/]+"),
        (true, service, method) => format!("~/(?:{service})/(?:{method})"),
    };
    let found = text::matched(&format!("{path} POST{headers}")).unwrap();
    RouteMatch { grpc: Some(GrpcLength { service: service.len(), method: method.len() }), ..found }
}

fn grpc(route: &str, index: usize, matches: &[&str]) -> Arc<Rule> {
    let mut rule = Arc::into_inner(text::rule(route, index, matches.iter().map(|text| matched(text)).collect())).unwrap();
    rule.kind = RouteKind::Grpc;
    Arc::new(rule)
}

#[test]
fn service_then_method_then_headers_rank_the_matches() {
    for (rules, request, expected) in [
        (["/", "shop.Cart/", "shop.Cart/Add"], "POST /shop.Cart/Add", Some(2)),
        (["/", "shop.Cart/", "shop.Cart/Add"], "POST /shop.Cart/Drop", Some(1)),
        (["/", "shop.Cart/", "shop.Cart/Add"], "POST /shop.Carts/Add", Some(0)),
        (["/", "/Add", "shop.Cart/"], "POST /shop.Cart/Add", Some(2)),
        (["/", "/Add", "shop.Cart/"], "POST /shop.Other/Add", Some(1)),
        // More characters of the service outweigh an exact path, and a method.
        (["shop.Cart/Add", "~shop\\.[A-Z][a-z]+/", "/"], "POST /shop.Cart/Add", Some(1)),
        (["~s.*/", "shop.Cart/", "/"], "POST /shop.Cart/Add", Some(1)),
        (["~s.*/", "shop.Cart/", "/"], "POST /shop.Bill/Add", Some(0)),
        (["shop.Cart/", "shop.Cart/ h:x=1", "/"], "POST /shop.Cart/Add x=1", Some(1)),
        (["shop.Cart/", "shop.Cart/ h:x=1", "/"], "POST /shop.Cart/Add x=2", Some(0)),
        (["/ h:x=1", "/", "/ h:x=1"], "POST /a.B/C x=1", Some(0)),
        (["~/A.+", "/Add", "~/(?:Add|Drop)"], "POST /a.B/Add", Some(2)),
        (["shop.Cart/Add", "shop.Cart/Add", "shop.Cart/Add"], "POST /shop.Cart/Add", Some(0)),
        (["shop.Cart/Add", "shop.Cart/", "/"], "GET /shop.Cart/Add", None),
        (["shop.Cart/Add", "/Add", "~shop/Ad"], "POST /shop.Cart/Added", None),
    ] {
        let all = rules.iter().enumerate().map(|(index, text)| (0, grpc("r", index, &[text]))).collect();
        let found = route::find(&RouteTable::new(all), &text::head(request).unwrap()).map(|choice| choice.rule.index);
        assert_eq!(found, expected, "{rules:?} {request}");
    }
}

#[test]
fn a_rule_with_the_best_of_several_matches_wins_and_age_decides_ties() {
    let table = RouteTable::new(vec![(2, grpc("young", 0, &["/", "a.B/C"])), (1, grpc("old", 0, &["a.B/C", "/D"]))]);
    for (request, expected) in [("POST /a.B/C", "old"), ("POST /x.Y/D", "old"), ("POST /x.Y/Z", "young")] {
        assert_eq!(&*route::find(&table, &text::head(request).unwrap()).unwrap().rule.object.name, expected, "{request}");
    }
}

proptest! {
    /// The table finds what reading every match in the standard's order finds.
    #[test]
    fn the_index_of_methods_changes_nothing(
        routes in prop::collection::vec((0_u64..3, prop::collection::vec("~?(a(\\.[BC])?)?/([DE]+)?( h:x=[12])?", 1..4)), 1..6),
        request in "POST /a(\\.[BC])?/[DE]{1,2}( x=[12])?",
    ) {
        let all: Vec<_> = routes.iter().enumerate().map(|(n, (age, matches))| {
            (*age, grpc(&format!("r{n}"), 0, &matches.iter().map(String::as_str).collect::<Vec<_>>()))
        }).collect();
        let head = text::head(&request).unwrap();
        let fitting = all.iter().flat_map(|(age, rule)| {
            let holds = |found: &&RouteMatch| route::mismatch(found, &head).is_none();
            rule.matches.iter().filter(holds).map(move |found| (age, rule, found))
        });
        let best = fitting.min_by_key(|(age, rule, found)| {
            let length = found.grpc.unwrap();
            (Reverse((length.service, length.method, found.headers.len())), **age, rule.object.name.clone())
        });
        let expected = best.map(|(_, rule, _)| rule.object.name.clone());
        let table = RouteTable::new(all.clone());
        prop_assert_eq!(route::find(&table, &head).map(|choice| choice.rule.object.name.clone()), expected);
    }
}

fn hostname(text: &str) -> Hostname {
    text.strip_prefix("*.").map_or_else(|| Hostname::Exact(text.into()), |suffix| Hostname::Below(suffix.into()))
}

fn stream(kind: RouteKind, route: &str, hostnames: &[&str]) -> Arc<Rule> {
    let mut rule = Arc::into_inner(text::rule(route, 0, vec![])).unwrap();
    rule.kind = kind;
    rule.hostnames = hostnames.iter().map(|name| hostname(name)).collect();
    Arc::new(rule)
}

fn taken(table: &RouteTable, server_name: Option<&str>) -> Option<String> {
    route::find_stream(table, server_name).map(|choice| choice.rule.object.name.to_string())
}

#[test]
fn the_whole_name_comes_first_and_then_the_longest_wildcard() {
    let table = RouteTable::new(vec![
        (1, stream(RouteKind::Tls, "wide", &["*.org", "*.example.org"])),
        (2, stream(RouteKind::Tls, "deep", &["*.shop.example.org", "*.example.org"])),
        (3, stream(RouteKind::Tls, "exact", &["a.shop.example.org", "example.org"])),
    ]);
    for (asked, expected) in [
        (Some("a.shop.example.org"), Some("exact")),
        (Some("b.shop.example.org"), Some("deep")),
        (Some("x.b.shop.example.org"), Some("deep")),
        // A wildcard takes what is below it, not itself.
        (Some("shop.example.org"), Some("wide")),
        (Some("example.org"), Some("exact")),
        (Some("ashop.example.org"), Some("wide")),
        (Some("org"), None),
        (Some("example.com"), None),
        (Some(""), None),
        (None, None),
    ] {
        assert_eq!(taken(&table, asked).as_deref(), expected, "{asked:?}");
    }
}

#[test]
fn of_equals_the_oldest_takes_it() {
    for kind in [RouteKind::Tcp, RouteKind::Tls] {
        let names: &[&str] = if kind == RouteKind::Tls { &["a"] } else { &[] };
        let table = RouteTable::new(vec![(2, stream(kind, "a", names)), (1, stream(kind, "z", names)), (1, stream(kind, "y", names))]);
        assert_eq!(taken(&table, Some("a")).as_deref(), Some("y"));
    }
}

#[test]
fn kinds_give_way_to_one_another_and_say_what_is_spoken() {
    use Protocol::{Auto, Http, Http2, Tcp, Tls};
    use RouteKind as Kind;
    for (kinds, declared, expected, spoken) in [
        (&[Kind::Tcp][..], Auto, Kind::Tcp, Tcp),
        (&[Kind::Tcp], Http, Kind::Tcp, Tcp),
        (&[Kind::Tcp, Kind::Tls], Tcp, Kind::Tls, Tls),
        (&[Kind::Tls, Kind::Http, Kind::Tcp], Auto, Kind::Http, Auto),
        (&[Kind::Http], Tcp, Kind::Http, Tcp),
        (&[Kind::Http], Tls, Kind::Http, Tls),
        (&[Kind::Http, Kind::Grpc], Auto, Kind::Grpc, Http2),
        (&[Kind::Grpc], Http, Kind::Grpc, Http),
        (&[], Auto, Kind::Http, Auto),
    ] {
        let rules = kinds.iter().map(|kind| (0, stream(*kind, "r", if *kind == Kind::Tls { &["a"] } else { &[] }))).collect();
        let table = Arc::new(RouteTable::new(rules));
        assert_eq!(table.kind(), expected, "{kinds:?}");
        let found = route::find(&table, &text::head("GET /").unwrap()).map(|choice| choice.rule.kind);
        let requests = matches!(expected, Kind::Http | Kind::Grpc) && !kinds.is_empty();
        assert_eq!(found, requests.then_some(expected), "{kinds:?}");
        let stream = route::find_stream(&table, Some("a")).map(|choice| choice.rule.kind);
        assert_eq!(stream, (expected < Kind::Http).then_some(expected), "{kinds:?}");
        let port = DestinationPort { name: "".into(), port: 1, protocol: declared, routes: table, consumer_routes: Map::default() };
        assert_eq!(port.protocol_for("anybody"), spoken, "{kinds:?} {declared:?}");
    }
}

proptest! {
    /// The index finds what reading every name finds.
    #[test]
    fn the_index_of_names_changes_nothing(
        routes in prop::collection::vec((0_u64..3, prop::collection::vec("(\\*\\.)?[ab](\\.[ab]){0,2}", 1..4)), 1..6),
        asked in "[ab](\\.[ab]){0,3}",
    ) {
        let all: Vec<_> = routes.iter().enumerate().map(|(n, (age, names))| {
            (*age, stream(RouteKind::Tls, &format!("r{n}"), &names.iter().map(String::as_str).collect::<Vec<_>>()))
        }).collect();
        let takes = |name: &Hostname| match name {
            Hostname::Exact(name) => **name == *asked,
            Hostname::Below(suffix) => asked.ends_with(&format!(".{suffix}")),
        };
        let length = |name: &Hostname| match name {
            Hostname::Exact(name) => (true, name.len()),
            Hostname::Below(suffix) => (false, suffix.len()),
        };
        let named = all.iter().flat_map(|(age, rule)| rule.hostnames.iter().filter(|name| takes(name)).map(move |name| (age, rule, name)));
        let best = named.min_by_key(|(age, rule, name)| (Reverse(length(name)), **age, rule.object.name.clone()));
        let expected = best.map(|(_, rule, _)| rule.object.name.to_string());
        prop_assert_eq!(taken(&RouteTable::new(all.clone()), Some(&asked)), expected);
    }
}
