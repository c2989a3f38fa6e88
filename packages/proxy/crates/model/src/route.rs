//! Rules of routes as the data path reads them, filters already taken apart.

use std::{sync::Arc, time::Duration};

use plait_rules::Pattern;

use crate::{ObjectRef, Origin, SessionAffinity};

/// What kind of route a rule belongs to, in the order in which a kind gives way to another on one port of a Service: the greatest counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum RouteKind {
    /// TCPRoute: takes every connection.
    Tcp,
    /// TLSRoute: takes connections by the server name that their client asks for.
    Tls,
    /// HTTPRoute, and what a Service does that no route shapes.
    #[default]
    Http,
    /// GRPCRoute: takes requests as an HTTPRoute does, by another precedence.
    Grpc,
}

/// A rule of a route, or the implicit rule of a Service that no route shapes.
#[derive(Debug)]
pub struct Rule {
    /// The route; the Service itself for an implicit rule.
    pub object: Arc<ObjectRef>,
    /// Its kind.
    pub kind: RouteKind,
    /// Index in `spec.rules`.
    pub index: usize,
    /// `name`, may be empty.
    pub name: Box<str>,
    /// "namespace/name#rule" for metrics; empty for an implicit rule.
    pub label: Arc<str>,
    /// Server names that a TLSRoute takes; empty for every other kind.
    pub hostnames: Vec<Hostname>,
    /// OR; empty matches everything.
    pub matches: Vec<RouteMatch>,
    /// In the order of their effect.
    pub filters: Filters,
    /// Shares of the traffic.
    pub backends: Vec<WeightedBackend>,
    /// Sum of all weights, also of those that cannot serve.
    pub total_weight: u32,
    /// Timeouts and retries.
    pub traffic: CallTraffic,
    /// `sessionPersistence`: counts before that of the backend; `None` = as the backend has it.
    pub sessions: Option<SessionAffinity>,
}

impl Rule {
    /// True for the implicit rule of a Service.
    pub fn is_implicit(&self) -> bool {
        &*self.object.kind == "Service"
    }
}

/// `matches[i]`: all of it must match.
#[derive(Debug)]
pub struct RouteMatch {
    /// Path.
    pub path: PathMatch,
    /// Header fields, names lower case.
    pub headers: Vec<ValueMatch>,
    /// Query parameters.
    pub query: Vec<ValueMatch>,
    /// `None` = any.
    pub method: Option<http::Method>,
    /// What ranks a match of a GRPCRoute; `None` = it is ranked by its path.
    pub grpc: Option<GrpcLength>,
}

/// Characters of service and method, as the user wrote them: by these the standard ranks the matches of GRPCRoutes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GrpcLength {
    /// Of the service; 0 = any.
    pub service: usize,
    /// Of the method; 0 = any.
    pub method: usize,
}

/// A server name of a TLSRoute, lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hostname {
    /// The whole name.
    Exact(Box<str>),
    /// `*.example.org`, kept as "example.org": every name below it, and not itself.
    Below(Box<str>),
}

/// `path`.
#[derive(Debug)]
pub enum PathMatch {
    /// The whole path.
    Exact(Box<str>),
    /// By segment; without trailing slash but for "/" itself.
    Prefix(Box<str>),
    /// The whole path.
    Regex(Pattern),
}

/// A header or query parameter match.
#[derive(Debug)]
pub struct ValueMatch {
    /// Name; lower case for headers, as written for query parameters.
    pub name: Box<str>,
    /// `None` = exact comparison with `value`.
    pub pattern: Option<Pattern>,
    /// The value, or the source of the pattern.
    pub value: Box<str>,
}

/// All filters of a rule or backend by kind; the standard allows each kind once, but mirrors.
#[derive(Debug, Default)]
pub struct Filters {
    /// RequestHeaderModifier.
    pub request_headers: Option<HeaderModifier>,
    /// ResponseHeaderModifier.
    pub response_headers: Option<HeaderModifier>,
    /// RequestRedirect.
    pub redirect: Option<Redirect>,
    /// URLRewrite.
    pub rewrite: Option<UrlRewrite>,
    /// RequestMirror.
    pub mirrors: Vec<Mirror>,
}

/// One filter, as the contract lists them.
#[derive(Debug)]
pub enum Filter {
    /// RequestHeaderModifier.
    RequestHeaders(HeaderModifier),
    /// ResponseHeaderModifier.
    ResponseHeaders(HeaderModifier),
    /// RequestRedirect.
    Redirect(Redirect),
    /// URLRewrite.
    Rewrite(UrlRewrite),
    /// RequestMirror.
    Mirror(Mirror),
}

impl FromIterator<Filter> for Filters {
    fn from_iter<T: IntoIterator<Item = Filter>>(filters: T) -> Self {
        let mut all = Self::default();
        for filter in filters {
            match filter {
                Filter::RequestHeaders(modifier) => all.request_headers = Some(modifier),
                Filter::ResponseHeaders(modifier) => all.response_headers = Some(modifier),
                Filter::Redirect(redirect) => all.redirect = Some(redirect),
                Filter::Rewrite(rewrite) => all.rewrite = Some(rewrite),
                Filter::Mirror(mirror) => all.mirrors.push(mirror),
            }
        }
        all
    }
}

/// Names lower case. Applied in the order set, add, remove.
#[derive(Debug, Default)]
pub struct HeaderModifier {
    /// Replaces.
    pub set: Vec<(Box<str>, Box<str>)>,
    /// Adds to what is there, joined with a comma.
    pub add: Vec<(Box<str>, Box<str>)>,
    /// Takes away.
    pub remove: Vec<Box<str>>,
}

/// RequestRedirect.
#[derive(Debug)]
pub struct Redirect {
    /// `None` = as the request came.
    pub scheme: Option<Box<str>>,
    /// `None` = as the request came.
    pub hostname: Option<Box<str>>,
    /// `None` = as the request came.
    pub path: Option<PathRewrite>,
    /// `None` = by the rules of the standard.
    pub port: Option<u16>,
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
}

/// URLRewrite.
#[derive(Debug)]
pub struct UrlRewrite {
    /// `None` = unchanged.
    pub hostname: Option<Box<str>>,
    /// `None` = unchanged.
    pub path: Option<PathRewrite>,
}

/// How a path changes; the query stays.
#[derive(Debug)]
pub enum PathRewrite {
    /// ReplaceFullPath.
    Full(Box<str>),
    /// ReplacePrefixMatch: replaces the prefix that matched.
    Prefix(Box<str>),
}

/// RequestMirror.
#[derive(Debug)]
pub struct Mirror {
    /// "namespace/service:port".
    pub backend: Arc<str>,
    /// Why it cannot serve.
    pub invalid: Option<Box<str>>,
    /// Share of the requests: numerator of denominator.
    pub numerator: u32,
    /// 0 = all.
    pub denominator: u32,
}

/// A share of a rule's traffic.
#[derive(Debug)]
pub struct WeightedBackend {
    /// Key in `Snapshot::backends`, "namespace/service:port".
    pub backend: Arc<str>,
    /// Why it cannot serve, in the user's terms; its share is answered with 500.
    pub invalid: Option<Box<str>>,
    /// Share of `Rule::total_weight`.
    pub weight: u32,
    /// Filters of this backend alone.
    pub filters: Filters,
}

/// Traffic settings of a called Service or route rule.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CallTraffic {
    /// `None` = no limit.
    pub request_timeout: Option<Duration>,
    /// `None` = no limit.
    pub attempt_timeout: Option<Duration>,
    /// `None` = only what was certainly not delivered is tried elsewhere.
    pub retries: Option<Retries>,
    /// Which objects set what, for explain.
    pub origins: Vec<Origin>,
}

/// `retries`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retries {
    /// Answers that are tried again.
    pub codes: Vec<u16>,
    /// Tries after the first.
    pub attempts: u32,
    /// Before the first retry; doubled each time, with jitter.
    pub backoff: Duration,
    /// Bounds what retries add to the load.
    pub budget: RetryBudget,
}

/// `retries.budget`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryBudget {
    /// Of the requests of the interval.
    pub percent: u32,
    /// Length of the window.
    pub interval: Duration,
    /// Always allowed.
    pub min_per_second: u32,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self { percent: 20, interval: Duration::from_secs(10), min_per_second: 10 }
    }
}
