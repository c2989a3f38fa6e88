//! Heads of HTTP/2, of applications and, with `plait-port` beside the application's own fields, as they travel between proxies.
//! Fields named `plait-*` never pass from an application, nor to one: they are stripped where heads are read.

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri,
    header::{CONTENT_LENGTH, COOKIE, HOST},
    uri::PathAndQuery,
};
use plait_model::{Headers, RequestHead, ResponseHead, canonical_path, split_authority};

use super::{HeadError, OURS};

/// Tells the receiving proxy which port of its process is meant.
const PORT_HEADER: HeaderName = HeaderName::from_static("plait-port");

/// What a request says beside its head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Http2Asked {
    /// Port of the process, where another proxy asks.
    pub(crate) port: Option<u16>,
    /// Content-Length.
    pub(crate) length: Option<u64>,
}

/// The head for a server of HTTP/2; `port` tells the sidecar of a destination which port of its process is meant. `length` is that of the
/// body, where it is known.
pub(crate) fn to_http2(head: &RequestHead, port: Option<u16>, length: Option<u64>) -> Result<Request<()>, HeadError> {
    let target = match &head.query {
        Some(query) => PathAndQuery::from_maybe_shared(format!("{}?{query}", head.path)),
        None => PathAndQuery::try_from(head.path.as_str()),
    };
    let uri = Uri::builder().scheme("http").authority(head.authority.as_str());
    let uri = uri.path_and_query(target.map_err(|_| HeadError::Target)?).build().map_err(|_| HeadError::Target)?;
    let mut request = Request::new(());
    *request.method_mut() = head.method.clone();
    *request.uri_mut() = uri;
    *request.headers_mut() = fields_to_http2(&head.headers, length)?;
    if let Some(port) = port {
        request.headers_mut().insert(PORT_HEADER, HeaderValue::from(port));
    }
    Ok(request)
}

/// Reads a head into `head`, whose storage is reused. `from_proxy`: it must name the port of the process.
pub(crate) fn from_http2(request: &http::request::Parts, head: &mut RequestHead, from_proxy: bool) -> Result<Http2Asked, HeadError> {
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
    head.query = request.uri.query().map(Into::into);
    let length = fields_from_http2(&request.headers, &mut head.headers);
    if !from_proxy {
        return Ok(Http2Asked { port: None, length });
    }
    let mut ports = request.headers.get_all(PORT_HEADER).iter();
    let port = ports.next().and_then(|value| value.to_str().ok()?.parse().ok()).filter(|port| *port != 0);
    if ports.next().is_some() {
        return Err(HeadError::Port);
    }
    Ok(Http2Asked { port: Some(port.ok_or(HeadError::Port)?), length })
}

/// The head of an answer to another proxy.
pub(crate) fn response_to_http2(head: &ResponseHead, length: Option<u64>) -> Result<Response<()>, HeadError> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(head.status).map_err(|_| HeadError::Target)?;
    *response.headers_mut() = fields_to_http2(&head.headers, length)?;
    Ok(response)
}

/// Reads the head of an answer of another proxy into `head`, whose storage is reused; gives Content-Length.
pub(crate) fn response_from_http2(response: &http::response::Parts, head: &mut ResponseHead) -> Option<u64> {
    head.headers.clear();
    head.status = response.status.as_u16();
    fields_from_http2(&response.headers, &mut head.headers)
}

/// Trailer fields for another proxy; what cannot be sent is left out, since the message is whole without it.
pub(crate) fn trailers_to_http2(trailers: &Headers) -> HeaderMap {
    fields_to_http2(trailers, None).unwrap_or_default()
}

/// Trailer fields of another proxy.
pub(crate) fn trailers_from_http2(fields: &HeaderMap) -> Headers {
    let mut headers = Headers::default();
    fields_from_http2(fields, &mut headers);
    headers
}

fn fields_to_http2(headers: &Headers, length: Option<u64>) -> Result<HeaderMap, HeadError> {
    let mut fields = HeaderMap::with_capacity(headers.len() + 2);
    for (name, value) in headers.iter() {
        let refuse = || HeadError::Field(name.into());
        let mut value = HeaderValue::from_bytes(value).map_err(|_| refuse())?;
        // It never repeats: kept out of the compression table, where it would push useful entries out.
        value.set_sensitive(name == "traceparent");
        fields.append(HeaderName::from_bytes(name.as_bytes()).map_err(|_| refuse())?, value);
    }
    if let Some(length) = length {
        fields.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    Ok(fields)
}

fn fields_from_http2(fields: &HeaderMap, headers: &mut Headers) -> Option<u64> {
    let apart = |name: &HeaderName| *name == HOST || *name == CONTENT_LENGTH || *name == COOKIE;
    for (name, value) in fields.iter().filter(|(name, _)| !name.as_str().starts_with(OURS) && !apart(name)) {
        headers.append(name.as_str(), value.as_bytes());
    }
    // RFC 9113, 8.2.3: they may come in crumbs, which outside HTTP/2 would be cookies that only the first reader sees.
    let crumbs: Vec<&[u8]> = fields.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if !crumbs.is_empty() {
        headers.append(COOKIE.as_str(), &crumbs.join(&b"; "[..]));
    }
    // h2 has checked that it is a number, and that the body keeps to it.
    fields.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok())
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
        let asked = from_http2(&request.into_parts().0, &mut head, true)?;
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
        let length = response_from_http2(&response_to_http2(&sent, Some(3)).unwrap().into_parts().0, &mut arrived);
        assert_eq!((arrived.status, length, arrived.headers.len()), (404, Some(3), 1));
    }
}
