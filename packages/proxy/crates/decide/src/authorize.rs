//! Who may do what: one `judge` for HTTP requests and opaque connections. Policies add up; any Deny wins; nothing that is unclear passes.

use std::{net::IpAddr, sync::Arc};

use plait_model::{
    Action, DefaultPolicy, Mesh, MtlsMode, ObjectRef, Operation, Peer, Policy, PolicyBinding, PolicyHeader, Reason, RequestHead, Source,
    Workload,
};

/// A passed check. Only [`judge`] makes one, and what follows asks for it, so that the check can be neither skipped nor moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permit {
    by: Option<(Arc<ObjectRef>, usize)>,
    epoch: u64,
}

impl Permit {
    /// The policy and rule that allowed it; `None` = the mesh's default.
    pub fn by(&self) -> Option<&(Arc<ObjectRef>, usize)> {
        self.by.as_ref()
    }

    /// `Workload::policy_epoch` at the time: another one means that it must be judged again.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }
}

/// A refused check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// `PolicyDenied` or `Unauthenticated`.
    pub reason: Reason,
    /// The policy that denied; `None` = the mesh's default.
    pub object: Option<ObjectRef>,
    /// Why, for the caller: names the policy, never those whom it allows.
    pub text: String,
}

/// The verdict, and what policies in dry run would have said.
#[derive(Debug)]
pub struct Judgement {
    /// Passed or refused.
    pub result: Result<Permit, Denial>,
    /// Each policy in dry run that would deny: to be counted and logged.
    pub dry_run_denials: Vec<ObjectRef>,
}

/// Judges a call of `peer` to `port` of `workload`; `http` is the request as the destination receives it, `None` for an opaque connection.
pub fn judge(workload: &Workload, mesh: &Mesh, peer: &Peer, port: u16, http: Option<&RequestHead>) -> Judgement {
    let call = Call { peer, port, http };
    let covering = || workload.policies.iter().filter(|binding| binding.covers(port));
    let dry_run_denials = dry_run(covering(), &call);
    Judgement { result: enforced(covering(), mesh, &call, workload.policy_epoch), dry_run_denials }
}

struct Call<'a> {
    peer: &'a Peer,
    port: u16,
    http: Option<&'a RequestHead>,
}

fn enforced<'a>(bindings: impl Iterator<Item = &'a PolicyBinding>, mesh: &Mesh, call: &Call<'_>, epoch: u64) -> Result<Permit, Denial> {
    if mesh.mtls_mode == MtlsMode::Strict && call.peer.identity.is_none() {
        return Err(denied(Reason::Unauthenticated, None, "this workload accepts mutual TLS only".into()));
    }
    let (mut allows, mut allowed) = (None, None);
    for binding in bindings {
        let policy = match &binding.policy {
            None => {
                return Err(denied(
                    Reason::PolicyDenied,
                    None,
                    format!("AuthorizationPolicy {} is not available; denied to be safe", binding.name),
                ));
            }
            Some(policy) if policy.invalid => {
                return Err(denied(Reason::PolicyDenied, Some(&policy.object), format!("{} is invalid; denied to be safe", policy.object)));
            }
            Some(policy) if policy.dry_run => continue,
            Some(policy) => policy,
        };
        let hit = matching_rule(policy, call);
        match (policy.action, hit) {
            (Action::Deny, Some(rule)) => {
                return Err(denied(Reason::PolicyDenied, Some(&policy.object), format!("rule {rule} of {} denies it", policy.object)));
            }
            (Action::Deny, None) => {}
            (Action::Allow, hit) => {
                allows = allows.or(Some(policy));
                allowed = allowed.or(hit.map(|rule| (policy.object.clone(), rule)));
            }
        }
    }
    match (allowed, allows) {
        (Some(by), _) => Ok(Permit { by: Some(by), epoch }),
        (None, Some(policy)) => Err(denied(Reason::PolicyDenied, Some(&policy.object), format!("no rule of {} allows it", policy.object))),
        (None, None) => by_default(mesh, call.peer, epoch),
    }
}

fn by_default(mesh: &Mesh, peer: &Peer, epoch: u64) -> Result<Permit, Denial> {
    match mesh.default_policy {
        DefaultPolicy::AllowAll => Ok(Permit { by: None, epoch }),
        // Under Permissive a plaintext caller passes and is counted; under Strict it never gets here.
        DefaultPolicy::AllowAuthenticated if peer.identity.is_some() || mesh.mtls_mode == MtlsMode::Permissive => {
            Ok(Permit { by: None, epoch })
        }
        DefaultPolicy::AllowAuthenticated => Err(denied(Reason::Unauthenticated, None, "the caller has no identity".into())),
        DefaultPolicy::DenyAll => Err(denied(Reason::PolicyDenied, None, "Mesh default denies what no policy allows".into())),
    }
}

fn denied(reason: Reason, object: Option<&ObjectRef>, text: String) -> Denial {
    Denial { reason, object: object.cloned(), text }
}

/// Every policy in dry run that would have denied the call had it been in force.
fn dry_run<'a>(bindings: impl Iterator<Item = &'a PolicyBinding>, call: &Call<'_>) -> Vec<ObjectRef> {
    bindings
        .filter_map(|binding| binding.policy.as_deref())
        .filter(|policy| policy.dry_run && !policy.invalid)
        .filter(|policy| (policy.action == Action::Deny) == matching_rule(policy, call).is_some())
        .map(|policy| (*policy.object).clone())
        .collect()
}

/// The first rule that matches. A Deny is matched in doubt, an Allow is not.
fn matching_rule(policy: &Policy, call: &Call<'_>) -> Option<usize> {
    policy.rules.iter().position(|rule| {
        let from = rule.from.is_empty() || rule.from.iter().any(|source| source_matches(source, call.peer));
        from && (rule.to.is_empty() || rule.to.iter().any(|operation| operation_matches(operation, policy.action, call)))
    })
}

fn source_matches(source: &Source, peer: &Peer) -> bool {
    let identity = peer.identity.as_deref();
    // A caller without identity never matches a field that asks for one.
    let known = |empty: bool, matches: &dyn Fn(&plait_model::SpiffeId) -> bool| empty || identity.is_some_and(matches);
    known(source.identities.is_empty(), &|id| source.identities.contains(id))
        && known(source.namespaces.is_empty(), &|id| source.namespaces.iter().any(|namespace| **namespace == *id.namespace()))
        && known(source.service_accounts.is_empty(), &|id| {
            source.service_accounts.iter().any(|(namespace, account)| **namespace == *id.namespace() && **account == *id.service_account())
        })
        && (source.cidrs.is_empty() || source.cidrs.iter().any(|(network, length)| contains(*network, *length, peer.address)))
}

fn operation_matches(operation: &Operation, action: Action, call: &Call<'_>) -> bool {
    if !operation.ports.is_empty() && !operation.ports.contains(&call.port) {
        return false;
    }
    let Some(head) = call.http else {
        // Opaque bytes: what only HTTP has is unknown. An Allow does not match then, a Deny matches as if the field were absent.
        return !operation.needs_http() || action == Action::Deny;
    };
    let method = operation.methods.is_empty() || operation.methods.iter().any(|method| **method == *head.method.as_str());
    let path = operation.paths.is_empty() || operation.paths.iter().any(|path| path_matches(path, &head.path));
    let host = operation.hosts.is_empty() || host_matches(&operation.hosts, &head.authority);
    method && path && host && operation.headers.iter().all(|header| header_matches(header, action, head))
}

/// Exact, or with a trailing "/*" that path itself and all below.
fn path_matches(wanted: &str, path: &str) -> bool {
    match wanted.strip_suffix("/*") {
        None => wanted == path,
        Some(prefix) => path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
    }
}

fn host_matches(hosts: &[Box<str>], authority: &str) -> bool {
    let host = plait_model::split_authority(authority).map_or(authority, |(host, _)| host);
    let host = host.strip_suffix('.').unwrap_or(host);
    hosts.iter().any(|wanted| wanted.eq_ignore_ascii_case(host))
}

/// A field may come several times: a Deny matches when any value does, an Allow only when all do.
fn header_matches(wanted: &PolicyHeader, action: Action, head: &RequestHead) -> bool {
    let fits = |value: &[u8]| wanted.values.is_empty() || wanted.values.iter().any(|one| one.as_bytes() == value);
    match action {
        Action::Deny => head.headers.all(&wanted.name).any(fits),
        Action::Allow => head.headers.contains(&wanted.name) && head.headers.all(&wanted.name).all(fits),
    }
}

fn contains(network: IpAddr, length: u8, address: IpAddr) -> bool {
    // An IPv4 caller on a dual-stack socket shows as a mapped IPv6 address.
    match (network, address.to_canonical()) {
        (IpAddr::V4(network), IpAddr::V4(address)) => same_bits(u32::from(network).into(), u32::from(address).into(), 32, length),
        (IpAddr::V6(network), IpAddr::V6(address)) => same_bits(network.into(), address.into(), 128, length),
        _ => false,
    }
}

fn same_bits(a: u128, b: u128, width: u32, length: u8) -> bool {
    let ignored = width.saturating_sub(u32::from(length));
    (a ^ b).checked_shr(ignored).unwrap_or(0) == 0
}
