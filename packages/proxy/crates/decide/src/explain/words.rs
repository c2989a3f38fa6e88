//! Matches in the user's terms. Called by `explain`; compares nothing that routing has not compared.

use plait_model::{
    Carrier, HashOn, HealthCheck, Hostname, OutlierDetection, PathMatch, Probe, Protocol, RequestHead, RouteMatch, Rule, SessionAffinity,
    Specificity, ValueMatch,
};

use crate::{
    route::{self, RouteChoice},
    zone::Stay,
};

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

/// What is spoken on a port.
pub(super) fn spoken(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Auto => "auto",
        Protocol::Http => "http",
        Protocol::Http2 => "http2",
        Protocol::Tcp => "tcp",
        Protocol::Tls => "tls",
    }
}

/// Why a rule of a lesser kind of route takes nothing.
pub(super) const GAVE_WAY: &str = "a route of another kind stands on the port, and its own gives way";

/// The name by which a rule of a TLSRoute takes a connection; `None` for other rules, and when it does not.
pub(super) fn taken(rule: &Rule, server_name: &str) -> Option<Vec<String>> {
    let best = rule.hostnames.iter().filter(|hostname| takes(hostname, server_name)).max_by_key(|hostname| rank(hostname))?;
    Some(vec![format!("server name is {}", written(best))])
}

/// Why a rule for connections does not take one.
pub(super) fn why_no_stream(rule: &Rule, chosen: Option<RouteChoice<'_>>, server_name: &str) -> String {
    let best = |rule: &Rule| rule.hostnames.iter().filter(|hostname| takes(hostname, server_name)).map(rank).max();
    match (best(rule), chosen) {
        (None, _) if !rule.hostnames.is_empty() => {
            format!("server name is not {}", rule.hostnames.iter().map(written).collect::<Vec<_>>().join(" or "))
        }
        (lost, Some(chosen)) if lost < best(chosen.rule) => "it takes the name too, but less specifically".to_owned(),
        (_, Some(chosen)) if rule.object == chosen.rule.object => "an earlier rule of its route takes it".to_owned(),
        (_, Some(_)) => "an older route takes it, or one earlier by name".to_owned(),
        (_, None) => "it takes nothing".to_owned(),
    }
}

fn takes(hostname: &Hostname, server_name: &str) -> bool {
    match hostname {
        Hostname::Exact(name) => **name == *server_name,
        Hostname::Below(suffix) => server_name.strip_suffix(&**suffix).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')),
    }
}

/// Whole names before wildcards, longer before shorter.
fn rank(hostname: &Hostname) -> (bool, usize) {
    match hostname {
        Hostname::Exact(name) => (true, name.len()),
        Hostname::Below(suffix) => (false, suffix.len()),
    }
}

fn written(hostname: &Hostname) -> String {
    match hostname {
        Hostname::Exact(name) => name.to_string(),
        Hostname::Below(suffix) => format!("*.{suffix}"),
    }
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

/// What carries a session.
pub(super) fn carried(affinity: &SessionAffinity) -> String {
    let carrier = match &affinity.carrier {
        Carrier::Cookie { name, .. } => format!("cookie {name}"),
        Carrier::Header(name) => format!("header {name}"),
    };
    affinity.ttl.map_or(carrier.clone(), |ttl| format!("{carrier}, for {ttl:?}"))
}

/// What part of the callers in `zone` stays there.
pub(super) fn stays(zone: &str, stay: Option<Stay>) -> String {
    match stay {
        None if zone.is_empty() => "the caller stands in none, so any endpoint".to_owned(),
        None => format!("{zone} has too few endpoints, or all of them, so any endpoint"),
        Some(Stay { part, fit, of }) => format!("{:.0} % stays in {zone}, which has {fit} of {of} fit endpoints", part * 100.0),
    }
}

/// What ejects an endpoint.
pub(super) fn ejected(rules: &OutlierDetection) -> String {
    let failures = (rules.consecutive_failures > 0).then(|| format!("{} failures in a row", rules.consecutive_failures));
    let rate = rules.success_rate.as_ref().map(|rate| {
        format!("fewer than {} % successes of at least {} requests in {:?}", rate.min_percent, rate.min_requests, rate.interval)
    });
    let causes: Vec<_> = failures.into_iter().chain(rate).collect();
    format!("{}; for {:?}, at most {} % of the endpoints", causes.join(" or "), rules.base_ejection, rules.max_ejected_percent)
}

/// What is checked of each endpoint.
pub(super) fn checked(rules: &HealthCheck) -> String {
    let asked = match &rules.probe {
        Probe::Http { path, query, host, expected_statuses } => {
            let query = query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
            let statuses = expected_statuses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ");
            format!("GET {path}{query} of {host} gives {statuses}")
        }
        Probe::Grpc(service) if service.is_empty() => "grpc.health.v1 says SERVING".to_owned(),
        Probe::Grpc(service) => format!("grpc.health.v1 says SERVING of {service}"),
        Probe::Tcp => "it accepts a connection".to_owned(),
    };
    let HealthCheck { interval, timeout, unhealthy_threshold, healthy_threshold, min_healthy_percent, probe: _ } = rules;
    format!(
        "{asked}; every {interval:?}, within {timeout:?}; out after {unhealthy_threshold} failures, back after {healthy_threshold} passes; \
         with less than {min_healthy_percent} % healthy all are used"
    )
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
    let behind = if lost.grpc.0 != won.grpc.0 {
        "names fewer characters of the service"
    } else if lost.grpc.1 != won.grpc.1 {
        "names fewer characters of the method"
    } else if lost.path_kind != won.path_kind {
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
