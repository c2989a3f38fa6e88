//! The request head as it travels between proxies: HTTP/2, with `plait-port` beside the application's own fields.
//! Fields named `plait-*` never pass from an application, nor to one.

use http::{HeaderName, HeaderValue, Method, Request, Uri, uri::PathAndQuery};
use plait_model::{PathError, RequestHead, canonical_path, split_authority};

/// Tells the receiving proxy which port of its process is meant.
pub const PORT_HEADER: &str = "plait-port";

/// Why a head cannot travel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// Authority or path that HTTP/2 cannot carry.
    #[error("authority or path cannot be sent")]
    Target,
    /// The path has no canonical form.
    #[error(transparent)]
    Path(#[from] PathError),
    /// A field that HTTP/2 cannot carry.
    #[error("the field {0:?} cannot be sent")]
    Field(String),
    /// `plait-port` is missing, repeated or no port.
    #[error("plait-port must be there once and name a port")]
    Port,
}

/// The head for the sidecar of the destination.
pub fn to_mesh(head: &RequestHead, port: u16) -> Result<Request<()>, HeadError> {
    let target = match &head.query {
        Some(query) => PathAndQuery::from_maybe_shared(format!("{}?{query}", head.path)),
        None => PathAndQuery::try_from(head.path.as_str()),
    };
    let uri = Uri::builder().scheme("http").authority(head.authority.as_str());
    let uri = uri.path_and_query(target.map_err(|_| HeadError::Target)?).build().map_err(|_| HeadError::Target)?;
    let mut request = Request::new(());
    *request.method_mut() = head.method.clone();
    *request.uri_mut() = uri;
    for (name, value) in head.headers.iter().filter(|(name, _)| !name.starts_with("plait-")) {
        let refuse = || HeadError::Field(name.into());
        let mut value = HeaderValue::from_bytes(value).map_err(|_| refuse())?;
        // It never repeats: kept out of the compression table, where it would push useful entries out.
        value.set_sensitive(name == "traceparent");
        request.headers_mut().append(HeaderName::from_bytes(name.as_bytes()).map_err(|_| refuse())?, value);
    }
    request.headers_mut().insert(HeaderName::from_static(PORT_HEADER), HeaderValue::from(port));
    Ok(request)
}

/// Reads a head from another proxy into `head`, whose storage is reused; returns the port of the process.
pub fn from_mesh(request: &Request<()>, head: &mut RequestHead) -> Result<u16, HeadError> {
    head.clear();
    head.method = request.method().clone();
    let authority = request.uri().authority().ok_or(HeadError::Target)?.as_str();
    split_authority(authority).ok_or(HeadError::Target)?;
    head.authority.push_str(authority);
    match request.uri().path() {
        "*" if head.method == Method::OPTIONS => head.path.push('*'),
        path => canonical_path(path.as_bytes(), &mut head.path)?,
    }
    head.query = request.uri().query().map(Into::into);
    for (name, value) in request.headers().iter().filter(|(name, _)| !name.as_str().starts_with("plait-") && *name != "host") {
        head.headers.append(name.as_str().as_bytes(), value.as_bytes());
    }
    let mut ports = request.headers().get_all(PORT_HEADER).iter();
    let port = ports.next().and_then(|value| value.to_str().ok()?.parse().ok()).filter(|port| *port != 0);
    if ports.next().is_some() {
        return Err(HeadError::Port);
    }
    port.ok_or(HeadError::Port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> RequestHead {
        let mut head = RequestHead { authority: "reviews:80".into(), path: "/a".into(), query: Some("b=c".into()), ..Default::default() };
        head.headers.append(b"x-tester", b"yes");
        head.headers.append(b"traceparent", b"00-1-2-01");
        head
    }

    #[test]
    fn a_head_arrives_as_it_left_but_for_what_belongs_to_the_mesh() {
        let mut sent = head();
        sent.headers.append(b"plait-port", b"1");
        sent.headers.append(b"plait-reject", b"internal");
        let request = to_mesh(&sent, 8080).unwrap();
        assert!(request.headers()["traceparent"].is_sensitive());
        let mut received = RequestHead::default();
        assert_eq!(from_mesh(&request, &mut received), Ok(8080));
        assert_eq!(received.headers.iter().collect::<Vec<_>>(), head().headers.iter().collect::<Vec<_>>());
        assert_eq!((received.authority.as_str(), received.path.as_str(), received.query.as_deref()), ("reviews:80", "/a", Some("b=c")));
    }

    #[test]
    fn a_head_without_exactly_one_port_is_refused() {
        for ports in [&[][..], &["0"], &["x"], &["65536"], &["80", "81"]] {
            let mut request = to_mesh(&head(), 1).unwrap();
            request.headers_mut().remove(PORT_HEADER);
            for port in ports {
                request.headers_mut().append(PORT_HEADER, HeaderValue::from_static(port));
            }
            assert_eq!(from_mesh(&request, &mut RequestHead::default()), Err(HeadError::Port), "{ports:?}");
        }
    }

    #[test]
    fn a_field_that_would_split_the_head_is_refused() {
        let mut sent = head();
        sent.headers.append(b"x-a", b"1\r\nx-b: 2");
        assert_eq!(to_mesh(&sent, 1).unwrap_err(), HeadError::Field("x-a".into()));
    }
}
