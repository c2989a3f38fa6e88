//! Mesh.

use plait_model::{AccessLog, AccessLogFilter, DefaultPolicy, Egress, Limits, Mesh, MtlsMode, SpiffeId};
use plait_wire as wire;

use super::{Refused, address};

pub(crate) fn mesh(message: wire::Mesh) -> Result<Mesh, Refused> {
    let wire::Mesh { trust_domain, mtls_mode, default_policy, egress, access_log, tracing, metrics_listen, limits, trust_bundle } = message;
    SpiffeId::new(&trust_domain, "a", "a").map_err(|error| Refused::new("trust_domain", error.1))?;
    Ok(Mesh {
        trust_domain: trust_domain.into(),
        mtls_mode: match wire::MtlsMode::try_from(mtls_mode) {
            Ok(wire::MtlsMode::Strict) => MtlsMode::Strict,
            Ok(wire::MtlsMode::Permissive) => MtlsMode::Permissive,
            Ok(wire::MtlsMode::Unspecified) | Err(_) => return Err(Refused::new("mtls_mode", "unknown")),
        },
        default_policy: match wire::DefaultPolicy::try_from(default_policy) {
            Ok(wire::DefaultPolicy::AllowAuthenticated) => DefaultPolicy::AllowAuthenticated,
            Ok(wire::DefaultPolicy::DenyAll) => DefaultPolicy::DenyAll,
            Ok(wire::DefaultPolicy::AllowAll) => DefaultPolicy::AllowAll,
            Ok(wire::DefaultPolicy::Unspecified) | Err(_) => return Err(Refused::new("default_policy", "unknown")),
        },
        egress: match wire::Egress::try_from(egress) {
            Ok(wire::Egress::Allow) => Egress::Allow,
            Ok(wire::Egress::Deny) => Egress::Deny,
            Ok(wire::Egress::Unspecified) | Err(_) => return Err(Refused::new("egress", "unknown")),
        },
        access_log: access_log.map(log).transpose()?.flatten(),
        sampling: tracing.map_or(Ok(1.0), |wire::Tracing { sampling }| share(sampling))?,
        metrics_listen: (!metrics_listen.is_empty()).then(|| address("metrics_listen", &metrics_listen)).transpose()?,
        limits: limits.map_or_else(Limits::default, bounds),
        trust_bundle,
    })
}

fn share(value: f64) -> Result<f64, Refused> {
    if (0.0..=1.0).contains(&value) { Ok(value) } else { Err(Refused::new("tracing.sampling", "must lie between 0 and 1")) }
}

fn log(message: wire::AccessLog) -> Result<Option<AccessLog>, Refused> {
    let wire::AccessLog { format, filter } = message;
    let filter = match wire::AccessLogFilter::try_from(filter) {
        Ok(wire::AccessLogFilter::Errors) => AccessLogFilter::Errors,
        Ok(wire::AccessLogFilter::All | wire::AccessLogFilter::Unspecified) => AccessLogFilter::All,
        Err(_) => return Err(Refused::new("access_log.filter", "unknown")),
    };
    match wire::AccessLogFormat::try_from(format) {
        Ok(wire::AccessLogFormat::Json) => Ok(Some(AccessLog { filter })),
        Ok(wire::AccessLogFormat::Off) => Ok(None),
        Ok(wire::AccessLogFormat::Unspecified) | Err(_) => Err(Refused::new("access_log.format", "unknown")),
    }
}

/// Zero means the default.
fn bounds(message: wire::ProxyLimits) -> Limits {
    let wire::ProxyLimits { head_bytes, headers, connections, buffered_bytes } = message;
    let or = |value: u64, default: usize| if value == 0 { default } else { usize::try_from(value).unwrap_or(usize::MAX) };
    let defaults = Limits::default();
    Limits {
        head_bytes: or(head_bytes.into(), defaults.head_bytes),
        headers: or(headers.into(), defaults.headers),
        connections: or(connections.into(), defaults.connections),
        buffered_bytes: or(buffered_bytes, defaults.buffered_bytes),
    }
}
