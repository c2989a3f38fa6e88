//! What plugins want changed, carried out: one function for each thing that can be. No plugin touches framing, connection fields or `plait-*`.

use http::Method;
use plait_model::{Headers, RequestHead, ResponseHead, canonical_path, split_authority};
use plait_plugins::{Effect, Section};

use crate::heads::OURS;

/// Fields that say where a message ends, whom it is for, or what its connection does: the proxy's alone.
const FRAMING: [&str; 10] = [
    "connection",
    "content-length",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Whether a plugin may write a field of that name.
pub(super) fn is_free(name: &str) -> bool {
    !name.starts_with(OURS) && !FRAMING.contains(&name)
}

/// A change of fields, kept until there is something to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    Set(Box<str>, Box<[u8]>),
    Append(Box<str>, Box<[u8]>),
    Remove(Box<str>),
}

/// The change of a section's fields that an effect asks for.
pub(super) fn change(effect: &Effect<'_>, wanted: Section) -> Option<Change> {
    match *effect {
        Effect::SetHeader { section, name, value } if section == wanted => Some(Change::Set(name.into(), value.into())),
        Effect::AppendHeader { section, name, value } if section == wanted => Some(Change::Append(name.into(), value.into())),
        Effect::RemoveHeader { section, name } if section == wanted => Some(Change::Remove(name.into())),
        _ => None,
    }
}

/// Changes fields; what is not free to be changed is named.
pub(super) fn apply(change: &Change, headers: &mut Headers) -> Result<(), String> {
    let (Change::Set(name, _) | Change::Append(name, _) | Change::Remove(name)) = change;
    if !is_free(name) {
        return Err(format!("the field {name} belongs to the proxy"));
    }
    match change {
        Change::Set(name, value) => headers.set(name, value),
        Change::Append(name, value) => headers.append(name, value),
        Change::Remove(name) => headers.remove(name),
    }
    Ok(())
}

/// Changes what is asked. True when it did; an error says what cannot be.
pub(super) fn of_request(effect: &Effect<'_>, head: &mut RequestHead) -> Result<bool, String> {
    if let Some(change) = change(effect, Section::Request) {
        return apply(&change, &mut head.headers).map(|()| true);
    }
    match *effect {
        Effect::Path(path) => set_path(path, head)?,
        Effect::Query(query) => head.query = (!query.is_empty()).then(|| query.to_owned()),
        Effect::Method(method) => set_method(method, head)?,
        Effect::Authority(authority) => {
            split_authority(authority).ok_or_else(|| format!("{authority:?} is no authority"))?;
            authority.clone_into(&mut head.authority);
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// Policies, routes and processes read one form of a path.
fn set_path(path: &str, head: &mut RequestHead) -> Result<(), String> {
    let mut canonical = String::with_capacity(path.len());
    canonical_path(path.as_bytes(), &mut canonical).map_err(|error| format!("{path:?} is no path: {error}"))?;
    head.path = canonical;
    Ok(())
}

/// HEAD and CONNECT say how the answer ends: a request is neither made one nor made another of one.
fn set_method(method: &str, head: &mut RequestHead) -> Result<(), String> {
    let wanted = Method::from_bytes(method.as_bytes()).map_err(|_| format!("{method:?} is no method"))?;
    let frames = |method: &Method| *method == Method::HEAD || *method == Method::CONNECT;
    if wanted != head.method && (frames(&wanted) || frames(&head.method)) {
        return Err(format!("{} cannot become {wanted}", head.method));
    }
    head.method = wanted;
    Ok(())
}

/// Changes the head of an answer. Statuses without a body, and those that are no answer, are none to change to or from.
pub(super) fn of_response(effect: &Effect<'_>, head: &mut ResponseHead) -> Result<(), String> {
    if let Some(change) = change(effect, Section::Response) {
        return apply(&change, &mut head.headers);
    }
    if let Effect::Status(status) = *effect {
        let frames = |status: u16| status < 200 || status == 204 || status == 304;
        if status != head.status && (frames(status) || frames(head.status)) {
            return Err(format!("status {} cannot become {status}", head.status));
        }
        head.status = status;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> RequestHead {
        let mut head = RequestHead { authority: "a".into(), path: "/x".into(), ..RequestHead::default() };
        head.headers.append("x-a", b"1");
        head
    }

    fn set(name: &str) -> Effect<'_> {
        Effect::SetHeader { section: Section::Request, name, value: b"2" }
    }

    #[test]
    fn a_request_is_changed_as_asked() {
        let mut changed = head();
        for effect in [set("x-a"), set("x-b"), Effect::Path("/y/../z//w"), Effect::Query("a=b"), Effect::Method("POST")] {
            assert_eq!(of_request(&effect, &mut changed), Ok(true), "{effect:?}");
        }
        assert_eq!(of_request(&Effect::Authority("b:80"), &mut changed), Ok(true));
        assert_eq!((changed.path.as_str(), changed.query.as_deref(), changed.authority.as_str()), ("/z/w", Some("a=b"), "b:80"));
        assert_eq!((changed.headers.first("x-a"), changed.headers.first("x-b")), (Some(&b"2"[..]), Some(&b"2"[..])));
        assert_eq!(changed.method, Method::POST);
        assert_eq!(of_request(&Effect::Label("a", "b"), &mut changed), Ok(false));
    }

    #[test]
    fn what_is_the_proxys_stays_the_proxys() {
        for name in FRAMING.into_iter().chain(["plait-port", "plait-reject"]) {
            let removal = Effect::RemoveHeader { section: Section::Request, name };
            let append = Effect::AppendHeader { section: Section::Request, name, value: b"2" };
            for effect in [set(name), removal, append] {
                let mut changed = head();
                assert!(of_request(&effect, &mut changed).is_err(), "{effect:?}");
                assert_eq!(changed.headers.len(), 1);
            }
        }
        for effect in
            [Effect::Path("/../x"), Effect::Path("/a%00"), Effect::Method("HEAD"), Effect::Method("CONNECT"), Effect::Authority("a:b:c")]
        {
            assert!(of_request(&effect, &mut head()).is_err(), "{effect:?}");
        }
        let mut asked = RequestHead { method: Method::HEAD, ..head() };
        assert!(of_request(&Effect::Method("GET"), &mut asked).is_err());
    }

    #[test]
    fn the_status_of_an_answer_keeps_its_framing() {
        for (before, after, allowed) in [(200, 404, true), (200, 204, false), (304, 200, false), (200, 101, false), (204, 204, true)] {
            let mut head = ResponseHead { status: before, ..ResponseHead::default() };
            assert_eq!(of_response(&Effect::Status(after), &mut head).is_ok(), allowed, "{before} {after}");
            assert_eq!(head.status, if allowed { after } else { before });
        }
    }
}
