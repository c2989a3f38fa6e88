//! A line of the access log: one JSON object in ASCII. Names and meaning of the fields are a contract: docs/reference/access-log.md.
//! Must not let anything that a caller wrote end the line, leave its string, or steer a terminal.

use std::time::{Duration, SystemTime};

use plait_model::ObjectRef;

use crate::{Protocol, Record, trace::write_hex};

/// Longer texts are cut: a caller must not fill a disk with long paths.
const LONGEST_TEXT: usize = 2048;
const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Appends the line of what ended at `now`.
pub(super) fn write(out: &mut Vec<u8>, record: &Record, took: Duration, now: SystemTime) {
    let http = record.protocol != Protocol::Tcp;
    let mut line = Line { out };
    line.time(now);
    line.text("direction", record.direction.as_str());
    line.text("protocol", record.protocol.as_str());
    line.text("source", &record.source);
    line.text("peer", record.peer.as_ref().map_or("", |peer| peer.as_str()));
    line.raw("tls", if record.tls { b"true" } else { b"false" });
    for (name, text) in
        [("destination", &record.destination), ("route", &record.route), ("backend", &record.backend), ("endpoint", &record.endpoint)]
    {
        line.text(name, text);
    }
    line.text("method", if http { record.method.as_str() } else { "" });
    line.text("authority", &record.authority);
    line.text("path", &record.path);
    line.number("status", u64::from(record.status), http);
    line.text("reason", record.reason.map_or("", |reason| reason.as_str()));
    line.object("object", record.object.as_ref());
    line.object("policy", record.policy.as_deref());
    line.text("dry_run", &record.dry_run);
    line.text("labels", &record.labels);
    line.number("attempts", u64::from(record.attempts), true);
    line.milliseconds("duration_ms", took);
    line.number("sent_bytes", record.sent_bytes, true);
    line.number("received_bytes", record.received_bytes, true);
    line.id("trace_id", &record.trace.trace_id);
    line.id("span_id", &record.trace.parent_id);
    line.number("generation", record.generation, true);
    line.end();
}

/// A JSON object being written; what is empty or none becomes null.
struct Line<'a> {
    out: &'a mut Vec<u8>,
}

impl Line<'_> {
    /// The first field, RFC 3339 in UTC.
    fn time(&mut self, now: SystemTime) {
        let now = time::OffsetDateTime::from(now);
        self.out.extend_from_slice(b"{\"time\":\"");
        self.digits(now.year().unsigned_abs() as u64, 4);
        for (before, part) in
            [(b'-', u8::from(now.month())), (b'-', now.day()), (b'T', now.hour()), (b':', now.minute()), (b':', now.second())]
        {
            self.out.push(before);
            self.digits(u64::from(part), 2);
        }
        self.out.push(b'.');
        self.digits(u64::from(now.millisecond()), 3);
        self.out.extend_from_slice(b"Z\"");
    }

    fn raw(&mut self, name: &str, value: &[u8]) {
        self.name(name);
        self.out.extend_from_slice(value);
    }

    fn text(&mut self, name: &str, text: &str) {
        if text.is_empty() {
            return self.raw(name, b"null");
        }
        self.raw(name, b"\"");
        self.escaped(text);
        self.out.push(b'"');
    }

    fn object(&mut self, name: &str, object: Option<&ObjectRef>) {
        let Some(object) = object else { return self.raw(name, b"null") };
        self.raw(name, b"\"");
        for part in [&*object.kind, " ", &*object.namespace, if object.namespace.is_empty() { "" } else { "/" }, &*object.name] {
            self.escaped(part);
        }
        self.out.push(b'"');
    }

    fn number(&mut self, name: &str, number: u64, known: bool) {
        if !known {
            return self.raw(name, b"null");
        }
        self.name(name);
        self.digits(number, 1);
    }

    /// With three digits after the point: a proxy's share of a request is below a millisecond.
    fn milliseconds(&mut self, name: &str, took: Duration) {
        self.name(name);
        let micros = took.as_micros() as u64;
        self.digits(micros / 1000, 1);
        self.out.push(b'.');
        self.digits(micros % 1000, 3);
    }

    fn id<const N: usize>(&mut self, name: &str, id: &[u8; N]) {
        if *id == [0; N] {
            return self.raw(name, b"null");
        }
        self.raw(name, b"\"");
        let start = self.out.len();
        self.out.resize(start + 2 * N, 0);
        write_hex(id, &mut self.out[start..]);
        self.out.push(b'"');
    }

    fn end(&mut self) {
        self.out.extend_from_slice(b"}\n");
    }

    fn name(&mut self, name: &str) {
        self.out.extend_from_slice(b",\"");
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    fn escaped(&mut self, text: &str) {
        let cut = text.floor_char_boundary(LONGEST_TEXT);
        let mut units = [0; 2];
        let mut rest = &text[..cut];
        while let Some(at) = rest.bytes().position(|byte| !is_plain(byte)) {
            self.out.extend_from_slice(&rest.as_bytes()[..at]);
            let mut tail = rest[at..].chars();
            let odd = tail.next().unwrap_or_default();
            for unit in odd.encode_utf16(&mut units) {
                self.out.extend_from_slice(b"\\u");
                self.out.extend([12, 8, 4, 0].map(|shift| DIGITS[usize::from(*unit >> shift & 15)]));
            }
            rest = tail.as_str();
        }
        self.out.extend_from_slice(rest.as_bytes());
        if cut < text.len() {
            self.out.extend_from_slice(b"...");
        }
    }

    /// Decimal, with leading zeros up to `least` digits; a third of the time of `write!`.
    fn digits(&mut self, mut number: u64, least: usize) {
        let mut text = [b'0'; 20];
        let mut at = text.len();
        while number > 0 || text.len() - at < least {
            at -= 1;
            text[at] = b'0' + (number % 10) as u8;
            number /= 10;
        }
        self.out.extend_from_slice(&text[at..]);
    }
}

/// Printable ASCII that a JSON string holds as it is.
fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\'
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use plait_model::{Reason, SpiffeId};
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::{Direction, trace::TraceContext};

    fn line(record: &Record) -> String {
        let mut out = Vec::new();
        write(&mut out, record, Duration::from_micros(12_034), SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_007));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_request_has_every_field() {
        let mut record = Record::new(Direction::Inbound, Protocol::Http2, "bookshop/catalog".into());
        record.peer = Some(Arc::new(SpiffeId::new("bookshop.example", "bookshop", "catalog").unwrap()));
        record.tls = true;
        record.destination.set(&"bookshop/ledger".into());
        record.route.set(&"bookshop/ledger#0".into());
        record.backend.set(&"bookshop/ledger:80".into());
        record.endpoint.set(&"bookshop/ledger-1".into());
        record.authority.push_str("ledger:80");
        record.path.push_str("/a");
        let policy = |name: &str| ObjectRef { kind: "AuthorizationPolicy".into(), namespace: "bookshop".into(), name: name.into() };
        record.permitted(&policy("readers").into());
        record.would_be_denied(&policy("strict"));
        record.would_be_denied(&policy("stricter"));
        record.label("tenant", "acme");
        record.label("plan", "gold");
        record.rejected(Reason::UpstreamReset, Some(policy("x")));
        record.trace = TraceContext::parse(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").unwrap();
        (record.generation, record.attempts, record.sent_bytes, record.received_bytes) = (42, 2, 10, 20);
        let expected = r#"{"time":"2023-11-14T22:13:20.007Z","direction":"inbound","protocol":"http2","source":"bookshop/catalog","#
            .to_owned()
            + r#""peer":"spiffe://bookshop.example/ns/bookshop/sa/catalog","tls":true,"destination":"bookshop/ledger","#
            + r#""route":"bookshop/ledger#0","backend":"bookshop/ledger:80","endpoint":"bookshop/ledger-1","method":"GET","#
            + r#""authority":"ledger:80","path":"/a","status":502,"reason":"upstream_reset","object":"AuthorizationPolicy bookshop/x","#
            + r#""policy":"AuthorizationPolicy bookshop/readers","#
            + r#""dry_run":"AuthorizationPolicy bookshop/strict,AuthorizationPolicy bookshop/stricter","labels":"tenant=acme,plan=gold","attempts":2,"#
            + r#""duration_ms":12.034,"sent_bytes":10,"received_bytes":20,"trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","#
            + r#""span_id":"00f067aa0ba902b7","generation":42}"#
            + "\n";
        assert_eq!(line(&record), expected);
    }

    #[test]
    fn what_is_not_known_is_null() {
        let record = Record::new(Direction::Outbound, Protocol::Tcp, "".into());
        let parsed: Value = serde_json::from_str(&line(&record)).unwrap();
        for name in ["source", "peer", "route", "method", "path", "status", "reason", "object", "policy", "dry_run", "trace_id", "span_id"]
        {
            assert_eq!(parsed[name], Value::Null, "{name}");
        }
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let mut record = Record::new(Direction::Outbound, Protocol::Http1, "".into());
        record.path.push('/');
        record.path.push_str(&"é".repeat(LONGEST_TEXT));
        let parsed: Value = serde_json::from_str(&line(&record)).unwrap();
        assert_eq!(parsed["path"], format!("/{}...", "é".repeat(LONGEST_TEXT / 2 - 1)));
    }

    #[test]
    fn numbers_are_decimal_whatever_their_size() {
        for (number, least, expected) in [(0, 1, "0"), (7, 3, "007"), (1234, 3, "1234"), (u64::MAX, 1, "18446744073709551615")] {
            let mut out = Vec::new();
            Line { out: &mut out }.digits(number, least);
            assert_eq!(out, expected.as_bytes());
        }
    }

    proptest! {
        #[test]
        fn nothing_that_a_caller_writes_breaks_the_line(text in prop::collection::vec(any::<char>(), 1..64), method in "[!#$%&'*+.^_`|~0-9A-Za-z-]{1,20}") {
            let text: String = text.into_iter().collect();
            let mut record = Record::new(Direction::Inbound, Protocol::Http1, (&*text).into());
            record.destination.set(&(&*text).into());
            record.authority.push_str(&text);
            record.path.push_str(&text);
            record.method = method.parse().unwrap();
            record.object = Some(ObjectRef { kind: "".into(), namespace: "".into(), name: (&*text).into() });
            let line = line(&record);
            let (body, end) = line.split_at(line.len() - 1);
            prop_assert!(end == "\n" && body.bytes().all(|byte| matches!(byte, b' '..=b'~')), "{line}");
            let parsed: Value = serde_json::from_str(body).unwrap();
            for name in ["source", "destination", "authority", "path"] {
                prop_assert_eq!(&parsed[name], &text);
            }
            prop_assert_eq!(&parsed["method"], &method);
            prop_assert_eq!(&parsed["object"], &format!(" {text}"));
        }
    }
}
