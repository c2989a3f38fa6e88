//! What filters do to a head: header modifiers, URL rewrite, redirect. Called by `proxy/filters` and by `explain`.

use plait_model::{Filters, HeaderModifier, Headers, PathRewrite, Redirect, RequestHead, UrlRewrite, split_authority};

/// What the request filters of a rule, or of its backend, make of a head; those of the rule come first. `prefix` is the prefix that the rule matched.
pub fn request(filters: &Filters, prefix: Option<&str>, head: &mut RequestHead) {
    if let Some(modifier) = &filters.request_headers {
        modify(modifier, &mut head.headers);
    }
    if let Some(change) = &filters.rewrite {
        rewrite(change, prefix, head);
    }
}

/// Applies set, add and remove, in this order.
pub fn modify(modifier: &HeaderModifier, headers: &mut Headers) {
    for (name, value) in &modifier.set {
        headers.set(name, value.as_bytes());
    }
    for (name, value) in &modifier.add {
        // The one field that is no list: a comma inside a cookie means something else (RFC 6265).
        if &**name == "set-cookie" {
            headers.append(name, value.as_bytes());
            continue;
        }
        // Added values join those that are there in one field, as the standard says.
        let mut joined = headers.all(name).collect::<Vec<_>>().join(&b","[..]);
        if headers.contains(name) {
            joined.push(b',');
        }
        joined.extend_from_slice(value.as_bytes());
        headers.set(name, &joined);
    }
    for name in &modifier.remove {
        headers.remove(name);
    }
}

/// Applies a URL rewrite; `prefix` is the prefix that the rule matched.
pub fn rewrite(rewrite: &UrlRewrite, prefix: Option<&str>, head: &mut RequestHead) {
    if let Some(path) = &rewrite.path {
        head.path = new_path(path, prefix, &head.path);
    }
    if let Some(hostname) = &rewrite.hostname {
        head.authority = with_port(hostname, split_authority(&head.authority).and_then(|(_, port)| port));
    }
}

/// The Location of a redirect. A request of the mesh came as http; `prefix` is the prefix that the rule matched.
pub fn location(redirect: &Redirect, prefix: Option<&str>, head: &RequestHead) -> String {
    let (host, came_with) = split_authority(&head.authority).unwrap_or((&head.authority, None));
    let scheme = redirect.scheme.as_deref().unwrap_or("http");
    let host = redirect.hostname.as_deref().unwrap_or(host);
    // A scheme of its own brings its own port; without one the port stays that of the request.
    let port = redirect.port.or(if redirect.scheme.is_some() { None } else { came_with });
    let usual = match scheme {
        "https" => 443,
        _ => 80,
    };
    let path = redirect.path.as_ref().map_or_else(|| head.path.clone(), |path| new_path(path, prefix, &head.path));
    let query = head.query.as_ref().map_or_else(String::new, |query| format!("?{query}"));
    format!("{scheme}://{}{path}{query}", with_port(host, port.filter(|port| *port != usual)))
}

fn with_port(host: &str, port: Option<u16>) -> String {
    port.map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// The path after a replacement. A prefix is replaced by segment: exactly one slash stands between the new prefix and the rest.
fn new_path(rewrite: &PathRewrite, prefix: Option<&str>, path: &str) -> String {
    let replaced = match rewrite {
        PathRewrite::Full(full) => full.to_string(),
        PathRewrite::Prefix(new) => {
            let old = prefix.unwrap_or("/").trim_end_matches('/');
            match path.strip_prefix(old).unwrap_or(path) {
                "" => new.to_string(),
                rest => format!("{}{rest}", new.trim_end_matches('/')),
            }
        }
    };
    if replaced.starts_with('/') { replaced } else { format!("/{replaced}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(authority: &str, path: &str) -> RequestHead {
        RequestHead { authority: authority.into(), path: path.into(), ..RequestHead::default() }
    }

    #[test]
    fn a_prefix_is_replaced_by_segment() {
        for (path, prefix, new, expected) in [
            ("/foo/bar", "/foo", "/xyz", "/xyz/bar"),
            ("/foo/bar", "/foo", "/xyz/", "/xyz/bar"),
            ("/foo/bar", "/foo/", "/xyz", "/xyz/bar"),
            ("/foo/bar", "/foo/", "/xyz/", "/xyz/bar"),
            ("/foo", "/foo", "/xyz", "/xyz"),
            ("/foo/", "/foo", "/xyz", "/xyz/"),
            ("/foo/bar", "/foo", "", "/bar"),
            ("/foo/", "/foo", "", "/"),
            ("/foo", "/foo", "", "/"),
            ("/foo/", "/foo", "/", "/"),
            ("/foo", "/foo", "/", "/"),
            ("/bar", "/", "/xyz", "/xyz/bar"),
            ("/", "/", "/xyz", "/xyz/"),
        ] {
            assert_eq!(new_path(&PathRewrite::Prefix(new.into()), Some(prefix), path), expected, "{path} {prefix} {new}");
        }
    }

    #[test]
    fn a_location_keeps_what_the_redirect_does_not_name() {
        let redirect = |scheme: Option<&str>, hostname: Option<&str>, port, path: Option<&str>| Redirect {
            scheme: scheme.map(Into::into),
            hostname: hostname.map(Into::into),
            port,
            path: path.map(|full| PathRewrite::Full(full.into())),
            status: 302,
        };
        for (redirect, authority, expected) in [
            (redirect(None, Some("b"), None, None), "a", "http://b/x?q=1"),
            (redirect(None, None, Some(8080), None), "a", "http://a:8080/x?q=1"),
            (redirect(None, None, Some(80), None), "a:8080", "http://a/x?q=1"),
            (redirect(None, Some("b"), None, None), "a:8080", "http://b:8080/x?q=1"),
            (redirect(Some("https"), None, None, None), "a:8080", "https://a/x?q=1"),
            (redirect(Some("https"), None, Some(443), None), "a", "https://a/x?q=1"),
            (redirect(Some("https"), None, Some(80), None), "a", "https://a:80/x?q=1"),
            (redirect(Some("http"), None, Some(8443), Some("/y")), "a", "http://a:8443/y?q=1"),
        ] {
            let head = RequestHead { query: Some("q=1".into()), ..head(authority, "/x") };
            assert_eq!(location(&redirect, None, &head), expected, "{authority}");
        }
    }

    #[test]
    fn a_rewrite_changes_host_and_path() {
        let mut request = head("a:81", "/foo/bar");
        let change = UrlRewrite { hostname: Some("b".into()), path: Some(PathRewrite::Prefix("/new".into())) };
        rewrite(&change, Some("/foo"), &mut request);
        assert_eq!((request.authority.as_str(), request.path.as_str()), ("b:81", "/new/bar"));
    }

    #[test]
    fn added_values_join_those_that_are_there() {
        let mut headers = Headers::default();
        headers.append("x-a", b"1");
        headers.append("x-gone", b"1");
        let pair = |name: &str, value: &str| (name.into(), value.into());
        let modifier =
            HeaderModifier { set: vec![pair("x-s", "s")], add: vec![pair("x-a", "2"), pair("x-n", "3")], remove: vec!["x-gone".into()] };
        modify(&modifier, &mut headers);
        let seen: Vec<_> = headers.iter().map(|(name, value)| format!("{name}={}", String::from_utf8_lossy(value))).collect();
        assert_eq!(seen, ["x-s=s", "x-a=1,2", "x-n=3"]);
    }

    #[test]
    fn cookies_are_never_joined() {
        let mut headers = Headers::default();
        headers.append("set-cookie", b"a=1");
        modify(&HeaderModifier { add: vec![("set-cookie".into(), "b=2".into())], ..HeaderModifier::default() }, &mut headers);
        assert_eq!(headers.all("set-cookie").collect::<Vec<_>>(), [b"a=1", b"b=2"]);
    }
}
