//! AuthorizationPolicy.

use std::net::IpAddr;

use plait_model::{Action, Operation, Policy, PolicyHeader, PolicyRule, Source, SpiffeId};
use plait_wire as wire;

use super::{Refused, each, object, port};

pub(crate) fn policy(message: wire::Policy) -> Result<Policy, Refused> {
    let wire::Policy { object: from, action, dry_run, rules, invalid } = message;
    Ok(Policy {
        object: object(from)?.into(),
        action: match wire::PolicyAction::try_from(action) {
            Ok(wire::PolicyAction::Allow) => Action::Allow,
            Ok(wire::PolicyAction::Deny) => Action::Deny,
            // What an invalid policy was meant to do may be unknown; it denies all the same.
            Ok(wire::PolicyAction::Unspecified) if invalid => Action::Deny,
            Ok(wire::PolicyAction::Unspecified) | Err(_) => return Err(Refused::new("action", format_args!("unknown action {action}"))),
        },
        dry_run,
        rules: each("rules", rules, |wire::PolicyRule { from, to }| {
            Ok(PolicyRule { from: each("from", from, source)?, to: each("to", to, operation)? })
        })?,
        invalid,
    })
}

fn source(message: wire::PolicySource) -> Result<Source, Refused> {
    let wire::PolicySource { identities, namespaces, service_accounts, cidrs } = message;
    Ok(Source {
        identities: each("identities", identities, |text| SpiffeId::parse(&text).map_err(|error| Refused::new("", error)))?,
        namespaces: boxed(namespaces),
        service_accounts: each("service_accounts", service_accounts, |text| {
            let (namespace, name) = text.split_once('/').ok_or_else(|| Refused::new("", format_args!("{text:?} is not namespace/name")))?;
            Ok((namespace.into(), name.into()))
        })?,
        cidrs: each("cidrs", cidrs, cidr)?,
    })
}

fn cidr(text: String) -> Result<(IpAddr, u8), Refused> {
    let parsed = text.split_once('/').and_then(|(address, length)| {
        let address: IpAddr = address.parse().ok()?;
        let length = length.parse().ok()?;
        (length <= if address.is_ipv4() { 32 } else { 128 }).then_some((address, length))
    });
    parsed.ok_or_else(|| Refused::new("", format_args!("{text:?} is no address range")))
}

fn operation(message: wire::PolicyOperation) -> Result<Operation, Refused> {
    let wire::PolicyOperation { ports, methods, paths, hosts, headers } = message;
    Ok(Operation {
        ports: each("ports", ports, |number| port("", number))?,
        methods: boxed(methods),
        paths: boxed(paths),
        hosts: boxed(hosts),
        headers: headers
            .into_iter()
            .map(|wire::PolicyHeader { name, values }| PolicyHeader { name: name.into(), values: boxed(values) })
            .collect(),
    })
}

fn boxed(texts: Vec<String>) -> Vec<Box<str>> {
    texts.into_iter().map(Into::into).collect()
}
