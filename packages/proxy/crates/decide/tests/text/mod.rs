//! Rules and requests as short texts, for tests. Never panics: fuzzed bytes come here too.

use std::sync::Arc;

use plait_model::{CallTraffic, Filters, ObjectRef, PathMatch, RequestHead, RouteKind, RouteMatch, Rule, ValueMatch};
use plait_rules::Pattern;

/// A rule of the HTTPRoute "ns/<route>".
pub(crate) fn rule(route: &str, index: usize, matches: Vec<RouteMatch>) -> Arc<Rule> {
    let object = ObjectRef { kind: "HTTPRoute".into(), namespace: "ns".into(), name: route.into() };
    Arc::new(Rule {
        object: Arc::new(object),
        kind: RouteKind::Http,
        index,
        name: format!("{route}-{index}").into(),
        label: format!("ns/{route}#{index}").into(),
        hostnames: vec![],
        matches,
        filters: Filters::default(),
        backends: vec![],
        total_weight: 0,
        traffic: CallTraffic::default(),
        sessions: None,
    })
}

fn value(pair: &str) -> Option<ValueMatch> {
    let (name, value) = pair.split_once('=')?;
    Some(ValueMatch { name: name.into(), pattern: None, value: value.into() })
}

/// "=/a" exact, "~/a.*" regex, "/a" prefix; then "GET", "h:name=value", "q:name=value".
pub(crate) fn matched(text: &str) -> Option<RouteMatch> {
    let mut words = text.split(' ');
    let path = words.next()?;
    let path = match path.as_bytes().first()? {
        b'=' => PathMatch::Exact(path[1..].into()),
        b'~' => PathMatch::Regex(Pattern::new(&path[1..]).ok()?),
        // The contract brings prefixes without a trailing slash.
        b'/' if path == "/" || !path.ends_with('/') => PathMatch::Prefix(path.into()),
        _ => return None,
    };
    let mut found = RouteMatch { path, headers: vec![], query: vec![], method: None, grpc: None };
    for word in words {
        match word.split_once(':') {
            Some(("h", pair)) => found.headers.push(value(pair)?),
            Some(("q", pair)) => found.query.push(value(pair)?),
            _ => found.method = Some(word.parse().ok()?),
        }
    }
    Some(found)
}

/// "GET /a?x=1 name=value".
pub(crate) fn head(text: &str) -> Option<RequestHead> {
    let mut words = text.split(' ');
    let mut head = RequestHead { method: words.next()?.parse().ok()?, ..RequestHead::default() };
    let target = words.next()?;
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    head.path = path.into();
    head.query = query.map(Into::into);
    for word in words {
        let (name, value) = word.split_once('=')?;
        head.headers.append(name, value.as_bytes());
    }
    Some(head)
}
