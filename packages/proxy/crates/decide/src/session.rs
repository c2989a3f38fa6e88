//! Sessions: which endpoint answered the caller before, and what tells it of the one that answers now. Called by `proxy`, once a request and once
//! an answer. What a caller carries is a hint: malformed, made up, too old or of an endpoint that is gone, it is no session.

use plait_model::{Backend, Carrier, Endpoint, Headers, RequestHead, Rule, SessionAffinity, Sessions, Snapshot};

use crate::cookie;

/// The clocks of two proxies differ by no more.
const SKEW_SECONDS: u64 = 60;

/// Digits of an endpoint's name, before those of the second in which the session began.
const NAME: usize = 16;

/// The index of the endpoint that the request's session belongs to. `now_unix`: seconds since 1970; `None` = whatever its age.
pub fn endpoint(backend: &Backend, head: &RequestHead, now_unix: Option<u64>) -> Option<usize> {
    let (sessions, affinity) = (backend.sessions.as_ref()?, backend.traffic.sessions.as_ref()?);
    let known = |value: &[u8]| {
        let (name, began) = parse(value)?;
        let lives =
            affinity.ttl.zip(now_unix).is_none_or(|(ttl, now)| began <= now + SKEW_SECONDS && now < began.saturating_add(ttl.as_secs()));
        sessions.find(name).filter(|_| lives)
    };
    match &affinity.carrier {
        Carrier::Cookie { name, .. } => cookie::values(head, name).find_map(known),
        Carrier::Header(name) => head.headers.all(name).find_map(known),
    }
}

/// The backend of the rule that the request's session belongs to: whoever has one stays there, as long as that has a weight.
pub fn share(rule: &Rule, snapshot: &Snapshot, head: &RequestHead, now_unix: u64) -> Option<usize> {
    rule.backends.iter().position(|share| {
        let backend = snapshot.backends.get(&share.backend).filter(|_| share.weight > 0 && share.invalid.is_none());
        backend.is_some_and(|backend| endpoint(backend, head, Some(now_unix)).is_some())
    })
}

/// Tells the caller of a session that begins with an answer of `endpoint`.
pub fn begin(affinity: &SessionAffinity, endpoint: &Endpoint, now_unix: u64, answer: &mut Headers) {
    let value = format!("{:0NAME$x}{now_unix:x}", Sessions::name(endpoint));
    match &affinity.carrier {
        Carrier::Header(name) => answer.set(name, value.as_bytes()),
        Carrier::Cookie { name, path } => {
            let age = affinity.ttl.map(|ttl| format!("; Max-Age={}", ttl.as_secs())).unwrap_or_default();
            answer.append("set-cookie", format!("{name}={value}; Path={path}{age}; HttpOnly; SameSite=Lax").as_bytes());
        }
    }
}

/// Name of the endpoint, and the second in which the session began.
fn parse(value: &[u8]) -> Option<(u64, u64)> {
    let digits = std::str::from_utf8(value).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
    let (name, began) = digits.split_at_checked(NAME)?;
    Some((u64::from_str_radix(name, 16).ok()?, u64::from_str_radix(began, 16).ok()?))
}
