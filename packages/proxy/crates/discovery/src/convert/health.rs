//! Active health checks of a backend.

use plait_model::{HealthCheck, Probe, canonical_path, split_authority};
use plait_wire as wire;

use super::{Refused, each, percent, positive};

pub(super) fn health_check(message: wire::HealthCheck) -> Result<HealthCheck, Refused> {
    let wire::HealthCheck { interval, timeout, unhealthy_threshold, healthy_threshold, min_healthy_percent, probe: asked } = message;
    Ok(HealthCheck {
        interval: positive("interval", interval)?,
        timeout: positive("timeout", timeout)?,
        unhealthy_threshold: threshold("unhealthy_threshold", unhealthy_threshold)?,
        healthy_threshold: threshold("healthy_threshold", healthy_threshold)?,
        min_healthy_percent: percent("min_healthy_percent", min_healthy_percent)?,
        probe: probe(asked.ok_or_else(|| Refused::new("probe", "it says nothing of what is checked"))?)?,
    })
}

fn threshold(path: &str, number: u32) -> Result<u32, Refused> {
    if number > 0 { Ok(number) } else { Err(Refused::new(path, "it must be at least 1")) }
}

fn probe(asked: wire::health_check::Probe) -> Result<Probe, Refused> {
    use wire::health_check::Probe as Asked;
    match asked {
        Asked::Http(wire::HttpProbe { path, host, expected_statuses }) => http(&path, host, expected_statuses),
        Asked::Grpc(wire::GrpcProbe { service }) => Ok(Probe::Grpc(service.into())),
        Asked::Tcp(wire::TcpProbe {}) => Ok(Probe::Tcp),
    }
}

fn http(target: &str, host: String, statuses: Vec<u32>) -> Result<Probe, Refused> {
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let mut canonical = String::new();
    canonical_path(path.as_bytes(), &mut canonical).map_err(|error| Refused::new("http.path", error))?;
    if !query.unwrap_or_default().bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
        return Err(Refused::new("http.path", "the query holds what no query may"));
    }
    let written = host.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'/' | b'@' | b'?' | b'#'));
    if !written || split_authority(&host).is_none() {
        return Err(Refused::new("http.host", format_args!("{host:?} is no host")));
    }
    let expected_statuses = each("http.expected_statuses", statuses, |status| match u16::try_from(status) {
        Ok(status @ 200..=599) => Ok(status),
        _ => Err(Refused::new("", format_args!("{status} is no final status"))),
    })?;
    Ok(Probe::Http { path: canonical.into(), query: query.map(Into::into), host: host.into(), expected_statuses })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> wire::HealthCheck {
        let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
        wire::HealthCheck {
            interval: seconds(10),
            timeout: seconds(1),
            unhealthy_threshold: 3,
            healthy_threshold: 2,
            min_healthy_percent: 50,
            probe: Some(wire::health_check::Probe::Tcp(wire::TcpProbe {})),
        }
    }

    fn asks(path: &str, host: &str, status: u32) -> wire::HealthCheck {
        let probe = wire::HttpProbe { path: path.into(), host: host.into(), expected_statuses: vec![status] };
        wire::HealthCheck { probe: Some(wire::health_check::Probe::Http(probe)), ..message() }
    }

    #[test]
    fn a_path_is_made_canonical_and_parted_from_its_query() {
        let found = health_check(asks("/a/./ready?deep=1", "reviews.shop:8080", 204)).unwrap();
        let (path, query, host) = ("/a/ready".into(), Some("deep=1".into()), "reviews.shop:8080".into());
        assert_eq!(found.probe, Probe::Http { path, query, host, expected_statuses: vec![204] });
    }

    #[test]
    fn what_cannot_be_right_is_refused_with_its_path() {
        for (message, path) in [
            (wire::HealthCheck { interval: None, ..message() }, "interval"),
            (wire::HealthCheck { timeout: None, ..message() }, "timeout"),
            (wire::HealthCheck { unhealthy_threshold: 0, ..message() }, "unhealthy_threshold"),
            (wire::HealthCheck { healthy_threshold: 0, ..message() }, "healthy_threshold"),
            (wire::HealthCheck { min_healthy_percent: 101, ..message() }, "min_healthy_percent"),
            (wire::HealthCheck { probe: None, ..message() }, "probe"),
            (asks("ready", "reviews", 200), "http.path"),
            (asks("/../ready", "reviews", 200), "http.path"),
            (asks("/ready?a b", "reviews", 200), "http.path"),
            (asks("/ready?a\r\nx: y", "reviews", 200), "http.path"),
            (asks("/ready", "", 200), "http.host"),
            (asks("/ready", "a/b", 200), "http.host"),
            (asks("/ready", "a\r\nx: y", 200), "http.host"),
            (asks("/ready", "reviews", 101), "http.expected_statuses[0]"),
            (asks("/ready", "reviews", 70_000), "http.expected_statuses[0]"),
        ] {
            assert_eq!(health_check(message.clone()).unwrap_err().path, path, "{message:?}");
        }
    }
}
