//! What crosses to the plugins of a call: what they declared that they read, and nothing else.

use std::{net::IpAddr, sync::Arc, time::Duration};

use plait_model::{Headers, Reason, RequestHead, ResponseHead, SpiffeId};
use plait_plugins::{CallWriter, ChainInterest, Field, Names, Section};

use super::candidates::Candidates;

/// What is true of the whole call.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) peer: Option<Arc<SpiffeId>>,
    pub(super) address: Option<IpAddr>,
    pub(super) workload: Arc<str>,
    pub(super) service: Arc<str>,
    pub(super) route: Arc<str>,
    pub(super) port: u16,
    pub(super) protocol: &'static str,
}

/// How it ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ended {
    pub(super) status: u16,
    pub(super) reason: Option<Reason>,
    pub(super) took: Duration,
    pub(super) sent: u64,
    pub(super) received: u64,
}

/// A try that failed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tried {
    /// 1 for the first.
    pub(crate) number: u32,
    pub(crate) status: Option<u16>,
    pub(crate) reason: Option<Reason>,
}

/// What one phase has to show.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Seen<'s> {
    pub(super) request: Option<&'s RequestHead>,
    pub(super) response: Option<&'s ResponseHead>,
    pub(super) trailers: Option<&'s Headers>,
    /// A piece of a body, and whether nothing comes after it.
    pub(super) body: Option<(&'s [u8], bool)>,
    pub(super) ended: Option<&'s Ended>,
    /// Those of which one may be picked.
    pub(super) candidates: Option<&'s Candidates>,
    pub(super) tried: Option<&'s Tried>,
}

/// Writes what was declared.
pub(super) fn fill(writer: &mut CallWriter, wanted: &ChainInterest, facts: &Facts, seen: Seen<'_>) {
    if let Some(head) = seen.request {
        request(writer, wanted, head);
    }
    if wanted.peer {
        peer(writer, facts);
    }
    if wanted.destination {
        writer.text(Field::Workload, &facts.workload);
        writer.text(Field::Service, &facts.service);
        writer.text(Field::Route, &facts.route);
        writer.number(Field::Port, facts.port.into());
    }
    if let Some(head) = seen.response {
        writer.number(Field::Status, head.status.into());
        fields(writer, Section::Response, &wanted.response_headers, &head.headers);
    }
    if let Some(trailers) = seen.trailers {
        fields(writer, Section::Trailers, &wanted.response_headers, trailers);
    }
    if let Some((piece, last)) = seen.body {
        writer.bytes(Field::Body, piece);
        if last {
            writer.last();
        }
    }
    if let Some(ended) = seen.ended {
        end(writer, ended);
    }
    if let Some(candidates) = seen.candidates {
        candidates.names().for_each(|name| writer.text(Field::Candidate, name));
    }
    if let Some(Tried { number, status, reason }) = seen.tried {
        writer.number(Field::Attempt, (*number).into());
        status.iter().for_each(|status| writer.number(Field::Status, (*status).into()));
        reason.iter().for_each(|reason| writer.text(Field::Reason, reason.as_str()));
    }
}

fn request(writer: &mut CallWriter, wanted: &ChainInterest, head: &RequestHead) {
    if wanted.method {
        writer.text(Field::Method, head.method.as_str());
    }
    if wanted.path {
        writer.text(Field::Path, &head.path);
    }
    if let (true, Some(query)) = (wanted.query, &head.query) {
        writer.text(Field::Query, query);
    }
    if wanted.authority {
        writer.text(Field::Authority, &head.authority);
        writer.text(Field::Scheme, "http");
    }
    if wanted.trace {
        for (field, name) in [(Field::Traceparent, "traceparent"), (Field::Tracestate, "tracestate"), (Field::RequestId, "x-request-id")] {
            if let Some(text) = head.headers.first(name).and_then(|value| std::str::from_utf8(value).ok()) {
                writer.text(field, text);
            }
        }
    }
    fields(writer, Section::Request, &wanted.headers, &head.headers);
}

fn peer(writer: &mut CallWriter, facts: &Facts) {
    writer.text(Field::Protocol, facts.protocol);
    if let Some(peer) = &facts.peer {
        writer.text(Field::PeerIdentity, &peer.to_string());
        writer.text(Field::PeerNamespace, peer.namespace());
        writer.text(Field::PeerServiceAccount, peer.service_account());
    }
    if let Some(address) = facts.address {
        writer.text(Field::PeerAddress, &address.to_string());
    }
}

fn fields(writer: &mut CallWriter, section: Section, wanted: &Names, headers: &Headers) {
    match wanted {
        Names::All => headers.iter().for_each(|(name, value)| writer.header(section, name, value)),
        Names::Some(names) => {
            for name in names {
                headers.all(name).for_each(|value| writer.header(section, name, value));
            }
        }
    }
}

fn end(writer: &mut CallWriter, ended: &Ended) {
    writer.number(Field::Status, ended.status.into());
    if let Some(reason) = ended.reason {
        writer.text(Field::Reason, reason.as_str());
    }
    writer.number(Field::DurationMicros, u64::try_from(ended.took.as_micros()).unwrap_or(u64::MAX));
    writer.number(Field::BytesIn, ended.sent);
    writer.number(Field::BytesOut, ended.received);
}
