//! Route: rules with their matches, filters and backends.

use std::sync::Arc;

use plait_model::{
    Filter, Filters, GrpcLength, HeaderModifier, Hostname, Mirror, PathMatch, PathRewrite, Redirect, RouteKind, RouteMatch, Rule,
    UrlRewrite, ValueMatch, WeightedBackend,
};
use plait_rules::Pattern;
use plait_wire as wire;

use super::{
    Refused, each, object, port,
    service::{call_traffic, sessions},
};

/// A route before it is joined to the Services that it shapes.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) created: u64,
    pub(crate) parents: Vec<Parent>,
    pub(crate) rules: Vec<Arc<Rule>>,
}

/// A Service front end.
#[derive(Debug)]
pub(crate) struct Parent {
    pub(crate) service: String,
    /// 0 = all ports.
    pub(crate) port: u32,
    /// Empty on a producer route.
    pub(crate) consumer_namespace: String,
}

pub(crate) fn route(message: wire::Route) -> Result<Route, Refused> {
    let wire::Route { object: from, created_unix_seconds, parents, rules, kind: route_kind, hostnames } = message;
    let from = Arc::new(object(from)?);
    let kind = kind(route_kind)?;
    let hostnames = each("hostnames", hostnames, |name| hostname(&name))?;
    if hostnames.is_empty() == (kind == RouteKind::Tls) {
        return Err(Refused::new("hostnames", "a TLSRoute has at least one, and no other route has any"));
    }
    let parent = |wire::RouteParent { service, port, consumer_namespace }| Parent { service, port, consumer_namespace };
    let mut converted = Vec::with_capacity(rules.len());
    for (index, message) in rules.into_iter().enumerate() {
        let wire::RouteRule { name, matches, filters: effects, backends, traffic, session_affinity } = message;
        let here = |refused: Refused| refused.within(format_args!("rules[{index}]"));
        let backends = each("backends", backends, share).map_err(here)?;
        converted.push(Arc::new(Rule {
            object: from.clone(),
            kind,
            index,
            label: format!("{}/{}#{}", from.namespace, from.name, if name.is_empty() { index.to_string() } else { name.clone() }).into(),
            name: name.into(),
            hostnames: hostnames.clone(),
            matches: each("matches", matches, route_match).map_err(here)?,
            filters: filters(effects).map_err(here)?,
            total_weight: backends
                .iter()
                .try_fold(0_u32, |sum, share| sum.checked_add(share.weight))
                .ok_or_else(|| here(Refused::new("backends", "the weights overflow")))?,
            backends,
            traffic: call_traffic(traffic.unwrap_or_default()).map_err(here)?,
            sessions: session_affinity.map(sessions).transpose().map_err(|refused| here(refused.within("session_affinity")))?,
        }));
    }
    Ok(Route { created: created_unix_seconds, parents: parents.into_iter().map(parent).collect(), rules: converted })
}

fn kind(value: i32) -> Result<RouteKind, Refused> {
    match wire::RouteKind::try_from(value) {
        Ok(wire::RouteKind::Unspecified | wire::RouteKind::Http) => Ok(RouteKind::Http),
        Ok(wire::RouteKind::Grpc) => Ok(RouteKind::Grpc),
        Ok(wire::RouteKind::Tls) => Ok(RouteKind::Tls),
        Ok(wire::RouteKind::Tcp) => Ok(RouteKind::Tcp),
        Err(_) => Err(Refused::new("kind", format_args!("unknown kind {value}"))),
    }
}

fn hostname(name: &str) -> Result<Hostname, Refused> {
    let whole = name.strip_prefix("*.").unwrap_or(name);
    let label = |label: &str| !label.is_empty() && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if !whole.split('.').all(label) {
        return Err(Refused::new("", format_args!("{name:?} is no server name")));
    }
    Ok(if whole.len() == name.len() { Hostname::Exact(name.into()) } else { Hostname::Below(whole.into()) })
}

fn route_match(message: wire::RouteMatch) -> Result<RouteMatch, Refused> {
    let wire::RouteMatch { path, headers, query, method, grpc } = message;
    let length = |wire::GrpcLength { service, method }| GrpcLength { service: service as usize, method: method as usize };
    Ok(RouteMatch {
        path: path.map_or_else(|| Ok(PathMatch::Prefix("/".into())), path_match)?,
        headers: each("headers", headers, value_match)?,
        query: each("query", query, value_match)?,
        method: match method.as_str() {
            "" => None,
            name => Some(name.parse().map_err(|_| Refused::new("method", format_args!("{name:?} is no method")))?),
        },
        grpc: grpc.map(length),
    })
}

fn path_match(message: wire::PathMatch) -> Result<PathMatch, Refused> {
    let wire::PathMatch { r#type, value } = message;
    match wire::MatchType::try_from(r#type) {
        Ok(wire::MatchType::Exact) => Ok(PathMatch::Exact(value.into())),
        Ok(wire::MatchType::Prefix) => Ok(PathMatch::Prefix(match value.trim_end_matches('/') {
            "" => "/".into(),
            prefix => prefix.into(),
        })),
        Ok(wire::MatchType::Regex) => Pattern::new(&value).map(PathMatch::Regex).map_err(|error| Refused::new("path.value", error)),
        Ok(wire::MatchType::Unspecified) | Err(_) => Err(Refused::new("path.type", "unknown")),
    }
}

fn value_match(message: wire::ValueMatch) -> Result<ValueMatch, Refused> {
    let wire::ValueMatch { name, r#type, value } = message;
    let pattern = match wire::MatchType::try_from(r#type) {
        Ok(wire::MatchType::Exact) => None,
        Ok(wire::MatchType::Regex) => Some(Pattern::new(&value).map_err(|error| Refused::new("value", error))?),
        Ok(wire::MatchType::Prefix | wire::MatchType::Unspecified) | Err(_) => {
            return Err(Refused::new("type", "must be exact or a regular expression"));
        }
    };
    Ok(ValueMatch { name: name.into(), pattern, value: value.into() })
}

fn share(message: wire::Backend) -> Result<WeightedBackend, Refused> {
    let wire::Backend { service, port: number, weight, filters: effects, invalid } = message;
    Ok(WeightedBackend { backend: key(&service, number), invalid: reason(invalid), weight, filters: filters(effects)? })
}

fn key(service: &str, port: u32) -> Arc<str> {
    format!("{service}:{port}").into()
}

fn reason(text: String) -> Option<Box<str>> {
    (!text.is_empty()).then(|| text.into())
}

fn filters(messages: Vec<wire::Filter>) -> Result<Filters, Refused> {
    use wire::filter::Filter as Kind;
    let all = each("filters", messages, |wire::Filter { filter }| match filter {
        Some(Kind::RequestHeaders(modifier)) => Ok(Filter::RequestHeaders(header_modifier(modifier))),
        Some(Kind::ResponseHeaders(modifier)) => Ok(Filter::ResponseHeaders(header_modifier(modifier))),
        Some(Kind::Redirect(message)) => redirect(message).map(Filter::Redirect),
        Some(Kind::Rewrite(wire::UrlRewrite { hostname, path })) => {
            Ok(Filter::Rewrite(UrlRewrite { hostname: reason(hostname), path: path.and_then(path_rewrite) }))
        }
        Some(Kind::Mirror(message)) => mirror(message).map(Filter::Mirror),
        None => Err(Refused::new("", "an unknown filter")),
    })?;
    Ok(all.into_iter().collect())
}

fn header_modifier(message: wire::HeaderModifier) -> HeaderModifier {
    let wire::HeaderModifier { set, add, remove } = message;
    let pairs = |headers: Vec<wire::Header>| headers.into_iter().map(|wire::Header { name, value }| (name.into(), value.into())).collect();
    HeaderModifier { set: pairs(set), add: pairs(add), remove: remove.into_iter().map(Into::into).collect() }
}

fn redirect(message: wire::Redirect) -> Result<Redirect, Refused> {
    let wire::Redirect { scheme, hostname, path, port: number, status } = message;
    Ok(Redirect {
        scheme: reason(scheme),
        hostname: reason(hostname),
        path: path.and_then(path_rewrite),
        port: if number == 0 { None } else { Some(port("redirect.port", number)?) },
        status: match status {
            0 => 302,
            301 | 302 | 303 | 307 | 308 => status as u16,
            other => return Err(Refused::new("redirect.status", format_args!("{other} is no redirect"))),
        },
    })
}

fn path_rewrite(message: wire::PathRewrite) -> Option<PathRewrite> {
    let wire::PathRewrite { kind } = message;
    kind.map(|kind| match kind {
        wire::path_rewrite::Kind::Full(path) => PathRewrite::Full(path.into()),
        wire::path_rewrite::Kind::Prefix(path) => PathRewrite::Prefix(path.into()),
    })
}

fn mirror(message: wire::Mirror) -> Result<Mirror, Refused> {
    let wire::Mirror { backend, numerator, denominator } = message;
    let wire::Backend { service, port: number, weight: _, filters: _, invalid } =
        backend.ok_or_else(|| Refused::new("mirror.backend", "absent"))?;
    Ok(Mirror { backend: key(&service, number), invalid: reason(invalid), numerator, denominator })
}
