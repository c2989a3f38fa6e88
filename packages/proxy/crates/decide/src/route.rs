//! Which rule a request meets, and which share of it. Precedence stands in `model::RouteTable`; this walks its candidates.

use std::sync::Arc;

use plait_model::{Candidate, Mirror, PathMatch, RequestHead, RouteKind, RouteMatch, RouteTable, Rule, ValueMatch, WeightedBackend};

/// A rule and how it matched.
#[derive(Debug, Clone, Copy)]
pub struct RouteChoice<'t> {
    /// The rule.
    pub rule: &'t Arc<Rule>,
    /// The match that hit; `None` for a rule without matches.
    pub matched: Option<&'t RouteMatch>,
}

impl RouteChoice<'_> {
    /// The path prefix that matched, for rewrites that replace it.
    pub fn prefix(&self) -> Option<&str> {
        match self.matched.map(|matched| &matched.path) {
            Some(PathMatch::Prefix(prefix)) => Some(prefix),
            Some(PathMatch::Exact(_) | PathMatch::Regex(_)) => None,
            None => Some("/"),
        }
    }
}

/// The most specific rule that matches a request; `None` = 404.
pub fn find<'t>(table: &'t RouteTable, head: &'t RequestHead) -> Option<RouteChoice<'t>> {
    let holds = |candidate: &Candidate| table.resolve(*candidate).1.is_none_or(|matched| mismatch(matched, head).is_none());
    let mut candidates = table.candidates(&head.path);
    let found = match table.kind() {
        RouteKind::Grpc => candidates.fold(None, |best: Option<Candidate>, next| match best {
            Some(best) if best.precedes(&next) => Some(best),
            _ if holds(&next) => Some(next),
            _ => best,
        }),
        RouteKind::Tcp | RouteKind::Tls | RouteKind::Http => candidates.find(holds),
    };
    let (rule, matched) = table.resolve(found?);
    Some(RouteChoice { rule, matched })
}

/// The rule that takes a connection of opaque bytes, by the server name that its client asks for; `None` = it is closed.
pub fn find_stream<'t>(table: &'t RouteTable, server_name: Option<&str>) -> Option<RouteChoice<'t>> {
    table.stream(server_name).map(|rule| RouteChoice { rule, matched: None })
}

/// The backend for a roll in `0..total_weight`; `None` when no backend has a weight.
pub fn backend(rule: &Rule, roll: impl FnOnce(u32) -> u32) -> Option<&WeightedBackend> {
    if rule.total_weight == 0 {
        return None;
    }
    // One backend is the usual case and needs no randomness.
    if let [only] = rule.backends.as_slice() {
        return Some(only);
    }
    let mut left = roll(rule.total_weight);
    rule.backends.iter().find(|backend| match left.checked_sub(backend.weight) {
        None => true,
        Some(rest) => {
            left = rest;
            false
        }
    })
}

/// Whether this request is one of those that go to the mirror too; `roll(n)` gives a number in `0..n`.
pub fn mirrored(mirror: &Mirror, roll: impl FnOnce(u32) -> u32) -> bool {
    // A share that is everything, or nothing, needs no randomness.
    match (mirror.numerator, mirror.denominator) {
        (_, 0) => true,
        (0, _) => false,
        (share, all) => share >= all || roll(all) < share,
    }
}

/// Why a match does not hold, in the user's terms; `None` = it holds.
pub fn mismatch(matched: &RouteMatch, head: &RequestHead) -> Option<String> {
    if !path_matches(&matched.path, &head.path) {
        return Some(match &matched.path {
            PathMatch::Exact(path) => format!("path is not {path}"),
            PathMatch::Prefix(path) => format!("path is not below {path}"),
            PathMatch::Regex(pattern) => format!("path does not match {}", pattern.as_str()),
        });
    }
    if let Some(method) = matched.method.as_ref().filter(|method| **method != head.method) {
        return Some(format!("method is not {method}"));
    }
    let header = matched.headers.iter().find(|wanted| !header_matches(wanted, head));
    if let Some(wanted) = header {
        return Some(describe("header", wanted, head.headers.contains(&wanted.name)));
    }
    let query = matched.query.iter().find(|wanted| !query_matches(wanted, head));
    query.map(|wanted| describe("query parameter", wanted, head.query_values(&wanted.name).next().is_some()))
}

fn describe(what: &str, wanted: &ValueMatch, present: bool) -> String {
    match (present, &wanted.pattern) {
        (false, _) => format!("{what} {} is absent", wanted.name),
        (true, None) => format!("{what} {} is not {}", wanted.name, wanted.value),
        (true, Some(pattern)) => format!("{what} {} does not match {}", wanted.name, pattern.as_str()),
    }
}

fn path_matches(wanted: &PathMatch, path: &str) -> bool {
    match wanted {
        PathMatch::Exact(exact) => **exact == *path,
        PathMatch::Regex(pattern) => pattern.is_match(path),
        PathMatch::Prefix(prefix) if &**prefix == "/" => true,
        PathMatch::Prefix(prefix) => path.strip_prefix(&**prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
    }
}

/// Several fields of one name are one list, joined with commas, as RFC 9110 says.
fn header_matches(wanted: &ValueMatch, head: &RequestHead) -> bool {
    let mut values = head.headers.all(&wanted.name);
    let Some(first) = values.next() else { return false };
    match values.next() {
        None => value_matches(wanted, &String::from_utf8_lossy(first)),
        Some(second) => {
            let all: Vec<_> = [first, second].into_iter().chain(values).map(String::from_utf8_lossy).collect();
            value_matches(wanted, &all.join(","))
        }
    }
}

/// The first of several parameters of one name counts, as the standard says.
fn query_matches(wanted: &ValueMatch, head: &RequestHead) -> bool {
    head.query_values(&wanted.name).next().is_some_and(|value| value_matches(wanted, &value))
}

fn value_matches(wanted: &ValueMatch, value: &str) -> bool {
    match &wanted.pattern {
        None => *wanted.value == *value,
        Some(pattern) => pattern.is_match(value),
    }
}
