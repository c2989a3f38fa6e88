//! Sessions: which endpoint answered the caller before, and what tells it of the one that answers now. Called by `proxy`, once a request and once
//! an answer. What a caller carries is a hint: malformed, made up, too old or of an endpoint that is gone, it is no session.

use plait_model::{Backend, Carrier, Endpoint, Headers, PathMatch, RequestHead, RouteMatch, Rule, SessionAffinity, Sessions, Snapshot};

use crate::cookie;

/// The clocks of two proxies differ by no more.
const SKEW_SECONDS: u64 = 60;

/// Digits of an endpoint's name, before those of the second in which the session began.
const NAME: usize = 16;

/// What brings callers back: what the rule says, else what the backend says.
pub fn affinity<'a>(rule: Option<&'a Rule>, backend: &'a Backend) -> Option<&'a SessionAffinity> {
    rule.and_then(|rule| rule.sessions.as_ref()).or(backend.traffic.sessions.as_ref())
}

/// The index of the endpoint that the request's session belongs to. `now_unix`: seconds since 1970; `None` = whatever its age.
pub fn endpoint(affinity: &SessionAffinity, backend: &Backend, head: &RequestHead, now_unix: Option<u64>) -> Option<usize> {
    let known = |value: &[u8]| {
        let (name, began) = parse(value)?;
        let lives =
            affinity.ttl.zip(now_unix).is_none_or(|(ttl, now)| began <= now + SKEW_SECONDS && now < began.saturating_add(ttl.as_secs()));
        backend.sessions.find(&backend.endpoints, name).filter(|_| lives)
    };
    match &affinity.carrier {
        Carrier::Cookie { name, .. } => cookie::values(head, name).find_map(known),
        Carrier::Header(name) => head.headers.all(name).find_map(known),
    }
}

/// The backend of the rule that the request's session belongs to. Whoever has one by the rule stays there, also when no new caller is sent there
/// any more, as the standard says; by the backend alone, as long as that has a weight.
pub fn share(rule: &Rule, snapshot: &Snapshot, head: &RequestHead, now_unix: u64) -> Option<usize> {
    rule.backends.iter().position(|share| {
        let stays = share.invalid.is_none() && (share.weight > 0 || rule.sessions.is_some());
        let backend = snapshot.backends.get(&share.backend).filter(|_| stays);
        let home = |backend| affinity(Some(rule), backend).and_then(|affinity| endpoint(affinity, backend, head, Some(now_unix)));
        backend.is_some_and(|backend| home(backend).is_some())
    })
}

/// Tells the caller of a session that begins with an answer of `endpoint`; `matched`: how its request came to the rule.
pub fn begin(affinity: &SessionAffinity, endpoint: &Endpoint, matched: Option<&RouteMatch>, now_unix: u64, answer: &mut Headers) {
    let value = format!("{:0NAME$x}{now_unix:x}", Sessions::name(endpoint));
    match &affinity.carrier {
        Carrier::Header(name) => answer.set(name, value.as_bytes()),
        Carrier::Cookie { name, path, until_closed } => {
            let path = path.as_deref().unwrap_or_else(|| cookie_path(matched));
            let age = affinity.ttl.filter(|_| !until_closed).map(|ttl| format!("; Max-Age={}", ttl.as_secs())).unwrap_or_default();
            answer.append("set-cookie", format!("{name}={value}; Path={path}{age}; HttpOnly; SameSite=Lax").as_bytes());
        }
    }
}

/// Where a cookie is sent of a session that began with this match: the match's path, of a regular expression what stands before its first symbol.
fn cookie_path(matched: Option<&RouteMatch>) -> &str {
    let path = match matched.map(|matched| &matched.path) {
        None => "/",
        Some(PathMatch::Exact(path) | PathMatch::Prefix(path)) => path,
        Some(PathMatch::Regex(pattern)) => before_symbols(pattern.as_str()),
    };
    let fits = path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b';');
    if fits { path } else { "/" }
}

/// The whole segments that every path begins with that matches.
fn before_symbols(pattern: &str) -> &str {
    let literal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'_' | b'~' | b'%' | b':' | b'@' | b',');
    let end = pattern.bytes().position(|byte| !literal(byte)).unwrap_or(pattern.len());
    if end == pattern.len() {
        return pattern;
    }
    // Either side of a bar may match: nothing is common to all.
    let common = if pattern.contains('|') { "" } else { &pattern[..end] };
    common.rfind('/').map_or("/", |slash| &common[..slash.max(1)])
}

/// Name of the endpoint, and the second in which the session began.
fn parse(value: &[u8]) -> Option<(u64, u64)> {
    let digits = std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
    let (name, began) = digits.split_at_checked(NAME)?;
    Some((u64::from_str_radix(name, 16).ok()?, u64::from_str_radix(began, 16).ok()?))
}
