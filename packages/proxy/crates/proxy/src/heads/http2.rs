//! Heads of HTTP/2, of applications and, with `plait-port` beside the application's own fields, as they travel between proxies.
//! Fields named `plait-*` never pass from an application, nor to one: they are stripped where heads are read.

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri,
    header::{CONTENT_LENGTH, COOKIE, HOST},
    uri::{PathAndQuery, Scheme},
};
use plait_model::{Headers, RequestHead, ResponseHead, canonical_path, split_authority};

use super::{HeadError, OURS, UPGRADED_HEADER};
use crate::reject::REJECT_HEADER;

/// Tells the receiving proxy which port of its process is meant.
const PORT_HEADER: HeaderName = HeaderName::from_static("plait-port");

/// Fields of ours that may join those of a head.
const MORE: usize = 2;

/// What a request says beside its head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Http2Asked {
    /// Port of the process, where another proxy asks.
    pub(crate) port: Option<u16>,
    /// Content-Length.
    pub(crate) length: Option<u64>,
}

/// What an answer says beside its head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Http2Said {
    /// Content-Length.
    pub(crate) length: Option<u64>,
    /// Another proxy made it: why.
    pub(crate) reject: Option<HeaderValue>,
    /// Another proxy says that its process changed the protocol.
    pub(crate) upgraded: bool,
}

/// The head for a server of HTTP/2; `port` tells the sidecar of a destination which port of its process is meant. `length` is that of the
/// body, where it is known.
pub(crate) fn to_http2(head: &RequestHead, port: Option<u16>, length: Option<u64>) -> Result<Request<()>, HeadError> {
    let mut request = Request::new(());
    *request.method_mut() = head.method.clone();
    *request.uri_mut() = uri(head)?;
    // A copy, which another try or a mirror may need once more.
    *request.headers_mut() = with_length(head.headers.to_map(MORE), length)?;
    if let Some(port) = port {
        request.headers_mut().insert(PORT_HEADER, HeaderValue::from(port));
    }
    Ok(request)
}

/// What was asked for: as it came, where nobody changed it since.
fn uri(head: &RequestHead) -> Result<Uri, HeadError> {
    if let Some(came) = &head.came
        && came.scheme() == Some(&Scheme::HTTP)
        && came.authority().is_some_and(|authority| authority.as_str() == head.authority)
        && (came.path(), came.query()) == (&head.path, head.query.as_deref())
    {
        return Ok(Uri::clone(came));
    }
    let target = match &head.query {
        Some(query) => PathAndQuery::from_maybe_shared(format!("{}?{query}", head.path)),
        None => PathAndQuery::try_from(head.path.as_str()),
    };
    let uri = Uri::builder().scheme("http").authority(head.authority.as_str());
    uri.path_and_query(target.map_err(|_| HeadError::Target)?).build().map_err(|_| HeadError::Target)
}

/// Takes a head into `head`, whose storage is reused. `from_proxy`: it must name the port of the process.
pub(crate) fn from_http2(request: &mut http::request::Parts, head: &mut RequestHead, from_proxy: bool) -> Result<Http2Asked, HeadError> {
    head.clear();
    head.method = request.method.clone();
    // RFC 9113, 8.3.1: Host stands in where the authority was left out.
    let host = || request.headers.get(HOST).and_then(|host| host.to_str().ok());
    let authority = request.uri.authority().map(|authority| authority.as_str()).or_else(host).ok_or(HeadError::Target)?;
    split_authority(authority).ok_or(HeadError::Target)?;
    head.authority.push_str(authority);
    match request.uri.path() {
        "*" if head.method == Method::OPTIONS => head.path.push('*'),
        path => canonical_path(path.as_bytes(), &mut head.path)?,
    }
    head.set_query(request.uri.query());
    std::mem::swap(&mut **head.came.get_or_insert_default(), &mut request.uri);
    let fields = std::mem::take(&mut request.headers);
    let port = if from_proxy { Some(port(&fields)?) } else { None };
    let (fields, length) = fields_from_http2(fields);
    head.headers.hold(fields);
    Ok(Http2Asked { port, length })
}

/// The port of the process that another proxy names.
fn port(fields: &HeaderMap) -> Result<u16, HeadError> {
    let mut ports = fields.get_all(PORT_HEADER).iter();
    let port = ports.next().and_then(|value| value.to_str().ok()?.parse().ok()).filter(|port| *port != 0);
    port.filter(|_| ports.next().is_none()).ok_or(HeadError::Port)
}

/// The head of an answer. Fields that came in HTTP/2 are taken out of it.
pub(crate) fn response_to_http2(head: &mut ResponseHead, length: Option<u64>) -> Result<Response<()>, HeadError> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(head.status).map_err(|_| HeadError::Target)?;
    *response.headers_mut() = with_length(head.headers.take_map(MORE), length)?;
    Ok(response)
}

/// Takes the head of an answer into `head`.
pub(crate) fn response_from_http2(response: http::response::Parts, head: &mut ResponseHead) -> Http2Said {
    head.status = response.status.as_u16();
    let fields = response.headers;
    let (reject, upgraded) =
        if has_ours(&fields) { (fields.get(REJECT_HEADER).cloned(), fields.contains_key(UPGRADED_HEADER)) } else { (None, false) };
    let (fields, length) = fields_from_http2(fields);
    head.headers.hold(fields);
    Http2Said { length, reject, upgraded }
}

/// Trailer fields for another proxy; what cannot be sent is left out, since the message is whole without it.
pub(crate) fn trailers_to_http2(mut trailers: Headers) -> HeaderMap {
    trailers.take_map(0).unwrap_or_default()
}

/// Trailer fields of another proxy.
pub(crate) fn trailers_from_http2(fields: HeaderMap) -> Headers {
    let (mut fields, _) = fields_from_http2(fields);
    fields.remove(CONTENT_LENGTH);
    let mut headers = Headers::default();
    headers.hold(fields);
    headers
}

/// The fields with this Content-Length, or none: that which came may be another.
fn with_length(fields: Result<HeaderMap, &str>, length: Option<u64>) -> Result<HeaderMap, HeadError> {
    let mut fields = fields.map_err(|name| HeadError::Field(name.into()))?;
    match (length, fields.contains_key(CONTENT_LENGTH)) {
        (Some(wanted), has) if !has || length_in(&fields) != length => drop(fields.insert(CONTENT_LENGTH, HeaderValue::from(wanted))),
        (None, true) => drop(fields.remove(CONTENT_LENGTH)),
        (Some(_) | None, _) => {}
    }
    Ok(fields)
}

/// h2 has checked that it is a number, and that the body keeps to it.
fn length_in(fields: &HeaderMap) -> Option<u64> {
    fields.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok())
}

/// The application's own fields, and Content-Length.
fn fields_from_http2(mut fields: HeaderMap) -> (HeaderMap, Option<u64>) {
    let (mut has_host, mut has_length, mut has_cookies, mut ours) = (false, false, false, 0);
    for name in fields.keys() {
        ours += usize::from(is_ours(name));
        has_host |= *name == HOST;
        has_length |= *name == CONTENT_LENGTH;
        has_cookies |= *name == COOKIE;
    }
    for _ in 0..ours {
        if let Some(name) = fields.keys().find(|name| is_ours(name)).cloned() {
            fields.remove(name);
        }
    }
    if has_host {
        fields.remove(HOST);
    }
    if has_cookies {
        join_cookies(&mut fields);
    }
    let length = if has_length { length_in(&fields) } else { None };
    (fields, length)
}

fn has_ours(fields: &HeaderMap) -> bool {
    fields.keys().any(is_ours)
}

fn is_ours(name: &HeaderName) -> bool {
    name.as_str().starts_with(OURS)
}

/// RFC 9113, 8.2.3: they may come in crumbs, which outside HTTP/2 would be cookies that only the first reader sees.
fn join_cookies(fields: &mut HeaderMap) {
    let crumbs: Vec<&[u8]> = fields.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if crumbs.len() > 1
        && let Ok(joined) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..]))
    {
        fields.insert(COOKIE, joined);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> RequestHead {
        let mut head = RequestHead { authority: "reviews:80".into(), path: "/a".into(), query: Some("b=c".into()), ..Default::default() };
        head.headers.append("x-tester", b"yes");
        head.headers.append("traceparent", b"00-1-2-01");
        head
    }

    fn received(request: Request<()>) -> Result<(RequestHead, Http2Asked), HeadError> {
        let mut head = RequestHead::default();
        let asked = from_http2(&mut request.into_parts().0, &mut head, true)?;
        Ok((head, asked))
    }

    #[test]
    fn a_head_arrives_as_it_left_but_for_what_belongs_to_the_mesh() {
        let mut request = to_http2(&head(), Some(8080), Some(7)).unwrap();
        assert!(request.headers()["traceparent"].is_sensitive());
        request.headers_mut().append("plait-reject", HeaderValue::from_static("internal"));
        let (arrived, asked) = received(request).unwrap();
        assert_eq!(asked, Http2Asked { port: Some(8080), length: Some(7) });
        assert_eq!(arrived.headers.iter().collect::<Vec<_>>(), head().headers.iter().collect::<Vec<_>>());
        assert_eq!((arrived.authority.as_str(), arrived.path.as_str(), arrived.query.as_deref()), ("reviews:80", "/a", Some("b=c")));
    }

    #[test]
    fn a_head_without_exactly_one_port_is_refused() {
        for ports in [&[][..], &["0"], &["x"], &["65536"], &["80", "81"]] {
            let mut request = to_http2(&head(), Some(1), None).unwrap();
            request.headers_mut().remove(PORT_HEADER);
            for port in ports {
                request.headers_mut().append(PORT_HEADER, HeaderValue::from_static(port));
            }
            assert_eq!(received(request).unwrap_err(), HeadError::Port, "{ports:?}");
        }
    }

    #[test]
    fn a_field_that_would_split_the_head_is_refused() {
        let mut sent = head();
        sent.headers.append("x-a", b"1\r\nx-b: 2");
        assert_eq!(to_http2(&sent, None, None).unwrap_err(), HeadError::Field("x-a".into()));
    }

    #[test]
    fn an_answer_keeps_its_length_beside_its_head() {
        let mut sent = ResponseHead { status: 404, ..Default::default() };
        sent.headers.append("x-a", b"1");
        let mut arrived = ResponseHead::default();
        let said = response_from_http2(response_to_http2(&mut sent, Some(3)).unwrap().into_parts().0, &mut arrived);
        assert_eq!(said, Http2Said { length: Some(3), reject: None, upgraded: false });
        assert_eq!((arrived.status, arrived.headers.len()), (404, 1));
    }

    #[test]
    fn what_another_proxy_says_beside_an_answer_never_enters_its_head() {
        let mut response = response_to_http2(&mut ResponseHead { status: 200, ..Default::default() }, None).unwrap();
        for (name, value) in [(REJECT_HEADER, "internal"), (UPGRADED_HEADER, "yes"), ("plait-reason", "internal"), ("x-a", "1")] {
            response.headers_mut().append(name, HeaderValue::from_static(value));
        }
        let mut arrived = ResponseHead::default();
        let said = response_from_http2(response.into_parts().0, &mut arrived);
        assert_eq!(said, Http2Said { length: None, reject: Some(HeaderValue::from_static("internal")), upgraded: true });
        assert_eq!(arrived.headers.iter().collect::<Vec<_>>(), [("x-a", &b"1"[..])]);
    }

    #[test]
    fn a_length_is_what_the_body_is_said_to_have() {
        for (came, wanted) in [(None, None), (None, Some(5)), (Some("5"), Some(5)), (Some("5"), Some(6)), (Some("5"), None)] {
            let mut fields = HeaderMap::new();
            if let Some(came) = came {
                fields.insert(CONTENT_LENGTH, HeaderValue::from_static(came));
            }
            assert_eq!(length_in(&with_length(Ok(fields), wanted).unwrap()), wanted, "{came:?}");
        }
        let trailers = HeaderMap::from_iter([(CONTENT_LENGTH, HeaderValue::from(5))]);
        assert!(trailers_to_http2(trailers_from_http2(trailers)).is_empty());
    }

    #[test]
    fn cookies_in_crumbs_become_one() {
        let mut request = to_http2(&head(), Some(1), None).unwrap();
        for crumb in ["a=1", "b=2"] {
            request.headers_mut().append(COOKIE, HeaderValue::from_static(crumb));
        }
        request.headers_mut().append(HOST, HeaderValue::from_static("elsewhere"));
        let (arrived, _) = received(request).unwrap();
        assert_eq!(arrived.headers.all("cookie").collect::<Vec<_>>(), [b"a=1; b=2"]);
        assert!(!arrived.headers.contains("host"));
    }

    #[test]
    fn what_was_changed_on_the_way_is_sent_as_it_is_now() {
        let (arrived, _) = received(to_http2(&head(), Some(1), None).unwrap()).unwrap();
        let sent = |head: &RequestHead| to_http2(head, None, None).unwrap().uri().to_string();
        assert_eq!(sent(&arrived), "http://reviews:80/a?b=c");
        for (changed, expected) in [
            (RequestHead { path: "/x".into(), ..arrived.clone() }, "http://reviews:80/x?b=c"),
            (RequestHead { query: None, ..arrived.clone() }, "http://reviews:80/a"),
            (RequestHead { authority: "ratings".into(), ..arrived.clone() }, "http://ratings/a?b=c"),
            (
                RequestHead { came: Some(Box::new("https://reviews:80/a?b=c".parse().unwrap())), ..arrived.clone() },
                "http://reviews:80/a?b=c",
            ),
        ] {
            assert_eq!(sent(&changed), expected);
        }
        let mut winding = to_http2(&head(), Some(1), None).unwrap();
        *winding.uri_mut() = "http://reviews:80/x/../%61?b=c".parse().unwrap();
        assert_eq!(sent(&received(winding).unwrap().0), "http://reviews:80/a?b=c", "one canonical path for policy and process");
    }
}
