//! Service, and the traffic settings that it shares with route rules.

use std::time::Duration;

use plait_model::{Algorithm, BackendTraffic, CallTraffic, Origin, Retries, RetryBudget};
use plait_wire as wire;

use super::{Refused, duration, each, object, port, protocol};

/// A Service before routes and endpoints are joined.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) ports: Vec<(String, u16, plait_model::Protocol)>,
    pub(crate) calls: CallTraffic,
    pub(crate) backend: BackendTraffic,
}

pub(crate) fn service(message: wire::Service) -> Result<Service, Refused> {
    let wire::Service { namespace, name, ports, calls, backend } = message;
    Ok(Service {
        namespace,
        name,
        ports: each("ports", ports, |wire::ServicePort { name, port: number, protocol: spoken }| {
            Ok((name, port("port", number)?, protocol("protocol", spoken)?))
        })?,
        calls: call_traffic(calls.unwrap_or_default()).map_err(|refused| refused.within("calls"))?,
        backend: backend_traffic(backend.unwrap_or_default()).map_err(|refused| refused.within("backend"))?,
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
    let wire::BackendTraffic { load_balancer, connect_timeout, idle_timeout, origins } = message;
    let defaults = BackendTraffic::default();
    let algorithm = load_balancer.map_or(0, |wire::LoadBalancer { algorithm }| algorithm);
    Ok(BackendTraffic {
        algorithm: match wire::Algorithm::try_from(algorithm) {
            Ok(wire::Algorithm::Unspecified | wire::Algorithm::PeakEwma) => Algorithm::PeakEwma,
            Ok(wire::Algorithm::LeastRequest) => Algorithm::LeastRequest,
            Ok(wire::Algorithm::RoundRobin) => Algorithm::RoundRobin,
            Ok(wire::Algorithm::Random) => Algorithm::Random,
            Err(_) => return Err(Refused::new("load_balancer.algorithm", format_args!("unknown algorithm {algorithm}"))),
        },
        connect_timeout: connect_timeout.map_or(Ok(defaults.connect_timeout), |value| duration("connect_timeout", value))?,
        idle_timeout: idle_timeout.map_or(Ok(defaults.idle_timeout), |value| duration("idle_timeout", value))?,
        origins: each("origins", origins, origin)?,
    })
}

fn origin(message: wire::Origin) -> Result<Origin, Refused> {
    let wire::Origin { field, object: from, path } = message;
    Ok(Origin { field: field.into(), object: object(from)?, path: path.into() })
}
