//! Service, and the traffic settings that it shares with route rules.

use std::{net::IpAddr, num::NonZeroU32, time::Duration};

use plait_model::{
    Algorithm, BackendTraffic, CallTraffic, Carrier, HashOn, Origin, OutlierDetection, Retries, RetryBudget, SessionAffinity, SuccessRate,
    ZoneAware,
};
use plait_wire as wire;

use super::{Refused, address, connection_limit, duration, each, health::health_check, object, percent, port, positive, protocol};

/// A Service before routes and endpoints are joined.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) ports: Vec<(String, u16, plait_model::Protocol)>,
    pub(crate) calls: CallTraffic,
    pub(crate) backend: BackendTraffic,
    pub(crate) addresses: Vec<IpAddr>,
}

pub(crate) fn service(message: wire::Service) -> Result<Service, Refused> {
    let wire::Service { namespace, name, ports, calls, backend, addresses } = message;
    Ok(Service {
        namespace,
        name,
        ports: each("ports", ports, |wire::ServicePort { name, port: number, protocol: spoken }| {
            Ok((name, port("port", number)?, protocol("protocol", spoken)?))
        })?,
        calls: call_traffic(calls.unwrap_or_default()).map_err(|refused| refused.within("calls"))?,
        backend: backend_traffic(backend.unwrap_or_default()).map_err(|refused| refused.within("backend"))?,
        addresses: each("addresses", addresses, |text| address("", &text))?,
    })
}

pub(crate) fn call_traffic(message: wire::CallTraffic) -> Result<CallTraffic, Refused> {
    let wire::CallTraffic { request_timeout, attempt_timeout, retries: tries, origins } = message;
    Ok(CallTraffic {
        request_timeout: request_timeout.map(|value| duration("request_timeout", value)).transpose()?,
        attempt_timeout: attempt_timeout.map(|value| duration("attempt_timeout", value)).transpose()?,
        retries: tries.map(|tries| retries(tries).map_err(|refused| refused.within("retries"))).transpose()?,
        origins: each("origins", origins, origin)?,
    })
}

fn retries(message: wire::Retries) -> Result<Retries, Refused> {
    let wire::Retries { codes, attempts, backoff, budget } = message;
    Ok(Retries {
        codes: each("codes", codes, |code| match u16::try_from(code) {
            Ok(code @ 400..=599) => Ok(code),
            _ => Err(Refused::new("", format_args!("{code} is no status of 400 to 599"))),
        })?,
        attempts,
        backoff: backoff.map_or(Ok(Duration::from_millis(25)), |value| duration("backoff", value))?,
        budget: budget.map_or_else(|| Ok(RetryBudget::default()), retry_budget)?,
    })
}

fn retry_budget(message: wire::RetryBudget) -> Result<RetryBudget, Refused> {
    let wire::RetryBudget { percent, interval, min_per_second } = message;
    let interval = interval.map_or(Ok(RetryBudget::default().interval), |value| duration("budget.interval", value))?;
    Ok(RetryBudget { percent, interval, min_per_second })
}

fn backend_traffic(message: wire::BackendTraffic) -> Result<BackendTraffic, Refused> {
    let wire::BackendTraffic {
        load_balancer,
        connect_timeout,
        idle_timeout,
        origins,
        outlier_detection,
        max_requests,
        health_check: checks,
        connections,
        session_affinity,
    } = message;
    let defaults = BackendTraffic::default();
    let wire::LoadBalancer { algorithm: chosen, hash_on: on, slow_start, zone_aware } = load_balancer.unwrap_or_default();
    Ok(BackendTraffic {
        algorithm: algorithm(chosen)?,
        hash_on: on.map_or(Ok(HashOn::default()), hash_on)?,
        slow_start: slow_start.map(|window| positive("load_balancer.slow_start", Some(window))).transpose()?,
        outliers: outlier_detection.map(|message| outliers(message).map_err(|refused| refused.within("outlier_detection"))).transpose()?,
        health_check: checks.map(|message| health_check(message).map_err(|refused| refused.within("health_check"))).transpose()?,
        zone_aware: zone_aware.map(|wire::ZoneAware { min_endpoints }| ZoneAware { min_endpoints }),
        sessions: session_affinity
            .map(|message| backend_sessions(message).map_err(|refused| refused.within("session_affinity")))
            .transpose()?,
        max_requests: NonZeroU32::new(max_requests),
        connections: connections.map(|limit| connection_limit(limit).map_err(|refused| refused.within("connections"))).transpose()?,
        connect_timeout: connect_timeout.map_or(Ok(defaults.connect_timeout), |value| duration("connect_timeout", value))?,
        idle_timeout: idle_timeout.map_or(Ok(defaults.idle_timeout), |value| duration("idle_timeout", value))?,
        origins: each("origins", origins, origin)?,
    })
}

fn algorithm(value: i32) -> Result<Algorithm, Refused> {
    match wire::Algorithm::try_from(value) {
        Ok(wire::Algorithm::Unspecified | wire::Algorithm::PeakEwma) => Ok(Algorithm::PeakEwma),
        Ok(wire::Algorithm::LeastRequest) => Ok(Algorithm::LeastRequest),
        Ok(wire::Algorithm::RoundRobin) => Ok(Algorithm::RoundRobin),
        Ok(wire::Algorithm::Random) => Ok(Algorithm::Random),
        Ok(wire::Algorithm::RingHash) => Ok(Algorithm::RingHash),
        Ok(wire::Algorithm::Maglev) => Ok(Algorithm::Maglev),
        Err(_) => Err(Refused::new("load_balancer.algorithm", format_args!("unknown algorithm {value}"))),
    }
}

fn hash_on(message: wire::HashOn) -> Result<HashOn, Refused> {
    use wire::hash_on::On;
    let refused = |why: String| Err(Refused::new("load_balancer.hash_on", why));
    let wire::HashOn { on } = message;
    match on {
        Some(On::Header(name)) if !name.is_empty() => Ok(HashOn::Header(name.to_ascii_lowercase().into())),
        Some(On::Cookie(name)) if !name.is_empty() => Ok(HashOn::Cookie(name.into())),
        Some(On::Caller(caller)) => match wire::Caller::try_from(caller) {
            Ok(wire::Caller::Address) => Ok(HashOn::Address),
            Ok(wire::Caller::Identity) => Ok(HashOn::Identity),
            Ok(wire::Caller::Unspecified) | Err(_) => refused(format!("unknown property {caller} of the caller")),
        },
        Some(On::Header(_) | On::Cookie(_)) => refused("a name is absent".into()),
        None => refused("it names nothing to hash".into()),
    }
}

/// Calls to a backend have no match, so their cookie has a path of its own.
fn backend_sessions(message: wire::SessionAffinity) -> Result<SessionAffinity, Refused> {
    let found = sessions(message)?;
    match &found.carrier {
        Carrier::Cookie { path: None, .. } => Err(Refused::new("carrier", "its path is absent")),
        Carrier::Cookie { .. } | Carrier::Header(_) => Ok(found),
    }
}

pub(crate) fn sessions(message: wire::SessionAffinity) -> Result<SessionAffinity, Refused> {
    use wire::session_affinity::Carrier as Named;
    let wire::SessionAffinity { carrier, ttl } = message;
    let carrier = match carrier {
        Some(Named::Cookie(wire::SessionCookie { name, path, until_closed }))
            if !name.is_empty() && (path.is_empty() || path.starts_with('/')) =>
        {
            Carrier::Cookie { name: name.into(), path: (!path.is_empty()).then(|| path.into()), until_closed }
        }
        Some(Named::Header(name)) if !name.is_empty() => Carrier::Header(name.to_ascii_lowercase().into()),
        Some(Named::Cookie(_) | Named::Header(_)) => return Err(Refused::new("carrier", "its name or path is malformed")),
        None => return Err(Refused::new("carrier", "nothing carries the session")),
    };
    Ok(SessionAffinity { carrier, ttl: ttl.map(|_| positive("ttl", ttl)).transpose()? })
}

fn outliers(message: wire::OutlierDetection) -> Result<OutlierDetection, Refused> {
    let wire::OutlierDetection { consecutive_failures, base_ejection, max_ejected_percent, success_rate: rate } = message;
    Ok(OutlierDetection {
        consecutive_failures,
        base_ejection: positive("base_ejection", base_ejection)?,
        max_ejected_percent: percent("max_ejected_percent", max_ejected_percent)?,
        success_rate: rate.map(|rate| success_rate(rate).map_err(|refused| refused.within("success_rate"))).transpose()?,
    })
}

fn success_rate(message: wire::SuccessRate) -> Result<SuccessRate, Refused> {
    let wire::SuccessRate { min_percent, min_requests, interval } = message;
    let (min_percent, interval) = (percent("min_percent", min_percent)?, positive("interval", interval)?);
    Ok(SuccessRate { min_percent, min_requests, interval })
}

fn origin(message: wire::Origin) -> Result<Origin, Refused> {
    let wire::Origin { field, object: from, path } = message;
    Ok(Origin { field: field.into(), object: object(from)?, path: path.into() })
}
