//! Why a request would do what it would do, by the same functions that serve it. Asked by the admin socket, and offline by `plait-proxy decide`.

use plait_model::{
    Backend, Destination, DestinationKey, Egress, Lookup, ObjectRef, Origin, Peer, Reason, RequestHead, Rule, Snapshot, Workload,
    split_authority,
};
use serde::Serialize;

use crate::{authorize, route};

/// A hypothetical request of a workload that the snapshot serves.
#[derive(Debug, Clone)]
pub struct Question {
    /// "namespace/name" of the calling workload.
    pub from: String,
    /// The request; its authority names the destination, no port = 80.
    pub head: RequestHead,
}

/// Why a question has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unanswerable {
    /// The proxy does not serve that workload.
    #[error("this proxy does not serve the workload {0}")]
    Workload(String),
    /// The authority is malformed.
    #[error("{0:?} is no host or host:port")]
    Authority(String),
    /// The destination was never dialled and must be asked for first.
    #[error("the destination {0} is not known here yet")]
    NotHeld(String),
}

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
    /// Endpoints of the backend with the highest weight.
    pub endpoints: Vec<Place>,
    /// Timeouts and retries.
    pub limits: Option<Limits>,
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

/// The called Service.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct Called {
    /// "namespace/name".
    pub service: String,
    /// Port.
    pub port: u16,
    /// "http", "tcp" or "auto".
    pub protocol: &'static str,
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

/// An endpoint.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct Place {
    /// "namespace/name".
    pub workload: String,
    /// Where its sidecar listens.
    pub address: String,
    /// Whom it must prove to be; `None` = plaintext.
    pub identity: Option<String>,
}

/// Timeouts and retries in force; `None` = none.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct Limits {
    /// `timeouts.request`, milliseconds.
    pub request_ms: Option<u64>,
    /// `timeouts.attempt`, milliseconds.
    pub attempt_ms: Option<u64>,
    /// Tries after the first.
    pub retry_attempts: u32,
    /// Answers that are tried again.
    pub retry_codes: Vec<u16>,
    /// Which objects set what.
    pub origins: Vec<Origin>,
}

/// What the policies at the destination say.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct Verdict {
    /// Passes.
    pub allowed: bool,
    /// The policy that decided; `None` = the mesh's default.
    pub object: Option<ObjectRef>,
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

/// Answers a question from one snapshot.
pub fn explain(snapshot: &Snapshot, question: &Question) -> Result<Decision, Unanswerable> {
    let from = snapshot.workloads.get(question.from.as_str()).ok_or_else(|| Unanswerable::Workload(question.from.clone()))?;
    let (host, port) = split_authority(&question.head.authority).ok_or_else(|| Unanswerable::Authority(question.head.authority.clone()))?;
    let key = DestinationKey::of_host(host, &from.namespace);
    let mut decision = Decision {
        generation: snapshot.generation,
        from: From { workload: question.from.clone(), identity: from.identity.as_str().to_owned() },
        destination: None,
        egress: None,
        route: None,
        not_chosen: Vec::new(),
        backends: Vec::new(),
        endpoints: Vec::new(),
        limits: None,
        policy: None,
        answer: None,
    };
    match snapshot.lookup(&key).ok_or_else(|| Unanswerable::NotHeld(key.to_string()))? {
        Lookup::Unknown => match snapshot.mesh.egress {
            Egress::Allow => decision.egress = Some("allow"),
            Egress::Deny => {
                decision.egress = Some("deny");
                decision.answer = Some(answer(Reason::EgressDenied));
            }
        },
        Lookup::Known(destination) => routed(snapshot, from, &destination, port.unwrap_or(80), &question.head, &mut decision),
    }
    Ok(decision)
}

fn routed(snapshot: &Snapshot, from: &Workload, called: &Destination, port: u16, head: &RequestHead, decision: &mut Decision) {
    let Some(service_port) = called.port(port) else {
        decision.answer = Some(answer(Reason::PortNotFound));
        return;
    };
    let protocol = match service_port.protocol {
        plait_model::Protocol::Auto => "auto",
        plait_model::Protocol::Http => "http",
        plait_model::Protocol::Tcp => "tcp",
    };
    decision.destination = Some(Called { service: called.key.to_string(), port, protocol });
    let routes = service_port.routes_for(&from.namespace);
    let choice = route::find(routes, head);
    decision.not_chosen = not_chosen(routes.rules(), choice.map(|choice| &**choice.rule), head);
    let Some(choice) = choice else {
        decision.answer = Some(answer(Reason::RouteNotFound));
        return;
    };
    let rule = choice.rule;
    decision.route =
        Some(Chosen { object: (*rule.object).clone(), rule: rule.index, rule_name: rule.name.to_string(), implicit: rule.is_implicit() });
    decision.limits = Some(limits(rule));
    if let Some(redirect) = &rule.filters.redirect {
        decision.answer = Some(Answer { status: redirect.status, reason: "redirect" });
        return;
    }
    decision.backends = rule
        .backends
        .iter()
        .map(|share| Share {
            backend: share.backend.to_string(),
            weight: share.weight,
            total: rule.total_weight,
            invalid: share.invalid.as_deref().map(str::to_owned),
        })
        .collect();
    let heaviest = rule.backends.iter().filter(|share| share.weight > 0).max_by_key(|share| share.weight);
    let backend = heaviest.filter(|share| share.invalid.is_none()).and_then(|share| snapshot.backends.get(&share.backend));
    match backend {
        None => decision.answer = Some(answer(Reason::BackendNotFound)),
        // Opaque bytes are judged as such, whatever the caller speaks to its own sidecar.
        Some(backend) => {
            at_backend(snapshot, from, backend, (service_port.protocol != plait_model::Protocol::Tcp).then_some(head), decision)
        }
    }
}

fn at_backend(snapshot: &Snapshot, from: &Workload, backend: &Backend, http: Option<&RequestHead>, decision: &mut Decision) {
    decision.endpoints = backend
        .endpoints
        .iter()
        .map(|endpoint| Place {
            workload: endpoint.workload.to_string(),
            address: endpoint.address.to_string(),
            identity: endpoint.identity.as_ref().map(|identity| identity.as_str().to_owned()),
        })
        .collect();
    let Some(endpoint) = backend.endpoints.first() else {
        decision.answer = Some(answer(Reason::NoReadyEndpoint));
        return;
    };
    // The policy of the destination is held only where the whole mesh is: offline, or by a proxy that serves both ends.
    let Some(workload) = snapshot.workloads.get(&*endpoint.workload) else { return };
    let peer = Peer { identity: endpoint.identity.as_ref().map(|_| from.identity.clone()), address: from.address };
    let judgement = authorize::judge(workload, &snapshot.mesh, &peer, endpoint.target_port, http);
    let (allowed, object, why) = match judgement.result {
        Ok(permit) => (true, permit.by().map(|(object, _)| object.clone()), None),
        Err(denial) => {
            decision.answer = Some(answer(denial.reason));
            (false, denial.object, Some(denial.text))
        }
    };
    decision.policy = Some(Verdict { allowed, object, why, dry_run_denials: judgement.dry_run_denials });
}

fn not_chosen(rules: &[std::sync::Arc<Rule>], chosen: Option<&Rule>, head: &RequestHead) -> Vec<NotChosen> {
    rules
        .iter()
        .filter(|rule| chosen.is_none_or(|chosen| !std::ptr::eq(&***rule, chosen)))
        .map(|rule| NotChosen {
            object: (*rule.object).clone(),
            rule: rule.index,
            rule_name: rule.name.to_string(),
            why: why_not(rule, head),
        })
        .collect()
}

/// The first reason of each match; a rule that matches too lost to a more specific or older one.
fn why_not(rule: &Rule, head: &RequestHead) -> String {
    let reasons: Option<Vec<_>> = rule.matches.iter().map(|matched| route::mismatch(matched, head)).collect();
    match reasons {
        Some(reasons) if !reasons.is_empty() => reasons.join("; "),
        _ => "it matches too, but another rule is more specific or older".to_owned(),
    }
}

fn limits(rule: &Rule) -> Limits {
    let millis = |duration: Option<std::time::Duration>| duration.map(|duration| duration.as_millis() as u64);
    let retries = rule.traffic.retries.as_ref();
    Limits {
        request_ms: millis(rule.traffic.request_timeout),
        attempt_ms: millis(rule.traffic.attempt_timeout),
        retry_attempts: retries.map_or(0, |retries| retries.attempts),
        retry_codes: retries.map_or_else(Vec::new, |retries| retries.codes.clone()),
        origins: rule.traffic.origins.clone(),
    }
}

fn answer(reason: Reason) -> Answer {
    Answer { status: reason.status(), reason: reason.as_str() }
}
