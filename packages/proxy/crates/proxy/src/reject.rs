//! The one exit for answers that the mesh makes itself: for applications, for other proxies, and read back from them.
//! Every stage of the request line builds a [`Reject`] with `?`. Must not name whom a policy allows.

use std::sync::Arc;

use plait_model::{Headers, ObjectRef, Reason, ResponseHead, SpiffeId};

/// Carries the stable code to applications.
pub(crate) const REASON_HEADER: &str = "plait-reason";
/// Carries a reject between proxies.
pub(crate) const REJECT_HEADER: &str = "plait-reject";

/// What a plugin says to a caller is cut there: it travels in a header field.
const LONGEST_SAID: usize = 512;

/// How an answer of the mesh is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Form {
    /// For people.
    #[default]
    Text,
    /// For programs that ask for it.
    Json,
}

impl Form {
    /// What a caller's Accept asks for: JSON when it is named before any kind of text, as programs do and browsers do not.
    pub(crate) fn accepted(headers: &Headers) -> Self {
        let accept = headers.first("accept").and_then(|accept| std::str::from_utf8(accept).ok()).unwrap_or_default();
        let kind = |range: &str| range.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let wanted = accept
            .split(',')
            .map(kind)
            .find(|kind| kind.starts_with("text/") || kind == "*/*" || kind == "application/json" || kind.ends_with("+json"));
        if wanted.is_some_and(|kind| kind.ends_with("json")) { Self::Json } else { Self::Text }
    }
}

/// Why the mesh answers instead of the destination.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Reject {
    /// The cause.
    pub(crate) reason: Reason,
    /// The user's object that caused it.
    pub(crate) object: Option<ObjectRef>,
    /// One sentence for people; empty = the code says it all.
    pub(crate) detail: String,
    /// Who was refused; shown only to those who proved it.
    pub(crate) identity: Option<Arc<SpiffeId>>,
    /// The state of the world that decided.
    pub(crate) generation: u64,
    /// False: nothing reached the process, so that the call may be tried elsewhere.
    pub(crate) delivered: bool,
    /// What to type to find out more; empty = nothing.
    pub(crate) hint: String,
    /// The status that a plugin refused with; `None` = that of the reason.
    pub(crate) status: Option<u16>,
}

impl Reject {
    /// A reject of which nothing was delivered.
    pub(crate) fn new(reason: Reason, generation: u64) -> Self {
        Self {
            reason,
            object: None,
            detail: String::new(),
            identity: None,
            generation,
            delivered: false,
            hint: String::new(),
            status: None,
        }
    }

    /// The status that callers get.
    pub(crate) fn status(&self) -> u16 {
        self.status.unwrap_or(self.reason.status())
    }

    /// The answer for an application, as text or as JSON. A stranger without identity gets status and code, not the names.
    pub(crate) fn answer(&self, known_caller: bool, form: Form) -> (ResponseHead, String) {
        let (kind, body) = match form {
            Form::Text => ("text/plain", self.text(known_caller)),
            Form::Json => ("application/json", self.json(known_caller)),
        };
        let mut head = ResponseHead { status: self.status(), ..ResponseHead::default() };
        head.headers.append(REASON_HEADER, self.reason.as_str().as_bytes());
        head.headers.append("content-type", kind.as_bytes());
        if let Some(seconds) = self.reason.retry_after_seconds() {
            head.headers.append("retry-after", seconds.to_string().as_bytes());
        }
        (head, body)
    }

    /// The answer for an application that speaks gRPC: the whole of it is one head.
    pub(crate) fn grpc_answer(&self, known_caller: bool) -> ResponseHead {
        let mut head = ResponseHead { status: 200, ..ResponseHead::default() };
        head.headers.append("content-type", b"application/grpc");
        head.headers.append(REASON_HEADER, self.reason.as_str().as_bytes());
        head.headers.append("grpc-status", self.grpc_status().to_string().as_bytes());
        head.headers.append("grpc-message", percent_encoded(self.text(known_caller).trim_end()).as_bytes());
        head
    }

    fn grpc_status(&self) -> u8 {
        match self.status {
            Some(400) => 3,        // INVALID_ARGUMENT
            Some(401) => 16,       // UNAUTHENTICATED
            Some(404) => 5,        // NOT_FOUND
            Some(429) => 8,        // RESOURCE_EXHAUSTED
            Some(502..=504) => 14, // UNAVAILABLE
            Some(_) | None => self.reason.grpc_status(),
        }
    }

    /// The value of `plait-reject`. What a plugin says to the caller travels with it, since no other proxy knows it.
    pub(crate) fn to_header(&self) -> String {
        let object = self.object.as_ref().map(|o| format!("{}/{}/{}", o.kind, o.namespace, o.name)).unwrap_or_default();
        let delivered = if self.delivered { "yes" } else { "no" };
        let mut text = format!("{}; object={object}; generation={}; delivered={delivered}", self.reason.as_str(), self.generation);
        if let Some(status) = self.status {
            let said: String = self.detail.chars().take(LONGEST_SAID).collect();
            text.push_str(&format!("; status={status}; detail={}", percent_encoded(&said).replace(';', "%3B")));
        }
        text
    }

    /// Reads what another proxy wrote; `None` when it is malformed. A missing `delivered` counts as yes: trying again must be safe.
    pub(crate) fn from_header(value: &str) -> Option<Self> {
        let mut parts = value.split(';').map(str::trim);
        let mut reject = Self { delivered: true, ..Self::new(Reason::from_code(parts.next()?)?, 0) };
        for part in parts {
            match part.split_once('=')? {
                ("object", "") => {}
                ("object", path) => {
                    let mut names = path.splitn(3, '/').map(Box::from);
                    reject.object = Some(ObjectRef { kind: names.next()?, namespace: names.next()?, name: names.next()? });
                }
                ("generation", number) => reject.generation = number.parse().ok()?,
                ("delivered", answer) => reject.delivered = answer != "no",
                ("status", number) => reject.status = number.parse().ok().filter(|status| (200..=599).contains(status)),
                ("detail", said) => reject.detail = percent_decoded(said),
                _ => {}
            }
        }
        Some(reject)
    }

    /// The same facts under stable names.
    fn json(&self, known_caller: bool) -> String {
        let mut facts = serde_json::Map::new();
        facts.insert("reason".into(), self.reason.as_str().into());
        if known_caller {
            let mut put =
                |name: &str, text: Option<String>| text.filter(|text| !text.is_empty()).map(|text| facts.insert(name.into(), text.into()));
            put("object", self.object.as_ref().map(ToString::to_string));
            put("detail", Some(self.detail.clone()));
            put("why", Some(self.hint.clone()));
            put("identity", self.identity.as_ref().map(ToString::to_string));
            facts.insert("generation".into(), self.generation.into());
        }
        serde_json::Value::Object(facts).to_string() + "\n"
    }

    fn text(&self, known_caller: bool) -> String {
        if !known_caller {
            return format!("{}\n", self.reason.as_str());
        }
        let mut text = match &self.object {
            Some(object) => format!("{}: {object}.", self.reason.as_str()),
            None => format!("{}.", self.reason.as_str()),
        };
        for (before, sentence) in [(" ", &self.detail), ("\nWhy: ", &self.hint)] {
            if !sentence.is_empty() {
                text.push_str(before);
                text.push_str(sentence);
            }
        }
        if let Some(identity) = &self.identity {
            text.push_str(&format!("\nYou are {identity}."));
        }
        text.push_str(&format!("\nGeneration {}\n", self.generation));
        text
    }
}

/// What `percent_encoded` made; what is no text of it is left out.
fn percent_decoded(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|byte| char::from(byte).to_digit(16));
        if let (Some(high), Some(low)) = (digit(), digit()) {
            out.push((high << 4 | low) as u8);
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// As gRPC wants `grpc-message`: printable ASCII but for '%', everything else by its bytes.
fn percent_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => out.push(byte as char),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denied() -> Reject {
        let object = ObjectRef { kind: "AuthorizationPolicy".into(), namespace: "bookshop".into(), name: "ledger-clients".into() };
        let identity = SpiffeId::new("bookshop.example", "bookshop", "catalog").unwrap();
        Reject { object: Some(object), identity: Some(Arc::new(identity)), ..Reject::new(Reason::PolicyDenied, 42) }
    }

    #[test]
    fn a_known_caller_is_told_object_identity_and_generation() {
        let (head, body) = denied().answer(true, Form::Text);
        assert_eq!((head.status, head.headers.first("plait-reason")), (403, Some(&b"policy_denied"[..])));
        for part in ["AuthorizationPolicy bookshop/ledger-clients", "spiffe://bookshop.example/ns/bookshop/sa/catalog", "Generation 42"] {
            assert!(body.contains(part), "{body}");
        }
    }

    #[test]
    fn a_program_that_asks_for_json_gets_the_same_facts() {
        let (head, body) = denied().answer(true, Form::Json);
        assert_eq!(head.headers.first("content-type"), Some(&b"application/json"[..]));
        let facts: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(facts["object"], "AuthorizationPolicy bookshop/ledger-clients");
        assert_eq!((&facts["reason"], &facts["generation"]), (&"policy_denied".into(), &42.into()));
        assert_eq!(denied().answer(false, Form::Json).1, "{\"reason\":\"policy_denied\"}\n");
    }

    #[test]
    fn the_form_is_that_which_the_caller_accepts_first() {
        for (accept, form) in [
            ("application/json", Form::Json),
            ("application/json, text/plain, */*", Form::Json),
            ("application/problem+json;q=0.9", Form::Json),
            ("text/html,application/json", Form::Text),
            ("*/*", Form::Text),
            ("image/png", Form::Text),
        ] {
            let mut headers = Headers::default();
            headers.append("accept", accept.as_bytes());
            assert_eq!(Form::accepted(&headers), form, "{accept}");
        }
        assert_eq!(Form::accepted(&Headers::default()), Form::Text);
    }

    #[test]
    fn a_caller_of_grpc_is_told_by_status_and_message() {
        let head = denied().grpc_answer(true);
        assert_eq!((head.status, head.headers.first("grpc-status")), (200, Some(&b"7"[..])));
        let message = String::from_utf8(head.headers.first("grpc-message").unwrap().to_vec()).unwrap();
        assert!(message.starts_with("policy_denied: AuthorizationPolicy bookshop/ledger-clients.%0A"), "{message}");
    }

    #[test]
    fn a_stranger_is_told_the_code_alone() {
        assert_eq!(denied().answer(false, Form::Text).1, "policy_denied\n");
    }

    #[test]
    fn another_proxy_reads_what_was_written() {
        for delivered in [false, true] {
            let sent = Reject { delivered, identity: None, ..denied() };
            assert_eq!(Reject::from_header(&sent.to_header()), Some(sent));
        }
        assert!(Reject::from_header("upstream_reset").unwrap().delivered);
        assert_eq!(Reject::from_header("no_such_code; delivered=no"), None);
        assert_eq!(Reject::from_header("internal; generation=x"), None);
    }
}
