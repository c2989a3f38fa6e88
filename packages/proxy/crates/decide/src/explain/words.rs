//! Matches in the user's terms. Called by `explain`; compares nothing that routing has not compared.

use plait_model::{HashOn, PathMatch, RequestHead, RouteMatch, Rule, Specificity, ValueMatch};

use crate::route::{self, RouteChoice};

/// What a match asks for, part by part.
pub(super) fn matched(found: &RouteMatch) -> Vec<String> {
    let path = match &found.path {
        PathMatch::Exact(path) => format!("path is {path}"),
        PathMatch::Prefix(path) => format!("path is below {path}"),
        PathMatch::Regex(pattern) => format!("path matches {}", pattern.as_str()),
    };
    let method = found.method.as_ref().map(|method| format!("method is {method}"));
    let headers = found.headers.iter().map(|wanted| value("header", wanted));
    let query = found.query.iter().map(|wanted| value("query parameter", wanted));
    [path].into_iter().chain(method).chain(headers).chain(query).collect()
}

fn value(what: &str, wanted: &ValueMatch) -> String {
    match &wanted.pattern {
        None => format!("{what} {} is {}", wanted.name, wanted.value),
        Some(pattern) => format!("{what} {} matches {}", wanted.name, pattern.as_str()),
    }
}

/// What of a request chooses its endpoint.
pub(super) fn hashed(on: &HashOn) -> String {
    match on {
        HashOn::Header(name) => format!("header {name}"),
        HashOn::Cookie(name) => format!("cookie {name}"),
        HashOn::Address => "the caller's address".into(),
        HashOn::Identity => "the caller's identity".into(),
    }
}

/// Why `rule` does not take the request: the first reason of each match, or what the chosen rule has ahead of it.
pub(super) fn why_not(rule: &Rule, chosen: Option<RouteChoice<'_>>, head: &RequestHead) -> String {
    let fits = |found: &&RouteMatch| route::mismatch(found, head).is_none();
    let best = match rule.matches.is_empty() {
        true => Some(Specificity::of(None)),
        false => rule.matches.iter().filter(fits).map(|found| Specificity::of(Some(found))).max(),
    };
    match (best, chosen) {
        (Some(lost), Some(chosen)) => lost_to(rule, lost, chosen),
        _ => rule.matches.iter().filter_map(|found| route::mismatch(found, head)).collect::<Vec<_>>().join("; "),
    }
}

fn lost_to(rule: &Rule, lost: Specificity, chosen: RouteChoice<'_>) -> String {
    let won = Specificity::of(chosen.matched);
    let behind = if lost.path_kind != won.path_kind {
        "has a path match of a less specific kind"
    } else if lost.path_length != won.path_length {
        "has a shorter path match"
    } else if lost.method != won.method {
        "names no method"
    } else if lost.headers != won.headers {
        "has fewer header matches"
    } else if lost.query != won.query {
        "has fewer query parameter matches"
    } else if rule.object == chosen.rule.object {
        "stands later in its route"
    } else {
        "belongs to a younger route, or to one later by name"
    };
    format!("it matches too, but {behind}")
}
