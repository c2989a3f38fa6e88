//! The shape of a decision, as the admin socket and `plait-proxy decide` write it in JSON. Built by `explain` alone.

use plait_model::{ObjectRef, Origin};
use serde::Serialize;

/// Which objects, rules and endpoints decide one request.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct Decision {
    /// Of the world that was asked.
    pub generation: u64,
    /// Who asks.
    pub from: From,
    /// The Service; `None` = not of the mesh, see `egress`.
    pub destination: Option<Called>,
    /// "allow" or "deny" for a destination that the mesh does not know.
    pub egress: Option<&'static str>,
    /// The rule that takes the request.
    pub route: Option<Chosen>,
    /// Every other rule of the port, and why it does not.
    pub not_chosen: Vec<NotChosen>,
    /// Shares of the rule's traffic.
    pub backends: Vec<Share>,
    /// How one of the endpoints is chosen.
    pub balancing: Option<Balancing>,
    /// Endpoints of the backend with the highest weight.
    pub endpoints: Vec<Place>,
    /// Timeouts and retries.
    pub limits: Option<Limits>,
    /// The Plugins that it passes, in running order; those of the destination where its workload is held.
    pub plugins: Vec<Passed>,
    /// The verdict at the destination; `None` where its policy is not held.
    pub policy: Option<Verdict>,
    /// What the mesh itself would answer; `None` = the application answers.
    pub answer: Option<Answer>,
}

/// The calling workload.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct From {
    /// "namespace/name".
    pub workload: String,
    /// SPIFFE ID.
    pub identity: String,
}

/// The called Service, or the workload that was called at its own address.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct Called {
    /// "namespace/name".
    pub service: String,
    /// Port.
    pub port: u16,
    /// What its callers speak: "http", "http2", "tcp", "tls" or "auto".
    pub protocol: &'static str,
    /// Where that is "auto": what was heard last, said by the proxy that heard it.
    pub heard: Option<&'static str>,
}

/// A rule and what of it matched.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct Chosen {
    /// The route; the Service when no route shapes it.
    pub object: ObjectRef,
    /// Index in `spec.rules`.
    pub rule: usize,
    /// The rule's name, may be empty.
    pub rule_name: String,
    /// What of it matched, in the user's terms; empty for a rule that takes everything.
    pub matched: Vec<String>,
    /// True when no route shapes the Service.
    pub implicit: bool,
}

/// A rule that does not take the request.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct NotChosen {
    /// The route.
    pub object: ObjectRef,
    /// Index in `spec.rules`.
    pub rule: usize,
    /// The rule's name, may be empty.
    pub rule_name: String,
    /// In the user's terms.
    pub why: String,
}

/// A backend's share.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct Share {
    /// "namespace/service:port".
    pub backend: String,
    /// Of `total`.
    pub weight: u32,
    /// All weights.
    pub total: u32,
    /// Why it cannot serve.
    pub invalid: Option<String>,
}

/// How an endpoint is chosen.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct Balancing {
    /// As the user writes it.
    pub algorithm: &'static str,
    /// What of a request is hashed, in the user's terms; `None` where the algorithm does not hash.
    pub hash_on: Option<String>,
    /// "namespace/name" of the workload that this request belongs to; `None` when it has nothing to hash.
    pub owner: Option<String>,
    /// What carries a session, in the user's terms; `None` without affinity.
    pub sessions: Option<String>,
    /// "namespace/name" of the workload that the request's session belongs to; `None` when it carries none.
    pub session_of: Option<String>,
    /// What part of the caller's zone stays in it, in the user's terms; `None` where zones are not looked at.
    pub zone: Option<String>,
    /// What ejects an endpoint, in the user's terms; `None` = refused dials alone.
    pub ejected: Option<String>,
    /// What is checked of each endpoint, and what follows; `None` = nothing.
    pub health_check: Option<String>,
    /// So few endpoints are healthy that all are used.
    pub panics: bool,
    /// `loadBalancer.slowStart`, milliseconds.
    pub slow_start_ms: Option<u64>,
}

/// An endpoint.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct Place {
    /// "namespace/name".
    pub workload: String,
    /// Where its sidecar listens.
    pub address: String,
    /// Whom it must prove to be; `None` = plaintext.
    pub identity: Option<String>,
    /// Its zone, may be empty.
    pub zone: String,
    /// What keeps requests from it at the moment, in the user's terms; empty = nothing.
    pub standing: Vec<String>,
}

/// Timeouts and retries in force; `None` = none.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct Limits {
    /// `timeouts.request`, milliseconds.
    pub request_ms: Option<u64>,
    /// `timeouts.attempt`, milliseconds.
    pub attempt_ms: Option<u64>,
    /// `timeouts.connect` of the backend, milliseconds; `None` before one is known.
    pub connect_ms: Option<u64>,
    /// `timeouts.idle` of the backend, milliseconds; `None` before one is known.
    pub idle_ms: Option<u64>,
    /// `connections.maxRequests` of the backend; `None` = no limit.
    pub max_requests: Option<u32>,
    /// `connections.max` of the backend; `None` = no limit.
    pub max_connections: Option<u32>,
    /// `connections.maxPending`, where there is a limit.
    pub max_pending: Option<u32>,
    /// Tries after the first.
    pub retry_attempts: u32,
    /// Answers that are tried again.
    pub retry_codes: Vec<u16>,
    /// Which objects set what.
    pub origins: Vec<Origin>,
}

/// A Plugin that the request passes.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct Passed {
    /// The Plugin.
    pub object: ObjectRef,
    /// Beside whom it runs: "outbound" beside the caller, "inbound" beside the destination.
    pub direction: &'static str,
    /// Why it refuses every call; `None` = it can be run.
    pub broken: Option<String>,
}

/// What the policies at the destination say.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct Verdict {
    /// Passes.
    pub allowed: bool,
    /// The policy that decided; `None` = the mesh's default.
    pub object: Option<ObjectRef>,
    /// Index in its `spec.rules` of the rule that allowed it.
    pub rule: Option<usize>,
    /// Why it was denied.
    pub why: Option<String>,
    /// Policies in dry run that would deny it.
    pub dry_run_denials: Vec<ObjectRef>,
}

/// An answer that the mesh makes.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Stable code.
    pub reason: &'static str,
}
